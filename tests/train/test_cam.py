import gc
import json
import shutil

import numpy as np
import psutil
import pytest
import torch
from torch import nn
from torchcam import methods

from drawn import killed_when_removing
from geocamnet.errors import DataError, ModelError
from geocamnet.images import read_image
from geocamnet.train import cam
from geocamnet.train.cam import StoredMaps, class_maps, extract, maps_folder
from geocamnet.train.dataset import PhotographDataset
from geocamnet.train.index import read_index
from geocamnet.train.predictor import network_predictor
from geocamnet.train.recipes import CamRecipe
from geocamnet.train.runs import load_network
from geocamnet.train.teacher import Teacher

SMALL = CamRecipe(part=10)


@pytest.fixture(scope="module")
def teacher():
    return drawn_teacher("resnet18", 4)


def drawn_teacher(backbone, classes):
    torch.manual_seed(0)
    teacher = Teacher(backbone, classes).eval()
    nn.init.normal_(teacher.class_bias)
    return teacher


def photographs(count=2, shape_hw=(64, 96), seed=0):
    return torch.rand(count, 3, *shape_hw, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def teacher_run(tmp_path_factory, make_run):
    return make_run(tmp_path_factory.mktemp("runs") / "teacher")


@pytest.mark.parametrize("backbone", ["resnet18", "resnet101", "efficientnet_b0"])
def test_class_maps_are_what_the_gradient_of_each_logit_says(backbone):
    """Grad-CAM without its ReLU (Selvaraju et al. 2017): sum over k of A_k times the sum of dlogit_c / dA_k."""
    teacher = drawn_teacher(backbone, 3)
    images = photographs(1)
    with torch.no_grad():
        features = teacher.trunk.forward_features((images - teacher.mean) / teacher.std)
    features.requires_grad_(True)
    logits = teacher.trunk.forward_head(features)
    _, maps = class_maps(teacher, images)
    for one in range(3):
        (gradient,) = torch.autograd.grad(logits[0, one], features, retain_graph=True)
        expected = (gradient.sum((2, 3), keepdim=True) * features).sum(1)[0].detach()
        np.testing.assert_allclose(maps[0, one], expected, atol=1e-5 * float(expected.abs().max()))


def test_the_mean_of_a_class_map_and_its_bias_are_the_logit(teacher):
    logits, maps = class_maps(teacher, photographs())
    torch.testing.assert_close(maps.mean((2, 3)) + teacher.class_bias.detach(), logits)
    with torch.inference_mode():
        torch.testing.assert_close(logits, teacher.trunk((photographs() - teacher.mean) / teacher.std))


def test_torchcams_own_cam_agrees(teacher):
    images = photographs(1)
    _, maps = class_maps(teacher, images)
    with methods.CAM(teacher.trunk, target_layer="layer4", fc_layer="fc", input_shape=(3, 64, 96)) as extractor:
        logits = teacher.trunk((images - teacher.mean) / teacher.std)
        for one in range(4):
            theirs = extractor(one, logits, normalized=False)[0][0]
            torch.testing.assert_close(theirs.relu(), maps[0, one].relu(), rtol=1e-4, atol=1e-5)


def test_gradcam_is_the_positive_part_of_the_exact_map_over_its_cells(teacher):
    images = photographs(2)
    exact_logits, exact = class_maps(teacher, images)
    logits, maps = class_maps(teacher, images, method="gradcam")
    torch.testing.assert_close(logits, exact_logits)
    torch.testing.assert_close(maps, exact.relu() / 6, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["gradcam++", "xgradcam", "layercam"])
def test_the_other_methods_see_evidence_where_the_exact_map_does(teacher, method):
    images = photographs(2, (128, 160))
    exact_logits, exact = class_maps(teacher, images)
    logits, maps = class_maps(teacher, images, method=method)
    assert maps.shape == exact.shape == (2, 4, 4, 5)
    torch.testing.assert_close(logits, exact_logits)
    assert not maps.requires_grad
    assert torch.isfinite(maps).all()
    assert (maps >= 0).all()
    if method == "xgradcam":  # behind a linear layer and a mean it is Grad-CAM, for features that are not negative
        torch.testing.assert_close(maps, exact.relu() / 20, rtol=1e-3, atol=1e-6)
    if method == "layercam":  # the same sum without the negative weights
        weights = teacher.trunk.fc.weight.detach().relu()
        with torch.inference_mode():
            features = teacher.trunk.forward_features((images - teacher.mean) / teacher.std)
        torch.testing.assert_close(maps, torch.einsum("bkhw,ck->bchw", features, weights) / 20, rtol=1e-3, atol=1e-6)


def test_a_gradient_method_leaves_the_network_as_it_was(teacher):
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    class_maps(teacher, photographs(1), method="gradcam")
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not teacher.training
    assert not any(one._forward_hooks for one in teacher.modules())


def test_an_unknown_method_is_an_error_that_lists_the_known_ones(teacher):
    with pytest.raises(ModelError, match=r"'gradcamm'.*cam, gradcam, .*Did you mean 'gradcam'"):
        class_maps(teacher, photographs(1), method="gradcamm")


def symmetrised(teacher):
    """Make every kernel its own mean over the eight attitudes: such a network knows no up."""
    for module in teacher.modules():
        if isinstance(module, nn.Conv2d):
            kernel = module.weight.data
            turned = [torch.rot90(kernel, turns, (2, 3)) for turns in range(4)]
            module.weight.data = sum([*turned, *(one.flip(3) for one in turned)]) / 8
    return teacher


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_maps_turn_with_the_photograph_where_the_network_knows_no_up(turns):
    teacher = symmetrised(drawn_teacher("resnet18", 3))
    # 32 n + 1 pixels: the strides then fall on the same pixels from either side.
    images = photographs(1, (65, 97))
    logits, maps = class_maps(teacher, images)
    turned_logits, turned = class_maps(teacher, torch.rot90(images, turns, (2, 3)))
    torch.testing.assert_close(turned, torch.rot90(maps, turns, (2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(turned_logits, logits, rtol=1e-3, atol=1e-4)
    assert float(maps[0, 0].std()) > 1e-3


def test_every_photograph_of_every_split_is_stored_as_the_network_maps_it(tmp_path, tiny_data, teacher_run):
    run = shutil.copytree(teacher_run, tmp_path / "run")
    calls = []
    folder = extract(tiny_data, run, SMALL, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(0, 26), (10, 26), (20, 26), (26, 26)]
    assert folder == maps_folder(run, tiny_data)
    assert folder.parent == run / "cam"
    network, card = load_network(run)
    stored = StoredMaps(folder)
    assert stored.classes == card.class_names
    assert stored.method == "cam"
    rows = read_index(tiny_data)
    assert {row.split for row in rows} == {"train", "val", "test"}
    dataset = PhotographDataset(tiny_data, rows, classes=(), image_px=64)
    for number, row in enumerate(rows):
        with torch.inference_mode():
            logits, maps = network(dataset[number]["image"][None])
        np.testing.assert_allclose(stored.logits(row.image), logits[0], atol=1e-4)
        np.testing.assert_allclose(stored.class_maps(row.image), maps[0], rtol=2e-3, atol=2e-3)
    assert {stored.class_maps(row.image).shape for row in rows} == {(3, 2, 2)}
    _, maps = network_predictor(network, card)(read_image(tiny_data / rows[0].image))
    np.testing.assert_allclose(maps, stored.class_maps(rows[0].image), atol=0.01)


def contents(folder):
    found = {}
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as shard:
            found[file.name] = {name: shard[name].tobytes() for name in shard.files}
    return found


def test_a_killed_extraction_goes_on_where_it_stopped(tmp_path, tiny_data, teacher_run, monkeypatch):
    run = shutil.copytree(teacher_run, tmp_path / "run")
    folder = extract(tiny_data, run, SMALL)
    whole = contents(folder)
    assert len(whole) == 3
    (folder / "maps.json").unlink()
    (folder / "00001.npz").unlink()
    kept = (folder / "00000.npz").stat().st_mtime_ns
    made = []
    store = cam._store_part
    monkeypatch.setattr(cam, "_store_part", lambda part: (made.append(part.file.name), store(part))[1])
    assert extract(tiny_data, run, SMALL) == folder
    assert made == ["00001.npz"]
    assert contents(folder) == whole
    assert (folder / "00000.npz").stat().st_mtime_ns == kept
    StoredMaps(folder)


def test_killed_while_maps_of_other_settings_are_removed_none_of_them_is_kept(
    tmp_path, tiny_data, teacher_run, monkeypatch
):
    run = shutil.copytree(teacher_run, tmp_path / "run")
    folder = extract(tiny_data, run, CamRecipe(part=13))
    (folder / ".aside-0123456789ab.npz").write_bytes(b"half")
    killed_when_removing(monkeypatch, 5)  # the last
    with pytest.raises(KeyboardInterrupt):
        extract(tiny_data, run, SMALL)
    monkeypatch.undo()
    assert [one.name for one in folder.iterdir()] == ["started.json"]
    extract(tiny_data, run, SMALL)
    again = extract(tiny_data, shutil.copytree(teacher_run, tmp_path / "another"), SMALL)
    assert contents(folder) == contents(again)
    assert sorted(one.name for one in folder.iterdir()) == sorted(one.name for one in again.iterdir())


def test_a_photograph_that_fails_leaves_no_half_shard(tmp_path, make_data, teacher_run):
    data, run = make_data(tmp_path / "data"), shutil.copytree(teacher_run, tmp_path / "run")
    (data / "images" / "012.png").write_bytes(b"not a photograph")
    with pytest.raises(DataError, match=r"012\.png"):
        extract(data, run, SMALL)
    folder = maps_folder(run, data)
    assert sorted(one.name for one in folder.iterdir()) == ["00000.npz", "started.json"]
    with pytest.raises(DataError, match="no stored maps"):
        StoredMaps(folder)


def test_overwrite_makes_all_maps_again_and_another_method_leaves_them_alone(tmp_path, tiny_data, teacher_run):
    run = shutil.copytree(teacher_run, tmp_path / "run")
    folder = extract(tiny_data, run, SMALL)
    exact = contents(folder)
    # A wrong shard: only a call that makes everything again replaces it.
    shutil.copyfile(folder / "00001.npz", folder / "00000.npz")
    extract(tiny_data, run, SMALL)
    assert contents(folder) != exact
    extract(tiny_data, run, SMALL, overwrite=True)
    assert contents(folder) == exact
    other = extract(tiny_data, run, CamRecipe(part=20, method="gradcam"))
    assert contents(folder) == exact
    assert len(contents(other)) == 2
    stored = StoredMaps(other)
    assert stored.method == "gradcam"
    assert all((stored.class_maps(row.image) >= 0).all() for row in read_index(tiny_data))


def test_maps_of_the_same_photographs_prepared_otherwise_lie_elsewhere(tmp_path, make_data):
    data, run = make_data(tmp_path / "data"), tmp_path / "run"
    before = maps_folder(run, data)
    (data / "prepare.json").write_text('{"recipe": {"crop_px": 12}}', encoding="utf-8")
    assert maps_folder(run, data) != before


def test_maps_of_another_data_set_lie_elsewhere(tmp_path, tiny_data, make_data):
    other = make_data(tmp_path / "other", seed=1)
    again = make_data(tmp_path / "again")
    run = tmp_path / "run"
    assert maps_folder(run, tiny_data) != maps_folder(run, other)
    assert maps_folder(run, tiny_data) == maps_folder(run, again)


def test_stored_maps_that_are_not_there_or_not_whole_are_errors(tmp_path, tiny_data, teacher_run):
    with pytest.raises(DataError, match="geocamnet cam DATA RUN"):
        StoredMaps(tmp_path)
    folder = extract(tiny_data, shutil.copytree(teacher_run, tmp_path / "run"), SMALL)
    with pytest.raises(DataError, match=r"No stored map of images/none\.png"):
        StoredMaps(folder).class_maps("images/none.png")
    with pytest.raises(DataError, match="No stored map"):
        StoredMaps(folder).logits("images/none.png")
    whole = (folder / "00002.npz").read_bytes()
    for content in (whole[:50], b"", whole[: len(whole) // 2], None):
        (folder / "00002.npz").unlink()
        if content is not None:
            (folder / "00002.npz").write_bytes(content)
        with pytest.raises(DataError, match="part 2 of its 3 is missing or damaged"):
            StoredMaps(folder)
        (folder / "00002.npz").write_bytes(whole)


def test_maps_are_taken_from_a_teacher_alone(tmp_path, tiny_data, make_run):
    student = make_run(tmp_path / "student", step="distil", backbone="mobilenetv3_small_050")
    with pytest.raises(ModelError, match="student's run; maps are taken from a teacher's"):
        extract(tiny_data, student, SMALL)
    with pytest.raises(ModelError, match="not a finished run"):
        extract(tiny_data, tmp_path, SMALL)


def test_memory_does_not_grow_with_the_number_of_photographs(tmp_path, make_data, teacher_run):
    data = make_data(tmp_path / "data", counts=(110, 0, 0), unlabelled=0, shape_hw=(32, 32))
    run = shutil.copytree(teacher_run, tmp_path / "run")
    process = psutil.Process()
    sizes = []

    def measure(_, __):
        gc.collect()
        sizes.append(process.memory_info().rss)

    extract(data, run, CamRecipe(part=30), on_progress=measure)
    assert len(sizes) == 12
    # What a photograph of 64 px passes through on its way is some megabytes: 300 of them kept would be seen.
    assert sizes[-1] - sizes[1] < 30 * 2**20


def test_started_extraction_says_what_it_is(tmp_path, tiny_data, teacher_run):
    folder = extract(tiny_data, shutil.copytree(teacher_run, tmp_path / "run"), SMALL)
    about = json.loads((folder / "maps.json").read_text(encoding="utf-8"))
    assert about == {
        "classes": ["foam", "oolite", "vug"],
        "method": "cam",
        "shard": 10,
        "shards": 3,
        "image_px": 64,
        "stride": 32,
    }
