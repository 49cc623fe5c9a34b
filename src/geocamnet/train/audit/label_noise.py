"""Labels that texture contradicts: confident learning (Northcutt et al. 2021, doi:10.1613/jair.1.12125)."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold

from geocamnet.train.audit.look import Look

FOLDS = 5
TREES = 100
MOST_PHOTOGRAPHS = 20_000
LEAST_MARGIN = 0.2  # the other class must be so much more probable than the label


@dataclass(frozen=True)
class Doubt:
    """A photograph whose texture looks like another class's.

    Attributes:
        place: of the photograph.
        label: what it is filed under.
        looks_like: what the forest, which has not seen it, takes it for.
        probability: of that.
    """

    place: int
    label: str
    looks_like: str
    probability: float


@dataclass(frozen=True)
class LabelNoise:
    """What the forest of textures says of the labels.

    Attributes:
        doubts: surest first.
        balanced_accuracy: of the forest, cross-validated; near chance its doubts are worth nothing.
        chance: 1 / number of classes.
        photographs: that were judged.
    """

    doubts: tuple[Doubt, ...]
    balanced_accuracy: float
    chance: float
    photographs: int


def find_label_noise(
    looks: Sequence[Look], labels: Sequence[str], groups: Sequence[str], *, seed: int
) -> LabelNoise | None:
    """Return the labels that texture contradicts, or None where there are too few photographs to judge.

    A forest on texture and grey histograms (`baselines.forest_features`) answers for photographs of groups that it has
    not seen. The threshold of class j is the mean probability of j over photographs labelled j; a photograph is in
    doubt where the likeliest class above its threshold is not its label.

    Args:
        looks: (N,) of photographs that can be read.
        labels: (N,) one class each.
        groups: (N,) what must stay together: sections, copies.
        seed: of forest and folds.
    """
    held: dict[str, set[str]] = {}
    for label, group in zip(labels, groups, strict=True):
        held.setdefault(label, set()).add(group)
    kept = {label for label, names in held.items() if len(names) >= FOLDS}
    order = np.random.default_rng(seed).permutation(len(looks)).tolist()
    places = sorted([place for place in order if labels[place] in kept and looks[place].texture][:MOST_PHOTOGRAPHS])
    if len(kept) < 2 or len(places) < 2 * FOLDS:
        return None
    seen = np.frombuffer(b"".join(base64.b64decode(looks[place].texture) for place in places), np.float16)
    features = seen.reshape(len(places), -1).astype(np.float32)
    truth = np.array([labels[place] for place in places])
    answers, classes = _answers(features, truth, np.array([groups[place] for place in places]), seed)
    accuracy = float(balanced_accuracy_score(truth, classes[answers.argmax(axis=1)]))
    own = np.searchsorted(classes, truth)
    rows = np.arange(len(truth))
    limits = np.array([answers[own == column, column].mean() for column in range(len(classes))])
    confident = np.where(answers >= limits, answers, -1.0)
    likeliest = confident.argmax(axis=1)
    doubtful = (confident.max(axis=1) > 0) & (likeliest != own)
    doubtful &= answers[rows, likeliest] - answers[rows, own] >= LEAST_MARGIN
    doubts = [
        Doubt(places[row], str(truth[row]), str(classes[likeliest[row]]), float(answers[row, likeliest[row]]))
        for row in np.flatnonzero(doubtful).tolist()
    ]
    doubts.sort(key=lambda one: (-one.probability, one.place))
    return LabelNoise(tuple(doubts), accuracy, 1 / len(classes), len(places))


def _answers(
    features: NDArray[np.float32], truth: NDArray, group: NDArray, seed: int
) -> tuple[NDArray[np.float64], NDArray]:
    classes = np.unique(truth)
    answers = np.zeros((len(truth), len(classes)))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(features, truth, group):
        forest = ExtraTreesClassifier(TREES, min_samples_leaf=2, class_weight="balanced", random_state=seed, n_jobs=1)
        forest.fit(features[train], truth[train])
        answers[np.ix_(test, np.searchsorted(classes, forest.classes_))] = forest.predict_proba(features[test])
    return answers, classes
