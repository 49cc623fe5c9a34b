import cv2
import numpy as np
import pytest

from geocamnet.card import TextureCard
from geocamnet.runtime.heatmap import enhance
from geocamnet.train.refinements import REFINEMENTS, brightness_blur, grey_guided, smoothed, superpixels, texture
from oracles import intersection_over_union

CARD = TextureCard(window_px=9)
KEEPS_EVEN_HEAT = [name for name in REFINEMENTS if name != "brightness_blur"]


def two_shades(side=96):
    """A bright disc on dark ground, faintly noisy; its mask; a coarse heatmap of it."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    truth = (rows - side / 2) ** 2 + (columns - side / 2) ** 2 < (side / 3.2) ** 2
    level = np.where(truth, 170, 80) + rng.normal(0, 4, truth.shape)
    small = cv2.resize(truth.astype(np.float32), (6, 6), interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)
    return np.clip(level, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2), truth, coarse


@pytest.mark.parametrize("name", REFINEMENTS)
@pytest.mark.parametrize("shape_hw", [(40, 70), (33, 400)])
def test_refined_heatmaps_are_heatmaps_of_the_photograph_s_size(name, shape_hw):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (*shape_hw, 3), dtype=np.uint8)
    heat = cv2.resize(rng.random((4, 6), dtype=np.float32), shape_hw[::-1])
    before = heat.copy()
    refined = REFINEMENTS[name](heat, image, CARD)
    assert refined.shape == shape_hw
    assert refined.dtype == np.float32
    assert 0 <= refined.min() <= refined.max() <= 1
    np.testing.assert_array_equal(heat, before)


@pytest.mark.parametrize("name", KEEPS_EVEN_HEAT)
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_even_heat_stays_even_and_no_heat_stays_none(name, value):
    image, truth, _ = two_shades()
    refined = REFINEMENTS[name](np.full(truth.shape, value, np.float32), image, CARD)
    np.testing.assert_allclose(refined, value, atol=1e-5)


@pytest.mark.parametrize("refine", [grey_guided, superpixels])
def test_what_follows_brightness_finds_a_boundary_of_brightness(refine):
    image, truth, coarse = two_shades()
    unrefined, refined, blurred = (
        intersection_over_union(heat >= 0.5, truth)
        for heat in (coarse, refine(coarse, image, CARD), smoothed(coarse, image, CARD))
    )
    assert refined > 0.98
    assert refined > unrefined + 0.04
    assert refined > blurred + 0.04


def test_smoothing_alone_knows_nothing_of_the_photograph():
    image, _, coarse = two_shades()
    np.testing.assert_array_equal(smoothed(coarse, image, CARD), smoothed(coarse, 255 - image, CARD))
    assert smoothed(coarse, image, CARD).std() < coarse.std()


def test_superpixels_get_the_mean_of_their_heat():
    image, _, coarse = two_shades()
    refined = superpixels(coarse, image, CARD)
    assert len(np.unique(refined)) < 200
    assert refined.mean() == pytest.approx(float(coarse.mean()), abs=1e-4)
    for value in np.unique(refined):
        assert coarse[refined == value].mean() == pytest.approx(float(value), abs=1e-4)


def test_the_brightness_blur_is_half_a_blur_of_the_photograph_whatever_was_found():
    image, truth, _ = two_shades()
    blurred = brightness_blur(np.zeros(truth.shape, np.float32), image, CARD)
    level = cv2.blur(np.floor(image[..., 0] / 256 * 8).astype(np.float32), (5, 5)) / 7
    np.testing.assert_allclose(blurred[4:-4, 4:-4], level[4:-4, 4:-4] / 2, atol=0.03)
    assert np.corrcoef(blurred.ravel(), level.ravel())[0, 1] > 0.99


def test_texture_is_what_ships():
    image, _, coarse = two_shades()
    np.testing.assert_array_equal(texture(coarse, image, CARD), enhance(coarse, image, texture=CARD))
