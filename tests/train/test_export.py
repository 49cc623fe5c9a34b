import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import geocamnet
from geocamnet.card import METADATA_KEY, ModelCard
from geocamnet.errors import DataError, ModelError
from geocamnet.images import read_image
from geocamnet.runtime.model import load
from geocamnet.train import export as export_file
from geocamnet.train import quantise
from geocamnet.train.export import build_graph, compare, export, write_metadata
from geocamnet.train.index import read_index
from geocamnet.train.predictor import network_predictor, open_predictor
from geocamnet.train.runs import load_network

SHAPES = [(64, 96), (97, 61), (33, 32), (9, 8), (240, 320), (130, 131)]


def noise(shape_hw, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape_hw, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def student_run(tmp_path_factory, make_run):
    return make_run(tmp_path_factory.mktemp("runs") / "student", step="distil", backbone="mobilenetv3_small_075")


@pytest.fixture(scope="module")
def exported(student_run, tiny_data):
    """Return the file and the card of a student exported with everything said."""
    metrics = {"model": {"accuracy": 0.5, "nll": 1.0}, "baselines": {"majority": {"accuracy": 0.3}, "why": "none"}}
    (student_run / "metrics.json").write_text(json.dumps({"split": "test", "n": 6, **metrics}), encoding="utf-8")
    told = json.loads((student_run / "card.json").read_text(encoding="utf-8"))
    told["recipe"]["weights"] = str(Path.cwd() / "weights" / "published.pth")
    (student_run / "card.json").write_text(json.dumps(told), encoding="utf-8")
    file = student_run.parent / "models" / "student.onnx"
    card = export(student_run, file, data=tiny_data, name="drawn student", licence="CC0-1.0", attribution="nobody")
    return file, card


@pytest.fixture(scope="module")
def small(tmp_path_factory, make_run):
    """Return a small teacher, its card and its graph."""
    run = make_run(tmp_path_factory.mktemp("runs") / "teacher", backbone="test_resnet", image_px=48)
    network, card = load_network(run)
    return network, card, build_graph(network, card)


def write(path, graph, card):
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    write_metadata(copy, card)
    onnx.save(copy, path)
    return path


@pytest.mark.parametrize("shape_hw", SHAPES)
def test_the_file_answers_as_the_network_at_every_size(exported, student_run, shape_hw):
    file, card = exported
    network, _ = load_network(student_run)
    model = load(file, threads=1)
    predict = network_predictor(network, card, device="cpu")
    for seed in range(2):
        prediction = model.predict(noise(shape_hw, seed))
        probabilities, maps = predict(noise(shape_hw, seed))
        np.testing.assert_allclose(prediction.probabilities, probabilities, atol=1e-4)
        np.testing.assert_allclose(prediction.class_maps, maps, atol=1e-4 * max(1, np.abs(maps).max()))
        assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_the_mean_of_a_map_and_its_bias_are_the_logit_in_the_file_too(exported):
    file, card = exported
    prediction = load(file, threads=1).predict(noise((64, 96)))
    logits = prediction.class_maps.mean((1, 2)) + np.array(card.class_bias)
    softened = np.exp(logits / card.temperature)
    np.testing.assert_allclose(prediction.probabilities, softened / softened.sum(), atol=1e-5)


def test_the_file_carries_its_card_and_opens_as_a_model(exported, student_run):
    file, card = exported
    model = geocamnet.load(file)
    assert model.card == card
    assert card.class_names == ("foam", "oolite", "vug")
    assert (card.name, card.licence, card.attribution) == ("drawn student", "CC0-1.0", "nobody")
    assert card.metrics == {"split": "test", "n": 6, "model": {"accuracy": 0.5}, "majority": {"accuracy": 0.3}}
    assert len(card.sha256) == 64
    metadata = {one.key: one.value for one in onnx.load(file).metadata_props}
    assert ModelCard.from_json(metadata[METADATA_KEY]) == card
    assert json.loads(metadata["class_names"]) == {"0": "Foam", "1": "Oolite", "2": "Vug"}
    assert metadata["tiles_size"] == "64"
    assert "resolution" not in metadata
    assert card.recipe["backbone"] == "mobilenetv3_small_075"
    assert card.recipe["weights"] == "published.pth"
    assert card.parameters < 800_000
    assert file.stat().st_size < 3_000_000


def test_the_file_has_the_inputs_and_outputs_that_are_promised(exported):
    graph = onnx.load(exported[0])
    assert [(one.domain, one.version) for one in graph.opset_import if one.domain == ""] == [("", 20)]
    (image,) = graph.graph.input
    sizes = [one.dim_param or one.dim_value for one in image.type.tensor_type.shape.dim]
    assert (image.name, sizes) == ("image", ["n", "height", "width", 3])
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    outputs = {
        one.name: [d.dim_param or d.dim_value for d in one.type.tensor_type.shape.dim] for one in graph.graph.output
    }
    assert outputs == {"probabilities": ["n", 3], "class_maps": ["n", 3, "map_height", "map_width"]}


def test_a_batch_is_answered_as_its_photographs_one_by_one(exported):
    model = load(exported[0], threads=1)
    images = np.stack([noise((50, 70), seed) for seed in range(3)])
    for together, image in zip(model.predict_batch(images), images, strict=True):
        alone = model.predict(image)
        np.testing.assert_allclose(together.probabilities, alone.probabilities, atol=1e-5)
        np.testing.assert_allclose(together.class_maps, alone.class_maps, atol=1e-4)


def test_the_file_tells_nothing_of_the_machine_it_was_made_on(exported):
    content = exported[0].read_bytes()
    for path in (Path.cwd(), Path.home(), Path(geocamnet.__file__).parent, Path(torch.__file__).parent):
        assert len(str(path)) > 3
        assert str(path).encode() not in content
    for word in (b"site-packages", b".py", b"Traceback", b"pkg."):
        assert word not in content


def test_the_same_run_is_exported_to_the_same_graph(small):
    network, card, graph = small
    again = build_graph(network, card)
    assert again.SerializeToString(deterministic=True) == graph.SerializeToString(deterministic=True)


def test_a_file_that_differs_from_its_network_is_refused_and_not_kept(tmp_path, make_run, monkeypatch, small):
    run = make_run(tmp_path / "run", backbone="test_resnet", image_px=48, seed=1)
    other_graph = small[2]  # of the same network with other weights
    monkeypatch.setattr(export_file, "build_graph", lambda network, card: other_graph)
    with pytest.raises(ModelError, match=r"differ by \d.*more than 1e-04.*not kept"):
        export(run, tmp_path / "out" / "model.onnx")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_refused_export_keeps_the_file_that_was_there(tmp_path, make_run, monkeypatch, small):
    run = make_run(tmp_path / "run", backbone="test_resnet", image_px=48, seed=1)
    (tmp_path / "model.onnx").write_bytes(b"the old one")
    monkeypatch.setattr(export_file, "build_graph", lambda network, card: small[2])
    with pytest.raises(ModelError):
        export(run, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == b"the old one"


def test_weights_that_move_by_little_are_seen(tmp_path, small):
    network, card, graph = small
    file = write(tmp_path / "m.onnx", graph, card)
    images = [noise((48, 64))]
    assert compare(file, network, card, images) <= 1e-4
    bias = network.trunk.fc.bias
    with torch.no_grad():
        bias[0] += 0.01
    try:
        with pytest.raises(ModelError, match="differ by"):
            compare(file, network, card, images)
        assert compare(file, network, card, images, tolerance=0.1) > 1e-4
    finally:
        with torch.no_grad():
            bias[0] -= 0.01


def test_a_network_that_answers_with_nan_is_refused(tmp_path, small):
    network, card, graph = small
    file = write(tmp_path / "m.onnx", graph, card)

    class Broken(torch.nn.Module):
        def forward(self, images):
            evidence = network(images)
            return evidence._replace(logits=evidence.logits * torch.nan)

    with pytest.raises(ModelError, match="differ by nan"):
        compare(file, Broken(), card, [noise((48, 64))])


def test_maps_of_another_raster_are_refused(tmp_path, small):
    network, card, graph = small
    file = write(tmp_path / "m.onnx", graph, card)
    with pytest.raises(ModelError, match="gives class maps of shape"):
        compare(file, network, replace(card, long_side_px=160), [noise((48, 64))])


def test_several_labels_are_a_sigmoid_each_and_no_long_side_leaves_the_photographs_size(tmp_path, make_run):
    run = make_run(tmp_path / "run", backbone="test_resnet", labels="multi", image_px=48)
    told = json.loads((run / "card.json").read_text(encoding="utf-8"))
    (run / "card.json").write_text(json.dumps({**told, "long_side_px": None, "um_per_px": 2.5}), encoding="utf-8")
    card = export(run, tmp_path / "multi.onnx")
    assert card.labels == "multi"
    prediction = load(tmp_path / "multi.onnx").predict(noise((64, 128)))
    assert prediction.class_maps.shape == (3, 2, 4)
    logits = prediction.class_maps.mean((1, 2)) + np.array(card.class_bias)
    np.testing.assert_allclose(prediction.probabilities, 1 / (1 + np.exp(-logits / card.temperature)), atol=1e-5)
    assert prediction.probabilities.sum() != pytest.approx(1, abs=1e-3)
    assert {one.key: one.value for one in onnx.load(tmp_path / "multi.onnx").metadata_props}["resolution"] == "2.5"


@pytest.mark.parametrize("name", ["model.pt", "model", "model.tflite", "model.onnx.zip"])
def test_another_suffix_is_refused(tmp_path, student_run, name):
    with pytest.raises(ModelError, match=r"ends in \.onnx"):
        export(student_run, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["student.pth", "student.safetensors"])
def test_a_students_trunk_alone_is_not_written_as_its_weights(tmp_path, student_run, name):
    with pytest.raises(ModelError, match="not a student's"):
        export(student_run, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(ModelError, match="not a finished run"):
        export(tmp_path, tmp_path / "model.onnx")


def test_without_data_the_log_says_what_file_and_network_are_compared_on(caplog):
    with caplog.at_level(logging.INFO, logger="geocamnet"):
        photographs = export_file._photographs(None)
    assert len(photographs) == 3
    assert "noise alone" in caplog.text


def test_with_data_its_photographs_are_compared_on_too(tiny_data):
    photographs = export_file._photographs(tiny_data)
    assert len(photographs) == 3 + 8
    np.testing.assert_array_equal(photographs[3], read_image(tiny_data / read_index(tiny_data)[0].image))


def test_run_and_file_are_opened_by_one_function_and_predict_alike(exported, student_run):
    file, _ = exported
    (by_run, run_card), (by_file, file_card) = open_predictor(student_run), open_predictor(file)
    assert run_card.class_names == file_card.class_names
    for one, other in zip(by_run(noise((70, 50))), by_file(noise((70, 50))), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("precision", ["int8-weights", "int8"])
def test_an_8_bit_file_says_what_it_changed_and_is_a_third_as_large(
    tmp_path, exported, student_run, tiny_data, precision, monkeypatch
):
    # Weights that learnt nothing tell no photograph apart: how much maps may change is tested in test_quantise.
    monkeypatch.setattr(quantise, "LEAST_MAP_CORRELATION", -1)
    monkeypatch.setattr(quantise, "MOST_NAMING_LOST", 1)
    monkeypatch.setattr(quantise, "MOST_ENERGY_LOST", 1)
    file = tmp_path / "small.onnx"
    card = export(student_run, file, data=tiny_data, precision=precision, limits="drawn noise")
    assert file.stat().st_size < 0.34 * exported[0].stat().st_size
    assert load(file).card == card
    assert (card.precision, card.limits) == (precision, "drawn noise")
    assert card.quantisation["photographs"] == 6
    assert set(card.quantisation["balanced_accuracy"]) == {"fp32", precision}
    assert ("calibration" in card.quantisation) == (precision == "int8")
    assert card.sha256 != exported[1].sha256
    graph = onnx.load(file)
    del graph.metadata_props[:]
    assert hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest() == card.sha256
    assert exported[1].quantisation == {}


def test_an_8_bit_file_that_loses_too_much_is_refused_and_not_kept(tmp_path, student_run, tiny_data, monkeypatch):
    monkeypatch.setattr(quantise, "LEAST_MAP_CORRELATION", 1.01)
    with pytest.raises(ModelError, match=r"Too much is lost in int8-weights, on 6 .*not kept"):
        export(student_run, tmp_path / "small.onnx", data=tiny_data, precision="int8-weights")
    assert list(tmp_path.iterdir()) == []


def test_8_bits_of_a_graph_that_is_not_the_networks_are_refused(tmp_path, student_run, tiny_data, monkeypatch):
    run = load_network(student_run)
    with torch.no_grad():
        run[0].class_bias += torch.tensor([1.0, 0.0, 0.0])
    wrong = build_graph(*run)
    monkeypatch.setattr(export_file, "build_graph", lambda network, card: wrong)
    with pytest.raises(ModelError, match="file and the network differ"):
        export(student_run, tmp_path / "small.onnx", data=tiny_data, precision="int8-weights")
    assert list(tmp_path.iterdir()) == []


def test_8_bits_without_photographs_are_refused(tmp_path, student_run):
    with pytest.raises(DataError, match=r"--precision int8 needs --data DATA.*calibrated"):
        export(student_run, tmp_path / "small.onnx", precision="int8")
    with pytest.raises(ModelError, match=r"Unknown precision 'fp8'.*int8-weights"):
        export(student_run, tmp_path / "small.onnx", precision="fp8")
    assert list(tmp_path.iterdir()) == []


def test_weights_alone_are_written_in_32_bits_only(tmp_path, make_run, tiny_data):
    run = make_run(tmp_path / "run", backbone="test_resnet", image_px=48)
    with pytest.raises(ModelError, match=r"--precision int8 is for \.onnx files"):
        export(run, tmp_path / "teacher.pth", data=tiny_data, precision="int8")
    assert not (tmp_path / "teacher.pth").exists()


def test_run_and_file_answer_alike_in_all_attitudes(exported, student_run):
    file, _ = exported
    image = noise((70, 90))
    by_run, by_file = (open_predictor(one, all_attitudes=True)[0] for one in (student_run, file))
    for one, other in zip(by_run(image), by_file(image), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
    (probabilities, _), (once, _) = by_run(image), open_predictor(student_run)[0](image)
    assert abs(probabilities - once).max() > 1e-4  # eight looks are not one
    np.testing.assert_allclose(by_run(np.ascontiguousarray(image[::-1]))[0], probabilities, atol=1e-5)
