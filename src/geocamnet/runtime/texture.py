"""Texture maps: grey-level co-occurrence (GLCM) features around every pixel, by box filters.

Haralick, Shanmugam and Dinstein 1973, "Textural features for image classification" (DOI
10.1109/TSMC.1973.4309314) count how often level i lies beside level j in a window. Building that matrix for
the window of every pixel is slow, and most features don't need it: contrast, dissimilarity, homogeneity,
mean, variance and correlation are local means of functions of one pixel pair, so a few box filters give
them at every pixel at a cost that depends neither on the window nor on the number of levels. Energy and
entropy need the matrix itself, one box filter per pair of levels that occurs.
"""

from collections.abc import Iterator, Sequence
from math import cos, isfinite, log, radians, sin
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.errors import DataError, unknown_name

FEATURES: tuple[str, ...] = (
    "contrast", "dissimilarity", "homogeneity", "mean", "variance", "correlation", "energy", "entropy",
)  # fmt: skip
ANGLES_DEG: tuple[int, ...] = (0, 45, 90, 135)

_STRIP_PIXELS = 1 << 16  # a strip's planes stay in a core's cache, and memory doesn't grow with the photograph

_Array = NDArray[Any]
_Floats = NDArray[np.floating[Any]]


def texture_maps(
    image: NDArray[np.uint8],
    *,
    features: Sequence[str] = FEATURES,
    window_px: int = 15,
    levels: int = 16,
    low: float = 0.0,
    high: float = 255.0,
    angles_deg: Sequence[int] = ANGLES_DEG,
    distance_px: int = 1,
) -> dict[str, NDArray[np.float32]]:
    """Measure GLCM features in the window around every pixel, averaged over the angles.

    P(i, j) is the symmetric, normalised co-occurrence matrix of the window (Haralick et al. 1973, DOI
    10.1109/TSMC.1973.4309314): n pairs whose two pixels both lie in the window, each counted both ways, so
    that P sums to 1. With mu = sum i P and s2 = sum (i - mu)^2 P:

    ================  ===============================================  =============================
    feature           formula                                          range
    ================  ===============================================  =============================
    contrast          sum (i - j)^2 P                                  0 to (levels - 1)^2
    dissimilarity     sum abs(i - j) P                                 0 to levels - 1
    homogeneity       sum P / (1 + (i - j)^2)                          above 0, to 1
    mean              mu                                               0 to levels - 1
    variance          s2                                               0 to (levels - 1)^2 / 4
    correlation       sum (i - mu)(j - mu) P / s2; 1 where s2 = 0      -1 to 1
    energy            sqrt(sum P^2)                                    above 0, to 1
    entropy           -sum P ln P                                      0 to 2 ln levels (nats)
    ================  ===============================================  =============================

    Each equals scikit-image's ``graycoprops(graycomatrix(window, symmetric=True, normed=True))``. At the
    image's edge the window is clipped, and only pairs inside both count, so a map equals the features of
    the clipped crop. A clipped crop too small to hold one pair has P = 0 (all features 0, correlation 1).

    Args:
        image: RGB uint8 (H, W, 3), made grey by OpenCV's luma weights, or grey uint8 (H, W).
        features: any of `FEATURES`. Energy and entropy cost far more than the other six together.
        window_px: odd side of the square window, at least 3; it may exceed the image.
        levels: grey levels after `quantise`, 2 to 256.
        low, high: grey values that quantisation spans, fixed for a data set and never taken from the image.
        angles_deg: directions of the pairs, of 0, 45, 90, 135; a stage can be turned, so all by default.
        distance_px: from a pixel to its neighbour d, 1 to window_px - 1; (row, column) offset
            (round(d sin angle), round(d cos angle)), rows counted downwards, as in scikit-image.

    Returns:
        One float32 (H, W) map per feature, in the order of ``features``.

    Raises:
        DataError: an image that is not uint8 (H, W, 3) or (H, W), an unknown feature or angle, or a
            window, distance, number of levels or range that can't be used.
    """
    _check(features, window_px, angles_deg, distance_px)
    quantised = quantise(image, levels=levels, low=low, high=high)
    maps = {name: np.empty(quantised.shape, np.float32) for name in features}
    for top, bottom, first, last in _strips(quantised.shape, window_px):
        kept = slice(top - first, bottom - first)
        for turn, angle in enumerate(angles_deg):
            window = _Window(quantised[first:last], kept, window_px, pair_offset(angle, distance_px))
            found = _linear_features(window, levels, features) | _matrix_features(window, levels, features)
            for name, values in found.items():
                if turn == 0:
                    maps[name][top:bottom] = values
                else:
                    maps[name][top:bottom] += values
        if len(angles_deg) > 1:
            for values in maps.values():
                values[top:bottom] *= np.float32(1 / len(angles_deg))
    return maps


def quantise(image: NDArray[np.uint8], *, levels: int, low: float, high: float) -> NDArray[np.uint8]:
    """Return the grey level of each pixel: floor(levels (g - low) / (high - low)), held to 0..levels - 1.

    The range is fixed by the caller, so the same mineral has the same level in every photograph. With
    ``levels`` 256 over 0 to 255 nothing is changed.

    Args:
        image: RGB uint8 (H, W, 3), made grey g by OpenCV's luma weights, or grey uint8 (H, W).
        levels: 2 to 256.
        low, high: grey values g between which the levels are laid; low below high.

    Returns:
        uint8 (H, W) of 0 to levels - 1.

    Raises:
        DataError: an image that is not uint8 (H, W, 3) or (H, W), wrong levels or range.
    """
    grey = to_grey(image)
    if not 2 <= levels <= 256:
        raise DataError(f"levels must be 2 to 256; received {levels}.")
    if not (low < high and isfinite(high - low)):
        raise DataError(f"low must be below high, both finite; received low {low}, high {high}.")
    values = np.arange(256, dtype=np.float64)
    table = np.clip(np.floor((values - low) * levels / (high - low)), 0, levels - 1).astype(np.uint8)
    return cv2.LUT(grey, table)


def to_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGB uint8 (H, W, 3) as grey uint8 (H, W) by OpenCV's luma weights; grey is returned as it is.

    Raises:
        DataError: not uint8, another shape, or no pixels.
    """
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise DataError(
            f"An image must be uint8 of shape (H, W, 3) or (H, W); received {image.dtype} of shape "
            f"{image.shape}. Scale it to 0 to 255 and convert it first."
        )
    if image.size == 0:
        raise DataError(f"The image has no pixels: shape {image.shape}.")
    image = np.ascontiguousarray(image)
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def pair_offset(angle_deg: int, distance_px: int) -> tuple[int, int]:
    """Return the (row, column) offset from a pixel to its neighbour, as scikit-image rounds it."""
    turn = radians(angle_deg)
    return round(sin(turn) * distance_px), round(cos(turn) * distance_px)


def neighbours(quantised: _Array, offset: tuple[int, int]) -> tuple[_Array, _Array]:
    """Return views of the first and the second pixel of every pair ``offset`` (row >= 0, column) apart.

    Both have the shape (H - row, W - abs(column)), empty where the image is smaller than the offset.
    """
    height, width = quantised.shape
    down, across = offset
    left, right = max(0, -across), max(0, across)
    first = quantised[: max(0, height - down), left : max(left, width - right)]
    second = quantised[down:, right : max(right, width - left)]
    return first, second


class _Window:
    """The pairs at one offset, and their sums over the window around every pixel of a strip's kept rows."""

    def __init__(self, strip: _Array, kept: slice, window_px: int, offset: tuple[int, int]) -> None:
        self.first, self.second = neighbours(strip, offset)
        self.has_pairs = self.first.size > 0
        self.shape_hw = (kept.stop - kept.start, strip.shape[1])
        down, across = offset[0], abs(offset[1])
        self.most = (window_px - down) * (window_px - across)  # pairs in a whole window
        # Each pair is kept at its midpoint (rounded down), so that a window's pairs fill a box around it.
        radius = window_px // 2
        self._kept = kept
        self._pad = (down // 2, down - down // 2, across // 2, across - across // 2)
        self._box_wh = (window_px - across, window_px - down)
        self._anchor_xy = (radius - across // 2, radius - down // 2)
        # The number of pairs in a window is that of their rows times that of their columns.
        self._rows = _reach(strip.shape[0], self.first.shape[0], radius, window_px - down)[kept, None]
        self._columns = _reach(strip.shape[1], self.first.shape[1], radius, window_px - across)

    def sum(self, values: _Array, depth: int) -> Any:
        """Sum a value per pair over every window; ``depth`` is the OpenCV type of the (h, W) result."""
        padded = cv2.copyMakeBorder(values, *self._pad, cv2.BORDER_CONSTANT, value=0)
        summed = cv2.boxFilter(
            padded, depth, self._box_wh, anchor=self._anchor_xy, normalize=False, borderType=cv2.BORDER_CONSTANT
        )
        return summed[self._kept]

    def counts(self, dtype: type[np.floating[Any]]) -> _Floats:
        """Return n, the number of pairs in every window, (h, W)."""
        return self._rows.astype(dtype) * self._columns.astype(dtype)

    def share(self, dtype: type[np.floating[Any]]) -> _Floats:
        """Return 1 / n, or 0 for a window without a pair, (h, W)."""
        rows, columns = (np.where(n > 0, 1 / np.maximum(n, 1), 0) for n in (self._rows, self._columns))
        return rows.astype(dtype) * columns.astype(dtype)


def _reach(size: int, pairs: int, radius: int, most: int) -> NDArray[np.int64]:
    """Return, for each of ``size`` positions along an axis, how many of its ``pairs`` lie in the window there."""
    start = np.arange(size) - radius
    return np.clip(start + most, 0, pairs) - np.clip(start, 0, pairs)


def _linear_features(window: _Window, levels: int, features: Sequence[str]) -> dict[str, _Array]:
    """Return those of the six features that are means over pairs of a function of the pair, (h, W) each."""
    wanted = set(features) - {"energy", "entropy"}
    if not wanted:
        return {}
    if not window.has_pairs:
        return {name: np.full(window.shape_hw, name == "correlation", np.float32) for name in wanted}
    found: dict[str, _Array] = {}
    first, second = window.first, window.second
    # Sums are of whole numbers, which float32 holds exactly up to 2^24, float64 up to 2^53.
    largest_sum = window.most * max(levels - 1, 2) * (levels - 1)
    depth = cv2.CV_32F if largest_sum < 1 << 24 else cv2.CV_64F
    narrow = np.uint8 if levels <= 16 else np.uint16  # for products of two levels: 15^2 < 2^8, 255^2 < 2^16
    share = window.share(np.float32)
    difference = cv2.absdiff(first, second)
    if wanted & {"contrast", "variance", "correlation"}:
        squares = window.sum(np.multiply(difference, difference, dtype=narrow), depth)
        if "contrast" in wanted:
            found["contrast"] = squares * share
    if "dissimilarity" in wanted:
        found["dissimilarity"] = window.sum(difference, depth) * share
    if "homogeneity" in wanted:
        table = (1 / (1 + np.arange(256.0) ** 2)).astype(np.float32)
        found["homogeneity"] = window.sum(cv2.LUT(difference, table), cv2.CV_32F) * share
    if wanted & {"mean", "variance", "correlation"}:
        sums = window.sum(np.add(first, second, dtype=narrow), depth)
        if "mean" in wanted:
            found["mean"] = sums * (share * np.float32(0.5))
    if wanted & {"variance", "correlation"}:
        # P is symmetric, so with sums S over pairs (a, b): mu = S(a + b) / 2n, covariance = S(ab) / n - mu^2,
        # variance = covariance + contrast / 2. Both are kept times 4 n^2: whole numbers, no cancellation.
        exact = np.float32 if 4 * window.most * largest_sum < 1 << 24 else np.float64
        counts = window.counts(exact)
        sums = sums.astype(exact, copy=False)
        products = window.sum(np.multiply(first, second, dtype=narrow), depth)
        covariance: _Floats = counts * products * exact(4) - sums * sums
        variance: _Floats = counts * squares * exact(2) + covariance
        if "variance" in wanted:
            halved = share * exact(0.5)
            found["variance"] = variance * (halved * halved)
        if "correlation" in wanted:
            # 0 / 0 in a flat window is made 1 / 1; a window that isn't flat has a variance of at least 2n - 1 here.
            flat: _Floats = (variance < exact(0.75)).astype(exact)
            covariance += flat
            variance += flat
            found["correlation"] = np.divide(covariance, variance, out=covariance)
    return found


def _matrix_features(window: _Window, levels: int, features: Sequence[str]) -> dict[str, _Array]:
    """Return energy and entropy, (h, W) each, from the counts c of every unordered pair of levels that occurs.

    P is c / n on the diagonal and c / 2n twice off it, hence sum P^2 = (sum_diagonal c^2 + sum_off c^2 / 2) / n^2
    and -sum P ln P = ln n - sum(c ln c) / n + ln 2 (share of pairs off the diagonal).
    """
    wanted = {"energy", "entropy"} & set(features)
    if not wanted or not window.has_pairs:
        return {name: np.zeros(window.shape_hw, np.float32) for name in wanted}
    narrow = np.uint8 if levels <= 16 else np.uint16  # for the codes of pairs of levels: 16^2 <= 2^8, 256^2 <= 2^16
    codes = np.multiply(np.minimum(window.first, window.second), levels, dtype=narrow)
    codes += np.maximum(window.first, window.second)
    small = window.most <= 255
    log_table = _times_log(window.most)
    squares = {on_diagonal: np.zeros(window.shape_hw, np.float32) for on_diagonal in (True, False)}
    logs = np.zeros(window.shape_hw, np.float32)
    for code in np.flatnonzero(np.bincount(codes.ravel())):
        here = window.sum((codes == code).view(np.uint8), cv2.CV_8U if small else cv2.CV_32S)
        if "energy" in wanted:
            on_diagonal = bool(code // levels == code % levels)
            if small:
                cv2.accumulateSquare(here, squares[on_diagonal])
            else:
                squares[on_diagonal] += np.square(here, dtype=np.float32)
        if "entropy" in wanted:
            logs += cv2.LUT(here, log_table) if small else log_table[here]
    share = window.share(np.float32)
    found: dict[str, _Array] = {}
    if "energy" in wanted:
        found["energy"] = np.sqrt(squares[True] + squares[False] * np.float32(0.5)) * share
    if "entropy" in wanted:
        off = window.sum((window.first != window.second).view(np.uint8), cv2.CV_32F)
        entropy = np.log(np.maximum(window.counts(np.float32), 1)) + (off * np.float32(log(2)) - logs) * share
        found["entropy"] = np.maximum(entropy, 0)
    return found


def _times_log(most: int) -> NDArray[np.float32]:
    """Return c ln c for c = 0 to ``most``, at least 256 entries."""
    counts = np.arange(max(most, 255) + 1, dtype=np.float64)
    return (counts * np.log(np.maximum(counts, 1))).astype(np.float32)


def _strips(shape_hw: tuple[int, ...], window_px: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (top, bottom) of each strip of rows, and the (first, last) row its windows reach."""
    height, width = shape_hw
    rows = max(4 * window_px, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        yield top, bottom, max(0, top - window_px // 2), min(height, bottom + window_px // 2)


def _check(features: Sequence[str], window_px: int, angles_deg: Sequence[int], distance_px: int) -> None:
    for name in features:
        if name not in FEATURES:
            raise DataError(unknown_name("texture feature", name, FEATURES))
    if window_px < 3 or window_px % 2 == 0:
        raise DataError(f"window_px must be odd and at least 3; received {window_px}.")
    if not angles_deg:
        raise DataError(f"angles_deg is empty. Give one or more of {', '.join(map(str, ANGLES_DEG))}.")
    for angle in angles_deg:
        if angle not in ANGLES_DEG:
            raise DataError(unknown_name("angle", str(angle), map(str, ANGLES_DEG)))
    if not 1 <= distance_px < window_px:
        raise DataError(f"distance_px must be 1 to {window_px - 1} in a window of {window_px}; received {distance_px}.")
