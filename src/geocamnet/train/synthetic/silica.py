"""Siliceous rock: microcrystalline quartz, chalcedony spherulites, megaquartz, ghosts of the carbonate before."""

import numpy as np

from geocamnet.train.synthetic.crystals import RhombLook, rhombs
from geocamnet.train.synthetic.optics import QUARTZ, Rock, tinted
from geocamnet.train.synthetic.patterns import Rng, blurred, cells, coordinates, noise, pick, scattered, seams
from geocamnet.train.synthetic.slide import Dial, Slide


def siliceous(slide: Slide, dial: Dial, rng: Rng) -> Rock:
    """Draw chert: colourless to brown in PPL, grey salt and pepper in XPL, with fans of chalcedony.

    Quartz has a birefringence of 0.009: first-order grey to white at 30 µm, never the pearly colours of carbonate.
    """
    size = slide.size_px
    grain_px = max(slide.px(dial.ratio(6, 22)), 1.3)
    labels, centres, _ = cells(size, scattered(rng, size, grain_px, order=0.35))
    azimuth = pick(rng.uniform(0, np.pi, len(centres)).astype(np.float32), labels)
    azimuth = azimuth + np.float32(0.3) * noise(rng, size, grain_px * 1.2)
    share = pick(rng.uniform(0.2, 1.0, len(centres)).astype(np.float32), labels)
    brown = np.clip(
        dial.between(0.02, 0.5) + np.float32(dial.between(0.05, 0.25)) * noise(rng, size, slide.px(180), octaves=3),
        0.01,
        2,
    )
    dust = noise(rng, size, max(slide.px(4), 1.0))
    density = np.float32(0.05) + brown * (np.float32(0.8) + np.float32(0.2) * dust)
    jumble = np.full((size, size), float(np.clip(0.55 - grain_px / 20, 0.05, 0.5)), np.float32)
    rock = Rock(tinted(density, slide.dust_rgb), share * np.float32(QUARTZ.birefringence), azimuth, jumble)

    fans = _chalcedony(slide, dial, rng)
    value = noise(rng, size, slide.px(dial.ratio(160, 420)), octaves=2)
    inner = value - dial.between(0.1, 1.2)
    rock.lay(fans, inner > 0)
    if dial.chance(0.6):
        rock.lay(_megaquartz(slide, dial, rng), inner > dial.between(0.5, 0.9))
    ghost = dial.between(0, 1)
    if ghost > 0.5:  # outlines of replaced grains
        ghosts, middle, away = cells(size, scattered(rng, size, slide.px(dial.ratio(140, 300)), order=0.7))
        reach = pick((slide.px(75) * rng.uniform(0.6, 1.3, len(middle))).astype(np.float32), ghosts)
        away = away * (1 + np.float32(0.2) * noise(rng, size, slide.px(70), octaves=2))
        body = 1 / (1 + np.exp(np.clip((away - reach) / np.float32(max(slide.px(5), 0.8)), -30, 30)))
        kept = pick(rng.random(len(middle)) < dial.between(0.2, 0.8), ghosts)
        cloudy = np.float32(0.7) + np.float32(0.3) * noise(rng, size, slide.px(12), octaves=2)
        rock.darken(body * kept * cloudy * np.float32(0.6 * (ghost - 0.3) * slide.mud), slide.dust_rgb)
    if dial.chance(0.5):  # relics: scattered rhombs of dolomite that were not replaced
        relic = rhombs(slide, rng, RhombLook(cloud=0.6, outline=0.8), size_um=dial.ratio(24, 60))
        rock.lay(relic, noise(rng, size, slide.px(45)) > dial.between(1.7, 2.4))
    specks = (noise(rng, size, max(slide.px(7), 1.2)) > dial.between(2.4, 3.4)).astype(np.float32)
    rock.darken(blurred(specks, 0.6) * np.float32(1.6), slide.dust_rgb)
    return rock


def _chalcedony(slide: Slide, dial: Dial, rng: Rng) -> Rock:
    """Return spherulites of fibres whose extinction is a dark cross, crossed by bands."""
    size = slide.size_px
    spacing = slide.px(dial.ratio(70, 220))
    labels, centres, out = cells(size, scattered(rng, size, spacing, order=0.3))
    x, y = coordinates(size)
    dx = x - pick(np.ascontiguousarray(centres[:, 0]), labels)
    dy = y - pick(np.ascontiguousarray(centres[:, 1]), labels)
    phi = np.arctan2(dy, dx)
    fibre = rng.random((64, 180)).astype(np.float32)
    turn = ((phi + np.float32(np.pi)) * np.float32(179 / (2 * np.pi))).astype(np.int32)
    row = pick(rng.integers(0, 64, len(centres)).astype(np.int32), labels)
    rays = pick(fibre.ravel(), row * 180 + turn)
    bands = np.sin(out * np.float32(2 * np.pi / max(slide.px(dial.between(14, 34)), 2.2)))
    delta = np.float32(QUARTZ.birefringence) * (np.float32(0.72) + np.float32(0.2) * bands * dial.between(0, 1))
    azimuth = phi + np.float32(0.5) * (rays - np.float32(0.5))
    density = np.float32(0.06) + np.float32(0.1) * rays + np.float32(dial.between(0.0, 0.12)) * (bands > 0.4)
    density += blurred(seams(labels), 0.6) * np.float32(0.15)
    return Rock(tinted(density, slide.dust_rgb), delta, azimuth, np.full((size, size), 0.12, np.float32))


def _megaquartz(slide: Slide, dial: Dial, rng: Rng) -> Rock:
    """Return clear interlocking quartz crystals, undulose."""
    size = slide.size_px
    grain_px = slide.px(dial.ratio(50, 130))
    labels, centres, _ = cells(size, scattered(rng, size, grain_px, order=0.4))
    azimuth = pick(rng.uniform(0, np.pi, len(centres)).astype(np.float32), labels)
    azimuth = azimuth + np.float32(0.25) * noise(rng, size, grain_px)
    share = pick(rng.uniform(0.4, 1.0, len(centres)).astype(np.float32), labels)
    density = np.float32(0.04) + blurred(seams(labels), 0.6) * np.float32(0.12)
    return Rock(
        tinted(density, slide.dust_rgb),
        share * np.float32(QUARTZ.birefringence),
        azimuth,
        np.full((size, size), 0.03, np.float32),
    )
