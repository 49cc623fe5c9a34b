"""Bioclastic limestone: shells, crinoid plates, foraminifera, algae, bryozoans and spines in mud or cement.

Every clast is drawn in its own frame: u along and v across, the clast reaching from -1 to 1. What a pixel is made
of is a code: 0 not the clast, 1 sparry filling, 2 micrite wall, 3 fibres (azimuth given), 4 one single crystal.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.train.synthetic.crystals import cement, cement_look, spar, spar_look
from geocamnet.train.synthetic.grains import carbonate
from geocamnet.train.synthetic.mud import micrite, mud_look
from geocamnet.train.synthetic.optics import Rock
from geocamnet.train.synthetic.patterns import Map, Rng, blurred, noise, packed, seams
from geocamnet.train.synthetic.slide import Dial, Slide

_SKIN = np.ones((5, 5), np.uint8)
_NONE, _SPAR, _WALL, _FIBRES, _CRYSTAL = 0, 1, 2, 3, 4


@dataclass(frozen=True)
class Piece:
    """A clast in its own frame: code, extra optical density and azimuth of each pixel."""

    code: NDArray[np.uint8]
    density: Map
    azimuth: Map


def _piece(u: Map) -> tuple[NDArray[np.uint8], Map, Map]:
    return np.zeros(u.shape, np.uint8), np.zeros(u.shape, np.float32), np.zeros(u.shape, np.float32)


def shell(u: Map, v: Map, rng: Rng) -> Piece:
    """Return a bivalve or brachiopod: a curved band, of fibres or of spar in a micrite envelope."""
    code, density, azimuth = _piece(u)
    bow = rng.uniform(0.15, 0.9)
    centre = (1 - bow * bow) / (2 * bow)
    radius = centre + bow
    r = np.hypot(u, v + centre - bow / 2)
    phi = np.arctan2(v + centre - bow / 2, u)
    reach = np.arctan2(centre, 1.0)
    swing = np.clip((phi - reach) / (np.pi - 2 * reach), 0, 1)
    thick = rng.uniform(0.07, 0.2) * (0.35 + np.sin(np.pi * np.clip(swing, 0.02, 0.98)) ** 0.7)
    ripple = 0.02 * np.sin(phi * rng.uniform(15, 45)) * (rng.random() < 0.35)
    depth = (r + ripple - radius) / thick
    band = (np.abs(depth) < 1) & (swing > 0.015) & (swing < 0.985)
    if rng.random() < 0.5:
        code[band] = _FIBRES
        slant = rng.uniform(-0.5, 0.5)
        azimuth[:] = phi + (np.pi / 2 if rng.random() < 0.6 else 0) + slant * np.sign(depth)
        density[:] = 0.2 + 0.3 * np.clip(np.sin(depth * rng.uniform(9, 16)), 0, 1)
    else:
        code[band] = _SPAR
        code[band & (np.abs(depth) > 0.78)] = _WALL
    return Piece(code, density, azimuth)


def crinoid(u: Map, v: Map, rng: Rng) -> Piece:
    """Return an echinoderm plate: one calcite crystal full of fine pores, often with the canal in the middle."""
    code, density, azimuth = _piece(u)
    sides = rng.choice([2, 4, 5])
    phi, r = np.arctan2(v, u), np.hypot(u, v)
    outline = 0.92 - 0.07 * np.cos(sides * phi + rng.uniform(0, 6)) - 0.03 * np.cos(7 * phi)
    if rng.random() < 0.45:  # cut lengthwise: a box
        inside = (np.abs(u) < 0.92) & (np.abs(v) < rng.uniform(0.4, 0.75) + 0.03 * np.cos(14 * u))
        canal = np.abs(v) < 0.07
    else:
        inside, canal = r < outline, r < rng.uniform(0.1, 0.28)
    code[inside] = _CRYSTAL
    mesh = np.sin(u * rng.uniform(48, 75)) * np.sin(v * rng.uniform(48, 75))
    density[:] = 0.3 + 0.2 * np.clip(mesh + 0.3, 0, 1)
    if rng.random() < 0.7:
        code[canal & inside] = _WALL
    azimuth[:] = rng.uniform(0, np.pi)
    lamella = np.sin((u * 0.6 + v) * rng.uniform(9, 22)) > 0.93
    azimuth += 0.9 * lamella
    return Piece(code, density, azimuth)


def foraminifer(u: Map, v: Map, rng: Rng) -> Piece:
    """Return a foraminifer: spiral, biserial or miliolid chambers with dark walls, filled with spar."""
    code, density, azimuth = _piece(u)
    kind = rng.integers(3)
    chambers: list[tuple[float, float, float]] = []
    if kind == 0:  # planispiral
        turn, reach = rng.uniform(0, 6), 0.1
        for _ in range(int(rng.integers(11, 18))):
            chambers.append(
                (0.62 * reach * np.cos(turn) * 1.55, 0.62 * reach * np.sin(turn) * 1.55, 0.09 + 0.3 * reach)
            )
            turn += 0.72
            reach = min(reach * 1.16, 0.66)
    elif kind == 1:  # biserial
        for step in range(8):
            size = 0.08 + 0.033 * step
            chambers.append((-0.85 + 0.21 * step, (size * 0.8) * (-1) ** step, size))
    else:  # uniserial
        at = -0.85
        for step in range(6):
            size = 0.12 + 0.035 * step
            chambers.append((at, 0.0, size * 1.15))
            at += 1.45 * size
    wall = rng.uniform(0.035, 0.07)
    for x, y, size in chambers:
        away = np.hypot(u - x, v - y)
        code[away < size + wall] = _WALL
        code[away < size] = _SPAR
    return Piece(code, density, azimuth)


def alga(u: Map, v: Map, rng: Rng) -> Piece:
    """Return a green alga (a tube whose wall is pierced by branches) or a red one (a mesh of tiny cells)."""
    code, density, azimuth = _piece(u)
    phi, r = np.arctan2(v, u), np.hypot(u, v)
    if rng.random() < 0.55:
        inner = rng.uniform(0.35, 0.6)
        ring = (r < 0.95) & (r > inner)
        code[ring] = _WALL
        pores = (np.abs(np.sin(phi * rng.integers(8, 15))) < 0.5) & (r < 0.88) & (r > inner + 0.06)
        code[pores & ring] = _SPAR
        code[r <= inner] = _SPAR
    else:
        inside = np.hypot(u, v * 1.5) < 0.92 + 0.1 * np.cos(3 * phi + 1)
        code[inside] = _WALL
        bow = v + 0.25 * u * u
        cells = (np.sin(u * rng.uniform(42, 60)) > -0.1) & (np.sin(bow * rng.uniform(42, 60)) > 0.15)
        code[inside & cells] = _SPAR
    return Piece(code, density, azimuth)


def bryozoan(u: Map, v: Map, rng: Rng) -> Piece:
    """Return a bryozoan frond: rows of round chambers in a fibrous skeleton."""
    code, density, azimuth = _piece(u)
    half = rng.uniform(0.35, 0.65)
    inside = (np.abs(v + 0.12 * np.cos(2.5 * u)) < half) & (np.abs(u) < 0.97)
    code[inside] = _FIBRES
    density[:] = 0.55
    azimuth[:] = 0.5 * np.sin(6 * u)
    v = (v + 0.08 * np.sin(4 * u + 1)).astype(np.float32)
    step = rng.uniform(0.17, 0.26)
    row = np.floor(v / step)
    x = (u / step + 0.5 * (row % 2)) % 1 - 0.5
    y = (v / step) % 1 - 0.5
    code[inside & (np.hypot(x, y) < 0.29 + 0.06 * np.sin(row * 2.7))] = _SPAR
    return Piece(code, density, azimuth)


def spine(u: Map, v: Map, rng: Rng) -> Piece:
    """Return a cut echinoid spine: one crystal with spokes."""
    code, density, azimuth = _piece(u)
    phi, r = np.arctan2(v, u), np.hypot(u, v)
    spokes = np.cos(phi * rng.integers(9, 16))
    code[r < 0.9 + 0.05 * spokes] = _CRYSTAL
    density[:] = 0.12 + 0.5 * ((spokes > 0.25) & (r > 0.3)) + 0.3 * (np.abs(r - 0.55) < 0.04)
    azimuth[:] = rng.uniform(0, np.pi)
    code[r < 0.16] = _WALL
    return Piece(code, density, azimuth)


def gastropod(u: Map, v: Map, rng: Rng) -> Piece:
    """Return a snail cut lengthwise: pairs of whorls that grow down the spire."""
    code, density, azimuth = _piece(u)
    at, size = -0.88, 0.09
    while at < 0.75:
        for side in (-1, 1):
            away = np.hypot((u - at) / 1.15, v - side * size * 0.95)
            code[away < size * 1.12] = _SPAR
            code[away < size * 0.7] = _WALL if size > 0.13 else _SPAR
        at += 1.35 * size
        size *= 1.25
    return Piece(code, density, azimuth)


_KINDS: tuple[tuple[Callable[[Map, Map, Rng], Piece], float, float], ...] = (
    # drawing, half-length from and to in µm
    (shell, 180.0, 620.0),
    (crinoid, 120.0, 360.0),
    (foraminifer, 120.0, 320.0),
    (alga, 120.0, 380.0),
    (bryozoan, 200.0, 460.0),
    (spine, 70.0, 170.0),
    (gastropod, 180.0, 420.0),
)


def bioclastic(slide: Slide, dial: Dial, rng: Rng) -> Rock:
    """Draw skeletal grains, packed in cement (grainstone) or in mud (wackestone, packstone)."""
    size, mineral = slide.size_px, carbonate(dial)
    shares = np.array([dial.between(0.15, 1.0) ** 2 for _ in _KINDS])
    shares *= (1.6, 1.1, 0.9, 0.7, 0.5, 0.35, 0.6)
    shares[0] += 0.2
    crowd, zoom = dial.between(0.5, 0.85), dial.ratio(0.75, 1.15)
    count = 150
    kinds = rng.choice(len(_KINDS), count, p=shares / shares.sum())
    lengths = np.array([_KINDS[kind][1:] for kind in kinds])
    half_px = slide.px(1.0) * zoom * np.exp(rng.uniform(np.log(lengths[:, 0]), np.log(lengths[:, 1])))
    half_px = np.maximum(half_px, 3).astype(np.float32)
    slim = np.where(kinds == 0, 0.45, 0.8)  # shells are flat: more of them fit
    margin = float(half_px.max())
    used = np.cumsum(np.pi * (half_px * slim) ** 2) < crowd * (size + 2 * margin) ** 2
    used[:4] = True
    kinds, half_px, slim = kinds[used][:70], half_px[used][:70], slim[used][:70]
    centres = packed(rng, size, (half_px * slim).astype(np.float32), rounds=18)

    code = np.zeros((size, size), np.uint8)
    density = np.zeros((size, size), np.float32)
    azimuth = np.zeros((size, size), np.float32)
    worn = slide.px(dial.between(4, 11))
    wave_u, wave_v = noise(rng, size, slide.px(65), octaves=2), noise(rng, size, slide.px(65), octaves=2)
    broken, envelope = dial.between(0.15, 0.7), dial.between(0.25, 0.95)
    lie, lying = dial.between(0, np.pi), dial.between(0.2, 1.6)
    for number in np.argsort(-half_px):
        half = float(half_px[number])
        x0, y0 = centres[number]
        reach = 1.25 * half + 2 * worn
        left, top = max(int(x0 - reach), 0), max(int(y0 - reach), 0)
        right, bottom = min(int(x0 + reach) + 1, size), min(int(y0 + reach) + 1, size)
        if right - left < 2 or bottom - top < 2:
            continue
        turn = lie + rng.normal(0, lying) + (np.pi if rng.random() < 0.5 else 0)
        y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
        dx, dy = (x - x0) / half, (y - y0) / half
        u = dx * np.cos(turn) + dy * np.sin(turn) + wave_u[top:bottom, left:right] * (worn / half)
        v = dy * np.cos(turn) - dx * np.sin(turn) + wave_v[top:bottom, left:right] * (worn / half)
        piece = _KINDS[kinds[number]][0](u.astype(np.float32), v.astype(np.float32), rng)
        if rng.random() < broken:  # snapped across
            snap = rng.uniform(-0.35, 0.35) + 0.12 * rng.normal() * v
            piece.code[u > snap + 0.35] = _NONE
        skin = cv2.erode((piece.code > 0).astype(np.uint8), _SKIN) == 0
        if rng.random() < envelope:  # bored rim turned to micrite
            piece.code[skin & (piece.code > 0)] = _WALL
        there = piece.code > 0
        window = np.s_[top:bottom, left:right]
        np.copyto(code[window], piece.code, where=there)
        np.copyto(density[window], piece.density, where=there)
        np.copyto(azimuth[window], piece.azimuth + np.float32(turn), where=there)

    fill = spar(slide, rng, spar_look(dial), size_um=dial.ratio(40, 95), mineral=mineral)
    walls = micrite(slide, rng, mud_look(dial, mineral))
    look, mud = cement_look(dial, mineral), mud_look(dial, mineral)
    if dial.chance(0.55):
        rock = micrite(slide, rng, mud)
        debris = noise(rng, size, slide.px(22)) > dial.between(1.4, 2.2)
        rock.lay(fill, debris)
    else:
        rock = cement(slide, rng, look, code > 0)
    bone = Rock(fill.absorb.copy(), np.full((size, size), mineral.birefringence, np.float32), azimuth, fill.jumble)
    bone.absorb[:] = np.float32(0.06)
    stain = slide.stain(mineral)
    for channel in range(3):
        bone.absorb[channel] += np.float32(stain[channel])
    bone.darken(np.float32(slide.mud) * density, slide.dust_rgb)
    rock.lay(fill, code == _SPAR)
    rock.lay(walls, code == _WALL)
    rock.lay(bone, code >= _FIBRES)
    outline = blurred(seams(code > 0), 0.9)
    rock.darken(outline * np.float32(dial.between(0.4, 1.2)), slide.dust_rgb)
    return rock
