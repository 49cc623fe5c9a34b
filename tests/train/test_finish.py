from dataclasses import replace

import numpy as np
import pytest
import torch

from geocamnet.images import read_image, write_image
from geocamnet.runtime.familiar import distance_of, statistics
from geocamnet.train.dataset import PhotographDataset
from geocamnet.train.finish import constants_of, familiar_of, texture_of
from geocamnet.train.index import read_index, write_index
from geocamnet.train.metrics import fit_temperature, macro_f1_thresholds
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


def test_photographs_of_several_labels_do_not_calibrate_a_model_of_one(network, data):
    several = {row.image for row in read_index(data) if row.split == "val" and row.labels == ("vug",)}
    assert several
    rows = [replace(row, labels=("foam", "vug")) if row.image in several else row for row in read_index(data)]
    without = [row for row in rows if row.image not in several]
    assert constants(network, data, rows) == constants(network, data, without)


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


def logits_of(network, data, rows):
    dataset = PhotographDataset(data, rows, classes=CLASSES, image_px=96)
    with torch.inference_mode():
        return np.stack([network(dataset[one]["image"][None]).logits[0].numpy() for one in range(len(rows))])


def test_several_labels_have_a_temperature_and_a_threshold_each_from_validation(tmp_path, network, make_data):
    data = make_data(tmp_path / "more", counts=(1, 10, 1))
    rows = [row for row in read_index(data) if row.split == "val"]
    few = [row for row in rows if row.labels != ("vug",)] + [row for row in rows if row.labels == ("vug",)][:4]
    found = constants(network, data, few, labels="multi")
    assert set(found) == {"map_scale", "temperature", "label_thresholds", "evidence_below"}
    logits = logits_of(network, data, few)
    truth = np.array([[name in row.labels for name in CLASSES] for row in few]).astype(int)
    temperature = fit_temperature(logits, truth)
    assert found["temperature"] == pytest.approx(temperature, rel=1e-3)
    best = macro_f1_thresholds(1 / (1 + np.exp(-logits / temperature)), truth)
    assert found["label_thresholds"][:2] == pytest.approx(best[:2], abs=1e-3)
    assert found["label_thresholds"][2] == 0.5  # four photographs are too few to choose by
    evidence = np.sort(np.log1p(np.exp(logits)).sum(1))
    assert found["evidence_below"] == pytest.approx(evidence[1], abs=1e-4)  # of 24 one has less: 5 % at most


def test_nothing_is_called_empty_by_a_softmax_or_by_a_handful_of_photographs(tmp_path, network, make_data, tiny_data):
    assert "evidence_below" not in constants(network, make_data(tmp_path / "more", counts=(1, 10, 1)))
    assert "evidence_below" not in constants(network, tiny_data, labels="multi")


@pytest.fixture(scope="module")
def many(tmp_path_factory, make_data):
    return make_data(tmp_path_factory.mktemp("data") / "many", counts=(20, 10, 2))


def test_what_is_familiar_comes_from_training_photographs_and_its_limit_from_validation(many):
    rows = read_index(many)
    card = familiar_of(many, rows, image_px=96)
    assert card.long_side_px == 96
    seen = [statistics(read_image(many / row.image), 96) for row in rows if row.split == "train"]
    np.testing.assert_allclose(card.mean, np.mean(seen, axis=0), atol=1e-5)
    distances = {
        split: np.sort([distance_of(read_image(many / row.image), card) for row in rows if row.split == split])
        for split in ("val", "test")
    }
    assert card.limit == distances["val"][-1]  # of 30 none may be refused at 1 %
    assert (distances["test"] <= 2 * card.limit).all()
    assert familiar_of(many, [row for row in rows if row.split != "test"], image_px=96) == card
    assert familiar_of(many, rows, image_px=640).long_side_px == 192


def test_photographs_of_something_else_are_further_away_than_the_limit(many):
    card = familiar_of(many, read_index(many), image_px=96)
    rng = np.random.default_rng(0)
    strangers = {
        "even": np.full((64, 96, 3), 128, np.uint8),
        "fine noise": np.repeat(rng.integers(0, 256, (64, 96, 1), dtype=np.uint8), 3, 2),
        "ramp": np.repeat(np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1))[..., None], 3, 2),
    }
    for name, image in strangers.items():
        assert distance_of(image, card) > card.limit, name


def test_a_faint_tint_of_grey_photographs_is_no_stranger(tmp_path, make_data):
    data = make_data(tmp_path / "grey", counts=(20, 10, 2))
    for row in read_index(data):
        image = read_image(data / row.image)[..., :1].repeat(3, axis=2)
        write_image(data / row.image, image)
    card = familiar_of(data, read_index(data), image_px=96)
    image = read_image(data / read_index(data)[0].image)

    def tinted(levels):
        colour = np.array([levels, 0, -levels])
        return distance_of(np.clip(image + colour, 0, 255).astype(np.uint8), card)

    assert tinted(2) < tinted(0) + 1
    assert tinted(60) > 2 * card.limit


def test_few_photographs_say_nothing_of_what_is_familiar(tiny_data):
    assert familiar_of(tiny_data, read_index(tiny_data), image_px=96) is None


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
