"""Breccia: angular clasts of several rocks in cement or mud."""

import cv2
import numpy as np

from geocamnet.train.synthetic.crystals import RhombLook, cement, cement_look, rhombs, spar, spar_look
from geocamnet.train.synthetic.grains import carbonate
from geocamnet.train.synthetic.mud import MudLook, micrite, mud_look
from geocamnet.train.synthetic.optics import DOLOMITE, Rock
from geocamnet.train.synthetic.patterns import (
    Rng,
    blurred,
    cells,
    coordinates,
    line_noise,
    noise,
    pick,
    ridged,
    scattered,
    seams,
)
from geocamnet.train.synthetic.slide import Dial, Slide


def breccia(slide: Slide, dial: Dial, rng: Rng) -> Rock:
    """Draw angular fragments of all sizes, of different rocks, turned against each other.

    Fragments are cells of a mosaic cut apart along straight faces at two scales; what is left between is cement
    or a dark matrix of mud with splinters.
    """
    size, mineral = slide.size_px, carbonate(dial)
    clast_px = slide.px(dial.ratio(380, 950))
    # a strip of the bisector between neighbouring seeds is taken away: faces stay straight, corners sharp
    points = scattered(rng, size, clast_px, order=0.1)
    labels, centres, to_seed = cells(size, points)
    apart = _gap(size, labels, centres, to_seed, slide.px(dial.between(30, 130)), rng)
    splinters_px = max(slide.px(dial.ratio(110, 240)), 4)
    fine_labels, fine_centres, fine_to = cells(size, scattered(rng, size, splinters_px, order=0.2))
    fine_gap = _gap(size, fine_labels, fine_centres, fine_to, splinters_px * 0.22, rng)
    present = pick(rng.random(len(centres)) < dial.between(0.62, 0.9), labels)
    clast = ~apart & present
    some = pick(rng.random(len(fine_centres)) < dial.between(0.15, 0.5), fine_labels)
    splinter = ~clast & ~fine_gap & some & ~apart
    splinter |= ~clast & ~fine_gap & some & ~present
    all_labels = np.where(splinter, fine_labels + len(centres), labels)
    total = len(centres) + len(fine_centres)
    where = clast | splinter

    look = cement_look(dial, mineral)
    if dial.chance(0.6):
        rock = cement(slide, rng, look, where)
    else:
        mud = mud_look(dial, mineral)
        rock = micrite(slide, rng, MudLook(mud.mineral, mud.density * 1.35, mud.mottle, mud.crystal_um, 0.05, 0.0))
        grit = noise(rng, size, slide.px(26)) > 1.5
        rock.lay(spar(slide, rng, look.spar, size_um=22, mineral=mineral), grit)

    kinds = int(dial.between(2, 4.99))
    kind = pick(rng.integers(0, kinds, total).astype(np.int32), all_labels)
    tone = pick(rng.normal(0, dial.between(0.08, 0.25), total).astype(np.float32), all_labels)
    body = micrite(slide, rng, mud_look(dial, mineral))
    turn = rng.uniform(0, np.pi, total).astype(np.float32)
    x, y = coordinates(size)
    across = pick(np.cos(turn), all_labels) * y - pick(np.sin(turn), all_labels) * x
    across += np.float32(slide.px(25)) * noise(rng, size, slide.px(160))
    table = line_noise(rng, 4096, 12, octaves=3, fall=0.7)
    step = across * np.float32(14 / max(slide.px(dial.ratio(70, 170)), 2)) + np.float32(2048)
    bedding = pick(table, np.clip(step, 0, 4095).astype(np.int32))
    laminated = (kind == 1).astype(np.float32)
    clots = noise(rng, size, slide.px(140), octaves=4)
    pattern = laminated * np.float32(0.35) * bedding + np.float32(0.08) * clots
    body.darken(np.float32(slide.mud) * (tone + pattern), slide.dust_rgb)
    if kinds > 2:
        if mineral is DOLOMITE:
            fine = rhombs(slide, rng, RhombLook(outline=0.5), size_um=dial.between(24, 45))
        else:
            fine = spar(slide, rng, spar_look(dial), size_um=dial.between(20, 40), mineral=mineral)
        fine.darken(np.float32(slide.mud) * (np.float32(0.15) + tone), slide.dust_rgb)
        body.lay(fine, kind == 2)
    if kinds > 3:
        veinlets = ridged(noise(rng, size, slide.px(300), octaves=2)) > 0.75
        body.lay(spar(slide, rng, look.spar, size_um=35, mineral=mineral), veinlets & (kind == 3))
    edge = blurred(seams(where), 0.8)
    rock.lay(body, where)
    rock.darken(edge * np.float32(dial.between(0.2, 0.8)), slide.dust_rgb)
    return rock


def _gap(
    size: int, labels: np.ndarray, centres: np.ndarray, to_seed: np.ndarray, width_px: float, rng: Rng
) -> np.ndarray:
    """Return the pixels nearer than half ``width_px`` to a face of the mosaic.

    The distance to the face is the half difference of the distances to the nearest and the second nearest
    seed; the second is found by a mosaic of the first's border, which keeps faces straight enough.
    """
    border = np.zeros((size, size), np.uint8)
    border[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    border[:-1] |= labels[1:] != labels[:-1]
    inward = cv2.distanceTransform(1 - border, cv2.DIST_L2, cv2.DIST_MASK_5)
    return inward < width_px / 2 * np.clip(1 + 0.6 * noise(rng, size, 4 * width_px + 8), 0.3, 2.5)
