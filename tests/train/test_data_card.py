"""The data card: what a data set says of itself, and that it goes with the models trained on it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from geocamnet.errors import DataError
from geocamnet.images import write_image
from geocamnet.train.data_card import DATA_CARD, read_data_card, with_words, write_data_card
from geocamnet.train.prepare import prepare
from geocamnet.train.recipes import PrepareRecipe

RECIPE = PrepareRecipe(long_side_px=32, workers=1)


def draw(seed, size_wh=(40, 30)):
    blocks = np.random.default_rng(seed).integers(0, 255, (3, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blocks).resize(size_wh, Image.Resampling.NEAREST))


@pytest.fixture
def raw(tmp_path):
    """Twenty views of two rocks, half of them in two lights, with a copy under another label and a broken file."""
    for number in range(20):
        label = "oolite" if number % 2 else "marly limestone"
        for light in ("PPL", "XPL")[: 1 + (number < 10)]:
            write_image(tmp_path / "raw" / light / label / f"{number}.png", draw(2 * number + (light == "XPL")))
    copy = tmp_path / "raw" / "PPL" / "oolite" / "copy.png"
    copy.write_bytes((tmp_path / "raw" / "PPL" / "marly limestone" / "12.png").read_bytes())
    (tmp_path / "raw" / "PPL" / "oolite" / "broken.png").write_text("no photograph")
    return tmp_path / "raw"


def test_the_card_counts_what_the_index_holds(raw, tmp_path):
    prepare(raw, tmp_path / "data", replace(RECIPE, raw_um_per_px=2.0, crop_px=1, origin="Well A", licence="CC0"))
    card = read_data_card(tmp_path / "data")
    assert (card["name"], card["origin"], card["licence"], card["layout"]) == ("raw", "Well A", "CC0", "folders")
    assert (card["photographs"], card["views"], card["skipped"], card["masks"]) == (31, 21, 1, 0)
    assert card["classes"] == {"marly_limestone": 15, "oolite": 16}
    assert card["groups"] == {"grains": 16, "limestone": 15}
    assert card["lights"] == {"PPL": 21, "XPL": 10}
    assert sum(card["splits"].values()) == 31
    assert card["sections"]["known"] is False
    assert card["width_px"] == {"least": 32, "median": 32, "most": 32}
    assert card["um_per_px"]["known"] == 31
    assert card["um_per_px"]["least"] == pytest.approx(2.0 * 38 / 32, rel=1e-4)
    assert card["audit"] is None
    faults = " ".join(card["known_faults"])
    assert "Leakage" in faults
    assert "exact copies" in faults


def test_words_may_be_added_later_and_change_nothing_else(raw, tmp_path):
    data = tmp_path / "data"
    prepare(raw, data, replace(RECIPE, title="Core 7"))
    index, prepared = (data / "index.csv").read_bytes(), (data / "prepare.json").read_bytes()
    before = read_data_card(data)
    report = prepare(raw, data, replace(RECIPE, licence="Apache-2.0"))
    assert report.already_prepared
    assert read_data_card(data) == {**before, "licence": "Apache-2.0"}
    assert read_data_card(data)["name"] == "Core 7"
    assert (data / "index.csv").read_bytes() == index
    assert (data / "prepare.json").read_bytes() == prepared


def test_a_data_set_without_a_card_has_none_and_a_damaged_one_is_told(tmp_path):
    assert read_data_card(tmp_path) == {}
    write_data_card(tmp_path, with_words({"name": "a"}, replace(RECIPE, title="b")))
    assert json.loads((tmp_path / DATA_CARD).read_text("utf-8")) == {"name": "b"}
    for text in ("{", "[1]"):
        (tmp_path / DATA_CARD).write_text(text)
        with pytest.raises(DataError, match=r"card\.json: can't be read"):
            read_data_card(tmp_path)


def test_the_card_goes_with_the_model_and_into_the_report(tmp_path):
    training = pytest.importorskip("geocamnet.train.training", reason="needs geocamnet[train]")
    from geocamnet.card import ModelCard
    from geocamnet.train.report import write_report
    from tiny import STUDENT, write_data

    data = write_data(tmp_path / "data")
    told = {"name": "Core 7", "origin": "Drawn for a test", "known_faults": ["Twelve are blurred."], "audit": None}
    write_data_card(data, told)
    card = training.distil(data, tmp_path / "run", replace(STUDENT, epochs=1), teacher=None)
    assert card.data["card"] == told
    assert ModelCard.from_json(card.to_json()).data["card"] == told
    page = write_report(tmp_path / "run").read_text("utf-8")
    assert "Drawn for a test" in page
    assert "Twelve are blurred." in page
