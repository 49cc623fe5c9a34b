"""How good the names are: accuracy in its honest forms, calibration, abstention, intervals by section."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score

from geocamnet.errors import DataError
from geocamnet.taxonomy import group_of

CALIBRATION_BINS = 15
TEMPERATURE_RANGE = (0.1, 20.0)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def classification_metrics(
    probabilities: ArrayLike, targets: ArrayLike, class_names: Sequence[str], *, thresholds: ArrayLike | None = None
) -> dict[str, Any]:
    """Return every figure of a classification, ready for JSON.

    One label a photograph (``targets`` of shape (N,)): ``accuracy``; ``balanced_accuracy``, the mean recall of
    the classes present; ``macro_f1``, the mean F1 of the classes present; ``top5_accuracy`` where C > 5;
    ``nll = -mean ln p_y``; ``brier = mean sum_c (p_c - [c = y])^2`` (Brier 1950); ``calibration_error`` (see
    `calibration_bins`); ``per_class``; ``confusion``, rows are the truth.

    Several labels (``targets`` of shape (N, C)): ``mAP``, the mean average precision of the classes present;
    ``macro_f1`` and ``micro_f1`` at ``thresholds``; ``brier = mean (p_c - t_c)^2``; ``per_class`` with ``ap``.

    Args:
        probabilities: (N, C), 0 to 1; rows add up to 1 where each photograph has one label.
        targets: (N,) class positions, or (N, C) of 0 and 1.
        class_names: C names in the order of the columns.
        thresholds: (C,) for several labels, chosen on validation photographs; 0.5 each without.

    Returns:
        Figures in [0, 1] except ``nll``; ``n`` photographs; precision of a class never predicted is None.

    Raises:
        DataError: no photograph, or shapes and values that don't fit each other.
    """
    probs, truth = _checked(probabilities, targets)
    if len(class_names) != probs.shape[1]:
        raise DataError(f"{len(class_names)} class names for {probs.shape[1]} columns of probabilities.")
    if truth.ndim == 2:
        return _multi_label_metrics(probs, truth, class_names, thresholds)
    count, classes = probs.shape
    predicted = probs.argmax(axis=1)
    confusion = confusion_matrix(predicted, truth, classes)
    support, guessed, right = confusion.sum(1), confusion.sum(0), np.diag(confusion)
    present = support > 0
    f1 = 2 * right / np.maximum(support + guessed, 1)
    own = probs[np.arange(count), truth]
    one_hot = np.eye(classes)[truth]
    bins = calibration_bins(probs, truth)
    figures: dict[str, Any] = {
        "n": count,
        "accuracy": float(right.sum() / count),
        "balanced_accuracy": float((right[present] / support[present]).mean()),
        "macro_f1": float(f1[present].mean()),
        "nll": float(-np.log(np.clip(own, 1e-12, 1)).mean()),
        "brier": float(((probs - one_hot) ** 2).sum(1).mean()),
        "calibration_error": calibration_error(bins),
        "calibration": bins,
        "per_class": {
            name: {
                "precision": float(right[c] / guessed[c]) if guessed[c] else None,
                "recall": float(right[c] / support[c]) if support[c] else None,
                "f1": float(f1[c]) if support[c] else None,
                "support": int(support[c]),
            }
            for c, name in enumerate(class_names)
        },
        "confusion": confusion.tolist(),
    }
    if classes > 5:
        top_five = np.argsort(-probs, axis=1, kind="stable")[:, :5]
        figures["top5_accuracy"] = float((top_five == truth[:, None]).any(1).mean())
    return figures


def group_metrics(probabilities: ArrayLike, targets: ArrayLike, class_names: Sequence[str]) -> dict[str, Any]:
    """Return how good the names are if only the group counts: limestone, dolostone, microbial (`taxonomy.group_of`).

    The probability of a group is the sum of its classes'.

    Args:
        probabilities: (N, C), 0 to 1; rows add up to 1.
        targets: (N,) class positions.
        class_names: C names in the order of the columns.

    Returns:
        ``n``, ``accuracy``, ``balanced_accuracy`` and ``per_group`` with ``precision``, ``recall``, ``f1``, ``support``
        and ``classes`` of each; empty where the classes are of one group, or each of another.

    Raises:
        DataError: as `classification_metrics`.
    """
    group_of_class = [group_of(name) for name in class_names]
    groups = sorted(set(group_of_class))
    if not 1 < len(groups) < len(class_names):
        return {}
    position = np.array([groups.index(one) for one in group_of_class])
    summed = np.asarray(probabilities, np.float64) @ np.eye(len(groups))[position]  # (N, C) -> (N, G)
    figures = classification_metrics(summed, position[np.asarray(targets, np.int64)], groups)
    counts = Counter(group_of_class)
    per_group = {group: {**one, "classes": counts[group]} for group, one in figures["per_class"].items()}
    return {name: figures[name] for name in ("n", "accuracy", "balanced_accuracy")} | {"per_group": per_group}


def confusion_matrix(predicted: ArrayLike, targets: ArrayLike, n_classes: int) -> Ints:
    """Return counts (C, C): rows are the truth, columns what was said."""
    pairs = np.asarray(targets, np.int64) * n_classes + np.asarray(predicted, np.int64)
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


def calibration_bins(
    probabilities: ArrayLike, targets: ArrayLike, *, bins: int = CALIBRATION_BINS
) -> list[dict[str, float]]:
    """Return the reliability diagram: for each bin that holds a photograph its count, confidence, accuracy.

    Bin ``m`` of ``M`` holds the top probabilities in ((m-1)/M, m/M] (Guo et al. 2017, arXiv 1706.04599).
    """
    probs, truth = _checked(probabilities, targets)
    top = probs.max(1)
    right = _top_is_right(probs, truth)
    number = np.clip(np.ceil(top * bins).astype(int) - 1, 0, bins - 1)
    found = []
    for m in np.unique(number):
        inside = number == m
        found.append(
            {
                "low": float(m / bins),
                "high": float((m + 1) / bins),
                "n": int(inside.sum()),
                "confidence": float(top[inside].mean()),
                "accuracy": float(right[inside].mean()),
            }
        )
    return found


def calibration_error(bins: Sequence[dict[str, float]]) -> float:
    """Return the expected calibration error ``sum_m n_m / N |accuracy_m - confidence_m|`` (Guo et al. 2017)."""
    total = sum(one["n"] for one in bins)
    return float(sum(one["n"] * abs(one["accuracy"] - one["confidence"]) for one in bins) / total)


def fit_temperature(logits: ArrayLike, targets: ArrayLike) -> float:
    """Return the temperature T by which logits are to be divided, fitted on validation photographs.

    Minimises ``NLL(T) = -mean_i sum_c t_ic ln p_c(z_i / T)`` (Guo et al. 2017, arXiv 1706.04599) by
    golden-section search over ln T; NLL is convex in 1/T, so the search finds the one minimum. The targets t
    are smoothed by ``2 / (N + 2)`` towards uniform, as Platt (1999) does: a validation set without a mistake
    would otherwise drive T to zero.

    Args:
        logits: (N, C).
        targets: (N,) class positions (softmax), or (N, C) of 0 and 1 (sigmoid).

    Returns:
        T within 0.1 to 20; above 1 the network was too sure.

    Raises:
        DataError: no photograph, or shapes that don't fit each other.
    """
    z, truth = _checked(logits, targets)
    count, classes = z.shape
    smoothing = 2 / (count + 2)
    multi = truth.ndim == 2
    wanted = truth.astype(np.float64) if multi else np.eye(classes)[truth]
    wanted = (1 - smoothing) * wanted + smoothing * (0.5 if multi else 1 / classes)

    def nll(log_t: float) -> float:
        scaled = z / np.exp(log_t)
        if multi:
            return float((np.logaddexp(0, scaled) - wanted * scaled).mean())
        return float((np.logaddexp.reduce(scaled, axis=1) - (wanted * scaled).sum(1)).mean())

    golden = (np.sqrt(5) - 1) / 2
    low, high = np.log(TEMPERATURE_RANGE)
    a, b = high - golden * (high - low), low + golden * (high - low)
    nll_a, nll_b = nll(a), nll(b)
    while high - low > 1e-6:
        if nll_a <= nll_b:
            high, b, nll_b = b, a, nll_a
            a = high - golden * (high - low)
            nll_a = nll(a)
        else:
            low, a, nll_a = a, b, nll_b
            b = low + golden * (high - low)
            nll_b = nll(b)
    return float(np.exp((low + high) / 2))


def choose_abstention(
    probabilities: ArrayLike, targets: ArrayLike, *, min_accuracy: float = 0.9, min_coverage: float = 0.2
) -> float:
    """Return the top probability below which a model had better say "not sure".

    The lowest threshold whose kept photographs (top probability at or above it) are right at least
    ``min_accuracy`` of the time, so that as many as possible are answered. Where no threshold that keeps
    ``min_coverage`` of the photographs reaches it, the most accurate of those thresholds is taken. Chosen on
    validation photographs, never on test. The threshold lies halfway to the next probability below, so that
    rounding (int8, another runtime) does not flip the photograph it was chosen at.

    Args:
        probabilities: (N, C).
        targets: (N,), or (N, C): then the top class is right when it is among the labels.
        min_accuracy: wanted accuracy of the kept photographs, 0 to 1.
        min_coverage: share of photographs that must be kept, 0 to 1; keeps a lucky handful from deciding.

    Returns:
        0.0 where answering everything is already good enough.
    """
    top, accuracy, coverage = _kept_when_sorted(probabilities, targets)
    allowed = coverage >= min(min_coverage, coverage[-1])
    good = np.flatnonzero(allowed & (accuracy >= min_accuracy))
    if good.size:
        chosen = good[-1]
    else:
        best = accuracy[allowed].max()
        chosen = np.flatnonzero(allowed & (accuracy >= best))[-1]
    if chosen == len(top) - 1:
        return 0.0
    return float((top[chosen] + top[chosen + 1]) / 2)


def coverage_accuracy(probabilities: ArrayLike, targets: ArrayLike, *, points: int = 20) -> list[dict[str, float]]:
    """Return how accuracy grows as the least sure photographs are left out.

    Returns:
        At most ``points`` of ``{"threshold", "coverage", "accuracy"}``, from few photographs kept to all.
    """
    top, accuracy, coverage = _kept_when_sorted(probabilities, targets)
    wanted = np.arange(1, points + 1) / points
    chosen = np.unique(np.minimum(np.searchsorted(coverage, wanted - 1e-9), len(top) - 1))
    return [
        {"threshold": float(top[i]), "coverage": float(coverage[i]), "accuracy": float(accuracy[i])} for i in chosen
    ]


def macro_f1_thresholds(probabilities: ArrayLike, targets: ArrayLike) -> Floats:
    """Return (C,) thresholds that make each class's F1, and so macro F1, highest on validation photographs.

    A class without a positive photograph gets 0.5. Each threshold lies halfway to the next value below.
    """
    probs, truth = _checked(probabilities, targets)
    if truth.ndim != 2:
        raise DataError("Thresholds per class need targets of shape (N, C); one label a photograph needs none.")
    thresholds = np.full(probs.shape[1], 0.5)
    for c in range(probs.shape[1]):
        positives = truth[:, c].sum()
        if not positives:
            continue
        order = np.argsort(-probs[:, c], kind="stable")
        scores, hits = probs[order, c], np.cumsum(truth[order, c])
        ends = np.flatnonzero(np.append(scores[1:] < scores[:-1], True))  # last of each run of equal scores
        f1 = 2 * hits[ends] / (ends + 1 + positives)
        end = ends[int(np.argmax(f1))]
        below = scores[end + 1] if end + 1 < len(scores) else 0.0
        thresholds[c] = (scores[end] + below) / 2
    return thresholds


def bootstrap_interval(
    predicted: ArrayLike,
    targets: ArrayLike,
    *,
    n_classes: int,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    n: int = 1000,
) -> dict[str, list[float]]:
    """Return 95 % intervals of accuracy and balanced accuracy by the percentile bootstrap (Efron 1979).

    Whole groups are drawn with replacement: photographs of one thin section resemble each other, and drawing
    them one by one would make the interval too narrow.

    Args:
        predicted: (N,) class positions.
        targets: (N,) class positions.
        n_classes: C.
        groups: (N,) thin section of each photograph; each photograph by itself without.
        seed: fixes the draws.
        n: number of draws.

    Returns:
        ``{"accuracy": [low, high], "balanced_accuracy": [low, high]}``.

    Raises:
        DataError: no photograph, or lengths that differ.
    """
    said, truth = np.asarray(predicted, np.int64), np.asarray(targets, np.int64)
    names = np.arange(len(truth)) if groups is None else np.asarray(groups)
    if not len(truth):
        raise DataError("No photograph to draw an interval from.")
    if not len(said) == len(truth) == len(names):
        raise DataError(f"{len(said)} predictions, {len(truth)} targets and {len(names)} groups don't match.")
    _, group = np.unique(names, return_inverse=True)
    sections = int(group.max()) + 1
    cell = group * n_classes + truth
    support = np.bincount(cell, minlength=sections * n_classes).reshape(sections, n_classes)
    right = np.bincount(cell[said == truth], minlength=sections * n_classes).reshape(sections, n_classes)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(sections, np.full(sections, 1 / sections), size=n)  # (n, sections)
    drawn_support, drawn_right = draws @ support, draws @ right  # (n, C)
    accuracy = drawn_right.sum(1) / drawn_support.sum(1)
    recall = np.where(drawn_support > 0, drawn_right / np.maximum(drawn_support, 1), np.nan)
    balanced = np.nanmean(recall, axis=1)
    return {
        "accuracy": [float(value) for value in np.quantile(accuracy, (0.025, 0.975))],
        "balanced_accuracy": [float(value) for value in np.quantile(balanced, (0.025, 0.975))],
    }


def _multi_label_metrics(
    probs: Floats, truth: Ints, class_names: Sequence[str], thresholds: ArrayLike | None
) -> dict[str, Any]:
    limits = np.full(len(class_names), 0.5) if thresholds is None else np.asarray(thresholds, np.float64)
    if limits.shape != (len(class_names),):
        raise DataError(f"{len(class_names)} classes need as many thresholds; received shape {limits.shape}.")
    said = probs >= limits
    right, guessed, support = (said & (truth > 0)).sum(0), said.sum(0), truth.sum(0)
    f1 = 2 * right / np.maximum(guessed + support, 1)
    ap = [float(average_precision_score(truth[:, c], probs[:, c])) if support[c] else None for c in range(len(f1))]
    known = [value for value in ap if value is not None]
    return {
        "n": len(truth),
        "mAP": float(np.mean(known)) if known else None,
        "macro_f1": float(f1[support > 0].mean()) if known else None,
        "micro_f1": float(2 * right.sum() / max(guessed.sum() + support.sum(), 1)),
        "brier": float(((probs - truth) ** 2).mean()),
        "thresholds": limits.tolist(),
        "per_class": {
            name: {
                "ap": ap[c],
                "precision": float(right[c] / guessed[c]) if guessed[c] else None,
                "recall": float(right[c] / support[c]) if support[c] else None,
                "f1": float(f1[c]) if support[c] else None,
                "support": int(support[c]),
            }
            for c, name in enumerate(class_names)
        },
    }


def _checked(values: ArrayLike, targets: ArrayLike) -> tuple[Floats, Ints]:
    scores, truth = np.asarray(values, np.float64), np.asarray(targets)
    if not len(truth) or not scores.size:
        raise DataError("No photograph to judge: the split holds none with a label that the model knows.")
    truth = truth.astype(np.int64)
    if scores.ndim != 2 or len(scores) != len(truth) or (truth.ndim == 2 and truth.shape != scores.shape):
        raise DataError(f"Values of shape {scores.shape} don't fit targets of shape {truth.shape}.")
    top = scores.shape[1] if truth.ndim == 1 else 2
    if truth.min() < 0 or truth.max() >= top:
        raise DataError(f"Targets must lie in 0 to {top - 1}; received {truth.min()} to {truth.max()}.")
    if not np.isfinite(scores).all():
        raise DataError(f"{int((~np.isfinite(scores)).any(1).sum())} photographs have values that are not finite.")
    return scores, truth


def _top_is_right(probs: Floats, truth: Ints) -> NDArray[np.bool_]:
    top = probs.argmax(1)
    return truth[np.arange(len(truth)), top] > 0 if truth.ndim == 2 else top == truth


def _kept_when_sorted(probabilities: ArrayLike, targets: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return distinct top probabilities, falling, with accuracy and coverage of all at or above each."""
    probs, truth = _checked(probabilities, targets)
    top = probs.max(1)
    order = np.argsort(-top, kind="stable")
    top, right = top[order], _top_is_right(probs, truth)[order]
    ends = np.flatnonzero(np.append(top[1:] < top[:-1], True))
    kept = ends + 1
    return top[ends], np.cumsum(right)[ends] / kept, kept / len(top)
