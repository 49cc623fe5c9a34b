"""Texture maps: grey-level co-occurrence (GLCM) features around every pixel, by box filters and counts.

Haralick, Shanmugam and Dinstein 1973, "Textural features for image classification" (DOI
10.1109/TSMC.1973.4309314) count how often level i lies beside level j in a window. Building that matrix for
the window of every pixel is slow, and most features don't need it: contrast, dissimilarity, homogeneity,
mean, variance and correlation are local means of functions of one pixel pair, so a few sums over windows give
them at every pixel, at a cost that does not depend on the number of levels. Energy and entropy need the
counts themselves, of every pair of levels that occurs.
"""

import threading
from collections.abc import Sequence
from math import cos, floor, isfinite, radians, sin
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.errors import DataError, unknown_name
from geocamnet.runtime.cooccurrence import measure_strip
from geocamnet.runtime.window_sums import Workspace, strips

FEATURES: tuple[str, ...] = (
    "contrast", "dissimilarity", "homogeneity", "mean", "variance", "correlation", "energy", "entropy",
)  # fmt: skip
ANGLES_DEG: tuple[int, ...] = (0, 45, 90, 135)

_Array = NDArray[Any]

_kept = threading.local()  # a thread's workspace from one photograph, or frame, to the next
_MOST_KEPT = 32 << 20  # bytes; what windows of hundreds of pixels need beyond that is not kept


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
        features: any of `FEATURES`. What several need is worked out once; energy and entropy cost far more than
            the other six together.
        window_px: odd side of the square window, at least 3; it may exceed the image. See `window_px_of` for
            a window in micrometres.
        levels: grey levels after `quantise`, 2 to 256.
        low, high: grey values that quantisation spans, fixed for a data set and never taken from the image.
        angles_deg: directions of the pairs, of 0, 45, 90, 135, each counted once; a stage can be turned, so all
            by default.
        distance_px: from a pixel to its neighbour d, 1 to window_px - 1; (row, column) offset
            (round(d sin angle), round(d cos angle)), rows counted downwards, as in scikit-image.

    Returns:
        One float32 (H, W) map per feature, in the order of ``features``. They are parts of one array: copy a map
        that is kept for long while the others are not.

    Raises:
        DataError: an image that is not uint8 (H, W, 3) or (H, W), an unknown feature or angle, or a
            window, distance, number of levels or range that can't be used.
    """
    _check(features, window_px, angles_deg, distance_px)
    quantised = quantise(image, levels=levels, low=low, high=high)
    offsets = [pair_offset(angle, distance_px) for angle in dict.fromkeys(angles_deg)]
    names = tuple(dict.fromkeys(features))
    # One block: allocated anew for every frame it costs a fraction of what as many arrays do.
    maps = dict(zip(names, np.empty((len(names), *quantised.shape), np.float32), strict=True))
    work = _kept.__dict__.setdefault("work", Workspace())
    for strip in strips(quantised, window_px):
        rows = slice(strip.top, strip.top + strip.rows)
        measure_strip(work, strip, levels, offsets, {name: values[rows] for name, values in maps.items()})
    if work.nbytes() > _MOST_KEPT:
        del _kept.work
    return maps


def window_px_of(window_um: float, um_per_px: float) -> int:
    """Return the odd number of pixels, at least 3, nearest to a window given in micrometres.

    A window in micrometres spans the same piece of rock at every magnification. Halfway between two odd
    numbers the larger is taken.

    Args:
        window_um: side of the window.
        um_per_px: scale of the photograph in micrometres a pixel.

    Raises:
        DataError: a side or scale that is not finite and above 0, or a window of less than 2 pixels, in which there
            is no texture to see.
    """
    for name, value in (("window_um", window_um), ("um_per_px", um_per_px)):
        if not (isfinite(value) and value > 0):
            raise DataError(f"{name} must be finite and above 0; received {value}.")
    window_px = window_um / um_per_px
    if window_px < 2:
        raise DataError(
            f"A window of {window_um:g} um is {window_px:.3g} px wide at {um_per_px:g} um per px: no texture. "
            f"Ask for {3 * um_per_px:g} um (3 px) or more, or take a photograph of higher magnification."
        )
    return 2 * floor(window_px / 2) + 1


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
