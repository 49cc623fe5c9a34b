import pickle

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from geocamnet.errors import ModelError
from geocamnet.train.recipes import TrainRecipe
from geocamnet.train.runs import load_network
from geocamnet.train.student import make_student
from geocamnet.train.teacher import make_teacher
from geocamnet.train.training import adopt
from geocamnet.train.weights import bundled_start, load_exactly, read_weights, save_weights, start_from


def small_network(outputs=3, seed=0):
    torch.manual_seed(seed)
    return nn.ModuleDict({"body": nn.Linear(4, 5), "norm": nn.BatchNorm1d(5), "head": nn.Linear(5, outputs)})


def same(one, other):
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


class Harmful:
    """Pickled, it would write a file on being read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".pt"])
def test_weights_come_back_as_they_were_written(tmp_path, suffix):
    network = small_network()
    save_weights(tmp_path / f"w{suffix}", network)
    assert same(read_weights(tmp_path / f"w{suffix}"), network.state_dict())
    assert [one.name for one in tmp_path.iterdir()] == [f"w{suffix}"]


def test_a_saved_pth_is_a_plain_state_dict_for_everyone(tmp_path):
    save_weights(tmp_path / "w.pth", small_network())
    assert same(torch.load(tmp_path / "w.pth", weights_only=True), small_network().state_dict())


def test_weights_kept_channels_last_are_saved_as_safetensors(tmp_path):
    network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    save_weights(tmp_path / "w.safetensors", network)
    assert same(load_file(tmp_path / "w.safetensors"), network.state_dict())


def test_a_pickled_model_is_refused_with_the_way_to_convert_it(tmp_path):
    torch.save(small_network(), tmp_path / "model.pth")
    with pytest.raises(ModelError, match=r"pickled model.*refused.*torch\.save\(model\.state_dict\(\)"):
        read_weights(tmp_path / "model.pth")


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path):
    proof = tmp_path / "ran"
    torch.save({"state_dict": Harmful(proof)}, tmp_path / "new.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Harmful(proof), protocol=2))
    for name in ("new.pth", "bare.pth"):
        with pytest.raises(ModelError):
            read_weights(tmp_path / name)
    assert not proof.exists()


def test_a_file_cut_short_is_an_error_whatever_its_format_and_length(tmp_path):
    torch.save(small_network().state_dict(), tmp_path / "new.pth")
    torch.save(small_network().state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(small_network().state_dict(), tmp_path / "w.safetensors")
    for name in ("new.pth", "old.pth", "w.safetensors"):
        whole = (tmp_path / name).read_bytes()
        for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
            file = tmp_path / f"cut{(tmp_path / name).suffix}"
            file.write_bytes(whole[:length])
            with pytest.raises(ModelError, match=r"cut\.(pth|safetensors): not a"):
                read_weights(file)


@pytest.mark.parametrize("content", [b"a text, not weights", b"\xff\xd8\xff\xe0" + bytes(50), b"PK\x03\x04rest"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_another_kind_is_an_error_that_does_not_advise_to_trust_it(tmp_path, content, suffix):
    (tmp_path / f"w{suffix}").write_bytes(content)
    with pytest.raises(ModelError, match="not a") as caught:
        read_weights(tmp_path / f"w{suffix}")
    assert "weights_only" not in str(caught.value)


def test_a_missing_file_and_an_unfinished_run_are_errors(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(ModelError, match="no such file"):
            read_weights(path)


def test_files_without_tensors_are_errors(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "epoch.pth")
    with pytest.raises(ModelError, match="holds a list"):
        read_weights(tmp_path / "list.pth")
    with pytest.raises(ModelError, match="holds no tensors"):
        read_weights(tmp_path / "epoch.pth")


@pytest.mark.parametrize("wrapper", ["", "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "network.", "model.", "module.model."])
def test_what_training_code_wraps_around_weights_is_cut(tmp_path, wrapper, prefix):
    state = small_network().state_dict()
    named = {f"{prefix}{name}": value for name, value in state.items()}
    torch.save({"epoch": 3, wrapper: named} if wrapper else named, tmp_path / "w.pth")
    assert same(read_weights(tmp_path / "w.pth"), state)


def test_a_prefix_that_only_some_names_have_is_a_name(tmp_path):
    state = {"model.weight": torch.ones(2), "head.weight": torch.ones(2)}
    torch.save(state, tmp_path / "w.pth")
    assert same(read_weights(tmp_path / "w.pth"), state)


def test_a_run_folder_gives_its_best_weights(tmp_path, make_run):
    run = make_run(tmp_path / "run")
    assert same(read_weights(run), load_network(run)[0].state_dict())


def test_starting_from_other_classes_keeps_the_trunk_and_the_new_head():
    old, new = small_network(outputs=7, seed=1), small_network(outputs=3, seed=2)
    head = new["head"].weight.clone()
    start_from(new, old.state_dict(), what="old", head=("head.",))
    assert torch.equal(new["body"].weight, old["body"].weight)
    assert torch.equal(new["norm"].running_mean, old["norm"].running_mean)
    assert torch.equal(new["head"].weight, head)


def test_starting_from_as_many_classes_takes_the_head_too():
    old, new = small_network(seed=1), small_network(seed=2)
    start_from(new, old.state_dict(), what="old", head=("head.",))
    assert same(new.state_dict(), old.state_dict())


def test_a_trunk_that_does_not_fit_is_an_error_and_changes_nothing():
    new = small_network(seed=2)
    before = {name: value.clone() for name, value in new.state_dict().items()}
    missing = {name: value for name, value in small_network(seed=1).state_dict().items() if name != "body.bias"}
    reshaped = {**small_network(seed=1).state_dict(), "body.weight": torch.ones(4, 4)}
    for tensors, first in ((missing, r"body\.bias"), (reshaped, r"body\.weight")):
        with pytest.raises(ModelError, match=f"old: does not fit.*{first}"):
            start_from(new, tensors, what="old", head=("head.",))
    assert same(new.state_dict(), before)


def test_loading_exactly_takes_every_tensor():
    old, new = small_network(seed=1), small_network(seed=2)
    load_exactly(new, old.state_dict(), what="old")
    assert same(new.state_dict(), old.state_dict())


def test_loading_exactly_refuses_another_head_a_gap_and_a_remnant():
    whole = small_network(seed=1).state_dict()
    gap = {name: value for name, value in whole.items() if name != "body.bias"}
    for tensors, told in (
        (small_network(outputs=7).state_dict(), r"head\.weight is \(7, 5\), not \(3, 5\)"),
        (gap, r"missing: body\.bias"),
        ({**whole, "extra": torch.ones(1)}, "left over: extra"),
    ):
        new = small_network(seed=2)
        with pytest.raises(ModelError, match=told):
            load_exactly(new, tensors, what="old")
        assert same(new.state_dict(), small_network(seed=2).state_dict())


def test_batch_counters_need_not_be_there():
    whole = small_network(seed=1).state_dict()
    older = {name: value for name, value in whole.items() if not name.endswith("num_batches_tracked")}
    load_exactly(small_network(), older, what="old")
    start_from(small_network(), older, what="old", head=("head.",))


def test_a_resnet101_of_torchvision_starts_a_teacher_and_is_adopted_as_one(tmp_path, tiny_data):
    torch.manual_seed(0)
    theirs = torchvision.models.resnet101(weights=None, num_classes=3).eval()
    torch.save(theirs.state_dict(), tmp_path / "tv.pth")

    started = make_teacher("resnet101", 5, weights=str(tmp_path / "tv.pth"))
    assert torch.equal(started.trunk.layer4[2].conv3.weight, theirs.layer4[2].conv3.weight)
    assert started.trunk.fc.weight.shape == (5, 2048)

    run = tmp_path / "run"
    card = adopt(
        tmp_path / "tv.pth", run, classes=("foam", "oolite", "vug"), data=tiny_data, recipe=TrainRecipe(image_px=64)
    )
    assert card.class_names == ("foam", "oolite", "vug")
    network, read = load_network(run)
    assert read == card
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = theirs((image - network.mean) / network.std)
        torch.testing.assert_close(network(image).logits, expected, rtol=1e-4, atol=1e-4)


def test_adopting_with_another_number_of_classes_or_no_data_leaves_no_run(tmp_path, tiny_data):
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(weights=None, num_classes=3).state_dict(), tmp_path / "tv.pth")
    recipe = TrainRecipe(backbone="resnet18", image_px=64)
    with pytest.raises(ModelError, match=r"fc\.weight is \(3, 512\), not \(2, 512\)"):
        adopt(tmp_path / "tv.pth", tmp_path / "run", classes=("foam", "vug"), data=tiny_data, recipe=recipe)
    with pytest.raises(Exception, match=r"no index\.csv"):
        adopt(tmp_path / "tv.pth", tmp_path / "run", classes=("a", "b", "c"), data=tmp_path, recipe=recipe)
    assert not (tmp_path / "run").exists()


def test_a_trunk_without_a_bundled_start_is_refused_and_told_what_to_do():
    with pytest.raises(ModelError, match=r"No start for 'mobilenetv3_small_050'.*--weights none.*geocamnet pretrain"):
        make_student(3, backbone="mobilenetv3_small_050", weights="bundled")


def test_a_student_begins_with_the_start_of_its_trunk(tmp_path, monkeypatch):
    monkeypatch.setattr("geocamnet.train.weights.BUNDLED", tmp_path)
    torch.manual_seed(3)
    trunk = make_student(2, backbone="mobilenetv3_small_050").trunk
    halves = {name: value.half() if value.is_floating_point() else value for name, value in trunk.state_dict().items()}
    save_file(halves, tmp_path / "mobilenetv3_small_050.safetensors")
    assert bundled_start("mobilenetv3_small_050") == tmp_path / "mobilenetv3_small_050.safetensors"
    student = make_student(5, backbone="mobilenetv3_small_050", weights="bundled").trunk.state_dict()
    assert all(value.dtype == trunk.state_dict()[name].dtype for name, value in student.items())
    assert all(torch.equal(student[name], value.to(student[name].dtype)) for name, value in halves.items())


def test_a_teacher_has_no_bundled_start_and_says_whose_it_is():
    with pytest.raises(ModelError, match="bundled is the start of a student"):
        make_teacher("test_resnet", 3, weights="bundled")


def test_the_default_students_start_comes_with_the_package():
    start, student = load_file(bundled_start("mobilenetv3_small_075")), make_student(3, weights="bundled")
    assert sum(one.numel() for one in student.trunk.parameters()) == 573_480
    own = student.trunk.state_dict()
    assert {name for name in own if not name.endswith("num_batches_tracked")} == set(start)
    assert all(torch.isfinite(value).all() and torch.equal(own[name], value.float()) for name, value in start.items())
