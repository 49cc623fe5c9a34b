"""Bring a photograph to the scale, or near the size, at which a model knows rock."""

import logging
import math
from typing import Any

import cv2
import numpy as np

from geocamnet.card import ModelCard
from geocamnet.errors import DataError
from geocamnet.images import MAX_PIXELS, RgbImage

log = logging.getLogger(__name__)


def warn_of_scale(card: ModelCard, um_per_px: float | None) -> None:
    """Warn where a model knows rock at one scale and that of what it is to see is not known."""
    if um_per_px is None and card.um_per_px is not None:
        log.warning(
            "%s knows rock at %g um a pixel; the scale of what it is shown is not known, and so is taken for the same. "
            "Grains of another size are other rock to it: name the scale with --um-per-px",
            card.name, card.um_per_px,
        )  # fmt: skip


def scale_to_card(image: RgbImage, card: ModelCard, um_per_px: float | None) -> RgbImage:
    """Return the photograph at the card's micrometres a pixel, or as it is where either scale is unknown.

    Args:
        image: RGB uint8 (H, W, 3).
        card: its ``um_per_px`` is the scale wanted.
        um_per_px: of the photograph.

    Raises:
        DataError: ``um_per_px`` is not above 0, or so large that the scaled photograph would not fit.
    """
    if um_per_px is None:
        return image
    if not (math.isfinite(um_per_px) and um_per_px > 0):
        raise DataError(f"um_per_px (micrometres a pixel) must be above 0; received {um_per_px}.")
    if card.um_per_px is None:
        return image
    factor = um_per_px / card.um_per_px
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    if height * width > MAX_PIXELS:
        raise DataError(
            f"At {um_per_px} um a pixel the photograph is {factor:.0f} times coarser than the model expects "
            f"({card.um_per_px} um a pixel) and would have to be enlarged to {width} x {height} px. Check um_per_px."
        )
    if (height, width) == image.shape[:2]:
        return image
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    resized: Any = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=how)
    return np.asarray(resized, dtype=np.uint8)


def halved(image: RgbImage, card: ModelCard) -> RgbImage:
    """Return the means of 2 x 2 pixels while they are twice as fine as the network will see, or the image as it is.

    Twice, so that scaling on to the network's size stays a mean over areas of whole pixels and more.

    Args:
        image: RGB uint8 (H, W, 3); sides that are odd are not halved, which would shift the picture.
        card: its ``long_side_px`` is the network's size.
    """
    while card.long_side_px is not None and max(image.shape[:2]) >= 4 * card.long_side_px:
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            break
        smaller: Any = cv2.resize(np.ascontiguousarray(image), (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        image = np.asarray(smaller, np.uint8)
    return image
