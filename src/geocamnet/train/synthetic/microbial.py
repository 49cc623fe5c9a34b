"""Fabrics built by microbes and by cement on them: stromatolite, thrombolite, foam, grape (botryoidal)."""

import cv2
import numpy as np

from geocamnet.train.synthetic.crystals import cement, cement_look, clear_absorb, distance_from, spar, spar_look
from geocamnet.train.synthetic.grains import carbonate
from geocamnet.train.synthetic.mud import micrite, mud_look, pore_glue
from geocamnet.train.synthetic.optics import Rock, tinted
from geocamnet.train.synthetic.patterns import (
    Rng,
    blurred,
    cells,
    cells_of_mask,
    coordinates,
    line_noise,
    noise,
    pick,
    rotated,
    scattered,
)
from geocamnet.train.synthetic.slide import Dial, Slide


def stromatolite(slide: Slide, dial: Dial, rng: Rng) -> Rock:
    """Draw wavy laminae, dark micritic mats and light sparry or peloidal layers, with flat fenestrae."""
    size, mineral = slide.size_px, carbonate(dial)
    angle = dial.between(-0.5, 0.5) + rng.normal(0, 0.06)
    _, up = rotated(size, angle)
    dome_um, crinkle_um = dial.ratio(700, 2600), dial.ratio(60, 260)
    height = np.float32(slide.px(dial.between(0.03, 0.3) * dome_um)) * noise(rng, size, slide.px(dome_um))
    height += np.float32(slide.px(dial.between(0.05, 0.22) * crinkle_um)) * noise(
        rng, size, slide.px(crinkle_um), octaves=3, stretch=1.6, angle=angle
    )
    level_um = (up + height) * np.float32(slide.um_per_px)
    couplet_um = dial.ratio(110, 330)
    length = 4096
    table = line_noise(rng, length, 26, octaves=3, fall=0.75)
    at = (level_um * np.float32(30 / couplet_um) + length / 2).astype(np.int32)
    band = pick(table, np.clip(at, 0, length - 1))
    patch = noise(rng, size, slide.px(420), octaves=3, stretch=2.5, angle=angle)
    value = band + np.float32(dial.between(0.2, 0.5)) * patch

    light_look, dark_look = mud_look(dial, mineral), mud_look(dial, mineral)
    if dial.chance(0.55):
        rock = spar(slide, rng, spar_look(dial), size_um=dial.ratio(14, 45), mineral=mineral)
        pellets = noise(rng, size, slide.px(dial.ratio(18, 40)), octaves=2)
        rock.darken(np.clip(pellets - 0.2, 0, 1.2) * np.float32(0.5 * slide.mud), slide.dust_rgb)
    else:
        rock = micrite(slide, rng, light_look)
        rock.absorb *= np.float32(0.55)
    mats = micrite(slide, rng, dark_look)
    mats.darken(np.float32(0.35 * slide.mud) * np.clip(value, 0, 1.5), slide.dust_rgb)
    ragged = np.float32(0.25) * noise(rng, size, slide.px(22), octaves=2)
    rock.lay(mats, value + ragged > dial.between(-0.25, 0.3))
    open_space = noise(rng, size, slide.px(130), octaves=2, stretch=3.5, angle=angle) - 0.5 * value
    fenestrae = open_space > dial.between(1.7, 3.0)
    rock.lay(cement(slide, rng, cement_look(dial, mineral), ~fenestrae), fenestrae)
    return rock


def thrombolite(slide: Slide, dial: Dial, rng: Rng) -> Rock:
    """Draw dark lobate mesoclots, themselves clotted, in sparry cement, without lamination."""
    size, mineral = slide.size_px, carbonate(dial)
    clot_um = dial.ratio(260, 620)
    value = noise(rng, size, slide.px(clot_um), octaves=2)
    value += np.float32(dial.between(0.2, 0.45)) * noise(rng, size, slide.px(clot_um / 5), octaves=2)
    # lobes: clots are heaps of rounded lumps, so their outline is that of many small discs
    lumps_um = clot_um * dial.between(0.16, 0.3)
    labels, centres, away = cells(size, scattered(rng, size, slide.px(lumps_um), order=0.5))
    columns, rows = centres[:, 0].astype(int), centres[:, 1].astype(int)
    member = value[rows, columns] > dial.between(-0.35, 0.35)
    reach = slide.px(lumps_um) * rng.uniform(0.5, 0.85, len(centres))
    lump = pick(member, labels) & (away < pick(reach.astype(np.float32), labels))
    clots = (blurred(lump.astype(np.float32), slide.px(lumps_um * 0.16)) > 0.42) | (value > 1.5)
    look = cement_look(dial, mineral)
    rock = cement(slide, rng, look, clots)
    loose = dial.between(0.0, 1.0)
    if loose > 0.5:  # peloids settled between the clots
        pellets = noise(rng, size, slide.px(38), octaves=1)
        dust = np.clip(pellets - (2.0 - loose), 0, 0.7)
        rock.darken(np.float32(1.2 * slide.mud) * dust, slide.dust_rgb)
    body = micrite(slide, rng, mud_look(dial, mineral))
    inner = noise(rng, size, slide.px(lumps_um * 0.55), octaves=2)
    depth = np.clip(away / np.float32(slide.px(lumps_um)), 0, 1)
    body.darken(
        np.float32(slide.mud) * (np.float32(0.3) * inner + np.float32(0.3) - np.float32(0.5) * depth), slide.dust_rgb
    )
    rock.lay(body, clots)
    return rock


def foam(slide: Slide, dial: Dial, rng: Rng) -> Rock:
    """Draw a frothy network of thin micrite walls around bubble-like cells filled with clear spar."""
    size, mineral = slide.size_px, carbonate(dial)
    cell_um = dial.ratio(75, 190)
    # many small bubbles among larger ones: seeds thinned where noise is high
    points = scattered(rng, size, slide.px(cell_um * 0.75), order=dial.between(0.55, 0.85))
    crowd = noise(rng, size, slide.px(cell_um * 3.5))[points[:, 1].astype(int), points[:, 0].astype(int)]
    points = points[rng.random(len(points)) < 1 / (1 + np.exp(-1.5 * crowd - 1.6))]
    if len(points) == 0:
        points = np.array([[size / 2, size / 2]], np.float32)
    labels, centres, out = cells(size, points)
    border = np.zeros((size, size), np.uint8)
    border[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    border[:-1] |= labels[1:] != labels[:-1]
    inward = cv2.distanceTransform(1 - border, cv2.DIST_L2, cv2.DIST_MASK_5)
    wall_px = slide.px(cell_um * dial.between(0.06, 0.12))
    thick = noise(rng, size, slide.px(cell_um * 2.5), octaves=2)
    wall = np.float32(wall_px) * np.clip(1 + np.float32(0.45) * thick, 0.35, 3)
    # a bubble keeps within the circle its cell has room for: corners are rounded off, and spongy mud fills them
    rounded = blurred(inward, slide.px(cell_um * 0.07))
    room = inward[centres[:, 1].astype(int), centres[:, 0].astype(int)] * dial.between(1.3, 2.0)
    squash = 1 + np.float32(0.16) * noise(rng, size, slide.px(cell_um * 0.7))
    bubbles = (rounded > wall) & (out * squash < pick(room.astype(np.float32), labels))
    filled = pick(rng.random(len(centres)) < dial.between(0.0, 0.06), labels)  # cells full of mud
    massive = thick > dial.between(1.7, 3.0)
    bubbles &= ~(filled | massive)
    look = cement_look(dial, mineral)
    rock = micrite(slide, rng, mud_look(dial, mineral))
    rock.darken(np.float32(slide.mud * 0.3) * (1 - np.minimum(rounded / np.maximum(wall, 1e-3), 1.3)), slide.dust_rgb)
    block = spar(slide, rng, look.spar, size_um=cell_um * dial.between(0.3, 0.7), mineral=mineral)
    rock.lay(block, bubbles)
    if dial.chance(0.3):
        rock.lay(pore_glue(slide, rng), bubbles & pick(rng.random(len(centres)) < dial.between(0.03, 0.15), labels))
    return rock


def grape(slide: Slide, dial: Dial, rng: Rng) -> Rock:
    """Draw botryoidal cement: fans of fibres that line cavities in scalloped, banded layers ("grape lace").

    Fans start from seeds on the walls; distance to the nearest seed has the scalloped contours of botryoids, and
    each seed's cell is one fan whose fibres, and extinction, run radially.
    """
    size, mineral = slide.size_px, carbonate(dial)
    lump_um = dial.ratio(500, 1300)
    value = noise(rng, size, slide.px(lump_um), octaves=3)
    host = value > np.quantile(value[::4, ::4], 1 - dial.between(0.12, 0.38))
    if not host.any():
        host = value >= value.max()
    away = distance_from(host)
    rows, columns = np.nonzero((away > 0.5) & (away < 1.6))
    spacing = max(slide.px(dial.ratio(90, 260)), 2.0)
    seeds = np.full((size, size), 255, np.uint8)
    few = rng.random(len(rows)) < 1.6 / spacing
    seeds[rows[few], columns[few]] = 0
    # botryoids grow on botryoids: later fans begin on the earlier ones
    later = scattered(rng, size, spacing * dial.between(1.6, 3.0), order=0.3).astype(int)
    thickness = slide.px(dial.ratio(300, 900))
    start = away[later[:, 1], later[:, 0]]
    later = later[(start > 0.35 * thickness) & (start < 0.75 * thickness)]
    seeds[later[:, 1], later[:, 0]] = 0
    if seeds.all():
        seeds[size // 2, size // 2] = 0
    labels, centres, out = cells_of_mask(seeds)
    x, y = coordinates(size)
    dx = x - pick(np.ascontiguousarray(centres[:, 0]), labels)
    dy = y - pick(np.ascontiguousarray(centres[:, 1]), labels)
    phi = np.arctan2(dy, dx)
    count = len(centres)
    fibre = rng.random((64, 256)).astype(np.float32)
    turn = ((phi + np.float32(np.pi)) * np.float32(255 / (2 * np.pi))).astype(np.int32)
    row = pick(rng.integers(0, 64, count).astype(np.int32), labels)
    rays = pick(fibre.ravel(), row * 256 + turn)
    front = np.float32(0.7) * out + np.float32(0.3) * away
    front_um = front * np.float32(slide.um_per_px) + np.float32(8) * (rays - np.float32(0.5))
    band_um = dial.ratio(28, 90)
    table = line_noise(rng, 2048, 12, octaves=3, fall=0.7)
    bands = pick(table, np.clip(front_um * np.float32(12 / band_um), 0, 2047).astype(np.int32))
    dark = np.float32(slide.mud) * (
        np.float32(dial.between(0.18, 0.4)) * np.clip(bands, -0.6, 2) + np.float32(0.16) * rays + np.float32(0.2)
    )
    clear = clear_absorb(slide, mineral)
    absorb = tinted(np.ones((size, size), np.float32), clear)
    azimuth = phi + np.float32(0.35) * (rays - np.float32(0.5)) + np.float32(0.1) * bands
    delta = np.full((size, size), mineral.birefringence * 0.9, np.float32)
    fans = Rock(absorb, delta, azimuth, np.full((size, size), 0.12, np.float32))
    fans.darken(dark, slide.dust_rgb)
    look = cement_look(dial, mineral)
    lined = front < thickness
    rock = cement(slide, rng, look, lined | host)
    if dial.chance(0.4):
        centre_open = front > thickness + slide.px(dial.between(60, 260))
        rock.lay(pore_glue(slide, rng), centre_open)
    rock.lay(fans, lined)
    body = micrite(slide, rng, mud_look(dial, mineral))
    body.darken(np.float32(0.2 * slide.mud) * noise(rng, size, slide.px(160), octaves=4), slide.dust_rgb)
    rock.lay(body, host)
    return rock
