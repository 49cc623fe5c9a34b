"""Whether a photograph looks like the training photographs at all: a few statistics of texture and colour.

A network answers whatever it is shown, and is as sure of a cat as of a limestone. So the photograph itself is
measured, and how far it lies from the training photographs: the Mahalanobis distance, as Lee et al. 2018 (arXiv
1807.03888) take it of a network's features, here of features that need no network.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.card import FamiliarCard, TextureCard
from geocamnet.images import RgbImage, scaled_size_hw
from geocamnet.runtime.texture import texture_maps

FEATURES = ("contrast", "homogeneity", "mean", "variance", "correlation")
MOST_LONG_SIDE_PX = 192  # enough for texture, and quick

_TEXTURE = TextureCard()  # grey 0 to 255: a range taken from the data would hide how bright a photograph is
_SPREADING = ("contrast", "variance")  # of several powers of ten: their logarithm is taken


def statistics(image: RgbImage, long_side_px: int) -> NDArray[np.float64]:
    """Measure a photograph: what its texture is like, how much it varies over the photograph, its colour.

    The photograph is brought to ``long_side_px`` (mean over areas where it shrinks, bilinear where it grows). Of
    each GLCM feature map in `FEATURES` (`runtime.texture`: 16 levels over 0 to 255, windows of 15 px, 4 angles,
    distance 1) the mean and the standard deviation over all pixels are taken; of contrast and variance those of
    ln(1 + v), of the mean those of mean / 15. Three numbers of colour follow: the means of R - G, B - G and
    max(R, G, B) - min(R, G, B), each divided by 255.

    Args:
        image: RGB uint8 (H, W, 3).
        long_side_px: at which it is measured.

    Returns:
        float64 (13,).
    """
    height, width = scaled_size_hw(image.shape[:2], long_side_px)
    shrinks = max(image.shape[:2]) > long_side_px
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=how), np.uint8)
    maps = texture_maps(
        small,
        features=FEATURES,
        window_px=_TEXTURE.window_px,
        levels=_TEXTURE.levels,
        low=_TEXTURE.low,
        high=_TEXTURE.high,
    )
    found: list[float] = []
    for name, values in maps.items():
        values = np.log1p(values) if name in _SPREADING else values
        scale = _TEXTURE.levels - 1 if name == "mean" else 1
        found += [float(values.mean(dtype=np.float64)) / scale, float(values.std(dtype=np.float64)) / scale]
    channels = cv2.split(small)  # planes: numpy takes twenty times as long over an axis of three
    red, green, blue = (float(one.mean(dtype=np.float64)) for one in channels)
    highest, lowest = (pick(pick(channels[0], channels[1]), channels[2]) for pick in (cv2.max, cv2.min))
    spread = cv2.subtract(highest, lowest).mean(dtype=np.float64)
    return np.array([*found, *(np.array([red - green, blue - green, spread]) / 255)])


def distance_of(image: RgbImage, familiar: FamiliarCard) -> float:
    """Return how far a photograph lies from the training photographs, 0 or more (see `FamiliarCard`).

    Args:
        image: RGB uint8 (H, W, 3).
        familiar: of the model's card.
    """
    away = statistics(image, familiar.long_side_px) - np.asarray(familiar.mean)
    return float(np.sqrt(max(0.0, away @ np.asarray(familiar.precision) @ away)))
