import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocamnet.card import TextureCard
from geocamnet.errors import DataError
from geocamnet.runtime.measure import (
    area_per_class,
    area_percent,
    point_count,
    strongest_class,
    texture_entropy,
    wilson_interval,
)
from geocamnet.runtime.texture import quantise
from oracles import glcm_features

HEAT = np.array([[0.0, 0.4, 0.5, 0.9]], np.float32)


def test_area_is_the_share_of_pixels_at_or_above_the_threshold():
    assert area_percent(HEAT) == 50
    assert area_percent(HEAT, threshold=0.4) == pytest.approx(75)
    assert area_percent(np.zeros((3, 3), np.float32)) == 0


def test_area_counts_only_where_the_photograph_is_valid():
    assert area_percent(HEAT, valid=np.array([[True, True, True, False]])) == pytest.approx(100 / 3)


def test_each_pixel_belongs_to_its_hottest_class_or_to_none():
    heats = np.array([[[0.9, 0.6, 0.1, 0.7]], [[0.8, 0.7, 0.2, 0.7]]], np.float32)
    assert strongest_class(heats).tolist() == [[0, 1, -1, 0]]
    assert area_per_class(heats).tolist() == [50, 25]
    assert area_per_class(heats, valid=np.array([[False, True, True, False]])).tolist() == [0, 50]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), value=st.floats(0.01, 1))
def test_areas_of_all_classes_total_at_most_the_photograph(seed, value):
    heats = np.random.default_rng(seed).random((4, 6, 7)).astype(np.float32)
    areas = area_per_class(heats, threshold=value)
    assert areas.shape == (4,)
    assert areas.sum() == pytest.approx(100 * (heats.max(axis=0) >= np.float32(value)).mean())


def test_a_mask_of_valid_pixels_must_fit_and_hold_some():
    with pytest.raises(DataError, match=r"received bool of shape \(2, 2\)"):
        area_percent(HEAT, valid=np.ones((2, 2), bool))
    with pytest.raises(DataError, match="received uint8"):
        area_percent(HEAT, valid=np.ones((1, 4), np.uint8))
    with pytest.raises(DataError, match="no area to measure"):
        area_per_class(HEAT[None], valid=np.zeros((1, 4), bool))


def test_heat_outside_zero_to_one_is_refused():
    for bad in (np.nan, 1.5, -0.1):
        with pytest.raises(DataError, match="must lie in 0 to 1"):
            area_per_class(np.full((2, 3, 3), bad, np.float32))


def test_points_are_near_the_wanted_number_and_every_label_is_named():
    labels = np.zeros((300, 400), np.int32)
    labels[0, 0] = 9  # too small to be met but for luck
    counted = point_count(labels, points=300)
    assert abs(counted.points - 300) <= 20
    assert sum(counted.counts.values()) == counted.points
    assert list(counted.counts) == [0, 9]
    assert counted.high_percent[9] > 0


def test_counted_shares_are_right_on_average_over_offsets():
    rng = np.random.default_rng(0)
    labels = (rng.random((97, 61)) < 0.3).astype(np.uint8)
    shares = [point_count(labels, points=50, seed=seed).percent[1] for seed in range(400)]
    assert np.mean(shares) == pytest.approx(100 * labels.mean(), abs=1.0)


def test_the_interval_holds_the_truth_about_nineteen_times_in_twenty():
    rng = np.random.default_rng(1)
    labels = (rng.random((500, 500)) < 0.2).astype(np.uint8)
    truth = 100 * labels.mean()
    held = 0
    for seed in range(300):
        counted = point_count(labels, points=100, seed=seed)
        held += counted.low_percent[1] <= truth <= counted.high_percent[1]
    assert 0.90 <= held / 300 <= 0.99


def test_the_same_seed_counts_the_same_points_and_another_seed_others():
    labels = np.arange(10_000).reshape(100, 100)
    first, again, other = (point_count(labels, points=20, seed=seed).counts for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("shape", [(1, 1), (20, 3000), (3000, 1), (5, 7)])
def test_a_photograph_of_any_shape_is_counted_each_pixel_at_most_once(shape):
    labels = np.arange(shape[0] * shape[1]).reshape(shape)
    counted = point_count(labels, points=300)
    assert max(counted.counts.values()) == 1
    assert counted.points <= labels.size


def test_wilson_s_interval_has_its_published_values():
    # Newcombe 1998 (DOI 10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E), table I, method 3
    for count, total, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        assert wilson_interval(count, total) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(20, 20)[1] == 1


@pytest.mark.parametrize(("count", "total"), [(3, 2), (-1, 2), (0, 0)])
def test_an_impossible_count_is_refused(count, total):
    with pytest.raises(DataError, match="0 <= count <= total"):
        wilson_interval(count, total)


def test_a_mask_that_is_not_of_labels_is_refused():
    with pytest.raises(DataError, match="integers"):
        point_count(np.zeros((3, 3), np.float32))
    with pytest.raises(DataError, match="at least 1"):
        point_count(np.zeros((3, 3), np.uint8), points=0)


@pytest.mark.parametrize("levels", [2, 16, 256])
def test_entropy_of_the_whole_photograph_equals_scikit_image(levels):
    image = np.random.default_rng(0).integers(0, 256, (37, 41), dtype=np.uint8)
    quantised = quantise(image, levels=levels, low=0, high=255)
    expected = glcm_features(quantised, levels=levels)["entropy"]
    assert texture_entropy(image, TextureCard(levels=levels)) == pytest.approx(expected, rel=1e-9)


def test_entropy_of_even_photographs_is_zero():
    assert texture_entropy(np.full((9, 9, 3), 8, np.uint8), TextureCard()) == 0
    assert texture_entropy(np.zeros((1, 1), np.uint8), TextureCard()) == 0
