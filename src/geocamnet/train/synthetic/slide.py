"""What one thin section has in common: its scale, thickness, stain, lamp, camera; drawn from its own seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from geocamnet.train.synthetic.optics import CALCITE, Mineral, Rgb

Option = TypeVar("Option")

# Micrometres a pixel of a 512 px photograph, from and to: the objective a petrographer would choose.
_SCALES: dict[str, tuple[float, float]] = {
    "arenaceous": (2.4, 4.8),
    "bioclastic": (2.6, 5.5),
    "breccia": (4.0, 8.0),
    "coarse_crystalline_dolomite": (2.2, 4.2),
    "coarse_crystalline_limestone": (2.2, 4.2),
    "evaporite": (1.6, 4.0),
    "fine_crystalline_dolomite": (1.4, 2.8),
    "fine_crystalline_limestone": (1.4, 2.8),
    "foam": (2.2, 4.6),
    "grape": (3.0, 6.0),
    "micritic_dolomite": (1.4, 3.2),
    "micritic_limestone": (1.4, 3.2),
    "oncolite": (5.0, 9.0),
    "oolite": (2.4, 5.0),
    "siliceous": (1.0, 2.6),
    "stromatolite": (3.6, 7.5),
    "thrombolite": (3.6, 7.0),
}
_COMMON_SCALE = (1.8, 4.2)


class Dial:
    """Section-level choices: style 0 gives the middle of every range, style 1 the whole of it."""

    def __init__(self, rng: np.random.Generator, style: float) -> None:
        self._rng = rng
        self._style = style

    def between(self, low: float, high: float) -> float:
        """Return a number of a range, drawn evenly."""
        return (low + high) / 2 + self._style * (self._rng.random() - 0.5) * (high - low)

    def ratio(self, low: float, high: float) -> float:
        """Return a number of a positive range, drawn evenly on a logarithmic scale: sizes."""
        return float(np.exp(self.between(np.log(low), np.log(high))))

    def one_of(self, options: Sequence[Option]) -> Option:
        """Return one option; the first at style 0."""
        at, roll = int(self._rng.integers(len(options))), self._rng.random()
        return options[at] if roll < self._style else options[0]

    def chance(self, share: float) -> bool:
        """Return True in that share of the sections."""
        return bool(self.between(0, 1) < share)


@dataclass(frozen=True)
class Slide:
    """A thin section under the microscope, as seen at the working resolution.

    Attributes:
        size_px: side of the field as drawn.
        um_per_px: micrometres a drawn pixel.
        thickness_um: 30 is right; thicker is darker and higher in order.
        stain_calcite, stain_dolomite: optical density the stain adds.
        stained: whether there is any stain.
        dust_rgb: colour of micrite, clay and organic matter, as shares of density.
        mud: optical density of micrite, about 1.
        glue_rgb: optical density of what fills the pores: blue dye or clear.
        lamp_rgb: colour of the light and the camera's white balance.
        ppl_level, xpl_level: brightness the exposure aims at, 0 to 1.
        follow: how far the exposure follows the field, 0 to 1.
        gamma, contrast: tone curve of the camera.
        saturation: of the camera, about 1.
        focus_px: blur at 512 px.
        grain: sensor noise, in grey levels.
        vignette: darkening of the corners, as a share.
        middle: of the vignette, as shares of width and height.
        leak: stray light in XPL.
        bar: ``none``, ``line``, ``box`` or ``strip``.
        frame: dark frame line on which edges, left, top, right, bottom.
        slope: gradual change of thickness over the field.
    """

    size_px: int
    um_per_px: float
    thickness_um: float
    stain_calcite: Rgb
    stain_dolomite: Rgb
    stained: bool
    dust_rgb: Rgb
    mud: float
    glue_rgb: Rgb
    lamp_rgb: Rgb
    ppl_level: float
    xpl_level: float
    follow: float
    gamma: float
    contrast: float
    saturation: float
    focus_px: float
    grain: float
    vignette: float
    middle: tuple[float, float]
    leak: float
    bar: str
    frame: tuple[bool, bool, bool, bool]
    slope: float

    def px(self, length_um: float) -> float:
        """Return a length in drawn pixels."""
        return length_um / self.um_per_px

    def stain(self, mineral: Mineral) -> Rgb:
        """Return the optical density the stain adds to a carbonate."""
        return self.stain_calcite if mineral is CALCITE else self.stain_dolomite


def prepare_slide(section_seed: int, class_names: Sequence[str], size_px: int, *, style: float) -> Slide:
    """Return the thin section of a seed; the same for all of its fields.

    The field of view does not depend on ``size_px``: a photograph of 256 px has twice the µm per pixel of one
    of 512 px.
    """
    dial = Dial(np.random.default_rng([section_seed, 1]), style)
    zoom = dial.between(0, 1)
    ends = np.log([_SCALES.get(name, _COMMON_SCALE) for name in class_names]).mean(axis=0)
    um_at_512 = float(np.exp(ends[0] + zoom * (ends[1] - ends[0])))

    stain = dial.one_of(("none", "none", "none", "red", "red", "red and blue"))
    strength = dial.between(0.35, 1.0)
    red = (0.04 * strength, 0.55 * strength, 0.36 * strength)
    mauve = (0.22 * strength, 0.55 * strength, 0.22 * strength)
    turquoise = (0.32 * strength, 0.08 * strength, 0.06 * strength)
    iron = dial.chance(0.5)
    calcite_stain = {"none": (0.0, 0.0, 0.0), "red": red, "red and blue": mauve if iron else red}[stain]
    dolomite_stain = turquoise if stain == "red and blue" and iron else (0.0, 0.0, 0.0)

    brown = dial.between(0.0, 0.55)
    dyed = dial.chance(0.5)
    dye = dial.between(0.7, 1.3)
    warm = dial.between(-0.12, 0.12)
    green = dial.between(-0.05, 0.05)
    return Slide(
        size_px=size_px,
        um_per_px=um_at_512 * 512 / size_px,
        thickness_um=dial.between(22, 38),
        stain_calcite=calcite_stain,
        stain_dolomite=dolomite_stain,
        stained=stain != "none",
        dust_rgb=(1 - 0.35 * brown, 1.0, 1 + 0.6 * brown),
        mud=dial.between(0.75, 1.5),
        glue_rgb=(1.0 * dye, 0.42 * dye, 0.04 * dye) if dyed else (0.03, 0.035, 0.06),
        lamp_rgb=(1 + warm, 1 + green, 1 - 1.2 * warm),
        ppl_level=dial.between(0.42, 0.74),
        xpl_level=dial.between(0.24, 0.48),
        follow=dial.between(0.7, 1.0),
        gamma=dial.ratio(0.75, 1.35),
        contrast=dial.between(0.75, 1.2),
        saturation=dial.between(0.6, 1.25),
        focus_px=dial.between(0.45, 1.15),
        grain=dial.between(0.8, 4.5),
        vignette=dial.between(0.0, 0.32),
        middle=(dial.between(0.35, 0.65), dial.between(0.35, 0.65)),
        leak=dial.between(0.004, 0.03),
        bar=dial.one_of(("none", "none", "none", "none", "line", "box", "strip")),
        frame=(dial.chance(0.06), dial.chance(0.06), dial.chance(0.06), dial.chance(0.06)),
        slope=dial.between(-0.18, 0.18),
    )
