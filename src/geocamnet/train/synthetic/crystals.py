"""Crystal mosaics: sparry calcite, dolomite rhombs, cement that grows from the walls of pores."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.train.synthetic.mud import MudLook, micrite, pore_glue
from geocamnet.train.synthetic.optics import CALCITE, DOLOMITE, Mineral, Rgb, Rock, tinted
from geocamnet.train.synthetic.patterns import (
    Labels,
    Map,
    Rng,
    Where,
    bent,
    blurred,
    cells,
    cells_of_mask,
    coordinates,
    noise,
    pick,
    scattered,
    seams,
)
from geocamnet.train.synthetic.slide import Dial, Slide

_CLEAR: Rgb = (0.05, 0.055, 0.065)  # a clean crystal at 30 µm: glass, reflections


@dataclass(frozen=True)
class SparLook:
    """How a section's sparry calcite (or blocky dolomite) looks.

    Attributes:
        twins: share of crystals with twin lamellae.
        cleavage: darkness of cleavage cracks.
        outline: darkness of crystal boundaries.
        dust: inclusions.
        order: 0 irregular sizes, 1 even.
        bend: waviness of boundaries as a share of crystal size.
        sweep: undulose extinction, radian across a crystal.
    """

    twins: float = 0.4
    cleavage: float = 0.25
    outline: float = 0.5
    dust: float = 0.1
    order: float = 0.5
    bend: float = 0.06
    sweep: float = 0.1


def spar_look(dial: Dial) -> SparLook:
    """Draw the look of a section's spar."""
    return SparLook(
        twins=dial.between(0.15, 0.75),
        cleavage=dial.between(0.05, 0.5),
        outline=dial.between(0.3, 0.8),
        dust=dial.between(0.02, 0.3),
        order=dial.between(0.2, 0.8),
        bend=dial.between(0.02, 0.1),
        sweep=dial.between(0.0, 0.09),
    )


def clear_absorb(slide: Slide, mineral: Mineral) -> Rgb:
    """Return the optical density of a clean, perhaps stained crystal."""
    stain = slide.stain(mineral) if mineral in (CALCITE, DOLOMITE) else (0.0, 0.0, 0.0)
    return (_CLEAR[0] + stain[0], _CLEAR[1] + stain[1], _CLEAR[2] + stain[2])


def random_axes(rng: Rng, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return azimuth (radian) and share of the full birefringence for optic axes spread evenly in space."""
    azimuth = rng.uniform(0, np.pi, count).astype(np.float32)
    steep = rng.uniform(0, 1, count).astype(np.float32)
    return azimuth, 1 - np.float32(0.8) * steep**3


def crystals(
    slide: Slide,
    labels: Labels,
    centres: NDArray[np.float32],
    rng: Rng,
    look: SparLook,
    *,
    mineral: Mineral,
    size_px: float,
    azimuth: NDArray[np.float32] | None = None,
    share: NDArray[np.float32] | None = None,
) -> Rock:
    """Return one crystal a cell: its extinction, twin lamellae, cleavage, boundary, dust.

    Args:
        slide: the thin section.
        labels: cell of each pixel, (H, W).
        centres: of the cells, (n, 2).
        rng: random numbers of the field.
        look: of the section.
        mineral: of every crystal.
        size_px: mean crystal size.
        azimuth: of the slow ray in each crystal (n,); random if None.
        share: of the full birefringence (n,); random if None.
    """
    count, size = len(centres), slide.size_px
    free_azimuth, free_share = random_axes(rng, count)
    azimuth = free_azimuth if azimuth is None else azimuth.astype(np.float32)
    share = free_share if share is None else share.astype(np.float32)
    turned = pick(azimuth, labels)
    delta = pick(share, labels) * np.float32(mineral.birefringence)
    absorb = tinted(np.ones((size, size), np.float32), clear_absorb(slide, mineral))
    dark = np.zeros((size, size), np.float32)

    if size_px > 7:
        x, y = coordinates(size)
        if look.sweep > 0:
            turned = turned + np.float32(look.sweep) * noise(rng, size, max(size_px * 0.7, 3))
        broken = noise(rng, size, max(size_px * 0.3, 3))
        fade = float(np.clip((size_px - 7) / 20, 0, 1))
        # each crystal has two sets of lines, about 75 degrees apart in most cuts through a rhombohedron
        for number, apart in enumerate((0.0, 1.3)):
            direction = azimuth + np.float32(0.6 + apart) + rng.normal(0, 0.15, count).astype(np.float32)
            spacing = np.maximum(size_px * rng.uniform(0.09, 0.3, count), 2.4).astype(np.float32)
            along = x * pick(np.cos(direction) / spacing, labels) + y * pick(np.sin(direction) / spacing, labels)
            step = np.floor(along)
            part = along - step
            if number == 0:
                wide = np.clip(1.7 * rng.random(1021) - 0.7, 0, 1).astype(np.float32)  # many thin, some none
                band = pick(wide, (step.astype(np.int32) * 7 + labels * 13) % 1021)
                twinned = pick((rng.random(count) < look.twins).astype(np.float32), labels)
                lamella = (part < band * 0.55) * twinned
                turned = turned + lamella * np.float32(0.9)
                delta = delta * (1 - lamella * np.float32(0.35))
                dark += (np.abs(part - band * 0.55) < 0.1) * twinned * np.float32(0.12 * fade)
            crack = pick((rng.random(count) ** 2 * look.cleavage).astype(np.float32), labels)
            there = pick(rng.random(1021) < 0.45, (step.astype(np.int32) * 11 + labels * 17) % 1021)
            width = pick(np.float32(1.3) / spacing, labels)
            dark += ((part < width) & there & (broken > -0.4)) * crack * np.float32(1.6 * fade)
    line = blurred(seams(labels), float(np.clip(size_px * 0.03, 0.5, 1.1)))
    weight = look.outline * mineral.relief * float(np.clip(size_px / 8, 0.35, 1.0))
    dark += line * np.float32(1.6 * weight)
    dusty = pick((rng.gamma(1.2, look.dust / 1.2, count)).astype(np.float32), labels)
    dark += dusty * np.float32(0.5)
    rock = Rock(absorb, delta, turned, np.full((size, size), 0.04, np.float32))
    rock.darken(dark, slide.dust_rgb)
    return rock


def spar(slide: Slide, rng: Rng, look: SparLook, *, size_um: float, mineral: Mineral = CALCITE) -> Rock:
    """Return a mosaic of anhedral crystals of about ``size_um``."""
    size_px = max(slide.px(size_um), 1.6)
    labels, centres, _ = cells(slide.size_px, scattered(rng, slide.size_px, size_px, order=look.order))
    if look.bend > 0 and size_px > 6:
        labels = bent(labels, rng, size_px * look.bend, size_px * 0.35)
    return crystals(slide, labels, centres, rng, look, mineral=mineral, size_px=size_px)


@dataclass(frozen=True)
class RhombLook:
    """How a section's dolomite looks.

    Attributes:
        euhedral: 0 packed, curved crystals; 1 rhombs with straight faces.
        cloud: darkness of the cloudy cores.
        rim: where the clear rim begins, as a share of the half-width.
        zones: extra growth zones, 0 to 1.
        spread: of sizes (standard deviation of the logarithm).
        outline: darkness of boundaries.
        sweep: undulose extinction of saddle dolomite.
        between: what lies between rhombs: ``crystals``, ``mud`` or ``pores``.
    """

    euhedral: float = 0.7
    cloud: float = 0.5
    rim: float = 0.65
    zones: float = 0.2
    spread: float = 0.3
    outline: float = 0.5
    sweep: float = 0.1
    between: str = "crystals"


def rhomb_look(dial: Dial) -> RhombLook:
    """Draw the look of a section's dolomite."""
    return RhombLook(
        euhedral=dial.between(0.45, 1.0),
        cloud=dial.between(0.15, 0.9),
        rim=dial.between(0.5, 0.8),
        zones=dial.between(0.0, 0.7),
        spread=dial.between(0.15, 0.4),
        outline=dial.between(0.35, 0.8),
        sweep=dial.between(0.0, 0.4) ** 2 * 4,
        between=dial.one_of(("crystals", "crystals", "mud", "pores")),
    )


def rhombs(slide: Slide, rng: Rng, look: RhombLook, *, size_um: float) -> Rock:
    """Return a mosaic of dolomite rhombs, cloudy inside and clear outside.

    All rhombs are painted large over a mosaic of anhedral crystals, then smaller and smaller, so that each pixel
    falls to the crystal that grew to it first: neighbours meet in compromise faces, free faces stay straight.
    The distance in the oblique frame of a rhomb, ``max(|u|, |v|)``, gives its growth zones.
    """
    size = slide.size_px
    mean_px = max(slide.px(size_um), 2.0)
    grid = scattered(rng, size, mean_px, order=0.5)
    base, base_centres, _ = cells(size, grid)
    centres = scattered(rng, size, mean_px, order=0.6)
    count = len(centres)
    half = 0.5 * mean_px * np.exp(look.spread * rng.standard_normal(count)).astype(np.float32)
    turn = rng.uniform(0, np.pi, count).astype(np.float32)
    acute = rng.uniform(1.05, 1.57, count).astype(np.float32)
    first = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    second = np.stack([np.cos(turn + acute), np.sin(turn + acute)], axis=1)
    corners = np.stack([first + second, first - second, -first - second, second - first], axis=1)
    labels = base.copy()
    offset = len(base_centres)
    steps = int(np.clip(min(15000 / count, mean_px * 0.6), 3, 90))
    for growth in np.linspace(0.75 + 0.65 * look.euhedral, 0.3, steps):
        fixed = centres[:, None] + (growth * half)[:, None, None] * corners
        fixed = np.rint(fixed * 16).astype(np.int32)
        for number in range(count):
            cv2.fillConvexPoly(labels, fixed[number], offset + number, lineType=cv2.LINE_8, shift=4)

    total = offset + count
    all_half = np.concatenate([np.full(offset, mean_px * 0.6, np.float32), half])
    all_centres = np.concatenate([base_centres, centres])
    azimuth, share = random_axes(rng, total)
    azimuth[offset:] = turn + acute / 2  # the c axis bisects the faces in most cuts
    x, y = coordinates(size)
    dx = x - pick(np.ascontiguousarray(all_centres[:, 0]), labels)
    dy = y - pick(np.ascontiguousarray(all_centres[:, 1]), labels)
    # (dx, dy) = u first + v second
    base_turn = rng.uniform(0, np.pi, offset).astype(np.float32)
    one = np.concatenate([np.stack([np.cos(base_turn), np.sin(base_turn)], 1), first])
    two = np.concatenate([np.stack([-np.sin(base_turn), np.cos(base_turn)], 1), second])
    scale = 1 / ((one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]) * all_half)
    zone = np.maximum(
        np.abs(dx * pick(two[:, 1] * scale, labels) - dy * pick(two[:, 0] * scale, labels)),
        np.abs(dy * pick(one[:, 0] * scale, labels) - dx * pick(one[:, 1] * scale, labels)),
    )
    strength = (look.cloud * rng.gamma(3, 1 / 3, total)).astype(np.float32)
    edge = pick((look.rim * rng.uniform(0.8, 1.15, total)).astype(np.float32), labels)
    core = 1 / (1 + np.exp(np.minimum((zone - edge) * np.float32(22), 30)))
    if mean_px > 8:
        core = core * (0.75 + np.float32(0.35) * noise(rng, size, 1.3))
        if look.zones > 0:
            rings = np.cos(zone * pick(rng.uniform(14, 30, total).astype(np.float32), labels))
            core = core + np.float32(0.35 * look.zones) * np.maximum(rings, 0) * (zone < 1)
    line = blurred(seams(labels), float(np.clip(mean_px * 0.03, 0.5, 1.1)))
    dark = core * pick(strength, labels) * np.float32(0.9)
    dark += line * np.float32(1.5 * look.outline * np.clip(mean_px / 8, 0.35, 1.0))
    turned = pick(azimuth, labels)
    if look.sweep > 0 and mean_px > 8:  # the lattice of saddle dolomite is curved: extinction sweeps across
        bow = (look.sweep * rng.standard_normal((2, total)) / mean_px).astype(np.float32)
        turned = turned + dx * pick(bow[0], labels) + dy * pick(bow[1], labels)
    delta = pick(share, labels) * np.float32(DOLOMITE.birefringence)
    absorb = tinted(np.ones((size, size), np.float32), clear_absorb(slide, DOLOMITE))
    rock = Rock(absorb, delta, turned, np.full((size, size), 0.04, np.float32))
    rock.darken(dark, slide.dust_rgb)
    if look.between != "crystals":
        gaps = labels < offset
        # only some gaps stay: where noise says so, crystals have grown together
        gaps &= noise(rng, size, mean_px * 4) > (0.1 if look.between == "pores" else -0.4)
        if look.between == "mud":
            rock.lay(micrite(slide, rng, MudLook(mineral=DOLOMITE)), gaps)
        else:
            rock.lay(pore_glue(slide, rng), gaps)
    return rock


@dataclass(frozen=True)
class CementLook:
    """How a section's pores are filled.

    Attributes:
        mineral: calcite or dolomite.
        fringe_um: length of the bladed crystals on the walls; 0 for none.
        blade_um: their width.
        block_um: size of the blocky crystals within.
        spar: look of the crystals.
        open_beyond_um: pores stay open further than this from their walls; 0 for never.
    """

    mineral: Mineral = CALCITE
    fringe_um: float = 30.0
    blade_um: float = 14.0
    block_um: float = 90.0
    spar: SparLook = SparLook()
    open_beyond_um: float = 0.0


def cement_look(dial: Dial, mineral: Mineral) -> CementLook:
    """Draw how a section's pores are filled."""
    return CementLook(
        mineral=mineral,
        fringe_um=dial.between(10, 70) if dial.chance(0.75) else 0.0,
        blade_um=dial.between(9, 22),
        block_um=dial.ratio(45, 170),
        spar=spar_look(dial),
    )


def cement(slide: Slide, rng: Rng, look: CementLook, walls: Where) -> Rock:
    """Return cement for the pores of ``walls``: bladed on the walls, blocky and coarser inwards.

    One mosaic does both: seeds on the walls grow into blades normal to them, seeds further in into blocks.
    """
    size = slide.size_px
    away = distance_from(walls)
    fringe_px, blade_px, block_px = slide.px(look.fringe_um), slide.px(look.blade_um), slide.px(look.block_um)
    inner = scattered(rng, size, max(block_px, 2.5), order=look.spar.order)
    at = away[inner[:, 1].astype(int), inner[:, 0].astype(int)]
    # nearer the wall there is less room: extra small crystals between the fringe and the blocks
    small = scattered(rng, size, max(block_px * 0.45, 2.5), order=0.3)
    small_at = away[small[:, 1].astype(int), small[:, 0].astype(int)]
    seeds = np.full((size, size), 255, np.uint8)
    for points, keep in (
        (inner, at > 1.6 * fringe_px + 0.25 * block_px),
        (small, (small_at > 1.3 * fringe_px) & (small_at < 1.6 * fringe_px + 0.3 * block_px)),
    ):
        chosen = points[keep].astype(int)
        seeds[chosen[:, 1], chosen[:, 0]] = 0
    if fringe_px > 1.5:
        ring = (away > 0.5) & (away < 1.5)
        rows, columns = np.nonzero(ring)
        few = rng.random(len(rows)) < 1 / max(blade_px, 1.0)
        seeds[rows[few], columns[few]] = 0
    if seeds.all():
        seeds[size // 2, size // 2] = 0
    labels, centres, _ = cells_of_mask(seeds)
    columns, rows = centres[:, 0].astype(int), centres[:, 1].astype(int)
    azimuth, share = random_axes(rng, len(centres))
    if fringe_px > 1.5:
        soft = blurred(away, 1.5)
        outward = np.arctan2(
            soft[np.minimum(rows + 2, size - 1), columns] - soft[np.maximum(rows - 2, 0), columns],
            soft[rows, np.minimum(columns + 2, size - 1)] - soft[rows, np.maximum(columns - 2, 0)],
        )
        bladed = away[rows, columns] < 1.6
        azimuth = np.where(bladed, outward + rng.normal(0, 0.15, len(outward)), azimuth)
        share = np.where(bladed, 0.85, share)
    return crystals(
        slide,
        labels,
        centres,
        rng,
        look.spar,
        mineral=look.mineral,
        size_px=max(block_px, 2.0),
        azimuth=azimuth.astype(np.float32),
        share=share.astype(np.float32),
    )


def distance_from(walls: Where) -> Map:
    """Return how far every pixel is from the walls, in pixels, 0 inside them."""
    if not walls.any():
        return np.full(walls.shape, float(walls.shape[0]), np.float32)
    return cv2.distanceTransform((~walls).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
