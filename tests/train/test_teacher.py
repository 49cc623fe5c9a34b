import pytest
import timm
import torch
import torchvision
from torch import nn

from geocamnet.errors import ModelError
from geocamnet.train.export import export
from geocamnet.train.runs import load_network
from geocamnet.train.teacher import Teacher, make_teacher
from oracles import where_a_cell_looks


def photographs(count=2, shape_hw=(64, 96), seed=0):
    return torch.rand(count, 3, *shape_hw, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_b0", "regnetx_002", "densenet121"])
def test_a_backbone_of_pooling_and_one_linear_layer_is_a_teacher(backbone):
    teacher = Teacher(backbone, 5).eval()
    image = photographs()
    with torch.inference_mode():
        logits, maps = teacher(image)
        direct = teacher.trunk((image - teacher.mean) / teacher.std)
    assert maps.shape == (2, 5, 2, 3)
    torch.testing.assert_close(maps.mean((2, 3)) + teacher.class_bias, logits)
    torch.testing.assert_close(logits, direct, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "backbone",
    [
        "convnext_atto",  # normalises after pooling
        "vit_tiny_patch16_224",  # tokens, and photographs of one size
        "mobilenetv3_small_050",  # a layer between pooling and the linear one
        "ghostnet_100",
        "xcit_nano_12_p16_224",
        "resnetv2_50",  # its classifier is a convolution
    ],
)
def test_a_backbone_that_ends_otherwise_is_refused(backbone):
    with pytest.raises(ModelError, match=f"'{backbone}' does not end in average pooling and one linear layer"):
        Teacher(backbone, 5)


def test_another_pooling_is_refused_even_where_the_weights_are_all_zero(monkeypatch):
    """A head of zeros answers 0 whatever it is fed: agreeing logits would prove nothing."""

    def max_pooled(backbone, *, pretrained, num_classes):
        network = timm.models.resnet18(num_classes=num_classes, global_pool="max")
        nn.init.zeros_(network.fc.weight)
        return network

    monkeypatch.setattr(timm, "create_model", max_pooled)
    with pytest.raises(ModelError, match="does not end in average pooling"):
        Teacher("resnet18", 5)


def test_making_a_teacher_leaves_training_mode_weights_and_random_numbers_alone():
    torch.manual_seed(0)
    timm.create_model("resnet18", num_classes=5)
    expected = torch.rand(1)
    torch.manual_seed(0)
    teacher = Teacher("resnet18", 5)
    assert torch.equal(torch.rand(1), expected)
    assert all(module.training for module in teacher.modules())
    assert float(teacher.trunk.bn1.num_batches_tracked) == 0
    assert not teacher.trunk.fc._forward_pre_hooks


def test_an_unknown_backbone_is_an_error_that_lists_similar_names():
    with pytest.raises(ModelError, match=r"Unknown backbone 'resnet_101'.*resnet101"):
        Teacher("resnet_101", 5)
    with pytest.raises(ModelError, match=r"Unknown backbone '\?\?'.*resnet101"):
        Teacher("??", 5)


@pytest.mark.parametrize(("output_stride", "shape"), [(32, (2, 3)), (16, (4, 6)), (8, (8, 12))])
def test_the_output_stride_is_the_side_of_a_cell(output_stride, shape):
    teacher = Teacher("resnet18", 2, output_stride=output_stride).eval()
    with torch.inference_mode():
        assert teacher(photographs(1)).class_maps.shape[2:] == shape


@pytest.mark.parametrize(("backbone", "output_stride"), [("resnet18", 7), ("resnet18", 64), ("efficientnet_b0", 7)])
def test_an_output_stride_the_network_does_not_have_is_refused(backbone, output_stride):
    with pytest.raises(ModelError, match="output"):
        Teacher(backbone, 2, output_stride=output_stride)


def test_a_cell_is_centred_on_its_stride_times_its_number():
    torch.manual_seed(0)
    centre = where_a_cell_looks(Teacher("resnet18", 3), 3, 224)
    assert centre == pytest.approx((96, 96), abs=2)  # the middle of the square of the cell would be 111.5


def test_a_backbone_whose_cells_lie_elsewhere_is_told(caplog):
    Teacher("tf_efficientnet_lite0", 3)
    assert "a cell off" in caplog.text
    caplog.clear()
    Teacher("efficientnet_lite0", 3)
    assert not caplog.text


def test_photographs_are_normalised_as_the_published_weights_expect():
    teacher = Teacher("resnet18", 2)
    assert teacher.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert teacher.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
    assert {"mean", "std"} < set(teacher.state_dict())


def test_published_weights_that_can_not_be_had_are_told_with_a_way_round(monkeypatch):
    def offline(*_, **__):
        raise ConnectionError("name or service not known")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ModelError, match=r"'resnet18' could not be downloaded \(name or.*--weights w\.pth"):
        make_teacher("resnet18", 3, weights="imagenet")


def test_a_teacher_starts_from_timms_weights_and_from_another_run(tmp_path, make_run):
    torch.manual_seed(3)
    published = timm.create_model("resnet18", num_classes=1000)
    torch.save(published.state_dict(), tmp_path / "timm.pth")
    teacher = make_teacher("resnet18", 4, weights=str(tmp_path / "timm.pth"))
    assert torch.equal(teacher.trunk.conv1.weight, published.conv1.weight)
    assert teacher.class_bias.shape == (4,)

    run = make_run(tmp_path / "run")
    start = load_network(run)[0]
    again = make_teacher("resnet18", 4, weights=str(run))
    assert torch.equal(again.trunk.conv1.weight, start.trunk.conv1.weight)
    with pytest.raises(ModelError, match="does not fit the network"):
        make_teacher("resnet34", 4, weights=str(run))


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_lite0"])
def test_a_new_classifier_knows_nothing_and_says_so(backbone):
    torch.manual_seed(0)
    linear = make_teacher(backbone, 3).trunk.get_classifier()
    assert 0.9 < float(linear.weight.detach().abs().max()) * linear.in_features**0.5 <= 1.0 + 1e-6


def test_a_quiet_new_classifier_is_left_as_it_was_drawn():
    torch.manual_seed(0)
    drawn = Teacher("resnet18", 3).trunk.get_classifier().weight
    torch.manual_seed(0)
    assert torch.equal(make_teacher("resnet18", 3).trunk.get_classifier().weight, drawn)


def test_gradients_reach_trunk_and_classifier():
    teacher = Teacher("resnet18", 3)
    evidence = teacher(photographs())
    (evidence.logits.square().sum() + evidence.class_maps.square().sum()).backward()
    assert all(one.grad is not None for one in teacher.parameters())


def test_a_resnet101_is_written_for_torchvision_and_answers_there_as_here(tmp_path, make_run):
    run = make_run(tmp_path / "run", backbone="resnet101")
    for name in ("teacher.pth", "teacher.safetensors"):
        export(run, tmp_path / name)
    theirs = torchvision.models.resnet101(weights=None, num_classes=3).eval()
    theirs.load_state_dict(torch.load(tmp_path / "teacher.pth", weights_only=True), strict=True)
    teacher = load_network(run)[0]
    image = photographs(1)
    with torch.inference_mode():
        expected = teacher(image).logits
        torch.testing.assert_close(theirs((image - teacher.mean) / teacher.std), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_lite0"])
def test_a_photograph_that_is_even_has_even_maps_where_it_is_continued_beyond_its_edge(backbone):
    image = torch.full((1, 3, 160, 224), 0.4)
    spread = {}
    for edges in ("continued", "zeros"):
        torch.manual_seed(0)
        with torch.no_grad():
            maps = Teacher(backbone, 3, edges=edges).eval()(image).class_maps
        spread[edges] = float((maps.amax(dim=(2, 3)) - maps.amin(dim=(2, 3))).max() / maps.abs().max())
    assert spread["continued"] < 1e-4
    assert spread["zeros"] > 0.05


def test_weights_alone_do_not_tell_what_lies_beyond_the_edge_and_that_is_said(tmp_path, make_run, caplog):
    run = make_run(tmp_path / "run")
    export(run, tmp_path / "zeros.pth")
    assert "padding_mode" not in caplog.text
    card = (run / "card.json").read_text(encoding="utf-8")
    (run / "card.json").write_text(card.replace('"edges": "zeros"', '"edges": "continued"'), encoding="utf-8")
    export(run, tmp_path / "continued.pth")
    assert "padding_mode='replicate'" in caplog.text


def test_what_lies_beyond_the_edge_is_kept_with_the_run(tiny_data, make_run, tmp_path):
    from dataclasses import replace

    from geocamnet.train.recipes import TrainRecipe
    from geocamnet.train.runs import build_network, load_network, read_card
    from geocamnet.train.training import adopt

    def padding(network):
        return {one.padding_mode for one in network.modules() if isinstance(one, nn.Conv2d) and one.padding != (0, 0)}

    run = make_run(tmp_path / "run")
    card = read_card(run)
    of_before = {name: value for name, value in card.recipe.items() if name != "edges"}
    assert padding(build_network(replace(card, recipe={**of_before, "edges": "continued"}))) == {"replicate"}
    assert padding(build_network(replace(card, recipe=of_before))) == {"zeros"}  # runs of before edges could be chosen
    torch.save(Teacher("test_resnet", 2).trunk.state_dict(), tmp_path / "w.pth")
    recipe = TrainRecipe(backbone="test_resnet", image_px=64, edges="continued")
    adopt(tmp_path / "w.pth", tmp_path / "adopted", classes=("oolite", "vug"), data=tiny_data, recipe=recipe)
    assert padding(load_network(tmp_path / "adopted")[0]) == {"zeros"}  # as it was trained
