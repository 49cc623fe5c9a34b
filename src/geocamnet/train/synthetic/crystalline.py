"""Fabrics named by their crystals: dolomite and limestone, micritic, fine, medium and coarse."""

from collections.abc import Callable

import cv2
import numpy as np

from geocamnet.train.synthetic.crystals import RhombLook, SparLook, rhomb_look, rhombs, spar, spar_look
from geocamnet.train.synthetic.mud import MudLook, micrite, mud_look
from geocamnet.train.synthetic.optics import CALCITE, DOLOMITE, Rock
from geocamnet.train.synthetic.patterns import Rng, blurred, noise
from geocamnet.train.synthetic.slide import Dial, Slide

Draw = Callable[[Slide, Dial, Rng], Rock]

# Mean crystal size in µm, from and to; crystals of one section scatter about their mean by some 30 %.
# Limits of the classes: fine 10-50, medium 50-250, coarse above 250 µm.
FINE_UM, MEDIUM_UM, COARSE_UM = (22.0, 42.0), (80.0, 190.0), (300.0, 560.0)


def dolomite(size_um: tuple[float, float]) -> Draw:
    """Return the drawing of crystalline dolomite: rhombs with cloudy cores and clear rims."""

    def draw(slide: Slide, dial: Dial, rng: Rng) -> Rock:
        look = rhomb_look(dial)
        mean_um = dial.ratio(*size_um)
        rock = rhombs(slide, rng, look, size_um=mean_um)
        _ghosts(rock, slide, dial, rng)
        return rock

    return draw


def limestone(size_um: tuple[float, float]) -> Draw:
    """Return the drawing of crystalline limestone: anhedral calcite, twinned and cleaved where coarse."""

    def draw(slide: Slide, dial: Dial, rng: Rng) -> Rock:
        look = spar_look(dial)
        mean_um = dial.ratio(*size_um)
        if mean_um < 60:  # microspar: even loaf-shaped grains with mud left between them
            look = SparLook(0.0, 0.0, look.outline, look.dust * 1.6, 0.35, 0.14, look.sweep)
        rock = spar(slide, rng, look, size_um=mean_um, mineral=CALCITE)
        if mean_um < 60:
            left = np.clip(noise(rng, slide.size_px, slide.px(120), octaves=2) - dial.between(0.3, 1.2), 0, 1)
            rock.darken(left * np.float32(0.45 * slide.mud), slide.dust_rgb)
        _ghosts(rock, slide, dial, rng)
        return rock

    return draw


def _ghosts(rock: Rock, slide: Slide, dial: Dial, rng: Rng) -> None:
    """Add what recrystallisation left of the older rock: clouds, and dark bitumen between some crystals."""
    strength = dial.between(0.0, 0.22)
    clouds = noise(rng, slide.size_px, slide.px(dial.ratio(150, 500)), octaves=2)
    rock.darken(np.clip(clouds, -1, 2) * np.float32(strength * 0.4), slide.dust_rgb)


def micritic_limestone(slide: Slide, dial: Dial, rng: Rng) -> Rock:
    """Draw lime mudstone: mottled mud, patches of microspar, a few thin shells and calcispheres."""
    look = mud_look(dial, CALCITE)
    rock = micrite(slide, rng, look)
    size = slide.size_px
    micro_um = dial.between(9, 16)
    share = dial.between(1.2, 2.8)
    micro = spar(slide, rng, SparLook(0, 0, 0.5, 0.5, 0.3, 0, 0), size_um=micro_um, mineral=CALCITE)
    patches = noise(rng, size, slide.px(140), octaves=3) > share
    rock.lay(micro, patches)
    clear = spar(slide, rng, SparLook(0.2, 0.1, 0.4, 0.05, 0.3, 0, 0), size_um=26, mineral=CALCITE)
    rock.lay(clear, _thin_shells(slide, rng, count=int(rng.poisson(dial.between(1, 7)))))
    return rock


def micritic_dolomite(slide: Slide, dial: Dial, rng: Rng) -> Rock:
    """Draw dolomicrite: even mud with faint bedding, tiny rhombs scattered in it, specks of pyrite."""
    base = mud_look(dial, DOLOMITE)
    look = MudLook(
        DOLOMITE,
        base.density * 0.92,
        base.mottle * 0.6,
        base.crystal_um * 1.3,
        0.03 + base.sparkle,
        dial.between(0.03, 0.16),
    )
    rock = micrite(slide, rng, look)
    size = slide.size_px
    tiny = rhombs(slide, rng, RhombLook(outline=0.4, spread=0.25), size_um=dial.between(11, 17))
    share = dial.between(0.4, 1.4)
    rock.lay(tiny, noise(rng, size, slide.px(14)) + 0.6 * noise(rng, size, slide.px(160)) > share + 0.5)
    specks = (noise(rng, size, max(slide.px(8), 1.2)) > 3.1).astype(np.float32)
    rock.darken(blurred(specks, 0.6) * np.float32(2.5))
    return rock


def _thin_shells(slide: Slide, rng: Rng, *, count: int) -> np.ndarray:
    """Return where a few ostracods, spicules and calcispheres are cut."""
    size = slide.size_px
    picture = np.zeros((size, size), np.uint8)
    for _ in range(count):
        middle = tuple(int(one) for one in rng.integers(0, size, 2))
        radius = max(int(slide.px(rng.uniform(25, 90))), 2)
        thick = max(int(slide.px(rng.uniform(6, 14))), 1)
        kind = rng.integers(3)
        if kind == 0:
            cv2.circle(picture, middle, max(radius // 2, 2), 255, thick, cv2.LINE_8)
        elif kind == 1:
            start = int(rng.integers(360))
            cv2.ellipse(picture, middle, (radius * 2, radius), int(rng.integers(180)), start, start + 150, 255, thick)
        else:
            angle = rng.uniform(0, np.pi)
            end = (int(middle[0] + 3 * radius * np.cos(angle)), int(middle[1] + 3 * radius * np.sin(angle)))
            cv2.line(picture, middle, end, 255, thick, cv2.LINE_8)
    return picture > 0
