"""How good a heatmap is, judged against masks, beside heatmaps that know no rock at all."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.card import ModelCard
from geocamnet.errors import DataError
from geocamnet.runtime.heatmap import place_maps
from geocamnet.train.plain_heatmaps import PLAIN_HEATMAPS

UNSCORED = 0
OTHER = 255  # scored, but none of the model's classes: heat on it is wrong
BINS = 1000
MAX_SHARE = 0.95

Floats = NDArray[np.float64]
Heatmap = NDArray[np.float32]
Inside = NDArray[np.bool_]


@dataclass(frozen=True)
class Sample:
    """A photograph with the truth of its pixels.

    Attributes:
        image: RGB uint8 (H, W, 3).
        mask: uint8 (H, W): position of the class + 1; 0 is not scored (scale bar, unlabelled); 255 is scored
            but none of the model's classes.
        labels: positions of the classes to look for in it.
        registered: further photographs of the same field, in other light, pixel on pixel.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    labels: tuple[int, ...]
    registered: tuple[NDArray[np.uint8], ...] = ()


# (C, h, w), or only the classes of ``sample.labels``, each (h, w)
Heatmaps = NDArray[np.float32] | Mapping[int, Heatmap]
HeatmapOf = Callable[[Sample], Heatmaps]
Predict = Callable[[NDArray[np.uint8]], tuple[NDArray[Any], NDArray[Any]]]


def pixel_average_precision(
    heatmap: Heatmap, inside: Inside, *, scored: Inside | None = None, bins: int = BINS
) -> float:
    """Return the average precision of the pixels, from score histograms (Choe et al. 2020, arXiv 2007.04178).

    ``AP = sum_k (R_k - R_{k-1}) P_k`` over falling thresholds ``k / bins``; pixels of one bin count as ties.

    Args:
        heatmap: float (H, W) in [0, 1].
        inside: bool (H, W), where the class is.
        scored: bool (H, W), the pixels to count; all without.
        bins: number of distinct thresholds.

    Returns:
        0 to 1; chance is the share of the scored pixels inside. NaN where none is inside.
    """
    return _average_precision(*_histograms(heatmap, inside, scored, bins))


def energy_pointing(heatmap: Heatmap, inside: Inside, *, scored: Inside | None = None) -> float:
    """Return the share of the heat that lies inside (energy-based pointing game, Wang et al. 2020, 1910.01279).

    ``E = sum_inside max(M, 0) / sum_scored max(M, 0)``. A heatmap without heat gets chance: the share of area.
    """
    heat = np.maximum(heatmap if scored is None else heatmap[scored], 0).astype(np.float64)
    within = inside if scored is None else inside[scored]
    total = heat.sum()
    return float(heat[within].sum() / total) if total > 0 else float(within.mean())


def pointing_game(heatmap: Heatmap, inside: Inside, *, scored: Inside | None = None) -> float:
    """Return 1 if the hottest pixel lies inside, else 0 (Zhang et al. 2016, arXiv 1608.00507), without tolerance.

    Where several pixels are hottest (a saturated or blank map) their share inside is returned: what pointing at
    one of them at random would hit on average.
    """
    heat = heatmap if scored is None else heatmap[scored]
    within = inside if scored is None else inside[scored]
    return float(within[heat == heat.max()].mean())


def iou_at(heatmap: Heatmap, inside: Inside, threshold: float, *, scored: Inside | None = None) -> float:
    """Return intersection over union of ``heatmap >= threshold`` with the truth; 1 where both are empty."""
    hot = heatmap >= threshold
    if scored is not None:
        hot, inside = hot & scored, inside & scored
    union = np.count_nonzero(hot | inside)
    return float(np.count_nonzero(hot & inside) / union) if union else 1.0


def choose_threshold(inside_counts: NDArray[np.int64], outside_counts: NDArray[np.int64]) -> float:
    """Return the threshold at which the mean IoU of the classes is highest; for validation samples only.

    Args:
        inside_counts: (K, bins) pooled score histograms of the pixels inside, a row per class.
        outside_counts: (K, bins) of the scored pixels outside.

    Returns:
        ``k / bins``. The lowest of equally good ones.
    """
    iou = np.stack([_iou_per_threshold(a, b) for a, b in zip(inside_counts, outside_counts, strict=True)])
    return float(iou.mean(0).argmax() / inside_counts.shape[1])


def localise(
    samples_val: Iterable[Sample],
    samples_test: Iterable[Sample],
    heatmap_of: HeatmapOf,
    class_names: Sequence[str],
    *,
    others: Mapping[str, HeatmapOf] | None = None,
) -> dict[str, Any]:
    """Return the table of a model's heatmaps beside those that know no rock, on the same pixels.

    A class is judged in a photograph where it is present and covers at most 95 % of the scored pixels: on more
    there is nothing to point away from. IoU and pixel AP pool the pixels of a class over all photographs, in
    histograms of 1,000 scores, so samples may stream and need no memory; energy and pointing are means over
    photographs. Every figure is then the mean over the classes. One threshold for each method, chosen on
    ``samples_val`` alone.

    Args:
        samples_val: where thresholds are chosen; none of the test's sections.
        samples_test: where everything is reported.
        heatmap_of: gives the model's heatmaps (C, h, w) in [0, 1] of a sample, or a mapping of its classes alone;
            enlarged to the mask where smaller.
        class_names: C names.
        others: further methods for the table, such as the network before training.

    Returns:
        ``{"table": {method: figures}, "area_share", "n_photographs", "n_cases", "n_validation_cases"}``; method
        ``"model"`` first, figures are ``miou, pixel_ap, energy, pointing, threshold, per_class`` of the test and
        ``validation``: ``miou, pixel_ap, energy`` of ``samples_val``, to choose among methods without a look at the
        test (its mean IoU flatters: the threshold was chosen on the same pixels). ``area_share`` is what a map
        without any knowledge gets for energy, pointing and pixel AP.

    Raises:
        DataError: no class to judge in either set, or heatmaps that are not (C, h, w) in [0, 1].
    """
    methods = ("model", *(others or {}), *PLAIN_HEATMAPS)
    maps = {"model": heatmap_of, **(others or {})}
    val = _collect(samples_val, maps, methods, len(class_names))
    test = _collect(samples_test, maps, methods, len(class_names))
    for name, tally in (("validation", val), ("test", test)):
        if not tally.cases.any():
            raise DataError(f"No class of the model can be judged in the {name} masks: {', '.join(class_names)}.")
    table = {}
    for position, method in enumerate(methods):
        met = np.flatnonzero(val.cases)
        threshold = choose_threshold(val.inside[position, met], val.outside[position, met])
        per_class = _per_class(test, position, threshold, class_names)
        chosen_on = _per_class(val, position, threshold, class_names)
        table[method] = {
            "miou": _mean(per_class, "iou"),
            "pixel_ap": _mean(per_class, "pixel_ap"),
            "energy": _mean(per_class, "energy"),
            "pointing": _mean(per_class, "pointing"),
            "threshold": threshold,
            "per_class": per_class,
            "validation": {
                "miou": _mean(chosen_on, "iou"),
                "pixel_ap": _mean(chosen_on, "pixel_ap"),
                "energy": _mean(chosen_on, "energy"),
            },
        }
    judged = test.cases > 0
    return {
        "table": table,
        "area_share": float((test.area[judged] / test.cases[judged]).mean()),
        "n_photographs": test.photographs,
        "n_cases": int(test.cases.sum()),
        "n_validation_cases": int(val.cases.sum()),
    }


def maps_of_samples(predict: Predict) -> Callable[[Sample], NDArray[np.float32]]:
    """Return what gives the class maps (C, h, w) of a sample, and predicts once where several ask for the same one."""
    latest: list[Any] = [None, None]

    def class_maps(sample: Sample) -> NDArray[np.float32]:
        if latest[0] is not sample:
            latest[:] = [sample, np.asarray(predict(sample.image)[1], np.float32)]
        maps: NDArray[np.float32] = latest[1]
        return maps

    return class_maps


def equivariance_error(predict: Predict, image: NDArray[np.uint8], card: ModelCard) -> float:
    """Return how much class maps change when the stage is turned or the slide flipped; 0 is perfect.

    ``mean_g mean |g^-1 M(g x) - M(x)| / std(M(x))`` over the seven turns and flips ``g`` of the square other than
    leaving it, the maps M brought to the photograph. A thin section has no "up". A constant map that stays constant
    gets 0.

    Args:
        predict: photograph to (probabilities (C,), class maps (C, h, w)).
        image: RGB uint8 (H, W, 3).
        card: of the model, which says where its cells lie.
    """
    still = _seen(predict, image, card)  # (C, H, W)
    changes = []
    for flip in (False, True):
        for turns in range(4):
            if not flip and not turns:
                continue
            turned = np.rot90(image[:, ::-1] if flip else image, turns)
            back = np.rot90(_seen(predict, np.ascontiguousarray(turned), card), -turns, axes=(1, 2))
            changes.append(np.abs((back[:, :, ::-1] if flip else back) - still).mean())
    change, spread = float(np.mean(changes)), float(still.std())
    return change / spread if spread > 0 else (0.0 if change == 0 else float("inf"))


def _seen(predict: Predict, image: NDArray[np.uint8], card: ModelCard) -> Floats:
    return place_maps(np.asarray(predict(image)[1], np.float32), image.shape, card).astype(np.float64)


class _Tally:
    """What is kept of the samples: histograms and sums for each method and class."""

    def __init__(self, methods: int, classes: int) -> None:
        self.inside = np.zeros((methods, classes, BINS), np.int64)
        self.outside = np.zeros((methods, classes, BINS), np.int64)
        self.energy = np.zeros((methods, classes))
        self.pointing = np.zeros((methods, classes))
        self.area = np.zeros(classes)
        self.cases = np.zeros(classes, np.int64)
        self.photographs = 0


def _collect(samples: Iterable[Sample], maps: Mapping[str, HeatmapOf], methods: Sequence[str], classes: int) -> _Tally:
    tally = _Tally(len(methods), classes)
    for sample in samples:
        if sample.mask.shape != sample.image.shape[:2]:
            raise DataError(
                f"A mask of shape {sample.mask.shape} does not fit its photograph of {sample.image.shape[:2]}."
            )
        scored = sample.mask != UNSCORED
        present = [c for c in sorted(set(sample.labels)) if _can_be_judged(sample.mask == c + 1, scored)]
        if not present:
            continue
        tally.photographs += 1
        for position, method in enumerate(methods):
            if method in maps:
                found = maps[method](sample)
                heatmaps = {c: _judged(found, c, classes, method, sample.mask.shape) for c in present}
            else:
                plain = PLAIN_HEATMAPS[method](sample.image)
                heatmaps = dict.fromkeys(present, plain)
            for c in present:
                inside = sample.mask == c + 1
                within, without = _histograms(heatmaps[c], inside, scored, BINS)
                tally.inside[position, c] += within
                tally.outside[position, c] += without
                tally.energy[position, c] += energy_pointing(heatmaps[c], inside, scored=scored)
                tally.pointing[position, c] += pointing_game(heatmaps[c], inside, scored=scored)
        for c in present:
            tally.cases[c] += 1
            tally.area[c] += np.count_nonzero(sample.mask == c + 1) / np.count_nonzero(scored)
    return tally


def _per_class(tally: _Tally, position: int, threshold: float, class_names: Sequence[str]) -> dict[str, dict[str, Any]]:
    figures = {}
    for c in map(int, np.flatnonzero(tally.cases)):
        inside, outside = tally.inside[position, c], tally.outside[position, c]
        figures[class_names[c]] = {
            "iou": float(_iou_per_threshold(inside, outside)[round(threshold * BINS)]),
            "pixel_ap": _average_precision(inside, outside),
            "energy": float(tally.energy[position, c] / tally.cases[c]),
            "pointing": float(tally.pointing[position, c] / tally.cases[c]),
            "n": int(tally.cases[c]),
        }
    return figures


def _can_be_judged(inside: Inside, scored: Inside) -> bool:
    within, total = np.count_nonzero(inside), np.count_nonzero(scored)
    return bool(0 < within <= MAX_SHARE * total)


def _judged(maps: Heatmaps, c: int, classes: int, method: str, shape_hw: tuple[int, ...]) -> Heatmap:
    """Return the heatmap of class ``c``, checked and as large as the mask."""
    if isinstance(maps, np.ndarray) and (maps.ndim != 3 or len(maps) != classes):
        raise DataError(f"Method '{method}' gave heatmaps of shape {maps.shape}; wanted ({classes}, h, w).")
    heatmap = np.asarray(maps[c], np.float32)
    if not np.isfinite(heatmap).all() or heatmap.min() < -1e-6 or heatmap.max() > 1 + 1e-6:
        raise DataError(
            f"Method '{method}' gave a heatmap outside [0, 1]: {np.nanmin(heatmap):.3g} to {np.nanmax(heatmap):.3g}."
        )
    if heatmap.shape == shape_hw:
        return heatmap
    return cv2.resize(heatmap, (shape_hw[1], shape_hw[0]), interpolation=cv2.INTER_LINEAR)


def _histograms(
    heatmap: Heatmap, inside: Inside, scored: Inside | None, bins: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    heat = heatmap if scored is None else heatmap[scored]
    within = inside if scored is None else inside[scored]
    # The small step keeps k / bins in bin k, where float32 rounding would put it one below.
    number = np.clip((heat * bins + 1e-4).astype(np.int64), 0, bins - 1)
    return np.bincount(number[within], minlength=bins), np.bincount(number[~within], minlength=bins)


def _average_precision(inside: NDArray[np.int64], outside: NDArray[np.int64]) -> float:
    hits, misses = np.cumsum(inside[::-1]), np.cumsum(outside[::-1])  # falling thresholds
    if not hits[-1]:
        return float("nan")
    precision = hits / np.maximum(hits + misses, 1)
    return float((np.diff(hits, prepend=0) * precision).sum() / hits[-1])


def _iou_per_threshold(inside: NDArray[np.int64], outside: NDArray[np.int64]) -> Floats:
    hits, misses = np.cumsum(inside[::-1])[::-1], np.cumsum(outside[::-1])[::-1]  # at or above each bin
    return hits / np.maximum(inside.sum() + misses, 1)


def _mean(per_class: Mapping[str, Mapping[str, float]], figure: str) -> float:
    return float(np.mean([one[figure] for one in per_class.values()]))
