"""8 bits: what becomes of the weights, what stays in floats, and which losses are refused."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from geocamnet.card import ModelCard
from geocamnet.errors import DataError, ModelError
from geocamnet.runtime.model import load
from geocamnet.taxonomy import CLASSES
from geocamnet.train import quantise as quantising
from geocamnet.train.export import build_graph, write_metadata
from geocamnet.train.index import read_index, write_index
from geocamnet.train.quantise import Photographs, how_made, quantise, what_it_changed
from geocamnet.train.runs import load_network
from tiny import write_data

IMAGES = [np.random.default_rng(seed).integers(0, 256, (48 + 16 * seed, 96, 3), dtype=np.uint8) for seed in range(4)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, make_run):
    """Return card and graph of a student of all 22 classes, weights drawn."""
    names = tuple(one.name for one in CLASSES)
    run = make_run(
        tmp_path_factory.mktemp("runs") / "s", step="distil", backbone="mobilenetv3_small_075", classes=names
    )
    network, card = load_network(run)
    return card, build_graph(network, card)


@pytest.fixture(scope="module")
def weights_only(whole):
    return quantise(whole[1], "int8-weights", iter(()))


@pytest.fixture(scope="module")
def arithmetic(whole):
    return quantise(whole[1], "int8", iter(IMAGES))


def open_graph(path, graph, card):
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    write_metadata(copy, card)
    onnx.save(copy, path)
    return load(path, threads=1)


def tensors(graph):
    return {one.name: numpy_helper.to_array(one) for one in graph.graph.initializer}


def convolutions(graph):
    return [node for node in graph.graph.node if node.op_type == "Conv"]


def weights_of(graph):
    """Return the names of the weights of convolutions, those that gates are multiplied into among them."""
    known = tensors(graph)
    gated = [node.input[0] for node in graph.graph.node if node.op_type == "Reshape" and node.input[0] in known]
    assert len(gated) == 8
    return [node.input[1] for node in convolutions(graph)] + gated


def kernel(name):
    """Return what a convolution is, by the names that timm gives its weights."""
    for part in ("conv_stem", ".se.", "conv_dw", "head"):
        if part in name:
            return part
    return "1x1"


# --- weights ---------------------------------------------------------------------------------------------


def is_kept_finer(name, graph):
    """Whether a convolution's weights become 16-bit floats: those wider than 1x1, those of few weights, the maps."""
    weights = tensors(graph)[name]
    return weights.shape[2:] != (1, 1) or weights.size < 4000 or kernel(name) == "head"


def test_every_weight_is_an_int8_within_half_a_step_of_its_channel_or_a_16_bit_float(whole, weights_only):
    before, after = tensors(whole[1]), tensors(weights_only)
    finer = []
    for name in weights_of(whole[1]):
        assert name not in after
        if is_kept_finer(name, whole[1]):
            finer.append(kernel(name))
            assert after[f"{name}.float16"].dtype == np.float16
            np.testing.assert_allclose(after[f"{name}.float16"], before[name], rtol=1e-3, atol=1e-6)
            continue
        numbers, scale = after[f"{name}.int8"], after[f"{name}.scale"]
        assert numbers.dtype == np.int8
        assert scale.shape == (len(numbers), 1, 1, 1)
        assert (np.abs(numbers.astype(int)).max(axis=(1, 2, 3)) == 127).all()
        assert (np.abs(numbers * scale - before[name]) <= 0.5001 * scale).all()
    assert {"conv_stem", "conv_dw", "head"} < set(finer)
    assert len(finer) < len(weights_of(whole[1]))


def test_a_student_of_all_classes_is_under_800_kb_and_answers_alike(tmp_path, whole, weights_only, arithmetic):
    card, graph = whole
    full = open_graph(tmp_path / "fp32.onnx", graph, card)
    for name, small, most in (("weights", weights_only, 0.01), ("int8", arithmetic, 0.05)):
        model = open_graph(tmp_path / f"{name}.onnx", small, card)
        assert (tmp_path / f"{name}.onnx").stat().st_size < 800_000
        for image in IMAGES:
            one, other = full.predict(image), model.predict(image)
            assert np.abs(one.probabilities - other.probabilities).max() < most
            assert one.class_maps.shape == other.class_maps.shape
            assert not np.array_equal(one.class_maps, other.class_maps)


def test_only_weights_change_and_no_activation_is_rounded(whole, weights_only):
    kinds = [node.op_type for node in weights_only.graph.node]
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(kinds)
    before = [node.op_type for node in whole[1].graph.node]
    finer = sum(is_kept_finer(name, whole[1]) for name in weights_of(whole[1]))
    count = len(weights_of(whole[1])) - finer
    unpacking = kinds[: len(kinds) - len(before)]
    assert (unpacking.count("Cast"), unpacking.count("Mul")) == (count + finer, count)
    assert kinds[len(unpacking) :] == before


def test_a_channel_without_weight_stays_without(whole):
    graph = onnx.ModelProto()
    graph.CopyFrom(whole[1])
    name = next(name for name in weights_of(graph) if not is_kept_finer(name, graph))
    (tensor,) = (one for one in graph.graph.initializer if one.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values[1] = 0
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    made = tensors(quantise(graph, "int8-weights", ()))
    assert not made[f"{name}.int8"][1].any()
    assert np.isfinite(made[f"{name}.scale"]).all()


def test_the_graph_given_stays_as_it_is_and_weights_need_no_photograph(whole):
    before = whole[1].SerializeToString(deterministic=True)
    unread = iter(IMAGES)
    quantise(whole[1], "int8-weights", unread)
    assert len(list(unread)) == len(IMAGES)
    assert whole[1].SerializeToString(deterministic=True) == before


def test_another_precision_is_refused(whole):
    with pytest.raises(ModelError, match=r"'int4'.*int8-weights, int8"):
        quantise(whole[1], "int4", ())


# --- arithmetic ------------------------------------------------------------------------------------------


def test_only_1x1_convolutions_compute_in_8_bits(whole, arithmetic):
    made_by = {output: node for node in arithmetic.graph.node for output in node.output}
    found = {}
    before_by = {node.name: node for node in convolutions(whole[1])}
    assert len(before_by) == len(convolutions(whole[1])) == len(convolutions(arithmetic))
    for after in convolutions(arithmetic):
        before = before_by[after.name]
        quantised = made_by[after.input[0]].op_type == "DequantizeLinear"
        assert quantised == (made_by[after.input[1]].op_type == "DequantizeLinear")
        found.setdefault(kernel(before.input[1]), set()).add(quantised)
    assert found == {"conv_stem": {False}, ".se.": {False}, "conv_dw": {False}, "head": {False}, "1x1": {True}}


def test_photographs_are_scaled_and_normalised_and_probabilities_made_in_floats(arithmetic):
    made_by = {output: node for node in arithmetic.graph.node for output in node.output}

    def chain(name, kinds):
        for kind in kinds:
            node = made_by[name]
            assert node.op_type == kind
            name = node.input[0]
        return name

    (stem,) = (node for node in convolutions(arithmetic) if "conv_stem" in node.input[1])
    assert chain(stem.input[0], ["Pad", "Resize", "Cast", "Transpose"]) == "image"
    assert chain("probabilities", ["Softmax", "Div", "Add", "ReduceMean"]) == "class_maps"


def test_ranges_come_from_the_calibration_photographs(whole):
    scales = []
    for images in (IMAGES, [image // 8 for image in IMAGES]):
        made = tensors(quantise(whole[1], "int8", iter(images)))
        scales.append({name: float(one) for name, one in made.items() if name.endswith("_scale") and one.ndim == 0})
    assert scales[0].keys() == scales[1].keys()
    assert scales[0] != scales[1]


def test_nothing_is_logged_by_others(whole, caplog):
    with caplog.at_level(logging.WARNING):
        quantise(whole[1], "int8", iter(IMAGES[:1]))
    assert caplog.text == ""


# --- the photographs -------------------------------------------------------------------------------------


def test_training_calibrates_and_labelled_validation_judges(tiny_data, tiny_card):
    photographs = Photographs(tiny_data, tiny_card)
    assert {row.split for row in photographs.training} == {"train"}
    assert len(photographs.training) == 14  # two without a label among them
    assert {row.split for row in photographs.validation} == {"val"}
    names = [tiny_card.class_names[i] for i in photographs.targets()]
    assert names == [row.labels[0] for row in photographs.validation]
    assert len(names) == 6
    mosaics = list(photographs.mosaics())
    assert len(mosaics) == quantising.MOSAICS
    assert mosaics[0].image.shape == (128, 128, 3)


def test_many_photographs_are_thinned_evenly(tiny_data, tiny_card, monkeypatch):
    monkeypatch.setattr(quantising, "MOST_CALIBRATION", 7)
    monkeypatch.setattr(quantising, "MOST_VALIDATION", 4)
    photographs = Photographs(tiny_data, tiny_card)
    rows = [row for row in read_index(tiny_data) if row.split == "train"]
    assert photographs.training == rows[::2]
    assert len(photographs.validation) == 4


def test_a_model_of_a_fold_is_judged_on_what_that_fold_held_back(make_data, tmp_path, tiny_card):
    data = make_data(tmp_path / "data")
    write_index(data, [replace(row, fold=number % 3) for number, row in enumerate(read_index(data))])
    photographs = Photographs(data, replace(tiny_card, data={"fold": 2}))
    assert {row.fold for row in photographs.validation} == {0}
    assert 2 not in {row.fold for row in photographs.training}
    assert not {row.section for row in photographs.training} & {row.section for row in photographs.validation}


@pytest.mark.parametrize("fold_of", [lambda number: None, lambda number: number % 2], ids=["none", "dealt otherwise"])
def test_a_model_of_a_fold_is_judged_by_the_splits_of_data_that_do_not_have_it(fold_of, make_data, tmp_path, tiny_card):
    data = make_data(tmp_path / "data")
    write_index(data, [replace(row, fold=fold_of(number)) for number, row in enumerate(read_index(data))])
    photographs = Photographs(data, replace(tiny_card, data={"fold": 1, "folds_sha256": "of others"}))
    assert {row.split for row in photographs.training} == {"train"}
    assert {row.image for row in photographs.validation} <= {
        row.image for row in read_index(data) if row.split == "val"
    }


@pytest.mark.parametrize(
    ("splits", "told"),
    [
        ({"train": {}}, "has no training photographs"),
        ({"val": {"": 2}}, "has no labelled validation ones"),
        ({"val": {"chert": 2}}, "has no labelled validation ones.*oolite, foam, vug"),
    ],
)
def test_photographs_that_are_missing_are_named(tmp_path, tiny_card, splits, told):
    data = write_data(tmp_path / "data", **splits)
    with pytest.raises(DataError, match=told):
        Photographs(data, tiny_card)


# --- what is refused -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """Return a DATA folder of photographs that the tiny student names by their colour."""
    count = {"oolite": 4, "foam": 4, "vug": 4}
    return write_data(tmp_path_factory.mktemp("coloured"), val=count, shape_hw=(64, 96))


def changed_model(model, change, precision="int8"):
    """Return a model that answers as another, its predictions changed."""
    card = replace(model.card, precision=precision)
    return SimpleNamespace(card=card, predict=lambda image: change(model.predict(image)))


def test_a_model_changed_in_nothing_lost_nothing(student, coloured, tiny_card):
    same = changed_model(student, lambda prediction: prediction, "int8-weights")
    found = what_it_changed(same, student, Photographs(coloured, tiny_card))
    assert found["photographs"] == 12
    assert found["same_name"] == 1
    assert found["names_lost"] == 0
    assert found["probability_difference"] == {"mean": 0, "max": 0}
    assert found["balanced_accuracy"] == {"fp32": 1, "int8-weights": 1}
    assert found["map_correlation"]["min"] == pytest.approx(1)
    energy = found["mosaic_energy"]
    assert energy["fp32"] == energy["int8-weights"] > 0.25


def turned(prediction):
    return replace(prediction, probabilities=np.roll(prediction.probabilities, 1))


def lose(count):
    """Return a change that names the first ``count`` photographs of oolite wrongly."""
    left = [count]

    def change(prediction):
        if prediction.label == "oolite" and left[0]:
            left[0] -= 1
            return turned(prediction)
        return prediction

    return change


def test_one_name_lost_is_told_and_two_are_refused(student, coloured, tiny_card):
    photographs = Photographs(coloured, tiny_card)
    found = what_it_changed(changed_model(student, lose(1)), student, photographs)
    assert found["names_lost"] == 1
    assert found["balanced_accuracy"] == pytest.approx({"fp32": 1, "int8": 1 - 1 / 12})
    with pytest.raises(ModelError, match=r"balanced accuracy falls from 1.000 to 0.833\..*int8-weights, or fp32"):
        what_it_changed(changed_model(student, lose(2)), student, photographs)


def test_names_gained_are_no_loss(student, coloured, tiny_card):
    photographs = Photographs(coloured, tiny_card)
    worse = changed_model(student, lose(3), "fp32")
    assert what_it_changed(changed_model(student, lambda prediction: prediction), worse, photographs)["names_lost"] == 0


def test_maps_that_lie_elsewhere_are_refused(student, coloured, tiny_card):
    rng = np.random.default_rng(0)

    def noisy(prediction):
        noise = rng.normal(0, prediction.class_maps.std(axis=(1, 2), keepdims=True), prediction.class_maps.shape)
        return replace(prediction, class_maps=(prediction.class_maps + noise).astype(np.float32))

    with pytest.raises(ModelError, match=r"class maps correlate by 0\.\d+ with those of 32 bits"):
        what_it_changed(changed_model(student, noisy), student, Photographs(coloured, tiny_card))


def test_heat_that_leaves_its_quarter_is_refused(student, coloured, tiny_card):
    def warm_everywhere(prediction):  # every map as it was in shape, but oolite's hot in every cell
        shift = np.array([20, 0, -20], np.float32)[:, None, None]
        return replace(prediction, class_maps=prediction.class_maps + shift)

    told = r"photographs: the heat that lies in the right quarter of mosaics falls from 0\.\d+ to 0\.\d+\."
    with pytest.raises(ModelError, match=told):
        what_it_changed(changed_model(student, warm_everywhere), student, Photographs(coloured, tiny_card))


def test_maps_without_relief_can_not_vouch_for_anything(student, coloured, tiny_card):
    def flat(prediction):
        return replace(prediction, class_maps=np.zeros_like(prediction.class_maps))

    with pytest.raises(ModelError, match="class maps correlate by nan"):
        what_it_changed(changed_model(student, flat), student, Photographs(coloured, tiny_card))


def test_one_class_alone_makes_no_mosaics(student, tmp_path, tiny_card):
    data = write_data(tmp_path / "data", val=["vug"])
    same = changed_model(student, lambda prediction: prediction)
    assert what_it_changed(same, student, Photographs(data, tiny_card))["mosaic_energy"] is None


def test_several_labels_are_judged_by_average_precision(make_student, tmp_path, tiny_card):
    card = replace(tiny_card, labels="multi")
    model = load(make_student(tmp_path / "multi.onnx", card), threads=1)
    data = write_data(tmp_path / "data", val={"oolite|vug": 2, "foam": 2})
    same = changed_model(model, lambda prediction: prediction)
    found = what_it_changed(same, model, Photographs(data, card))
    assert found["mAP"]["fp32"] == found["mAP"]["int8"]
    assert found["names_lost"] is None


def test_a_card_says_how_its_numbers_were_chosen(tiny_data, tiny_card):
    photographs = Photographs(tiny_data, tiny_card)
    assert how_made("int8-weights", photographs)["arithmetic"] == "float32"
    how = how_made("int8", photographs)
    assert how["calibration"] == {"split": "train", "photographs": 14}
    assert ModelCard.from_json(replace(tiny_card, quantisation=how).to_json()).quantisation == how
