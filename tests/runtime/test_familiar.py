"""What a photograph is measured by, and how far it is from others."""

import cv2
import numpy as np
import pytest

from geocamnet.card import FamiliarCard
from geocamnet.runtime.familiar import FEATURES, distance_of, statistics
from oracles import glcm_features, window_around


def noise(shape_hw, *, seed=0, grain=1):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 220, (-(-shape_hw[0] // grain), -(-shape_hw[1] // grain), 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(grain, 0).repeat(grain, 1)[: shape_hw[0], : shape_hw[1]])


def test_the_statistics_are_means_and_spreads_of_the_texture_around_every_pixel():
    image = noise((12, 16), grain=2)
    levels = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(int) * 16 // 255
    quantised = np.minimum(levels, 15).astype(np.uint8)
    around = [
        glcm_features(window_around(quantised, row, column, 15), levels=16)
        for row, column in np.ndindex(*quantised.shape)
    ]
    expected = []
    for name in FEATURES:
        values = np.array([one[name] for one in around])
        values = np.log(1 + values) if name in ("contrast", "variance") else values
        values = values / 15 if name == "mean" else values
        expected += [values.mean(), values.std()]
    red, green, blue = (image[..., channel].astype(float) for channel in range(3))
    spread = image.max(2).astype(float) - image.min(2)
    expected += [(red - green).mean() / 255, (blue - green).mean() / 255, spread.mean() / 255]
    np.testing.assert_allclose(statistics(image, 16), expected, atol=1e-4)


@pytest.mark.parametrize("turn", [np.rot90, np.flipud, np.fliplr])
def test_turning_the_stage_or_the_slide_changes_nothing(turn):
    image = noise((40, 64), grain=3)
    np.testing.assert_allclose(statistics(turn(image), 64), statistics(image, 64), atol=1e-5)


def test_a_larger_copy_of_a_photograph_measures_about_the_same():
    image = cv2.GaussianBlur(noise((120, 160), grain=8), (0, 0), 3)
    twice = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    assert np.abs(statistics(twice, 160) - statistics(image, 160)).max() < 0.05
    assert np.abs(statistics(noise((120, 160)), 160) - statistics(image, 160)).max() > 1


def test_the_distance_weighs_differences_by_the_precision():
    image = noise((32, 48))
    x = statistics(image, 48)
    mean = x.copy()
    mean[0] += 0.5
    mean[4] -= 0.2
    precision = np.eye(len(x))
    precision[0, 0], precision[0, 4], precision[4, 0] = 4.0, 0.5, 0.5
    familiar = FamiliarCard(tuple(mean.tolist()), tuple(map(tuple, precision.tolist())), limit=1.0, long_side_px=48)
    by_hand = np.sqrt(4.0 * 0.5**2 + 0.2**2 - 2 * 0.5 * 0.5 * 0.2)
    assert distance_of(image, familiar) == pytest.approx(by_hand, abs=1e-9)


@pytest.mark.parametrize("shape_hw", [(1, 1), (2, 50), (3, 3)])
def test_tiny_photographs_have_statistics(shape_hw):
    assert np.isfinite(statistics(noise(shape_hw), 64)).all()
