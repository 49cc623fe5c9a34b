"""What light does in a slice of rock: the state of every pixel, its PPL and its XPL picture.

A `Rock` holds per pixel how much light is absorbed and how the crystal there is turned. The two photographs are
computed from it: PPL by absorption (Beer-Lambert), XPL by the interference of the two rays in a birefringent
plate between crossed polars, ``I(λ) = sin²(2θ) · sin²(π Γ / λ)`` with the azimuth θ of the crystal against the
polars and the retardation ``Γ = Δn · d`` (Born & Wolf 1999, section 15.4), summed over the spectrum; the colours
of Michel-Lévy's chart follow from it.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from geocamnet.train.synthetic.patterns import Map, Where, pick

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Mineral:
    """A mineral between crossed polars.

    Attributes:
        name: of the mineral.
        birefringence: greatest difference of refractive index.
        relief: darkness of its outlines in PPL, 0 to 1.
    """

    name: str
    birefringence: float
    relief: float


# Birefringence from Deer, Howie & Zussman (2013), An Introduction to the Rock-Forming Minerals.
CALCITE = Mineral("calcite", 0.172, 0.75)
DOLOMITE = Mineral("dolomite", 0.179, 0.9)
QUARTZ = Mineral("quartz", 0.009, 0.1)
ANHYDRITE = Mineral("anhydrite", 0.044, 0.45)
GYPSUM = Mineral("gypsum", 0.010, 0.2)

STANDARD_UM = 30.0  # thickness of a thin section for which `absorb` is given


@dataclass
class Rock:
    """The slice of rock, pixel by pixel.

    Attributes:
        absorb: float32 (3, H, W), natural-logarithm optical density of red, green, blue at 30 µm.
        delta: float32 (H, W), birefringence seen in the plane of the section; 0 in voids and glue.
        azimuth: float32 (H, W), radian, of the slow ray in the plane of the section.
        jumble: float32 (H, W), 0 one crystal through the slice, 1 many tiny ones on top of each other, which
            never go dark together.
    """

    absorb: NDArray[np.float32]
    delta: Map
    azimuth: Map
    jumble: Map

    def lay(self, top: "Rock", where: Where) -> None:
        """Replace the pixels of ``where`` by those of ``top``."""
        np.copyto(self.absorb, top.absorb, where=where)
        np.copyto(self.delta, top.delta, where=where)
        np.copyto(self.azimuth, top.azimuth, where=where)
        np.copyto(self.jumble, top.jumble, where=where)

    def darken(self, density: Map, tint: Rgb = (1.0, 1.0, 1.0)) -> None:
        """Add optical density (H, W) of a colour; negative values clear up, never below 0.01."""
        for channel, share in enumerate(tint):
            self.absorb[channel] += density * np.float32(share)
        np.maximum(self.absorb, np.float32(0.01), out=self.absorb)


def tinted(density: Map, tint: Rgb) -> NDArray[np.float32]:
    """Return optical density (3, H, W) from one density map and the share each channel absorbs."""
    return np.stack([density * np.float32(share) for share in tint])


def filling(size: int, absorb_rgb: Rgb) -> Rock:
    """Return glue or nothing at all: one colour, no birefringence, black in XPL."""
    flat = np.zeros((size, size), np.float32)
    return Rock(tinted(flat + 1, absorb_rgb), flat, flat.copy(), flat.copy())


@lru_cache(maxsize=1)
def interference_colours() -> NDArray[np.float32]:
    """Return Michel-Lévy's colours, float32 (3, 1400): RGB 0 to 1 for retardations 0 to 6,995 nm in steps of 5.

    Camera sensitivities are Gaussians at 605, 540 and 455 nm.
    """
    retardation_nm = np.arange(1400)[:, None] * 5.0
    wavelength_nm = np.arange(400, 701, 5.0)[None]
    intensity = np.sin(np.pi * retardation_nm / wavelength_nm) ** 2  # (1400, 61)
    colours = []
    for peak_nm, width_nm in ((600.0, 46.0), (540.0, 42.0), (460.0, 36.0)):
        weight = np.exp(-(((wavelength_nm[0] - peak_nm) / width_nm) ** 2) / 2)
        colours.append(intensity @ (weight / weight.sum()))
    table = np.stack(colours)
    # faces between crystals are oblique, so that high orders of many thicknesses mix to pearly white
    pearl = np.clip((retardation_nm[:, 0] - 900) / 3000, 0, 0.65)
    table = table * (1 - pearl) + 0.5 * (table.mean(axis=0) + 0.5) * pearl
    return table.astype(np.float32)


def plane_polarised(rock: Rock, thickness_um: Map) -> NDArray[np.float32]:
    """Return transmitted light (3, H, W), 0 to 1, with one polar.

    Carbonates change relief with their azimuth (one index near the glue's, one far above), so a crystal is a
    little darker where its high index lies along the polar.
    """
    relief = np.float32(0.7) * rock.delta * (1 - rock.jumble) * np.square(np.cos(rock.azimuth))
    return np.exp((rock.absorb + relief) * (thickness_um * np.float32(-1 / STANDARD_UM)))


def cross_polarised(rock: Rock, thickness_um: Map, *, leak: float = 0.01) -> NDArray[np.float32]:
    """Return transmitted light (3, H, W) between crossed polars; ``leak`` is stray light, as a share."""
    table = interference_colours()
    steps = np.minimum(rock.delta * (thickness_um * np.float32(1000 / 5)), table.shape[1] - 1).astype(np.int32)
    single = np.square(np.sin(2 * rock.azimuth))
    brightness = single + rock.jumble * (np.float32(0.5) - single)
    light = np.exp(rock.absorb * (thickness_um * np.float32(-1 / STANDARD_UM)))
    out = np.empty_like(light)
    for channel in range(3):
        out[channel] = light[channel] * (pick(table[channel], steps) * brightness + np.float32(leak))
    return out
