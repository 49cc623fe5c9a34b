import numpy as np
import pytest
from skimage.feature import local_binary_pattern

from geocamnet.errors import DataError
from geocamnet.train.baselines import features_of, forest_features, majority, random_forest


def stripes(period, rng, colour=False):
    rows = (np.arange(40) // period % 2) * 120 + 60
    grey = np.clip(rows[:, None] + rng.normal(0, 10, (40, 48)), 0, 255).astype(np.uint8)
    image = np.repeat(grey[..., None], 3, axis=2)
    if colour:
        image[..., 0] //= 2
    return image


def test_majority_answers_with_the_shares_of_training():
    answer = majority([0, 0, 1, 0], 2, 3)
    assert answer.tolist() == [[0.75, 0.25, 0.0]] * 2
    assert majority([[1, 1], [0, 1]], 1, 2).tolist() == [[0.5, 1.0]]
    with pytest.raises(DataError, match="no labelled photograph"):
        majority([], 2, 3)


def test_features_are_histograms_of_patterns_grey_and_colour():
    rng = np.random.default_rng(0)
    image = stripes(3, rng, colour=True)
    features = forest_features(image)
    assert features.shape == (10 + 18 + 26 + 32 + 96,)
    sums = np.add.reduceat(features, [0, 10, 28, 54, 86, 118, 150])
    assert sums == pytest.approx(np.ones(7), abs=1e-5)
    import cv2

    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    codes = local_binary_pattern(grey, 8, 1, method="uniform")
    assert features[:10] == pytest.approx([(codes == k).mean() for k in range(10)], abs=1e-6)


def test_a_grey_photograph_has_no_colour_features():
    assert forest_features(stripes(3, np.random.default_rng(0)))[86:].sum() == 0


def test_features_do_not_hang_on_the_order_of_the_threads():
    images = [stripes(period, np.random.default_rng(period)) for period in (2, 3, 4, 5)]
    together = features_of(iter(images))
    assert np.array_equal(together, np.stack([forest_features(one) for one in images]))


def test_the_forest_tells_textures_apart_that_have_the_same_grey_levels():
    rng = np.random.default_rng(1)
    periods = [2, 5] * 12
    images = [stripes(period, rng) for period in periods]
    targets = [0 if period == 2 else 2 for period in periods]
    answer = random_forest(iter(images[:16]), targets[:16], iter(images[16:]), n_classes=3, trees=20)
    assert answer.argmax(1).tolist() == targets[16:]
    assert answer[:, 1].tolist() == [0.0] * 8
    again = random_forest(images[:16], targets[:16], images[16:], n_classes=3, trees=20)
    assert np.array_equal(answer, again)


def test_several_labels_make_a_forest_for_each_class():
    rng = np.random.default_rng(2)
    periods = [2, 5] * 8
    images = [stripes(period, rng) for period in periods]
    truth = np.array([[period == 2, period == 5, True] for period in periods], int)
    answer = random_forest(images[:10], truth[:10], images[10:], n_classes=3, trees=20)
    assert ((answer > 0.5) == truth[10:]).all()
    assert answer[:, 2].tolist() == [1.0] * 6


def test_what_the_forest_can_not_use_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="No photograph"):
        random_forest([], [0], [stripes(2, rng)], n_classes=2)
    with pytest.raises(DataError, match="2 training photographs, but 1 targets"):
        random_forest([stripes(2, rng)] * 2, [0], [stripes(2, rng)], n_classes=2)
    with pytest.raises(DataError, match="RGB uint8"):
        forest_features(np.zeros((20, 20, 3), np.float32))
