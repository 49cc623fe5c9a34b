"""The area of every class in a photograph: its class mask, and its row of ``areas.csv``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geocamnet.card import ModelCard
from geocamnet.errors import ModelError
from geocamnet.runtime.folder.tables import read_table
from geocamnet.runtime.heatmap import place_maps, scale_maps
from geocamnet.runtime.measure import strongest_class
from geocamnet.runtime.porosity import Dye
from geocamnet.runtime.prediction import Prediction

NO_CLASS = "no_class"  # what the pixels are called whose heat reaches the threshold for no class
THRESHOLD = 0.5  # heat at or above it counts as covered

_STRIP_ROWS = 256  # of a large photograph: all classes at its full size at once would not fit in memory
_MOST_CLASSES = 255  # a mask has 8 bits, and 0 is no class


@dataclass(frozen=True)
class PhotographArea:
    """What was measured on one photograph, or on a field's photographs together.

    Attributes:
        image: path below the source, with ``/``, as in ``predictions.csv``.
        class_px: (C,) pixels of each class, in the card's order; pixels of no class are the rest.
        shape_hw: pixels of the photograph.
        dye: whether porosity could be measured by blue dye; None where it was not asked for.
        pore_px: blue pixels, a few where no dye is visible; None where ``dye`` says that none were looked for.
    """

    image: str
    class_px: tuple[int, ...]
    shape_hw: tuple[int, int]
    dye: Dye | None = None
    pore_px: int | None = None

    @property
    def total_px(self) -> int:
        """All pixels of the photograph."""
        return self.shape_hw[0] * self.shape_hw[1]


def class_mask(prediction: Prediction, *, threshold: float = THRESHOLD) -> NDArray[np.uint8]:
    """Return the class of every pixel of the photograph, uint8 (H, W): 0 for none, v for the card's v-th class.

    A pixel belongs to its hottest class if that heat reaches the threshold (`measure.strongest_class`); worked out in
    strips, so that no photograph is too large.

    Args:
        prediction: of the photograph, by `Model.predict` or `pairs.combine`.
        threshold: above 0, to 1.

    Raises:
        DataError: a threshold outside its range.
        ModelError: class maps that are not finite, or a model of more than 255 classes.
    """
    card, (height, width) = prediction.card, prediction.shape_hw
    if len(card.classes) > _MOST_CLASSES:
        raise ModelError(f"A mask holds {_MOST_CLASSES} classes at most; model '{card.name}' has {len(card.classes)}.")
    cells = scale_maps(prediction.class_maps, card)  # (C, h, w)
    # Between cells heat is interpolated and never above the cells': a class whose cells are cool is nowhere hot.
    hot = np.flatnonzero(cells.max(axis=(1, 2)) >= threshold - 1e-6)
    mask = np.zeros((height, width), np.uint8)
    names = np.append(hot + 1, 0).astype(np.uint8)  # position among the hot ones -> mask; -1 takes the last, none
    for top in range(0, height if len(hot) else 0, _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        heats = place_maps(cells[hot], (height, width), card, covered_hw=prediction.covered_hw, rows=rows)
        mask[rows] = names[strongest_class(np.clip(heats, 0, 1), threshold=threshold)]
    return mask


def area_columns(card: ModelCard, *, um_per_px: float | None, porosity: bool) -> tuple[str, ...]:
    """Return the columns of ``areas.csv``: % of every class, then pixels, and µm² where the scale is known."""
    names = [*card.class_names, NO_CLASS]
    units = ("percent", "px") if um_per_px is None else ("percent", "px", "um2")
    shown = tuple(f"{name}_{unit}" for unit in units for name in names)
    total = ("width_px", "height_px", *(f"total_{unit}" for unit in units[1:]))
    pores = ("dye", *(f"porosity_{unit}" for unit in units)) if porosity else ()
    return ("image", "section", "label", "counted", *total, *shown, *pores)


def area_row(
    area: PhotographArea, *, section: str, label: str, counted: bool, um_per_px: float | None
) -> list[str | int | float | None]:
    """Return a row of ``areas.csv``, in the order of `area_columns`."""
    scale = None if um_per_px is None else um_per_px**2
    px = [*area.class_px, area.total_px - sum(area.class_px)]
    percent = [100 * one / area.total_px for one in px]
    row: list[str | int | float | None] = [area.image, section, label, "yes" if counted else "no"]
    row += [*reversed(area.shape_hw), area.total_px]
    row += [] if scale is None else [area.total_px * scale]
    row += [*percent, *px] if scale is None else [*percent, *px, *(one * scale for one in px)]
    if area.dye is not None:
        pore_px = area.pore_px if area.dye is Dye.VISIBLE else None  # without dye there is nothing to say 0 % of
        row += [area.dye.value, None if pore_px is None else 100 * pore_px / area.total_px, area.pore_px]
        row += [] if scale is None else [None if pore_px is None else pore_px * scale]
    return row


def read_areas(table: Path, columns: Sequence[str], card: ModelCard) -> list[PhotographArea]:
    """Read ``areas.csv`` back; rows torn by a crash are left out.

    Raises:
        DataError: columns that are not these.
    """
    rows, _ = read_table(table, columns)
    count, at_size = len(card.classes), columns.index("width_px")
    first = columns.index("total_px") + 1 + ("total_um2" in columns) + count + 1  # behind the percentages
    at_dye = columns.index("dye", first + count) if "dye" in columns[first + count :] else None
    found: dict[str, PhotographArea] = {}
    for values in rows:
        try:
            pores = "" if at_dye is None else values[at_dye + 2]
            found[values[0]] = PhotographArea(
                image=values[0],
                class_px=tuple(int(value) for value in values[first : first + count]),
                shape_hw=(int(values[at_size + 1]), int(values[at_size])),
                dye=None if at_dye is None else Dye(values[at_dye]),
                pore_px=int(pores) if pores else None,
            )
        except ValueError:
            continue  # a torn row: its photograph is measured again
    return list(found.values())
