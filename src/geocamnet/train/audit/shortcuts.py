"""Can a class be told from what is no rock? A small cross-validated tree a property, beside chance and permutations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.tree import DecisionTreeClassifier

from geocamnet.train.audit.look import Look

FOLDS = 5
PERMUTATIONS = 60
MOST_PHOTOGRAPHS = 3000  # a tree on so few is as sure as a shortcut needs it, and sixty of them are quick
FOUND = 0.15  # of the way from chance to always right, from which a property is a shortcut
STRONG = 0.5
ONE_CLASS = 0.85  # area under the ROC curve of one class against the rest

# What each property is, for the page.
PROPERTIES = {
    "size": "the size of the photograph in pixels",
    "colour": "the colour mode (grey or colour, number of channels)",
    "border": "frame lines and strips at the edges",
    "scale bar": "whether there is a scale bar, and where",
    "lamp": "the brightness and colour of the lamp",
    "camera": "the camera that EXIF names",
    "compression": "the file format and the strength of JPEG compression",
    "smeared edges": "edges smeared by shifting, as augmentation leaves them",
    "together": "size, colour mode, edges, scale bar, camera and compression together",
}
_TOGETHER = tuple(name for name in PROPERTIES if name not in ("lamp", "together"))  # a lamp's brightness is partly rock
ADDS = 0.02  # of skill, from which all together say more than the best of them


@dataclass(frozen=True)
class Shortcut:
    """How well one property alone tells the class.

    Attributes:
        name: of the property, a key of `PROPERTIES`.
        balanced_accuracy: cross-validated.
        chance: 1 / number of classes.
        p_value: share of permutations of the labels that do as well, at least 1 / (permutations + 1).
        classes: class → area under the ROC curve against the rest, of those it tells, best first.
        photographs: that were judged.
        skill: (balanced accuracy - chance) / (1 - chance).
    """

    name: str
    balanced_accuracy: float
    chance: float
    p_value: float
    classes: Mapping[str, float]
    photographs: int

    @property
    def skill(self) -> float:
        """How far from chance (0) to always right (1)."""
        return (self.balanced_accuracy - self.chance) / (1 - self.chance)

    @property
    def found(self) -> bool:
        """Whether chance does not explain it, and it tells a class or tells all of them somewhat."""
        return self.p_value <= 1.5 / (PERMUTATIONS + 1) and (self.skill >= FOUND or bool(self.classes))


def find_shortcuts(
    looks: Sequence[Look], labels: Sequence[str], groups: Sequence[str], *, seed: int
) -> tuple[Shortcut, ...]:
    """Return every property that was tried, those that tell most first.

    All but the lamp are tried together too, and left out where that tells no more than the best of them.

    Classes of fewer than `FOLDS` groups are left out. Photographs of one group (a section, or copies of one
    photograph) are never on both sides, and the permutation deals labels to whole groups.

    Args:
        looks: (N,) of photographs that can be read.
        labels: (N,) one class each.
        groups: (N,) what must stay together.
        seed: of folds, permutations, and of the draw where there are very many photographs.
    """
    places = _drawn(labels, groups, seed)
    truth = np.array([labels[place] for place in places])
    group = np.array([groups[place] for place in places])
    if len(set(truth)) < 2:
        return ()
    folds = _folds(truth, group, seed)
    permuted = _permuted(truth, group, seed)
    tried: list[Shortcut] = []
    for name in PROPERTIES:
        values = np.array([_values(looks[place], name) for place in places], np.float64)
        if (values == values[0]).all() or (name == "together" and sum(one.name in _TOGETHER for one in tried) < 2):
            continue
        tried.append(_judged(name, values, truth, folds, permuted))
    best = max((one.skill for one in tried if one.name in _TOGETHER and one.found), default=-1.0)
    tried = [one for one in tried if one.name != "together" or not one.found or one.skill >= best + ADDS]
    return tuple(sorted(tried, key=lambda one: (-one.found, -one.skill)))


def _drawn(labels: Sequence[str], groups: Sequence[str], seed: int) -> list[int]:
    # A photograph of every group first, in random order, as many a class; then only classes with enough groups.
    held: dict[str, set[str]] = {}
    for label, group in zip(labels, groups, strict=True):
        held.setdefault(label, set()).add(group)
    kept = {label for label, names in held.items() if len(names) >= FOLDS}
    order = np.random.default_rng(seed).permutation(len(labels)).tolist()
    room = {label: max(FOLDS, MOST_PHOTOGRAPHS // max(1, len(kept))) for label in kept}
    places = []
    for place in order:
        if labels[place] in kept and room[labels[place]]:
            room[labels[place]] -= 1
            places.append(place)
    return sorted(places)


def _values(look: Look, name: str) -> list[float]:
    if name == "together":
        return [value for one in _TOGETHER for value in _values(look, one)]
    if name == "size":
        return [look.width_px, look.height_px, look.width_px * look.height_px, look.width_px / max(1, look.height_px)]
    if name == "colour":
        return [len(look.mode), sum(map(ord, look.mode)), float(look.colour >= 12)]
    if name == "border":
        return [*look.edges_ltrb]
    if name == "scale bar":
        x, y, wide, high = look.bars[0] if look.bars else (0, 0, 0, 0)
        return [len(look.bars), x / max(1, look.width_px), y / max(1, look.height_px), wide, high]
    if name == "lamp":
        red, green, blue = (max(value, 1.0) for value in look.lamp)
        return [look.lamp[1], red / green, blue / green]
    if name == "camera":
        return [_number(look.camera)]
    if name == "compression":
        return [look.jpeg, _number(look.format)]
    return [*look.smeared_ltrb]


def _number(text: str) -> float:
    # The same text always gives the same number; a tree needs no order among them.
    return float(sum((place + 1) * byte for place, byte in enumerate(text.encode())) % 100_003)


def _folds(truth: NDArray, group: NDArray, seed: int) -> list[tuple[NDArray, NDArray]]:
    made = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    return list(made.split(np.zeros(len(truth)), truth, group))


def _permuted(truth: NDArray, group: NDArray, seed: int) -> list[NDArray]:
    # Labels are dealt anew to whole groups: a section keeps one label, as it has in truth.
    names, position = np.unique(group, return_inverse=True)
    label_of = np.empty(len(names), truth.dtype)
    label_of[position] = truth
    random = np.random.default_rng(seed + 1)
    return [label_of[random.permutation(len(names))][position] for _ in range(PERMUTATIONS)]


def _judged(
    name: str,
    values: NDArray[np.float64],
    truth: NDArray,
    folds: list[tuple[NDArray, NDArray]],
    permuted: list[NDArray],
) -> Shortcut:
    classes = np.unique(truth)
    chance = 1 / len(classes)
    accuracy, areas = _cross_validated(values, truth, classes, folds)
    told = {str(label): area for label, area in zip(classes, areas, strict=True) if area >= ONE_CLASS}
    as_good = 0
    if accuracy > chance:
        for labels in permuted:
            again, others = _cross_validated(values, labels, classes, folds)
            as_good += again >= accuracy or (bool(told) and max(others) >= max(told.values()))
            if as_good > 1:
                break  # no shortcut: chance does it too
    p_value = (as_good + 1) / (len(permuted) + 1) if accuracy > chance else 1.0
    ordered = dict(sorted(told.items(), key=lambda one: -one[1]))
    return Shortcut(name, accuracy, chance, p_value, ordered, len(truth))


def _cross_validated(
    values: NDArray[np.float64], truth: NDArray, classes: NDArray, folds: list[tuple[NDArray, NDArray]]
) -> tuple[float, list[float]]:
    answers = np.zeros((len(truth), len(classes)))
    for train, test in folds:
        tree = DecisionTreeClassifier(max_depth=5, min_samples_leaf=3, class_weight="balanced", random_state=0)
        tree.fit(values[train], truth[train])
        answers[np.ix_(test, np.searchsorted(classes, tree.classes_))] = tree.predict_proba(values[test])
    named = classes[answers.argmax(axis=1)]
    with np.errstate(all="ignore"):
        present = [bool((truth == label).any() and (truth != label).any()) for label in classes]
    areas = [
        float(roc_auc_score(truth == label, answers[:, column])) if there else 0.5
        for column, (label, there) in enumerate(zip(classes, present, strict=True))
    ]
    return float(balanced_accuracy_score(truth, named)), areas
