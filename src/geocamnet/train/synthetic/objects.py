"""Objects that lie in a host rock: fractures, stylolites, vugs, evaporite laths and nodules.

Each returns the rock with the object in it and where the object is; the rest of the mask is the host's.
"""

import cv2
import numpy as np

from geocamnet.train.synthetic.crystals import CementLook, cement, cement_look, distance_from
from geocamnet.train.synthetic.grains import carbonate
from geocamnet.train.synthetic.mud import pore_glue
from geocamnet.train.synthetic.optics import ANHYDRITE, GYPSUM, Rock, tinted
from geocamnet.train.synthetic.patterns import (
    Rng,
    Where,
    blurred,
    cells,
    coordinates,
    line_noise,
    noise,
    pick,
    rotated,
    scattered,
    seams,
)
from geocamnet.train.synthetic.slide import Dial, Slide


def fracture(slide: Slide, dial: Dial, rng: Rng, rock: Rock) -> Where:
    """Cut the rock by veins of blocky cement, some with an open middle; return where they are."""
    size = slide.size_px
    veins = np.zeros((size, size), bool)
    main = dial.between(0, np.pi)
    count = 1 + int(rng.random() < 0.45) + int(rng.random() < dial.between(0, 0.5))
    wide_um = dial.ratio(70, 420)
    rough, steps, swell = dial.between(0.2, 1.0), dial.between(0.0, 1.0), dial.between(0.02, 0.2)
    for number in range(count):
        angle = main + (rng.normal(0, 0.12) if number == 0 or rng.random() < 0.6 else rng.uniform(0.5, 2.6))
        along, across = rotated(size, angle)
        half_px = 0.5 * slide.px(wide_um * (rng.uniform(0.8, 1.25) if number == 0 else rng.uniform(0.15, 0.7)))
        half_px = float(np.clip(half_px, 1.2, size * 0.14))
        span = 2 * size
        path = line_noise(rng, span, size * 0.5, octaves=2) * size * 0.022
        path += line_noise(rng, span, slide.px(140), octaves=3) * slide.px(16) * rough
        breadth = 1 + swell * line_noise(rng, span, size * 0.3, octaves=2)
        wall = line_noise(rng, span, slide.px(45), octaves=2) * slide.px(7) * steps
        at = np.clip(along + size, 0, span - 1).astype(np.int32)
        offset = rng.uniform(-0.2, 0.2) * size if number == 0 else rng.uniform(-0.42, 0.42) * size
        distance = np.abs(across - np.float32(offset) - pick(path.astype(np.float32), at))
        veins |= distance < np.maximum(half_px * pick(breadth.astype(np.float32), at) + pick(wall, at), 0.8)
    mineral = carbonate(dial)
    look = cement_look(dial, mineral)
    look = CementLook(
        mineral, look.fringe_um * 0.8, look.blade_um * 1.3, max(wide_um * dial.between(0.3, 0.7), 30), look.spar
    )
    fill = cement(slide, rng, look, ~veins)
    if dial.chance(0.25):
        inside = distance_from(~veins)
        middle = inside > slide.px(wide_um) * dial.between(0.18, 0.35) + 2 * noise(rng, size, slide.px(60))
        fill.lay(pore_glue(slide, rng), middle)
    rock.lay(fill, veins)
    if dial.chance(0.3):  # a film of bitumen on the walls
        film = blurred(seams(veins), 0.8)
        rock.darken(film * np.float32(1.4), slide.dust_rgb)
    return veins


def stylolite(slide: Slide, dial: Dial, rng: Rng, rock: Rock) -> Where:
    """Lay sutured seams of dark insoluble residue through the rock; return where they are."""
    size = slide.size_px
    where = np.zeros((size, size), bool)
    main = dial.between(-0.6, 0.6)
    tooth_um = dial.ratio(60, 240)
    height_um = tooth_um * dial.ratio(0.3, 1.0)
    seam_um = dial.ratio(9, 42)
    style = dial.between(0, 1)
    count = 1 + int(rng.random() < dial.between(0.0, 0.8)) + int(rng.random() < 0.2)
    offsets = rng.permutation(np.linspace(-0.3, 0.3, 3))[:count] + rng.uniform(-0.08, 0.08, count)
    density = np.zeros((size, size), np.float32)
    for number in range(count):
        span, share = 2 * size, 1.0 if number == 0 else rng.uniform(0.3, 0.9)
        base = line_noise(rng, span, slide.px(tooth_um), octaves=5, fall=0.62)
        # teeth: columns with steep flanks, made by steepening the wave
        teeth = np.tanh(base * (1 + 5 * style))
        small = line_noise(rng, span, slide.px(tooth_um * 0.3), octaves=3, fall=0.7)
        path = slide.px(height_um * share) * (0.75 * teeth + 0.25 * base + 0.12 * small)
        path += line_noise(rng, span, size * 0.6) * size * 0.02
        columns = np.arange(span) - size
        points = np.stack([columns, path + offsets[number] * size], axis=1)
        turn = main + rng.normal(0, 0.07)
        cos, sin = np.cos(turn), np.sin(turn)
        turned = points @ np.array([[cos, sin], [-sin, cos]]) + size / 2
        thick_px = np.clip(slide.px(seam_um * share), 1.0, 30)
        drawn = np.zeros((size, size), np.uint8)
        line = np.rint(turned * 16).astype(np.int32)
        # residue gathers on the crowns of the teeth and thins on their flanks
        crowns = np.abs(np.gradient(path)) < 0.8
        cv2.polylines(drawn, [line], False, 255, max(int(thick_px * 0.55), 1), cv2.LINE_8, 4)
        for begin in range(0, span - 6, 5):
            if crowns[begin]:
                cv2.polylines(drawn, [line[begin : begin + 6]], False, 255, max(round(thick_px), 1), cv2.LINE_8, 4)
        seam = drawn > 0
        ragged = noise(rng, size, slide.px(14), octaves=2)
        near = distance_from(seam)
        seam |= near < np.float32(thick_px * 0.35) * ragged
        where |= seam
        halo = np.exp(-near / np.float32(max(slide.px(dial.between(12, 45)), 1)))
        density = np.maximum(density, seam * (1.8 + 0.35 * ragged) + np.float32(0.3) * halo)
    residue = np.float32(dial.between(0.8, 1.5)) * density
    dark = where.astype(np.float32)
    rock.darken(residue, (0.88, 1.0, 1.12))
    rock.delta *= 1 - np.float32(0.85) * dark
    grit = where & (noise(rng, size, max(slide.px(10), 1.2)) > 1.9)  # silt grains left in the seam
    rock.absorb[:, grit] *= np.float32(0.35)
    return where


def vug(slide: Slide, dial: Dial, rng: Rng, rock: Rock) -> Where:
    """Dissolve holes in the rock, some lined with crystals; return where they are, the lining included."""
    size = slide.size_px
    big_um = dial.ratio(260, 800)
    value = noise(rng, size, slide.px(big_um), octaves=3)
    value += np.float32(dial.between(0.05, 0.25)) * noise(rng, size, slide.px(45), octaves=2)
    share = dial.between(0.1, 0.34)
    holes = value > np.quantile(value[::4, ::4], 1 - share * rng.uniform(0.75, 1.25))
    holes = blurred(holes.astype(np.float32), slide.px(dial.between(4, 14))) > 0.5
    if not holes.any():
        holes = value >= value.max()
    inside = distance_from(~holes)
    fill = pore_glue(slide, rng)
    if dial.chance(0.55):  # dogtooth or saddle dolomite on the walls, points towards the hole
        mineral = carbonate(dial)
        look = cement_look(dial, mineral)
        tooth_um = dial.ratio(30, 110)
        look = CementLook(mineral, tooth_um, tooth_um * 0.7, tooth_um, look.spar)
        lining = cement(slide, rng, look, ~holes)
        points = slide.px(tooth_um) * (0.8 + np.float32(0.55) * noise(rng, size, slide.px(tooth_um * 0.5)))
        fill.lay(lining, inside < points)
    rock.lay(fill, holes)
    rim = np.exp(-distance_from(holes) / np.float32(max(slide.px(10), 0.8))) * ~holes
    rock.darken(rim * np.float32(dial.between(0.0, 0.4)), slide.dust_rgb)
    wall = blurred(seams(holes), 0.7)
    rock.darken(wall * np.float32(0.5))
    return holes


def evaporite(slide: Slide, dial: Dial, rng: Rng, rock: Rock) -> Where:
    """Grow gypsum or anhydrite: laths scattered in the rock, or felted into nodules; return where they are."""
    size = slide.size_px
    mineral = GYPSUM if dial.chance(0.25) else ANHYDRITE
    long_um, slim = dial.ratio(70, 280), dial.between(3.0, 7.5)
    nodular = dial.between(0, 1)
    value = noise(rng, size, slide.px(dial.ratio(350, 800)), octaves=2)
    threshold = float(np.quantile(value[::4, ::4], 1 - dial.between(0.3, 0.75)))
    nodules = value > threshold if nodular > 0.35 else np.zeros((size, size), bool)
    flow = noise(rng, size, slide.px(500))
    long_px = max(slide.px(long_um), 4.0)
    count = int(np.clip((size / long_px) ** 2 * slim * dial.between(1.2, 2.6), 8, 4000))
    centres = rng.uniform(-0.1 * size, 1.1 * size, (count, 2))
    at = np.clip(centres, 0, size - 1).astype(int)
    in_nodule = nodules[at[:, 1], at[:, 0]]
    keep = in_nodule | (rng.random(count) < (0.14 if nodular > 0.35 else dial.between(0.3, 0.6)))
    if not keep.any():
        keep[:] = True
    centres, at = centres[keep], at[keep]
    count = len(centres)
    loose = dial.between(0.2, 1.0)
    turn = (flow[at[:, 1], at[:, 0]] * 1.3 + loose * rng.normal(0, 0.9, count)).astype(np.float32)
    half_long = long_px * 0.5 * np.exp(np.clip(0.5 * rng.standard_normal(count), -1.2, 0.7))
    half_wide = np.maximum(half_long / slim * rng.uniform(0.7, 1.4, count), 0.8)
    first = np.stack([np.cos(turn), np.sin(turn)], 1) * half_long[:, None]
    second = np.stack([-np.sin(turn), np.cos(turn)], 1) * half_wide[:, None]
    blunt = rng.uniform(0.75, 1.0, (count, 1))
    corners = np.stack(
        [
            centres + first + second * blunt,
            centres + first * blunt - second,
            centres - first - second * blunt,
            centres - first * blunt + second,
        ],
        1,
    )
    labels = np.full((size, size), -1, np.int32)
    fixed = np.rint(corners * 16).astype(np.int32)
    for number in range(count):
        cv2.fillConvexPoly(labels, fixed[number], number, lineType=cv2.LINE_8, shift=4)
    where = labels >= 0
    felt = nodules & ~where  # between the laths of a nodule: finer felt
    if felt.any():
        fine, _, _ = cells(size, scattered(rng, size, max(half_wide.mean() * 1.6, 2.0), order=0.4))
        labels = np.where(felt, count + fine % 97, labels).astype(np.int32)
        where |= felt
    total = count + 97
    azimuth = np.concatenate([turn, rng.uniform(0, np.pi, 97)]).astype(np.float32)
    share = rng.uniform(0.25, 1.0, total).astype(np.float32)
    labels0 = np.maximum(labels, 0)
    x, y = coordinates(size)
    across = pick(np.cos(azimuth), labels0) * y - pick(np.sin(azimuth), labels0) * x
    cleavage = (across / np.float32(max(long_px / slim * 0.3, 2.5))) % 1 < 0.22
    density = np.full((size, size), 0.05, np.float32)
    density += cleavage * np.float32(0.14 * mineral.relief / 0.45)
    density += blurred(seams(labels), 0.6) * np.float32(0.3 + mineral.relief)
    dusty = pick(rng.gamma(1.0, dial.between(0.02, 0.15), total).astype(np.float32), labels0)
    crystal = Rock(
        tinted(density + dusty, (1.0, 1.0, 1.05)),
        pick(share, labels0) * np.float32(mineral.birefringence),
        pick(azimuth, labels0),
        np.full((size, size), 0.03, np.float32),
    )
    rock.lay(crystal, where)
    return where
