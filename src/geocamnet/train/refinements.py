"""Other ways to refine a heatmap, for the tables: what texture has to beat to be worth its name."""

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.card import TextureCard
from geocamnet.images import scaled_size_hw
from geocamnet.runtime.heatmap import enhance, guided_filter
from geocamnet.runtime.texture import texture_maps
from geocamnet.train.plain_heatmaps import grey

Heatmap = NDArray[np.float32]
RgbImage = NDArray[np.uint8]
Refinement = Callable[[Heatmap, RgbImage, TextureCard], Heatmap]

BLUR_PX, BLUR_LEVELS, BLUR_SHARE = 5, 8, 0.5  # of the original research
SEEN_PX = 256  # long side on which superpixels are found at most: they cost more than all the rest
SUPERPIXEL_PX = 12


def texture(heatmap: Heatmap, image: RgbImage, card: TextureCard) -> Heatmap:
    """Return what ships: the guided filter whose guide is GLCM texture (see `runtime.heatmap.enhance`)."""
    return enhance(heatmap, image, texture=card)


def brightness_blur(heatmap: Heatmap, image: RgbImage, card: TextureCard) -> Heatmap:
    """Return half the heat, half the GLCM mean: the "enhancement" of the original research, which is a blur.

    ``q = (p + mu / (levels - 1)) / 2`` with mu the mean feature at 8 levels in a window of 5 px, a box blur of the
    quantised grey image. Unlike there, mu is divided by a constant and not by its largest value in the photograph,
    and nothing is cut at 0.5: thresholds are the judge's business.
    """
    maps = texture_maps(image, features=("mean",), window_px=BLUR_PX, levels=BLUR_LEVELS, low=card.low, high=card.high)
    blurred = maps["mean"] / np.float32(BLUR_LEVELS - 1)
    return np.clip((1 - BLUR_SHARE) * heatmap + BLUR_SHARE * blurred, 0, 1, dtype=np.float32)


def smoothed(heatmap: Heatmap, image: RgbImage, card: TextureCard) -> Heatmap:
    """Return the same filter without a guide, ``q = mean(mean(p))``: what smoothing alone does to the figures."""
    blank = np.zeros((*heatmap.shape, 1), np.float32)
    return guided_filter(heatmap, blank, window_px=card.window_px).clip(0, 1)


def grey_guided(heatmap: Heatmap, image: RgbImage, card: TextureCard) -> Heatmap:
    """Return the same filter with the grey photograph / 255 as its guide (He, Sun and Tang 2013)."""
    return guided_filter(heatmap, grey(image)[..., None], window_px=card.window_px).clip(0, 1)


def superpixels(heatmap: Heatmap, image: RgbImage, card: TextureCard) -> Heatmap:
    """Return the mean heat of every SLIC superpixel (Achanta et al. 2012, DOI 10.1109/TPAMI.2012.120).

    SLIC is k-means on colour and place: a pixel joins the centre k with the smallest
    ``D^2 = |lab - lab_k|^2 + (m / S)^2 |xy - xy_k|^2``, at spacing S = 12 px and compactness m = 10; then
    ``q = mean of p over the superpixel``. Found on a long side of 256 px at most.
    """
    height, width = image.shape[:2]
    if max(height, width) > SEEN_PX:
        seen_hw = scaled_size_hw((height, width), SEEN_PX)
        image = cv2.resize(image, seen_hw[::-1], interpolation=cv2.INTER_AREA)
    found = _superpixel_numbers(image.tobytes(), image.shape[:2])
    number = cv2.resize(found, (width, height), interpolation=cv2.INTER_NEAREST).ravel()
    pixels = np.maximum(np.bincount(number), 1)
    means = np.bincount(number, weights=heatmap.ravel()) / pixels
    return np.clip(means[number].reshape(height, width), 0, 1).astype(np.float32)


@lru_cache(maxsize=1)  # the classes of a photograph follow one another
def _superpixel_numbers(pixels: bytes, shape_hw: tuple[int, int]) -> NDArray[np.int32]:
    from skimage.segmentation import slic

    image = np.frombuffer(pixels, np.uint8).reshape(*shape_hw, 3)
    count = max(1, shape_hw[0] * shape_hw[1] // SUPERPIXEL_PX**2)
    return slic(image, n_segments=count, compactness=10, start_label=0).astype(np.int32)


REFINEMENTS: dict[str, Refinement] = {
    one.__name__: one for one in (texture, smoothed, grey_guided, superpixels, brightness_blur)
}
