"""What is too fine to be a crystal, or no crystal at all: micrite, and the glue in the pores."""

from dataclasses import dataclass

import numpy as np

from geocamnet.train.synthetic.optics import CALCITE, Mineral, Rock, tinted
from geocamnet.train.synthetic.patterns import Rng, blurred, noise
from geocamnet.train.synthetic.slide import Dial, Slide


@dataclass(frozen=True)
class MudLook:
    """How a section's micrite looks.

    Attributes:
        mineral: calcite or dolomite.
        density: relative to the section's mud.
        mottle: unevenness over tenths of a millimetre.
        crystal_um: size of the crystals.
        sparkle: share of crystals large enough to be seen.
        lamina: strength of faint bedding.
    """

    mineral: Mineral = CALCITE
    density: float = 1.0
    mottle: float = 0.12
    crystal_um: float = 4.0
    sparkle: float = 0.02
    lamina: float = 0.0


def mud_look(dial: Dial, mineral: Mineral) -> MudLook:
    """Draw the look of a section's micrite."""
    return MudLook(
        mineral=mineral,
        density=dial.between(0.7, 1.15),
        mottle=dial.between(0.04, 0.2),
        crystal_um=dial.between(3, 7),
        sparkle=dial.between(0.0, 0.05),
        lamina=0.0,
    )


def micrite(slide: Slide, rng: Rng, look: MudLook) -> Rock:
    """Return lime or dolomite mud: crystals too small to be told apart, overlapping in the slice."""
    size = slide.size_px
    grain_px = max(slide.px(look.crystal_um), 0.9)
    fine = noise(rng, size, grain_px)
    coarse = noise(rng, size, slide.px(150), octaves=4)
    density = np.float32(slide.mud * look.density) * (1 + np.float32(look.mottle) * coarse + np.float32(0.13) * fine)
    if look.lamina > 0:
        density += np.float32(look.lamina) * noise(rng, size, slide.px(70), stretch=9, angle=rng.normal(0.3, 0.05))
    if look.sparkle > 0:
        grains = noise(rng, size, max(slide.px(9), 1.0))
        bright = np.clip((grains - np.float32(2.1 - 8 * look.sparkle)) * 3, 0, 1)
        density = density * (1 - np.float32(0.75) * bright)
    absorb = tinted(np.maximum(density, np.float32(0.08)), slide.dust_rgb)
    stain = slide.stain(look.mineral)
    for channel in range(3):
        absorb[channel] += np.float32(0.9 * stain[channel])
    azimuth = np.float32(0.9) * noise(rng, size, grain_px * 1.4)
    delta = np.full((size, size), look.mineral.birefringence * 0.8, np.float32)
    return Rock(absorb, delta, azimuth, np.full((size, size), 0.5, np.float32))


def pore_glue(slide: Slide, rng: Rng) -> Rock:
    """Return the glue in pores: blue-dyed or clear, a few bubbles and specks of polishing grit."""
    size = slide.size_px
    flat = np.zeros((size, size), np.float32)
    density = 1 + np.float32(0.06) * noise(rng, size, slide.px(220))
    grit = noise(rng, size, max(slide.px(7), 1.1)) > 3.0
    rock = Rock(tinted(density, slide.glue_rgb), flat, flat.copy(), flat.copy())
    rock.darken(blurred(grit.astype(np.float32), 0.7) * np.float32(0.7), slide.dust_rgb)
    return rock
