import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from geocamnet.runtime.heatmap import place_maps
from geocamnet.train.localise import OTHER, Sample
from geocamnet.train.segmentation import segmentation

NAMES = ["a", "b", "c"]


def fields(seed, n=3, shape=(32, 48)):
    """Noise whose masks hold three classes, pixels that are not scored, and others that are none of the classes."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        yield Sample(image, rng.choice([0, 1, 2, 3, OTHER], shape).astype(np.uint8), (0, 1, 2))


def halves(levels=(60, 190), classes=(1, 2), shape=(32, 64)):
    """A photograph of two grey levels, a class each."""
    image = np.full((*shape, 3), levels[0], np.uint8)
    mask = np.full(shape, classes[0], np.uint8)
    image[:, shape[1] // 2 :], mask[:, shape[1] // 2 :] = levels[1], classes[1]
    return Sample(image, mask, tuple(sorted(one - 1 for one in classes)))


def noise_maps(image):
    return np.full(3, 1 / 3), np.random.default_rng(int(image.sum())).normal(size=(3, 4, 6)).astype(np.float32)


def test_figures_equal_scikit_learn(tiny_card):
    judged = segmentation(fields(0), fields(1), noise_maps, tiny_card, NAMES)
    truth, named = [], []
    for sample in fields(1):
        scored = sample.mask != 0
        maps = noise_maps(sample.image)[1] + np.reshape(tiny_card.class_bias, (-1, 1, 1))
        truth.append(sample.mask[scored])
        named.append(place_maps(maps, sample.mask.shape, tiny_card).argmax(axis=0)[scored] + 1)
    truth, named = np.concatenate(truth), np.concatenate(named)
    expected = jaccard_score(truth, named, labels=[1, 2, 3], average=None)
    model = judged["table"]["model"]
    assert list(model["per_class"].values()) == pytest.approx(expected)
    assert model["miou"] == pytest.approx(expected.mean())
    assert model["accuracy"] == pytest.approx((truth == named).mean())
    assert judged["n_photographs"] == 3


def test_grey_names_what_grey_can_tell_and_nothing_else(tiny_card):
    alike = halves(levels=(120, 120))
    told = segmentation([halves()], [halves()], noise_maps, tiny_card, NAMES)["table"]
    assert told["grey"]["miou"] == 1
    assert told["blurred_grey"]["miou"] > 0.6
    assert told["commonest"] == {"miou": 0.25, "accuracy": 0.5, "per_class": {"a": 0.5, "b": 0.0}}
    assert segmentation([alike], [alike], noise_maps, tiny_card, NAMES)["table"]["grey"]["accuracy"] == 0.5


def test_what_grey_learns_it_learns_on_validation(tiny_card):
    turned = halves(levels=(190, 60))
    judged = segmentation([halves()], [turned], noise_maps, tiny_card, NAMES)["table"]
    assert judged["grey"]["miou"] == 0


def test_a_class_that_is_not_there_counts_against_who_names_it(tiny_card):
    def of_absent(image):
        return np.array([0, 0, 1.0]), np.stack([np.zeros((2, 4)), np.zeros((2, 4)), np.ones((2, 4))])

    judged = segmentation([halves()], [halves()], of_absent, tiny_card, NAMES)["table"]["model"]
    assert judged == {"miou": 0.0, "accuracy": 0.0, "per_class": {"a": 0.0, "b": 0.0}}


def test_the_pixels_of_a_field_are_named_by_the_evidence_of_its_photographs(tiny_card):
    # Each light alone is wrong on one half; together they are right on both.
    left, right = np.full((32, 64, 3), 10, np.uint8), np.full((32, 64, 3), 20, np.uint8)
    mask = halves().mask
    maps = {10: ((2, 0), (0, 0)), 20: ((0, 0), (0, 1))}

    def predict(image):
        (a_left, a_right), (b_left, b_right) = maps[int(image[0, 0, 0])]
        of_a = np.repeat([a_left, a_right], 8)[None].repeat(8, axis=0)
        of_b = np.repeat([b_left, b_right], 8)[None].repeat(8, axis=0)
        return np.full(3, 1 / 3), np.stack([of_a, of_b, 0 * of_a - 1]).astype(np.float32)

    field = Sample(left, mask, (0, 1), (right,))
    judged = segmentation([halves()], [field], predict, tiny_card, NAMES)["table"]
    assert judged["model_field"]["accuracy"] == pytest.approx(1, abs=0.02)
    assert judged["model"]["accuracy"] < 0.6
    assert "model_field" not in segmentation([halves()], [halves(levels=(10, 10))], predict, tiny_card, NAMES)["table"]
