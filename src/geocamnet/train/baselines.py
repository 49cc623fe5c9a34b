"""What every network must beat: the majority class, and a random forest on texture and grey histograms."""

from collections.abc import Iterable

import cv2
import joblib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.feature import local_binary_pattern
from sklearn.ensemble import RandomForestClassifier

from geocamnet.errors import DataError

LBP_POINTS_AND_RADII = ((8, 1), (16, 2), (24, 3))
GREY_BINS = 32
COLOUR_BINS = 32
# Channels this far apart (95th percentile of max - min, of 255) make a colour photograph; JPEG noise is below.
COLOUR_SPREAD = 12

Floats = NDArray[np.float64]


def majority(train_targets: ArrayLike, n_test: int, n_classes: int) -> Floats:
    """Return (n_test, C) probabilities that know only how common each class is in training.

    The top class is the majority class; the probabilities are the training shares, the best constant answer.

    Args:
        train_targets: (N,) class positions, or (N, C) of 0 and 1.
        n_test: photographs to answer.
        n_classes: C.

    Raises:
        DataError: no training photograph.
    """
    truth = _targets(train_targets)
    shares = truth.mean(0) if truth.ndim == 2 else np.bincount(truth, minlength=n_classes) / len(truth)
    return np.tile(np.asarray(shares, np.float64), (n_test, 1))


def forest_features(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what the forest sees of a photograph: texture, grey and colour histograms, each adding up to 1.

    Uniform local binary patterns (Ojala et al. 2002, doi:10.1109/TPAMI.2002.1017623) with 8, 16 and 24 points
    on radii 1, 2 and 3 px, a 32-bin grey histogram, and 32 bins for each of red, green and blue. A grey photograph
    has zeros for the colours: they would only repeat the grey histogram.

    Args:
        image: RGB uint8 (H, W, 3), at least 8 px each way.

    Returns:
        float32 (182,).
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape[:2]) < 8:
        raise DataError(f"The forest needs RGB uint8 (H, W, 3) of 8 px or more; received {image.dtype} {image.shape}.")
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    parts = []
    for points, radius in LBP_POINTS_AND_RADII:
        codes = local_binary_pattern(grey, points, radius, method="uniform").astype(np.int64)
        parts.append(np.bincount(codes.ravel(), minlength=points + 2) / codes.size)
    parts.append(np.histogram(grey, bins=GREY_BINS, range=(0, 256))[0] / grey.size)
    spread = image.max(axis=2) - image.min(axis=2)
    has_colour = np.percentile(spread, 95) >= COLOUR_SPREAD
    for channel in range(3):
        counts = np.histogram(image[..., channel], bins=COLOUR_BINS, range=(0, 256))[0] / grey.size
        parts.append(counts * has_colour)
    return np.concatenate(parts).astype(np.float32)


def features_of(images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return (N, F) features of photographs, read one after another and measured on every core."""
    work = joblib.Parallel(n_jobs=-1, prefer="threads")  # scikit-image lets go of the GIL in its loops
    found = list(work(joblib.delayed(forest_features)(image) for image in images))
    if not found:
        raise DataError("No photograph for the random forest.")
    return np.stack(found)


def random_forest(
    train_images: Iterable[NDArray[np.uint8]],
    train_targets: ArrayLike,
    test_images: Iterable[NDArray[np.uint8]],
    *,
    n_classes: int,
    seed: int = 0,
    trees: int = 300,
) -> Floats:
    """Return (N, C) probabilities of a random forest (Breiman 2001) on `forest_features`.

    Class weights are balanced. Several labels a photograph make one forest per class (one against the rest).

    Args:
        train_images: RGB uint8 photographs; may be a generator, each is dropped once measured.
        train_targets: (N,) class positions, or (N, C) of 0 and 1.
        test_images: photographs to answer; may be a generator.
        n_classes: C; a class that training lacks gets probability 0.
        seed: fixes the forest.
        trees: number of trees.

    Raises:
        DataError: no photograph, or as many targets as photographs are not there.
    """
    train, test = features_of(train_images), features_of(test_images)
    return forest_on_features(train, train_targets, test, n_classes=n_classes, seed=seed, trees=trees)


def forest_on_features(
    train: NDArray[np.float32],
    train_targets: ArrayLike,
    test: NDArray[np.float32],
    *,
    n_classes: int,
    seed: int = 0,
    trees: int = 300,
) -> Floats:
    """Return what `random_forest` does, from features (N, F) already measured."""
    truth = _targets(train_targets)
    if len(train) != len(truth):
        raise DataError(f"{len(train)} training photographs, but {len(truth)} targets.")
    varies = (train != train[0]).any(axis=0)  # a constant column only wastes draws of the forest
    train, test = train[:, varies], test[:, varies]
    if truth.ndim == 1:
        return _fit_and_answer(train, truth, test, n_classes, seed, trees)
    answers = [_fit_and_answer(train, truth[:, c], test, 2, seed, trees)[:, 1] for c in range(n_classes)]
    return np.stack(answers, axis=1)


def _fit_and_answer(
    train: NDArray[np.float32],
    truth: NDArray[np.int64],
    test: NDArray[np.float32],
    n_classes: int,
    seed: int,
    trees: int,
) -> Floats:
    answer = np.zeros((len(test), n_classes))
    if train.shape[1] == 0 or len(np.unique(truth)) == 1:
        return majority(truth, len(test), n_classes)
    forest = RandomForestClassifier(trees, class_weight="balanced", random_state=seed, n_jobs=-1)
    forest.fit(train, truth)
    answer[:, forest.classes_] = forest.predict_proba(test)
    return answer


def _targets(targets: ArrayLike) -> NDArray[np.int64]:
    truth = np.asarray(targets)
    if not len(truth):
        raise DataError("The training split holds no labelled photograph: no baseline can be fitted on it.")
    return truth.astype(np.int64)
