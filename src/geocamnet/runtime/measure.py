"""Measures for a table: area per class, point count with its uncertainty, texture entropy."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from geocamnet.card import TextureCard
from geocamnet.errors import DataError
from geocamnet.runtime import heatmap as heat
from geocamnet.runtime.texture import ANGLES_DEG, neighbours, pair_offset, quantise

Z_95 = 1.959963984540054  # two-sided 95 % of a normal distribution


@dataclass(frozen=True)
class PointCount:
    """The result of counting points on a grid, as with a point-counting stage.

    Attributes:
        points: points that fell on the mask's pixels, the total of ``counts``.
        counts: points per label, every label of the mask named, in rising order.
        percent: 100 counts / points, per label.
        low_percent, high_percent: Wilson 95 % interval of ``percent``, per label.
    """

    points: int
    counts: Mapping[int, int]
    percent: Mapping[int, float]
    low_percent: Mapping[int, float]
    high_percent: Mapping[int, float]


def area_percent(heatmap: heat.Heatmap, *, threshold: float = 0.5, valid: NDArray[np.bool_] | None = None) -> float:
    """Return the percentage of the photograph whose heat reaches the threshold, 0 to 100.

    Args:
        heatmap: float (H, W) in [0, 1].
        threshold: above 0, to 1.
        valid: bool (H, W), where the photograph shows rock (no scale bar, no frame); None counts all of it.

    Raises:
        DataError: a heatmap or threshold outside its range, or ``valid`` of another size or all False.
    """
    mask = heat.threshold(heatmap, threshold)
    return 100 * float(mask[_valid(valid, mask.shape)].mean())


def area_per_class(
    heatmaps: NDArray[np.float32], *, threshold: float = 0.5, valid: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return the percentage of the photograph that belongs to each class, float64 (C,), total at most 100.

    A pixel belongs to its hottest class if that heat reaches the threshold, to the first of equals, and to
    none if no class does. See `strongest_class`.

    Args:
        heatmaps: float (C, H, W) in [0, 1].
        threshold: above 0, to 1.
        valid: bool (H, W), where the photograph shows rock; None counts all of it.

    Raises:
        DataError: heatmaps or threshold outside their range, or ``valid`` of another size or all False.
    """
    labels = strongest_class(heatmaps, threshold=threshold)
    counted = labels[_valid(valid, labels.shape)]
    return 100 * np.bincount(counted + 1, minlength=len(heatmaps) + 1)[1:] / counted.size


def strongest_class(heatmaps: NDArray[np.float32], *, threshold: float = 0.5) -> NDArray[np.int64]:
    """Return the position of each pixel's hottest class, int64 (H, W), or -1 where none reaches the threshold.

    Raises:
        DataError: heatmaps that are not float (C, H, W) in [0, 1], or a threshold outside its range.
    """
    if heatmaps.ndim != 3 or len(heatmaps) == 0:
        raise DataError(f"Heatmaps must have the shape (C, H, W); received {heatmaps.shape}.")
    if np.isnan(heatmaps).any():
        raise DataError("Heatmaps must lie in 0 to 1; received NaN.")
    hottest = heatmaps.argmax(axis=0)
    strong = heat.threshold(np.take_along_axis(heatmaps, hottest[None], axis=0)[0], threshold)
    return np.where(strong, hottest, -1)


def grid_step(total_px: int, points: int) -> float:
    """Return the spacing, in pixels, of a grid that lays ``points`` over ``total_px``; at least 1: none is met twice.

    Raises:
        DataError: points or pixels below 1.
    """
    if points < 1:
        raise DataError(f"points must be at least 1; received {points}.")
    if total_px < 1:
        raise DataError(f"There is no pixel to count points on; received {total_px}.")
    return max(1.0, sqrt(total_px / points))


def grid_points(
    shape_hw: tuple[int, int], step_px: float, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows and the columns of a grid laid over a field at a random offset; its points are where they cross.

    Every pixel is met with the same probability 1 / step^2, whatever the field's size and shape, so fields of one
    section that share a step share its points in proportion to their areas. In a field narrower than a step the points
    lie further apart along it.

    Args:
        shape_hw: of the field.
        step_px: between neighbouring points, at least 1 (see `grid_step`).
        rng: draws the offset.

    Returns:
        Two rising arrays; either may be empty where the field is smaller than a step.
    """
    height, width = shape_hw
    step_x = min(step_px, float(width))
    step_y = max(1.0, step_px**2 / step_x)
    if step_y > height:  # as wide as it is flat: the rows are fewer, the columns take the rest
        step_y = min(step_px, float(height))
        step_x = max(1.0, step_px**2 / step_y)
    offset_y, offset_x = rng.random(2)
    return _ticks(height, step_y, offset_y), _ticks(width, step_x, offset_x)


def point_count(labels: NDArray[np.integer], *, points: int = 300, seed: int = 0) -> PointCount:
    """Count labels under a regular grid of points laid at a random offset, as on a point-counting stage.

    Every pixel is equally likely to be met (see `grid_points`). The interval is Wilson's (`tally`).

    Args:
        labels: integer (H, W), one label per pixel.
        points: wanted number, at least 1; the grid comes as near as its offset and the number of pixels allow.
            `PointCount.points` is the number counted.
        seed: of the offset.

    Raises:
        DataError: not an integer (H, W) mask, or points below 1.
    """
    if labels.ndim != 2 or labels.size == 0 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"A mask must hold integers in the shape (H, W); received {labels.dtype} of shape {labels.shape}."
        )
    height, width = labels.shape
    rows, columns = grid_points((height, width), grid_step(labels.size, points), np.random.default_rng(seed))
    met = labels[np.ix_(rows, columns)]
    return tally({int(label): int((met == label).sum()) for label in np.unique(labels)})


def tally(counts: Mapping[int, int]) -> PointCount:
    """Return a point count with its intervals from the points met per label, at least one in all.

    The interval is Wilson's (1927, DOI 10.1080/01621459.1927.10502953): with p = k / n and z = 1.96,

        (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n).

    It takes points for independent, which holds where they lie further apart than a grain is wide; where several fall
    on one grain, the truth is less certain than it says.

    Raises:
        DataError: no point, or a count below 0.
    """
    total = sum(counts.values())
    intervals = {label: wilson_interval(count, total) for label, count in counts.items()}
    return PointCount(
        points=total,
        counts=dict(counts),
        percent={label: 100 * count / total for label, count in counts.items()},
        low_percent={label: 100 * low for label, (low, _) in intervals.items()},
        high_percent={label: 100 * high for label, (_, high) in intervals.items()},
    )


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of ``count`` in ``total``, each 0 to 1 (Wilson 1927; see `tally`).

    Raises:
        DataError: a total below 1, or a count outside 0 to total.
    """
    if not 0 <= count <= total or total < 1:
        raise DataError(f"An interval needs 0 <= count <= total and total >= 1; received {count} of {total}.")
    share, square = count / total, Z_95**2 / total
    centre = share + square / 2
    half = sqrt(square * (share * (1 - share) + square / 4))
    return max(0.0, (centre - half) / (1 + square)), min(1.0, (centre + half) / (1 + square))


def texture_entropy(image: NDArray[np.uint8], texture: TextureCard) -> float:
    """Return the entropy of the photograph's co-occurrence matrix in nats, 0 to 2 ln levels.

    One symmetric, normalised matrix P of the whole photograph per angle (0, 45, 90, 135 degrees, neighbours
    one pixel apart; Haralick et al. 1973, DOI 10.1109/TSMC.1973.4309314); the mean over angles of -sum P ln P.
    One number for how varied the texture is, to compare photographs of one magnification.

    Args:
        image: RGB uint8 (H, W, 3) or grey uint8 (H, W).
        texture: levels and range of the quantisation (the window is not used).

    Raises:
        DataError: an image that is not uint8, or levels or range that can't be used.
    """
    quantised = quantise(image, levels=texture.levels, low=texture.low, high=texture.high)
    entropies = []
    for angle in ANGLES_DEG:
        first, second = neighbours(quantised, pair_offset(angle, 1))
        codes = first.astype(np.intp) * texture.levels + second
        matrix = np.bincount(codes.ravel(), minlength=texture.levels**2).reshape(texture.levels, -1)
        both_ways = (matrix + matrix.T)[matrix + matrix.T > 0]
        share = both_ways / max(1, both_ways.sum())
        entropies.append(-float((share * np.log(share)).sum()))
    return abs(sum(entropies) / len(entropies))  # abs: -0.0 of an even photograph is 0


def _ticks(size: int, step: float, offset: float) -> NDArray[np.intp]:
    at = ((np.arange(int(size / step) + 1) + offset) * step).astype(np.intp)
    return at[at < size]


def _valid(valid: NDArray[np.bool_] | None, shape_hw: tuple[int, ...]) -> NDArray[np.bool_]:
    if valid is None:
        return np.ones(shape_hw, bool)
    if valid.shape != shape_hw or valid.dtype != np.bool_:
        raise DataError(
            f"valid must be bool of the heatmap's shape {shape_hw}; received {valid.dtype} of shape {valid.shape}."
        )
    if not valid.any():
        raise DataError("valid is False everywhere: there is no area to measure.")
    return valid
