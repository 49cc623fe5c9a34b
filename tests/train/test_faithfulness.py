import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocamnet.errors import DataError
from geocamnet.train import faithfulness as module
from geocamnet.train.faithfulness import PLAIN, faithfulness, heat_on_marks, judge_without_masks, linear_imputation

FINE = np.indices((96, 120)).sum(0) % 2 * 120 + 60  # a chequerboard of single pixels: a fabric that a blur takes away


def photograph(patch):
    """Even grey of the fabric's brightness, with the fabric in one patch (rows, columns)."""
    image = np.full((96, 120), 120, np.uint8)
    image[patch] = FINE[patch]
    return np.repeat(image[..., None], 3, axis=2)


CORNER = (slice(0, 48), slice(0, 60))
CORNERED = [photograph(CORNER), photograph((slice(48, 96), slice(60, 120)))]


def fabric(image):
    """Share of pixels that differ from their right neighbour, in cells of 8 px: (12, 15)."""
    differs = np.abs(np.diff(image[..., 0].astype(float), axis=1, append=image[:, -1:, 0])) > 90
    return differs.reshape(12, 8, 15, 8).mean(axis=(1, 3)).astype(np.float32)


def finding(image):
    """A network whose class maps are where the fabric is, and which answers with the first of three classes."""
    maps = np.stack([fabric(image), np.zeros((12, 15)), np.zeros((12, 15))]).astype(np.float32)
    probability = 0.4 + 2 * maps[0].mean()
    return np.array([probability, (1 - probability) / 2, (1 - probability) / 2]), maps * 12


def elsewhere(image):
    """The same answers, with class maps hot where the fabric is not."""
    probabilities, maps = finding(image)
    maps[0] = (12 - maps[0]) * (maps[0] < 6)
    return probabilities, maps


@pytest.fixture
def card(tiny_card):
    return replace(tiny_card, map_stride=8, long_side_px=None)


def test_a_map_of_what_the_answer_rests_on_beats_every_other_in_every_figure(card):
    judged = faithfulness(finding, card, CORNERED)
    table = judged["table"]
    assert list(table) == ["model", *PLAIN]
    for method in PLAIN:
        assert table["model"]["insertion"] > table[method]["insertion"] + 0.03, method
        assert table["model"]["deletion"] < table[method]["deletion"] - 0.03, method
        assert table["model"]["road"] > table[method]["road"] + 0.1, method
        assert table["model"]["average_drop"] < table[method]["average_drop"], method
    assert judged["probability"]["photograph"] == pytest.approx(0.9, abs=0.03)
    assert judged["probability"]["blurred"] == pytest.approx(0.4)
    assert judged["n"] == 2
    json.dumps(judged, allow_nan=False)


def test_a_map_of_the_wrong_place_is_worse_than_chance(card):
    table = faithfulness(elsewhere, card, CORNERED)["table"]
    assert table["model"]["insertion"] < table["random"]["insertion"] < table["random"]["deletion"] + 0.2
    assert table["model"]["deletion"] > table["random"]["deletion"]
    assert table["model"]["road"] < -0.1 < table["random"]["road"]


def test_insertion_and_deletion_of_the_fabric_are_the_areas_worked_out_by_hand(card):
    # The fabric is the hottest quarter: all of it is there, or gone, from the first step on.
    table = faithfulness(finding, card, [CORNERED[0]])["table"]["model"]
    assert table["insertion"] == pytest.approx(0.4 + 0.5 * (0.125 + 0.75), abs=0.04)
    assert table["deletion"] == pytest.approx(0.4 + 0.5 * 0.125, abs=0.04)
    assert table["road"] == pytest.approx(0.5, abs=0.04)
    assert table["average_increase"] in (0, 1)
    assert table["mean_heat"] == pytest.approx(0.25, abs=0.05)  # a cell is centred on its first pixel


def test_a_map_that_is_hot_everywhere_drops_nothing_and_tells_nothing(card):
    def everywhere(image):
        return finding(image)[0], np.stack([np.full((12, 15), 99), *np.zeros((2, 12, 15))]).astype(np.float32)

    model = faithfulness(everywhere, card, CORNERED * 4)["table"]["model"]
    assert model["average_drop"] == model["average_increase"] == 0
    assert model["mean_heat"] == 1
    assert abs(model["road"]) < 0.15  # ties are broken by chance, not from the corner on


def test_no_photograph_costs_more_predictions_than_promised(card):
    calls = []

    def counted(image):
        calls.append(image.tobytes())
        return finding(image)

    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (96, 120, 3), dtype=np.uint8) for _ in range(2)]
    judged = faithfulness(counted, card, images)
    assert judged["predictions"] == len(calls)
    assert len(calls) <= 59 * 2  # 58 each, unless rounding parts a tie of the grey level from its inverse's
    again = faithfulness(finding, card, images)["table"]["random"]
    assert again["road"] == pytest.approx(judged["table"]["random"]["road"])


def test_without_photographs_nothing_is_judged(card):
    for judge in (faithfulness, heat_on_marks):
        with pytest.raises(DataError, match="at least one photograph"):
            judge(finding, card, [])


def slow_imputation(values, hidden, sweeps=4000):
    """Replace every hidden pixel by the mean of its neighbours, again and again, until nothing moves."""
    filled = np.where(hidden[..., None], 0.0, values)
    height, width = hidden.shape
    for _ in range(sweeps):
        for row, column in np.argwhere(hidden):
            total, weights = 0.0, 0.0
            for down in (-1, 0, 1):
                for across in (-1, 0, 1):
                    y, x = row + down, column + across
                    if (down, across) != (0, 0) and 0 <= y < height and 0 <= x < width:
                        weight = 1 / 12 if down and across else 1 / 6
                        total, weights = total + weight * filled[y, x], weights + weight
            filled[row, column] = total / weights
    return filled


def test_linear_imputation_is_where_averaging_the_neighbours_comes_to_rest():
    rng = np.random.default_rng(0)
    values = rng.normal(100, 30, (6, 7, 3))
    hidden = rng.random((6, 7)) < 0.6
    hidden[0, 0] = hidden[0, 1] = hidden[1, 0] = True
    np.testing.assert_allclose(linear_imputation(values, hidden), slow_imputation(values, hidden, 300), atol=1e-6)


@given(st.integers(0, 2**32), st.tuples(st.integers(2, 12), st.integers(2, 12)))
def test_imputed_values_lie_within_the_known_ones_which_stay(seed, shape_hw):
    rng = np.random.default_rng(seed)
    values, hidden = rng.normal(size=(*shape_hw, 2)), rng.random(shape_hw) < rng.random()
    hidden[0, 0] = False
    filled = linear_imputation(values, hidden)
    np.testing.assert_array_equal(filled[~hidden], values[~hidden])
    low, high = values[~hidden].min(axis=0), values[~hidden].max(axis=0)
    assert (filled >= low - 1e-9).all()
    assert (filled <= high + 1e-9).all()


def test_imputing_from_nothing_is_refused():
    with pytest.raises(DataError, match="not hidden"):
        linear_imputation(np.zeros((3, 3, 1)), np.ones((3, 3), bool))


def test_heat_drawn_by_marks_is_told_from_heat_that_was_there(card):
    def on_ink(image):
        inked = ((image == 0) | (image == 255)).all(axis=2).reshape(12, 8, 15, 8).mean(axis=(1, 3))
        return np.array([0.8, 0.1, 0.1]), np.stack([50 * inked, *np.zeros((2, 12, 15))]).astype(np.float32)

    def even(image):
        return np.array([0.8, 0.1, 0.1]), np.stack([np.full((12, 15), 4), *np.zeros((2, 12, 15))]).astype(np.float32)

    images = CORNERED * 5
    drawn, level = heat_on_marks(on_ink, card, images), heat_on_marks(even, card, images)
    assert drawn["ratio"] == pytest.approx(drawn["heat_share"] / drawn["area_share"])
    assert drawn["ratio"] > 3
    assert drawn["heat_share_unmarked"] == pytest.approx(drawn["area_share"])  # no heat counts as even heat
    assert level["ratio"] == pytest.approx(1, abs=1e-4)
    assert level["area_share"] == drawn["area_share"]
    assert drawn["n"] == 10


def test_photographs_are_evenly_spaced_and_scaled_to_what_the_network_sees(card, monkeypatch):
    monkeypatch.setattr(module, "PHOTOGRAPHS", 2)
    monkeypatch.setattr(module, "MARKED_PHOTOGRAPHS", 3)
    sizes, read, told = set(), [], []

    def predict(image):
        sizes.add(image.shape)
        return np.array([0.5, 0.3, 0.2]), np.random.default_rng(0).random((3, 6, 8)).astype(np.float32)

    def read_row(row):
        read.append(row)
        return np.random.default_rng(row).integers(0, 256, (90, 120, 3), dtype=np.uint8)

    small = replace(card, long_side_px=64)
    judged = judge_without_masks(predict, small, range(7), read_row, on_progress=lambda *one: told.append(one))
    assert sizes == {(48, 64, 3)}
    assert read == [0, 3, 0, 2, 4]
    assert (judged["faithfulness"]["n"], judged["marks"]["n"]) == (2, 3)
    assert told == [(done, 5) for done in range(1, 6)]
