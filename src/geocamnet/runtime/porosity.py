"""Porosity by blue-dyed epoxy: the pixels of a photograph that have the colour of the dye."""

from dataclasses import dataclass
from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.errors import DataError
from geocamnet.images import RgbImage


class Dye(Enum):
    """Whether porosity could be measured on a photograph; the value is what tables say."""

    VISIBLE = "dye visible"
    NOT_VISIBLE = "no dye visible"
    GREY = "not measured: grey photograph"
    NOT_PLANE = "not measured: not plane-polarised light"


LOOKED_FOR = frozenset({Dye.VISIBLE, Dye.NOT_VISIBLE})  # photographs on which dye would have been seen


@dataclass(frozen=True)
class DyeColour:
    """What counts as blue dye, in CIE L*a*b* (D65): a hue between two angles, with enough colour, not black.

    Attributes:
        hue_low, hue_high: degrees of ``atan2(b*, a*)``. 210 keeps the turquoise of carbonates stained with potassium
            ferricyanide out where the stain is pure, 310 violet and mauve.
        chroma: least ``sqrt(a*^2 + b*^2)``. A white that is a little cool, as lamps without a matched filter make it,
            has 5 to 9.
        lightness: least L*; darker pixels have the colour of the camera's noise.
        share: of the photograph, from which on dye is called visible.
        grey_chroma: a photograph hardly any of whose pixels (1 in 200) have more colour than this is a grey one.
    """

    hue_low: float = 210.0
    hue_high: float = 310.0
    chroma: float = 12.0
    lightness: float = 15.0
    share: float = 0.001
    grey_chroma: float = 3.0


_STRIP_ROWS = 512


def dye_mask(image: RgbImage, colour: DyeColour | None = None) -> NDArray[np.bool_]:
    """Return which pixels of a photograph have the colour of blue-dyed epoxy, bool (H, W).

    A threshold on colour, as petrographic image analysis has set it since Ehrlich et al. (1984, J. Sediment. Petrol.
    54, 1365-1378, DOI 10.1306/212F85DF-2B24-11D7-8648000102C1865D) and jPOR (Grove and Jerram 2011, Comput. Geosci.
    37, 1850-1859, DOI 10.1016/j.cageo.2011.03.002), here with fixed limits instead of an operator's: a pixel is dye if

        hue_low <= atan2(b*, a*) < hue_high,   sqrt(a*^2 + b*^2) >= chroma,   L* >= lightness;

    then the majority of every 3 x 3 pixels decides, which takes off single pixels and moves no straight edge.

    It sees what looks blue: pores filled with clear epoxy, or narrower than two pixels, are missed; ferroan carbonate
    under a blue stain, blue minerals and a blue white balance are taken for pores.

    Args:
        image: RGB uint8 (H, W, 3), plane-polarised.
        colour: the limits; None takes `DyeColour`'s defaults.

    Raises:
        DataError: not such an image.
    """
    blue, _ = _blue_and_chroma(image, colour or DyeColour())
    return cv2.medianBlur(blue.astype(np.uint8), 3).astype(bool)


def measure_dye(image: RgbImage, *, light: str = "", colour: DyeColour | None = None) -> tuple[Dye, NDArray[np.bool_]]:
    """Return whether porosity can be measured on a photograph, and which of its pixels are dye, bool (H, W).

    "No dye visible" is not a porosity of 0: the rock may be tight, or the section not impregnated with dye; only
    other photographs of the section can tell.

    Args:
        image: RGB uint8 (H, W, 3).
        light: ``PPL``, ``XPL``, ``R`` or empty, as its name tells (`lights.light_of_path`). Between crossed polars
            epoxy is black and blue is an interference colour, so only ``PPL`` and empty are measured.
        colour: the limits; None takes `DyeColour`'s defaults.

    Raises:
        DataError: not such an image.
    """
    colour = colour or DyeColour()
    blue, chroma = _blue_and_chroma(image, colour)
    nothing = np.zeros_like(blue)
    if light not in ("", "PPL"):
        return Dye.NOT_PLANE, nothing
    if np.percentile(chroma, 99.5) <= colour.grey_chroma:
        return Dye.GREY, nothing
    mask = cv2.medianBlur(blue.astype(np.uint8), 3).astype(bool)
    return (Dye.VISIBLE if mask.mean() >= colour.share else Dye.NOT_VISIBLE), mask


def _blue_and_chroma(image: RgbImage, colour: DyeColour) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise DataError(f"An image must be RGB uint8 (H, W, 3); received {image.dtype} of shape {image.shape}.")
    blue, chroma = np.empty(image.shape[:2], bool), np.empty(image.shape[:2], np.uint8)
    for top in range(0, len(image), _STRIP_ROWS):  # as floats a photograph takes five times its size
        rows = slice(top, top + _STRIP_ROWS)
        lab = cv2.cvtColor(image[rows].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)  # (h, W, 3)
        much = np.hypot(lab[..., 1], lab[..., 2])
        hue = np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360
        blue[rows] = (
            (hue >= colour.hue_low)
            & (hue < colour.hue_high)
            & (much >= colour.chroma)
            & (lab[..., 0] >= colour.lightness)
        )
        chroma[rows] = np.minimum(np.ceil(much), 255)
    return blue, chroma
