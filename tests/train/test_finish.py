from dataclasses import replace

import numpy as np
import pytest
import torch

from geocamnet.images import read_image, write_image
from geocamnet.train.dataset import PhotographDataset
from geocamnet.train.finish import constants_of, texture_of
from geocamnet.train.index import read_index, write_index
from geocamnet.train.metrics import fit_temperature
from geocamnet.train.runs import load_network

CLASSES = ("foam", "oolite", "vug")


@pytest.fixture(scope="module")
def network(tmp_path_factory, make_run):
    return load_network(make_run(tmp_path_factory.mktemp("runs") / "teacher"))[0]


@pytest.fixture
def data(tmp_path, make_data):
    return make_data(tmp_path / "data")


def constants(network, data, rows=None, **changes):
    options = {"classes": CLASSES, "labels": "single", "image_px": 96, **changes}
    return constants_of(network, data, rows or read_index(data), **options)


def spoil(data, wanted):
    """Turn every photograph that is wanted into noise of another kind."""
    rng = np.random.default_rng(9)
    spoilt = [row for row in read_index(data) if wanted(row)]
    assert spoilt
    for row in spoilt:
        write_image(data / row.image, rng.integers(0, 256, (row.height_px, row.width_px, 3), dtype=np.uint8))


def slow_scale(network, data, name, labels):
    """Return the 99th percentile of positive evidence over the validation photographs of a class."""
    rows = [row for row in read_index(data) if row.split == "val"]
    dataset = PhotographDataset(data, rows, classes=CLASSES, image_px=96)
    cells = []
    for number, row in enumerate(rows):
        if name not in row.labels:
            continue
        with torch.inference_mode():
            maps = network(dataset[number]["image"][None]).class_maps[0].numpy()
        evidence = maps - maps.mean(0) if labels == "single" else maps
        cells.extend(value for value in evidence[CLASSES.index(name)].ravel() if value > 0)
    return np.percentile(cells, 99) if cells else None


@pytest.mark.parametrize("labels", ["single", "multi"])
def test_full_heat_is_the_99th_percentile_of_the_evidence_where_a_class_is_shown(network, tiny_data, labels):
    found = constants(network, tiny_data, labels=labels)["map_scale"]
    expected = [slow_scale(network, tiny_data, name, labels) for name in CLASSES]
    assert any(one is not None for one in expected)
    for scale, one in zip(found, expected, strict=True):
        if one is not None:
            assert scale == pytest.approx(one, rel=1e-4)


@pytest.mark.parametrize("split", ["test", "train"])
def test_only_validation_photographs_set_the_constants(network, data, split):
    before = constants(network, data)
    spoil(data, lambda row: row.split == split)
    assert constants(network, data) == before


def test_validation_photographs_do_set_them(network, data):
    before = constants(network, data)
    spoil(data, lambda row: row.split == "val")
    after = constants(network, data)
    assert after["map_scale"] != before["map_scale"]
    assert after["temperature"] != before["temperature"]


def test_a_class_that_validation_does_not_show_gets_the_median_of_the_others(network, data):
    rows = [row for row in read_index(data) if row.split != "val" or row.labels != ("vug",)]
    scales = constants(network, data, rows, labels="multi", classes=(*CLASSES[:2], "vug"))["map_scale"]
    shown = [one for one in (slow_scale(network, data, name, "multi") for name in CLASSES[:2]) if one is not None]
    assert scales[2] == pytest.approx(np.median(shown), rel=1e-4)


def test_without_validation_labels_the_other_photographs_serve_and_nothing_is_abstained(network, data):
    rows = [row for row in read_index(data) if row.split != "val"]
    found = constants(network, data, rows)
    assert set(found) == {"map_scale"}
    assert all(scale > 0 for scale in found["map_scale"])
    spoil(data, lambda row: row.split == "test")
    assert constants(network, data, rows) == found


def test_validation_labels_the_network_does_not_know_set_no_temperature(network, data):
    rows = [replace(row, labels=("ooid",)) if row.split == "val" else row for row in read_index(data)]
    found = constants(network, data, rows)
    assert set(found) == {"map_scale"}
    assert len(found["map_scale"]) == 3


def test_the_temperature_is_fitted_to_the_validation_logits(network, tiny_data):
    found = constants(network, tiny_data)
    rows = [row for row in read_index(tiny_data) if row.split == "val"]
    dataset = PhotographDataset(tiny_data, rows, classes=CLASSES, image_px=96)
    with torch.inference_mode():
        logits = np.stack([network(dataset[one]["image"][None]).logits[0].numpy() for one in range(len(rows))])
    truth = np.array([CLASSES.index(row.labels[0]) for row in rows])
    assert found["temperature"] == pytest.approx(float(fit_temperature(logits, truth)), rel=1e-3)
    assert 0 <= found["abstain_below"] <= 1


def test_several_labels_have_no_temperature(network, tiny_data):
    assert set(constants(network, tiny_data, labels="multi")) == {"map_scale"}


def test_a_network_without_evidence_still_has_scales_above_zero(network, tiny_data):
    class Silent(torch.nn.Module):
        def forward(self, images):
            evidence = network(images)
            return type(evidence)(evidence.logits * 0, evidence.class_maps * 0)

    assert constants(Silent(), tiny_data)["map_scale"] == (1.0, 1.0, 1.0)


def test_texture_spans_the_grey_values_of_the_training_photographs(data):
    card = texture_of(data, read_index(data))
    greys = [read_image(data / row.image).mean(axis=2).ravel() for row in read_index(data) if row.split == "train"]
    low, high = np.percentile(np.concatenate(greys), (0.5, 99.5))
    assert card.low == pytest.approx(low, abs=3)
    assert card.high == pytest.approx(high, abs=3)
    assert 0 <= card.low < card.high <= 255
    spoil(data, lambda row: row.split != "train")
    assert texture_of(data, read_index(data)) == card


@pytest.mark.parametrize("grey", [0, 77, 255])
def test_texture_of_even_photographs_has_a_range_within_the_grey_values(tmp_path, tiny_data, grey):
    row = read_index(tiny_data)[0]
    write_image(tmp_path / row.image, np.full((64, 96, 3), grey, np.uint8))
    write_index(tmp_path, [row])
    card = texture_of(tmp_path, [row])
    assert 0 <= card.low < card.high <= 255
    assert card.low <= grey <= card.high
