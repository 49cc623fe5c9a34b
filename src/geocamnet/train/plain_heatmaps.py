"""Heatmaps that know no rock: grey level, edges, a blob in the centre, chance, entropy. Every model must beat them."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Heatmap = NDArray[np.float32]
RgbImage = NDArray[np.uint8]

# Photographs of 256 to 1024 px have some 8 to 32 map cells of this many pixels along a side.
CELL_PX = 32


def grey(image: RgbImage) -> Heatmap:
    """Return the grey level / 255: (H, W) in [0, 1]. A heatmap no better than this is worth nothing."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255


def inverse_grey(image: RgbImage) -> Heatmap:
    """Return 1 - grey level / 255: pores and organic matter are dark."""
    return 1 - grey(image)


def blurred_grey(image: RgbImage) -> Heatmap:
    """Return the grey level as coarse as a class map: a Gaussian blur of half a map cell."""
    return cv2.GaussianBlur(grey(image), (0, 0), CELL_PX / 2)


def blurred_inverse_grey(image: RgbImage) -> Heatmap:
    """Return the inverse grey level as coarse as a class map."""
    return 1 - blurred_grey(image)


def edges(image: RgbImage) -> Heatmap:
    """Return the blurred Sobel gradient magnitude of the grey level, (H, W) in [0, 1].

    Divided by a constant (a black-to-white step gives 1 before the blur), never by the image's own maximum.
    """
    level = grey(image)
    across = cv2.Sobel(level, cv2.CV_32F, 1, 0)
    down = cv2.Sobel(level, cv2.CV_32F, 0, 1)
    return cv2.GaussianBlur(np.minimum(cv2.magnitude(across, down) / 4, 1), (0, 0), CELL_PX / 4)


def centre(image: RgbImage) -> Heatmap:
    """Return a Gaussian in the middle whose deviation is a quarter of each side: photographers' bias."""
    height, width = image.shape[:2]
    down = np.exp(-0.5 * ((np.arange(height) + 0.5 - height / 2) / (height / 4)) ** 2)
    across = np.exp(-0.5 * ((np.arange(width) + 0.5 - width / 2) / (width / 4)) ** 2)
    return np.outer(down, across).astype(np.float32)


def random(image: RgbImage) -> Heatmap:
    """Return uniform chance at the scale of map cells, smoothly enlarged; the same image gets the same map."""
    height, width = image.shape[:2]
    seed = int(image[:: max(1, height // 16), :: max(1, width // 16)].astype(np.int64).sum())
    cells_hw = (max(2, round(height / CELL_PX)), max(2, round(width / CELL_PX)))
    cells = np.random.default_rng((seed, height, width)).random(cells_hw, dtype=np.float32)
    return cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR)


def glcm_entropy(image: RgbImage) -> Heatmap:
    """Return the entropy of grey-level co-occurrence / ln(levels^2), its largest possible value, at 16 levels."""
    from geocamnet.runtime.texture import texture_maps

    levels = 16
    entropy = texture_maps(image, features=("entropy",), window_px=15, levels=levels)["entropy"]
    return np.clip(entropy / np.log(levels**2), 0, 1).astype(np.float32)


PLAIN_HEATMAPS: dict[str, Callable[[RgbImage], Heatmap]] = {
    one.__name__: one
    for one in (grey, inverse_grey, blurred_grey, blurred_inverse_grey, edges, centre, random, glcm_entropy)
}
