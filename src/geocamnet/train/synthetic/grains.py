"""Fabrics of rounded grains in cement or mud: oolite, oncolite, arenaceous (sand-sized intraclasts and peloids)."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.train.synthetic.crystals import cement, cement_look, clear_absorb, spar, spar_look
from geocamnet.train.synthetic.mud import micrite, mud_look
from geocamnet.train.synthetic.optics import CALCITE, DOLOMITE, QUARTZ, Mineral, Rock, tinted
from geocamnet.train.synthetic.patterns import (
    Labels,
    Map,
    Rng,
    Where,
    blurred,
    coordinates,
    how_many,
    line_noise,
    noise,
    packed,
    pick,
    seams,
)
from geocamnet.train.synthetic.slide import Dial, Slide

_TURNS = 128  # an outline is stored as its radius in that many directions


@dataclass(frozen=True)
class Grains:
    """Grains of a field with the frame of each: what a cortex or a zoning is drawn in.

    Attributes:
        labels: grain of each pixel, 0 to n - 1; -1 between grains.
        inside: labels >= 0.
        rho: distance from the grain's middle, 1 on its outline.
        phi: direction from the grain's middle, radian.
        radius_px: mean radius of each grain (n,).
    """

    labels: Labels
    inside: Where
    rho: Map
    phi: Map
    radius_px: NDArray[np.float32]


def outlined(
    rng: Rng,
    size: int,
    centres: NDArray[np.float32],
    radii: NDArray[np.float32],
    *,
    long: float = 0.15,
    rough: float = 0.05,
    angular: float = 0.0,
) -> Grains:
    """Return grains with outlines ``r(φ) = r (1 + Σ a_k cos(kφ + p_k))``.

    Args:
        rng: random numbers.
        size: of the field in pixels.
        centres: (n, 2).
        radii: (n,), pixels.
        long: elongation (second harmonic).
        rough: roughness (third harmonic and up, falling as 1/k).
        angular: 0 round, 1 cut by straight chords.
    """
    count = len(radii)
    angle = (np.arange(_TURNS) * (2 * np.pi / _TURNS)).astype(np.float32)
    outline = np.ones((count, _TURNS), np.float32)
    for k in range(2, 11):
        height = long if k == 2 else rough * 3 / k
        tall = rng.normal(0, height, (count, 1))
        outline += (tall * np.cos(k * angle + rng.uniform(0, 2 * np.pi, (count, 1)))).astype(np.float32)
    if angular > 0:
        for _ in range(6):
            chord = rng.uniform(0, 2 * np.pi, (count, 1))
            near = rng.uniform(0.55, 0.95, (count, 1))
            facing = np.cos(angle - chord)
            cut = np.where(facing > 0.05, near / np.maximum(facing, 0.05), 9.0)
            outline = np.minimum(outline, np.where(angular > 0.5, cut, np.maximum(cut, outline * 0.9)))
    outline = np.clip(outline, 0.3, 1.8).astype(np.float32)
    corners = centres[:, None] + (radii[:, None] * outline)[..., None] * np.stack(
        [np.cos(angle), np.sin(angle)], axis=1
    )
    labels = np.full((size, size), -1, np.int32)
    fixed = np.rint(corners * 16).astype(np.int32)
    for number in range(count):
        cv2.fillPoly(labels, [fixed[number]], number, lineType=cv2.LINE_8, shift=4)
    inside = labels >= 0
    x, y = coordinates(size)
    dx = x - pick(np.ascontiguousarray(centres[:, 0]), labels)
    dy = y - pick(np.ascontiguousarray(centres[:, 1]), labels)
    phi = np.arctan2(dy, dx)
    turn = ((phi + np.float32(2 * np.pi)) * np.float32(_TURNS / (2 * np.pi))).astype(np.int32) % _TURNS
    reach = pick((radii[:, None] * outline).ravel(), np.maximum(labels, 0) * _TURNS + turn)
    rho = np.sqrt(dx * dx + dy * dy) / reach
    return Grains(labels, inside, rho, phi, radii.astype(np.float32))


def carbonate(dial: Dial) -> Mineral:
    """Draw whether a section is limestone or has become dolomite."""
    return DOLOMITE if dial.chance(0.35) else CALCITE


def groundmass(slide: Slide, dial: Dial, rng: Rng, walls: Where, mineral: Mineral, *, muddy: float) -> Rock:
    """Return what lies between grains: cement, or mud in a share ``muddy`` of the sections."""
    look, mud = cement_look(dial, mineral), mud_look(dial, mineral)
    if dial.chance(muddy):
        return micrite(slide, rng, mud)
    return cement(slide, rng, look, walls)


def _draw_radii(slide: Slide, rng: Rng, mean_um: float, spread: float, share: float) -> NDArray[np.float32]:
    mean_px = slide.px(mean_um)
    count = how_many(slide.size_px, mean_px * (1 + spread * spread), share)
    return (mean_px * np.exp(spread * np.clip(rng.standard_normal(count), -2.2, 1.8))).astype(np.float32)


def oolite(slide: Slide, dial: Dial, rng: Rng) -> Rock:
    """Draw ooids: a nucleus in a cortex of concentric laminae and radial fibres, in sparry cement.

    Each fibre's c axis is radial (or, in aragonite-like cortices, tangential), so that a cross of extinction
    stands in every ooid between crossed polars.
    """
    size, mineral = slide.size_px, carbonate(dial)
    radii = _draw_radii(slide, rng, dial.ratio(120, 320), dial.between(0.08, 0.3), dial.between(0.84, 1.08))
    grains = outlined(
        rng, size, packed(rng, size, radii), radii, long=dial.between(0.02, 0.1), rough=dial.between(0.003, 0.015)
    )
    rock = groundmass(slide, dial, rng, grains.inside, mineral, muddy=0.12)
    count = len(radii)
    labels = np.maximum(grains.labels, 0)
    out_um = grains.rho * pick(radii, labels) * np.float32(slide.um_per_px)
    spacing = dial.between(9, 26)
    out_um += np.float32(spacing * 0.25) * noise(rng, size, slide.px(70))

    # laminae: one table of random densities a lamina, another row for every ooid
    lamina = rng.random((64, 512)).astype(np.float32) ** 1.5
    lamina = cv2.resize(lamina, (2048, 64), interpolation=cv2.INTER_LINEAR)
    row = pick(rng.integers(0, 64, count).astype(np.int32), labels)
    at = np.clip(out_um * np.float32(4 / spacing), 0, 2047).astype(np.int32)
    rings = pick(lamina.ravel(), row * 2048 + at)
    fibre = rng.random((32, 720)).astype(np.float32)
    turn = ((grains.phi + np.float32(np.pi)) * np.float32(719 / (2 * np.pi))).astype(np.int32)
    rays = pick(fibre.ravel(), (row % 32) * 720 + turn)

    radial = np.clip(dial.between(0.1, 0.9) + rng.normal(0, 0.15, count), 0.05, 0.95).astype(np.float32)
    radial_map = pick(radial, labels)
    dense = pick(rng.normal(dial.between(0.5, 1.1), 0.15, count).astype(np.float32), labels)
    density = (
        np.float32(slide.mud * 0.85)
        * dense
        * (0.3 + (1 - radial_map) * 0.95 * rings + radial_map * (0.42 * rays + 0.45 * (rings > 0.62)))
    )
    rotted = pick((rng.random(count) < dial.between(0.0, 0.3)).astype(np.float32), labels)  # micritised
    density = density * (1 - rotted) + rotted * np.float32(slide.mud) * (0.8 + 0.2 * rings)
    edge = np.exp(-np.square((grains.rho - 0.985) * np.float32(28)))
    density = np.maximum(density + edge * np.float32(0.6 * slide.mud), np.float32(0.1))
    tangential = dial.chance(0.3)
    azimuth = grains.phi + np.float32(np.pi / 2 if tangential else 0) + np.float32(0.2) * (rays - np.float32(0.5))
    stain = slide.stain(mineral)
    absorb = tinted(density, slide.dust_rgb)
    for channel in range(3):
        absorb[channel] += np.float32(0.7 * stain[channel])
    delta = np.full((size, size), mineral.birefringence, np.float32) * (0.55 + 0.4 * rings)
    jumble = np.clip(0.25 + 0.35 * rotted + 0.3 * (1 - radial_map) * rings, 0, 0.95).astype(np.float32)
    cortex = Rock(absorb, delta, azimuth, jumble)
    _add_nuclei(cortex, slide, dial, rng, grains, mineral)
    rock.lay(cortex, grains.inside)
    return rock


def _add_nuclei(cortex: Rock, slide: Slide, dial: Dial, rng: Rng, grains: Grains, mineral: Mineral) -> None:
    """Put a nucleus into every ooid: a peloid, a quartz grain or a crystal; some ooids are leached and refilled."""
    size, count = slide.size_px, len(grains.radius_px)
    labels = np.maximum(grains.labels, 0)
    reach = pick(np.clip(rng.normal(dial.between(0.2, 0.5), 0.1, count), 0.08, 0.72).astype(np.float32), labels)
    wobble = 1 + np.float32(0.16) * noise(rng, size, slide.px(90))
    kind = pick(rng.choice(4, count, p=_kind_shares(dial)).astype(np.int32), labels)
    core = (grains.rho * wobble < reach) & grains.inside
    cortex.lay(micrite(slide, rng, mud_look(dial, mineral)), core & (kind == 0))
    cortex.lay(spar(slide, rng, spar_look(dial), size_um=60, mineral=mineral), core & (kind == 1))
    quartz = core & (kind == 2)
    cortex.lay(single_crystals(slide, rng, labels, count, QUARTZ), quartz)
    leached = (kind == 3) & (grains.rho < 0.93)
    cortex.lay(spar(slide, rng, spar_look(dial), size_um=80, mineral=mineral), leached & core)
    rim = core & (grains.rho * wobble > reach - np.float32(0.05))
    cortex.darken(rim * np.float32(0.5 * slide.mud), slide.dust_rgb)


def _kind_shares(dial: Dial) -> NDArray[np.float64]:
    shares = np.array([dial.between(0.3, 1), dial.between(0.1, 0.6), dial.between(0, 0.35), dial.between(0, 0.2)])
    return shares / shares.sum()


def single_crystals(slide: Slide, rng: Rng, labels: Labels, count: int, mineral: Mineral) -> Rock:
    """Return one clear crystal a label, each turned its own way."""
    size = slide.size_px
    azimuth = pick(rng.uniform(0, np.pi, count).astype(np.float32), labels)
    share = pick(rng.uniform(0.35, 1, count).astype(np.float32), labels)
    clear = clear_absorb(slide, mineral)
    return Rock(
        tinted(np.ones((size, size), np.float32), clear),
        share * np.float32(mineral.birefringence),
        azimuth,
        np.full((size, size), 0.05, np.float32),
    )


def oncolite(slide: Slide, dial: Dial, rng: Rng) -> Rock:
    """Draw oncoids: large micritic grains with wavy, discontinuous, lopsided laminae around a nucleus."""
    size, mineral = slide.size_px, carbonate(dial)
    radii = _draw_radii(slide, rng, dial.ratio(480, 1150), dial.between(0.2, 0.4), dial.between(0.55, 0.82))
    grains = outlined(
        rng, size, packed(rng, size, radii), radii, long=dial.between(0.08, 0.2), rough=dial.between(0.03, 0.08)
    )
    small = _draw_radii(slide, rng, dial.ratio(60, 150), 0.35, dial.between(0.1, 0.5))
    crumbs = outlined(rng, size, packed(rng, size, small, rounds=6), small, long=0.15, rough=0.06)
    rock = groundmass(slide, dial, rng, grains.inside | crumbs.inside, mineral, muddy=0.45)
    mud = micrite(slide, rng, mud_look(dial, mineral))
    if dial.chance(0.7):
        rock.lay(mud, crumbs.inside)

    count, labels = len(radii), np.maximum(grains.labels, 0)
    out_um = grains.rho * pick(radii, labels) * np.float32(slide.um_per_px)
    wavy = noise(rng, size, slide.px(dial.ratio(120, 320)), octaves=3)
    out_um += np.float32(dial.between(25, 75)) * wavy * np.minimum(grains.rho * 1.6, 1)
    lopsided = pick(rng.uniform(0.0, 0.35, count).astype(np.float32), labels)
    out_um *= 1 + lopsided * np.cos(grains.phi - pick(rng.uniform(0, 6.28, count).astype(np.float32), labels))
    spacing = dial.between(38, 95)
    lamina = np.stack([line_noise(rng, 1024, 14, octaves=3, fall=0.7) for _ in range(12)])
    row = pick(rng.integers(0, 12, count).astype(np.int32), labels)
    at = np.clip(np.abs(out_um) * np.float32(14 / spacing), 0, 1023).astype(np.int32)
    bands = pick(np.ascontiguousarray(lamina).ravel(), row * 1024 + at)
    patchy = noise(rng, size, slide.px(260), octaves=2)
    dark = np.clip(bands + 0.35 * patchy, -1.6, 1.8)
    cortex = micrite(slide, rng, mud_look(dial, mineral))
    cortex.darken(np.float32(dial.between(0.28, 0.5) * slide.mud) * dark, slide.dust_rgb)
    light = (bands < -1.05) & (patchy < 0.6)  # sparry laminae and fenestrae between the mats
    cortex.lay(spar(slide, rng, spar_look(dial), size_um=dial.between(25, 50), mineral=mineral), light)
    rim = np.exp(-np.square((grains.rho - 0.985) * np.float32(35)))
    cortex.darken(rim * np.float32(0.35 * slide.mud), slide.dust_rgb)
    core = grains.rho * (1 + 0.2 * wavy) < pick(rng.uniform(0.1, 0.4, count).astype(np.float32), labels)
    cortex.lay(mud, core)
    cortex.lay(
        spar(slide, rng, spar_look(dial), size_um=110, mineral=mineral), core & pick(rng.random(count) < 0.4, labels)
    )
    rock.lay(cortex, grains.inside)
    return rock


def arenaceous(slide: Slide, dial: Dial, rng: Rng) -> Rock:
    """Draw sand-sized intraclasts and peloids of microbial mudstone, without cortex, in cement."""
    size, mineral = slide.size_px, carbonate(dial)
    radii = _draw_radii(slide, rng, dial.ratio(75, 190), dial.between(0.3, 0.55), dial.between(0.6, 0.85))
    grains = outlined(
        rng,
        size,
        packed(rng, size, radii, rounds=16),
        radii,
        long=dial.between(0.12, 0.28),
        rough=dial.between(0.03, 0.1),
    )
    rock = groundmass(slide, dial, rng, grains.inside, mineral, muddy=0.1)
    count, labels = len(radii), np.maximum(grains.labels, 0)
    body = micrite(slide, rng, mud_look(dial, mineral))
    dense = pick(rng.normal(0, dial.between(0.12, 0.4), count).astype(np.float32), labels)
    clots = noise(rng, size, slide.px(dial.ratio(40, 110)), octaves=4)
    body.darken(np.float32(slide.mud) * (dense + np.float32(dial.between(0.06, 0.2)) * clots), slide.dust_rgb)
    silt = single_crystals(slide, rng, labels, count, QUARTZ)
    clean = pick((rng.random(count) < dial.between(0, 0.35)) & (radii < slide.px(75)), labels)
    body.lay(silt, clean & grains.inside)
    rim = np.exp(-np.square((grains.rho - 0.97) * np.float32(14)))
    body.darken(rim * np.float32(dial.between(0.0, 0.4) * slide.mud), slide.dust_rgb)
    body.darken(blurred(seams(grains.labels), 0.8) * np.float32(0.5 * slide.mud), slide.dust_rgb)
    rock.lay(body, grains.inside)
    return rock
