"""One photograph, or one field in several lights: predicted, measured, pictured, and what it came to."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.errors import DataError, ModelError
from geocamnet.images import RgbImage, scaled_size_hw, write_image
from geocamnet.lights import light_of_path
from geocamnet.runtime.folder.areas import THRESHOLD, PhotographArea, class_mask
from geocamnet.runtime.folder.row import FolderRow
from geocamnet.runtime.heatmap import enhance
from geocamnet.runtime.measure import area_percent, texture_entropy
from geocamnet.runtime.model import Model, load
from geocamnet.runtime.pairs import predict_field
from geocamnet.runtime.porosity import LOOKED_FOR, Dye, measure_dye
from geocamnet.runtime.render import MAX_PANEL_PX, class_map_picture, draw_scale_bar, overlay, side_by_side

HEAT_OPACITY = 0.6  # of the colour at full heat
AREA_OPACITY = 0.5  # of the colour of a class: the rock is to be seen through it

FloatArray = NDArray[np.float32]

_AREAS_PICTURE_PX = 640  # it is looked at on a page, often on a phone; the mask beside it is finer
_MASK_PX = 1200  # no class map has a tenth as many cells: a finer mask would hold nothing more


@dataclass(frozen=True)
class Field:
    """Photographs predicted as one, most often a single one; it is called by the first of them."""

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    picture: Path
    areas_picture: Path
    mask: Path

    @property
    def joined(self) -> str:
        """The photographs that were joined to the first, by ``|``."""
        return "|".join(self.names[1:])


@dataclass(frozen=True)
class How:
    """How a call predicts and measures each photograph."""

    model: Model
    um_per_px: float | None
    texture: bool
    porosity: bool
    folder: str

    def light(self, image: str) -> str:
        """Return the light that a path tells, or else the folder's own name: a source may be called XPL."""
        return light_of_path(image) or light_of_path(f"{self.folder}/_")


@dataclass(frozen=True)
class FieldDone:
    """What a field came to: its row and areas, or the reason why there are none. The pictures are in place."""

    field: Field
    row: FolderRow | None = None
    area: PhotographArea | None = None
    reason: str = ""


@dataclass(frozen=True)
class FieldJob:
    """A field to be done by another process or machine, which loads the model file itself, once."""

    field: Field
    model: str
    all_attitudes: bool
    um_per_px: float | None
    texture: bool
    porosity: bool
    folder: str


def job_of(field: Field, how: How) -> FieldJob:
    """Return what another machine needs to know of a field."""
    model = how.model
    return FieldJob(
        field, str(model.path.absolute()), model.all_attitudes, how.um_per_px, how.texture, how.porosity, how.folder
    )


def do_job(job: FieldJob) -> FieldDone:
    """Do a field as `do_field` does it, wherever this process runs."""
    model = _loaded(job.model, job.all_attitudes)
    return do_field(job.field, How(model, job.um_per_px, job.texture, job.porosity, job.folder))


def do_field(field: Field, how: How) -> FieldDone:
    """Predict and measure a field and write its pictures; one that can't be predicted is no error.

    Raises:
        DataError: a picture can't be written.
    """
    try:
        row, area, pictures = _predict(field, how)
    except (DataError, ModelError) as error:
        return FieldDone(field, reason=str(error))
    for file, picture in pictures.items():
        write_image(file, picture, quality=90)
    return FieldDone(field, row, area)


@lru_cache(maxsize=1)
def _loaded(file: str, all_attitudes: bool) -> Model:
    return load(file, all_attitudes=all_attitudes, threads=1)


def _predict(field: Field, how: How) -> tuple[FolderRow, PhotographArea, dict[Path, RgbImage]]:
    """Return the row, the areas, and the pictures to write, by their files."""
    image, prediction = predict_field(field.paths, how.model, um_per_px=how.um_per_px)
    card = how.model.card
    heatmap = prediction.heatmap(prediction.label)
    enhanced = enhance(heatmap, image, texture=card.texture) if how.texture else None
    first, probability = prediction.top(1)[0]
    second, third = [*prediction.top(3)[1:], ("", None), ("", None)][:2]
    row = FolderRow(
        image=field.names[0],
        joined=field.joined,
        label=prediction.verdict,
        most_probable=first,
        probability=probability,
        second=second[0],
        second_probability=second[1],
        third=third[0],
        third_probability=third[1],
        area_percent=area_percent(heatmap, threshold=THRESHOLD),
        texture_entropy=texture_entropy(image, card.texture) if how.texture else None,
        width_px=image.shape[1],
        height_px=image.shape[0],
        um_per_px=how.um_per_px,
        elapsed_ms=prediction.elapsed_ms,
    )
    if enhanced is None:
        panels = _two_panels(image, heatmap, how.um_per_px)
    else:
        together = f", {len(field.names)} photographs together" if field.joined else ""
        title = f"{prediction.words}{together}"
        panels = side_by_side(image, heatmap, enhanced, title=title, um_per_px=how.um_per_px)
    mask = class_mask(prediction)
    dye, pores = measure_dye(image, light=how.light(field.names[0])) if how.porosity else (None, None)
    area = PhotographArea(
        image=field.names[0],
        class_px=tuple(np.bincount(mask.ravel(), minlength=len(card.classes) + 1)[1:].tolist()),
        shape_hw=mask.shape,
        dye=dye,
        pore_px=int(pores.sum()) if pores is not None and dye in LOOKED_FOR else None,
    )
    painted = class_map_picture(
        mask,
        card,
        image=image,
        opacity=AREA_OPACITY,
        um_per_px=how.um_per_px,
        pores=pores if dye is Dye.VISIBLE else None,
        long_side_px=_AREAS_PICTURE_PX,
    )
    return row, area, {field.picture: panels, field.areas_picture: painted, field.mask: _small(mask)}


def _small(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a class mask as it is stored: every class in its place, pixels left out where there are very many."""
    if max(mask.shape) <= _MASK_PX:
        return mask
    height, width = scaled_size_hw(mask.shape, _MASK_PX)
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST))


def _two_panels(image: RgbImage, heatmap: FloatArray, um_per_px: float | None) -> RgbImage:
    """Return the photograph and its heatmap beside each other, for a run without texture."""
    height, width = image.shape[:2]
    factor = min(1.0, MAX_PANEL_PX / max(height, width))
    size_wh = (max(1, round(width * factor)), max(1, round(height * factor)))
    photograph: Any = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
    heat: Any = cv2.resize(heatmap, size_wh, interpolation=cv2.INTER_AREA)
    first = photograph if um_per_px is None else draw_scale_bar(photograph, um_per_px * width / size_wh[0])
    return np.hstack([first, overlay(photograph, np.clip(heat, 0, 1), opacity=HEAT_OPACITY)])
