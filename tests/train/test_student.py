import numpy as np
import pytest
import timm
import torch

from geocamnet.errors import ModelError
from geocamnet.train.recipes import DistilRecipe
from geocamnet.train.runs import load_network
from geocamnet.train.student import MAX_PARAMETERS, Student, continue_once, count_parameters, enlarged, make_student
from geocamnet.train.teacher import Teacher
from oracles import where_a_cell_looks


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    student = Student(22).eval()
    torch.nn.init.normal_(student.class_bias)
    return student


def photographs(height, width, count=1):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_the_student_of_22_classes_has_fewer_than_800_000_parameters(student):
    assert MAX_PARAMETERS == 800_000
    assert count_parameters(student) == 583_006 < 800_000
    by_hand = sum(one.numel() for name, one in student.named_parameters())
    assert count_parameters(student) == by_hand


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 96), (240, 320), (65, 33), (32, 200), (1, 1)])
def test_a_cell_of_a_class_map_is_16_pixels(student, height, width):
    with torch.inference_mode():
        logits, maps = student(photographs(height, width))
    assert maps.shape == (1, 22, -(-height // 16), -(-width // 16))
    assert logits.shape == (1, 22)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (97, 61)])
def test_the_mean_of_a_class_map_and_its_bias_are_the_logit(student, height, width):
    with torch.inference_mode():
        logits, maps = student(photographs(height, width, count=3))
    torch.testing.assert_close(maps.double().mean((2, 3)) + student.class_bias.double(), logits.double())
    assert float(maps.std()) > 0


def test_a_cell_is_centred_on_its_stride_times_its_number():
    centres = []
    for seed in range(4):
        torch.manual_seed(seed)
        centres += where_a_cell_looks(Student(3), 7, 224)
    assert np.mean(centres) == pytest.approx(7 * 16, abs=4)  # the middle of the square of the cell would be 119.5


@pytest.mark.parametrize("output_stride", [32, 16, 8])
def test_an_even_photograph_has_even_maps_up_to_its_edge(output_stride):
    torch.manual_seed(0)
    student = Student(3, output_stride=output_stride).eval()
    with torch.inference_mode():
        maps = student(torch.tensor([0.2, 0.5, 0.7]).view(1, 3, 1, 1).expand(1, 3, 96, 160)).class_maps
    even = maps[:, :, :1, :1].expand_as(maps)
    torch.testing.assert_close(maps, even, rtol=1e-4, atol=1e-4 * float(even.abs().max()))
    assert float(even.abs().max()) > 0


def test_a_class_map_is_what_its_gradient_says(student):
    """The evidence at a cell is exactly what the logit owes it: the features times the logit's gradient."""
    image = photographs(64, 96)
    kept = student.trunk((image - student.mean) / student.std)[-1].detach().requires_grad_(True)
    logits = student.head(kept).mean((2, 3)) + student.class_bias
    (gradient,) = torch.autograd.grad(logits[0, 7], kept)
    cells = kept.shape[2] * kept.shape[3]
    with torch.inference_mode():
        torch.testing.assert_close((gradient * kept).sum(1)[0] * cells, student(image).class_maps[0, 7])


@pytest.mark.parametrize(("height", "width"), [(64, 96), (97, 61), (65, 120), (8, 8), (1, 1)])
def test_finer_maps_are_the_classifier_too(height, width):
    torch.manual_seed(0)
    student = Student(22, map_stride=8).eval()
    with torch.inference_mode():
        logits, maps = student(photographs(height, width, count=2))
    assert maps.shape == (2, 22, -(-height // 8), -(-width // 8))
    torch.testing.assert_close(maps.double().mean((2, 3)) + student.class_bias.double(), logits.double())
    assert count_parameters(student) == 583_006 + 22 * 24


@pytest.mark.parametrize(("height", "width"), [(64, 96), (97, 61), (1, 1)])
@pytest.mark.parametrize("map_stride", [None, 16, 8])
def test_what_is_answered_is_what_the_head_makes_of_the_features(height, width, map_stride):
    torch.manual_seed(0)
    student = Student(5, output_stride=32, map_stride=map_stride).eval()
    with torch.inference_mode():
        images = photographs(height, width, count=2)
        answered, of_features = student(images), student.evidence(student.features(images))
    torch.testing.assert_close(answered.class_maps, of_features.class_maps)
    torch.testing.assert_close(answered.logits, of_features.logits)


def test_the_first_convolutions_see_the_photograph_itself_continued():
    """As if it had been laid into its own continuation, of so many pixels that no edge is in sight."""
    torch.manual_seed(0)
    student = Student(3, map_stride=16).eval()
    beyond = 64  # a whole number of cells of every stage looked at
    images = photographs(96, 130)
    laid = torch.nn.functional.pad(images, (beyond,) * 4, mode="replicate")
    with torch.inference_mode():
        found, expected = student.stages(images)[:3], student.stages(laid)[:3]
    for stride, margin, ours, theirs in zip((2, 4), (3, 1), found[:2], expected[:2], strict=True):
        height, width = (-(-side // stride) + 2 * margin for side in (96, 130))
        assert ours.shape[2:] == (height, width)
        skipped = beyond // stride  # both have the same margin
        piece = theirs[:, :, skipped : skipped + height, skipped : skipped + width]
        if stride == 2:  # before a squeeze, which looks at all there is
            torch.testing.assert_close(ours, piece)
    assert found[2].shape[2:] == (-(-96 // 8), -(-130 // 8))


def test_a_trunk_that_does_not_begin_by_halving_is_left_as_it_is():
    trunk = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(4, 4, 3, 2, padding=1))
    assert continue_once(trunk) == 0
    assert [one.padding for one in trunk] == [(1, 1), (1, 1)]


def test_a_cell_of_finer_maps_is_centred_on_its_stride_times_its_number():
    centres = []
    for seed in range(4):
        torch.manual_seed(seed)
        centres += where_a_cell_looks(Student(3, map_stride=8), 14, 224)
    assert np.mean(centres) == pytest.approx(14 * 8, abs=4)


def test_enlarged_features_keep_their_values_where_the_rasters_meet():
    coarse = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    fine = enlarged(coarse, (8, 9), 2)
    torch.testing.assert_close(fine[:, :, ::2, ::2], coarse)
    torch.testing.assert_close(fine[:, :, 0, 1], coarse[:, :, 0, :2].mean(-1))
    torch.testing.assert_close(fine[:, :, 7], fine[:, :, 6])  # beyond the last cell nothing is known


def test_a_map_stride_the_trunk_does_not_have_is_refused():
    with pytest.raises(ModelError, match="class maps of stride 5"):
        Student(3, map_stride=5)
    with pytest.raises(ModelError, match="class maps of stride 16"):
        Student(3, output_stride=8, map_stride=16)


@pytest.mark.parametrize(
    ("output_stride", "detail_stride", "map_stride"), [(32, 0, 32), (8, 0, 8), (16, 8, 8), (16, 16, 16), (8, 16, 8)]
)
def test_a_recipe_knows_the_cells_of_its_maps(output_stride, detail_stride, map_stride):
    assert DistilRecipe(output_stride=output_stride, detail_stride=detail_stride).map_stride == map_stride


@pytest.mark.parametrize(("output_stride", "shape"), [(32, (2, 3)), (8, (8, 12))])
def test_other_output_strides_are_had(output_stride, shape):
    student = Student(3, output_stride=output_stride).eval()
    with torch.inference_mode():
        assert student(photographs(64, 96)).class_maps.shape == (1, 3, *shape)


@pytest.mark.parametrize("output_stride", [7, 64])
def test_an_output_stride_the_trunk_does_not_have_is_refused(output_stride):
    with pytest.raises(ModelError, match=f"output stride {output_stride}"):
        Student(3, output_stride=output_stride)


@pytest.mark.parametrize("backbone", ["mobilenetv3_small_100", "resnet18"])
def test_too_large_a_student_is_refused_with_its_size(backbone):
    with pytest.raises(ModelError, match=rf"'{backbone}' with 22 classes has [\d,]+ parameters; the limit is 800,000"):
        Student(22, backbone=backbone)


def test_the_limit_counts_the_classes_too():
    most = (MAX_PARAMETERS - 573_480 - 1) // 433  # 432 weights and a bias for each class
    assert count_parameters(Student(most)) < MAX_PARAMETERS
    with pytest.raises(ModelError, match="the limit is 800,000"):
        Student(most + 1)


@pytest.mark.parametrize("backbone", ["mobilenet_v3", "vit_tiny_patch16_224"])
def test_an_unknown_or_unfit_backbone_is_refused(backbone):
    with pytest.raises(ModelError, match=f"'{backbone}'.*Use mobilenetv3_small_075"):
        Student(3, backbone=backbone)


def test_published_weights_that_can_not_be_had_are_told_with_a_way_round(monkeypatch):
    def offline(*_, **__):
        raise OSError("name or service not known")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ModelError, match=r"could not be downloaded \(name or.*--weights w\.pth"):
        make_student(3, weights="imagenet")


def test_a_student_starts_from_timms_weights_and_from_another_students_run(tmp_path, make_run):
    torch.manual_seed(3)
    published = timm.create_model("mobilenetv3_small_075", num_classes=1000)
    torch.save(published.state_dict(), tmp_path / "timm.pth")
    student = make_student(4, weights=str(tmp_path / "timm.pth"))
    assert torch.equal(student.trunk.conv_stem.weight, published.conv_stem.weight)
    assert student.class_bias.shape == (4,)

    run = make_run(tmp_path / "run", step="distil", backbone="mobilenetv3_small_075")
    again = make_student(4, weights=str(run))
    assert torch.equal(again.trunk.conv_stem.weight, load_network(run)[0].trunk.conv_stem.weight)
    teacher = make_run(tmp_path / "teacher")
    with pytest.raises(ModelError, match="does not fit the network"):
        make_student(4, weights=str(teacher))


def test_student_and_teacher_answer_in_the_same_form(student):
    image = photographs(64, 64)
    with torch.inference_mode():
        for network in (student, Teacher("resnet18", 22).eval()):
            evidence = network(image)
            assert evidence._fields == ("logits", "class_maps")
            assert evidence.logits.shape == (1, 22)


def test_gradients_reach_every_parameter():
    student = Student(3)
    evidence = student(photographs(64, 64, count=2))
    (evidence.logits.square().sum() + evidence.class_maps.square().sum()).backward()
    assert all(one.grad is not None for one in student.parameters())
