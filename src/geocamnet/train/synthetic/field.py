"""One field of view: fabrics drawn, joined, cut by objects, and photographed in both lights."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.errors import DataError, unknown_name
from geocamnet.taxonomy import CLASSES
from geocamnet.train.synthetic.bioclasts import bioclastic
from geocamnet.train.synthetic.camera import burn_in, expose, slope_of_thickness
from geocamnet.train.synthetic.crystalline import (
    COARSE_UM,
    FINE_UM,
    MEDIUM_UM,
    Draw,
    dolomite,
    limestone,
    micritic_dolomite,
    micritic_limestone,
)
from geocamnet.train.synthetic.fragments import breccia
from geocamnet.train.synthetic.grains import arenaceous, oncolite, oolite
from geocamnet.train.synthetic.microbial import foam, grape, stromatolite, thrombolite
from geocamnet.train.synthetic.objects import evaporite, fracture, stylolite, vug
from geocamnet.train.synthetic.optics import Rock, cross_polarised, plane_polarised
from geocamnet.train.synthetic.patterns import Rng, Where, noise, rotated
from geocamnet.train.synthetic.silica import siliceous
from geocamnet.train.synthetic.slide import Dial, Slide, prepare_slide

DrawObject = Callable[[Slide, Dial, Rng, Rock], Where]

# Fabrics that own every pixel of their field.
FABRICS: dict[str, Draw] = {
    "arenaceous": arenaceous,
    "bioclastic": bioclastic,
    "breccia": breccia,
    "coarse_crystalline_dolomite": dolomite(COARSE_UM),
    "coarse_crystalline_limestone": limestone(COARSE_UM),
    "fine_crystalline_dolomite": dolomite(FINE_UM),
    "fine_crystalline_limestone": limestone(FINE_UM),
    "foam": foam,
    "grape": grape,
    "micritic_dolomite": micritic_dolomite,
    "micritic_limestone": micritic_limestone,
    "medium_crystalline_dolomite": dolomite(MEDIUM_UM),
    "medium_crystalline_limestone": limestone(MEDIUM_UM),
    "oncolite": oncolite,
    "oolite": oolite,
    "siliceous": siliceous,
    "stromatolite": stromatolite,
    "thrombolite": thrombolite,
}
# Objects that lie in a host rock.
OBJECTS: dict[str, DrawObject] = {"evaporite": evaporite, "fracture": fracture, "stylolite": stylolite, "vug": vug}
HOSTS = (
    "micritic_limestone",
    "micritic_dolomite",
    "fine_crystalline_dolomite",
    "fine_crystalline_limestone",
    "medium_crystalline_dolomite",
)

CLASS_NAMES: tuple[str, ...] = tuple(rock.name for rock in CLASSES)
_ID = {rock.name: rock.id for rock in CLASSES}
_SMALLEST_PX, _FINE_ENOUGH_PX = 32, 320


@dataclass(frozen=True)
class DrawnField:
    """A field of view, photographed in both lights, with what every pixel is.

    Attributes:
        ppl: RGB uint8 (H, W, 3), plane-polarised light.
        xpl: RGB uint8 (H, W, 3), the same field between crossed polars.
        mask: uint8 (H, W), class ids 1 to 22; 0 on a burnt-in scale bar or frame line.
        labels: the class names asked for. The host of an object is in the mask and not in the labels.
        um_per_px: micrometres a pixel.
    """

    ppl: NDArray[np.uint8]
    xpl: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    labels: tuple[str, ...]
    um_per_px: float


def draw_field(
    class_names: Sequence[str], *, section_seed: int, field: int, size_px: int = 512, style: float = 1.0
) -> DrawnField:
    """Draw one field of view of a thin section.

    Fabrics named together are separated by an irregular border; objects (evaporite, fracture, stylolite, vug) lie
    in the fabrics named with them, or in a host of fine or micritic carbonate where none is.

    Args:
        class_names: one to three of the 22 classes.
        section_seed: everything the fields of a section share follows from it (0 or more).
        field: number of the field in its section (0 or more).
        size_px: side of the square photograph, 32 or more. The field of view does not depend on it.
        style: 0 draws all sections alike, 1 lets them differ as real slides do.

    Raises:
        DataError: an unknown class, none or the same one twice, or a value out of range.
    """
    names = check_names(class_names)
    if size_px < _SMALLEST_PX:
        raise DataError(f"size_px must be {_SMALLEST_PX} or more; received {size_px}.")
    if not 0 <= style <= 1:
        raise DataError(f"style must lie between 0 and 1; received {style}.")
    if section_seed < 0 or field < 0:
        raise DataError(f"section_seed and field must be 0 or more; received {section_seed} and {field}.")
    # small photographs are drawn at twice their size and averaged down, as a camera would
    drawn_px = size_px * 2 if size_px < _FINE_ENOUGH_PX else size_px
    slide = prepare_slide(section_seed, names, drawn_px, style=style)
    rng = np.random.default_rng([section_seed, 3, field])
    rock, mask = _draw_rock(names, slide, rng, section_seed=section_seed, field=field, style=style)
    if drawn_px != size_px:
        mask = cv2.resize(mask, (size_px, size_px), interpolation=cv2.INTER_NEAREST)
    thickness_um = slope_of_thickness(slide, drawn_px)
    ppl = expose(slide, rng, plane_polarised(rock, thickness_um), size_px=size_px, crossed=False)
    xpl = expose(slide, rng, cross_polarised(rock, thickness_um, leak=slide.leak), size_px=size_px, crossed=True)
    um_per_px = slide.um_per_px * drawn_px / size_px
    burn_in(slide, [ppl, xpl], mask, um_per_px=um_per_px)
    return DrawnField(ppl, xpl, mask, names, um_per_px)


def check_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return the names as a tuple.

    Raises:
        DataError: an unknown class, the same one twice, none or more than three.
    """
    names = (class_names,) if isinstance(class_names, str) else tuple(class_names)
    for name in names:
        if name not in _ID:
            raise DataError(unknown_name("class", name, CLASS_NAMES))
    if not 1 <= len(names) <= 3 or len(set(names)) != len(names):
        raise DataError(f"A field holds one to three different classes; received {list(names)}.")
    return names


def _draw_rock(
    names: tuple[str, ...], slide: Slide, rng: Rng, *, section_seed: int, field: int, style: float
) -> tuple[Rock, NDArray[np.uint8]]:
    """Return the slice of rock and its mask at the working resolution."""

    def dial(name: str) -> Dial:
        return Dial(np.random.default_rng([section_seed, 2, zlib.crc32(name.encode())]), style)

    def dice(name: str) -> Rng:
        return np.random.default_rng([section_seed, 4, field, zlib.crc32(name.encode())])

    fabrics = [name for name in names if name in FABRICS]
    if not fabrics:
        fabrics = [dial("host").one_of(HOSTS)]
    rock = FABRICS[fabrics[0]](slide, dial(fabrics[0]), dice(fabrics[0]))
    mask = np.full((slide.size_px, slide.size_px), _ID[fabrics[0]], np.uint8)
    for number, name in enumerate(fabrics[1:], start=1):
        there = _side(slide, dial(f"border {number}"), rng, share=1 / (number + 1))
        rock.lay(FABRICS[name](slide, dial(name), dice(name)), there)
        mask[there] = _ID[name]
    for name in OBJECTS:  # in the order in which a rock suffers them
        if name in names:
            mask[OBJECTS[name](slide, dial(name), dice(name), rock)] = _ID[name]
    return rock, mask


def _side(slide: Slide, dial: Dial, rng: Rng, *, share: float) -> Where:
    """Return one side of an irregular border, about ``share`` of the field."""
    size = slide.size_px
    _, across = rotated(size, dial.between(0, 2 * np.pi))
    bow = across / size + np.float32(dial.between(0.03, 0.1)) * noise(rng, size, size * 0.25, octaves=4)
    return bow > np.quantile(bow[::4, ::4], 1 - share * rng.uniform(0.8, 1.2))
