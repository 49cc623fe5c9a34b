"""A folder of photographs in; pictures, tables and a page out. May be stopped and taken up again."""

import math
import os
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet import __version__
from geocamnet.errors import DataError, ModelError, unknown_name
from geocamnet.images import RgbImage, list_images, scaled_size_hw, write_image
from geocamnet.lights import light_of_path
from geocamnet.runtime.folder.areas import THRESHOLD, PhotographArea, class_mask
from geocamnet.runtime.folder.folder_sums import Summing, write_sums
from geocamnet.runtime.folder.out_folder import (
    AREAS,
    FROM_ALL,
    MASKS,
    PICTURES,
    SKIPPED,
    SUMMARY,
    TABLE,
    areas_picture_path,
    check_same_settings,
    label_counts,
    mask_path,
    picture_path,
    remove_results,
    write_summary,
)
from geocamnet.runtime.folder.row import FolderRow, read_rows, write_rows
from geocamnet.runtime.folder.series import Section
from geocamnet.runtime.folder.tables import append_to_table, as_text, begin_table, cannot_write, write_row, write_table
from geocamnet.runtime.heatmap import enhance
from geocamnet.runtime.measure import area_percent, texture_entropy
from geocamnet.runtime.model import Model
from geocamnet.runtime.pairs import find_fields, predict_field
from geocamnet.runtime.porosity import LOOKED_FOR, Dye, measure_dye
from geocamnet.runtime.render import MAX_PANEL_PX, class_map_picture, draw_scale_bar, overlay, side_by_side

POROSITIES = ("blue",)
HEAT_OPACITY = 0.6  # of the colour at full heat
AREA_OPACITY = 0.5  # of the colour of a class: the rock is to be seen through it

FloatArray = NDArray[np.float32]

_AREAS_PICTURE_PX = 640  # it is looked at on a page, often on a phone; the mask beside it is finer
_MASK_PX = 1200  # no class map has a tenth as many cells: a finer mask would hold nothing more


@dataclass(frozen=True)
class _Field:
    """Photographs predicted as one, most often a single one; it is called by the first of them."""

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    picture: Path
    areas_picture: Path
    mask: Path

    @property
    def joined(self) -> str:
        return "|".join(self.names[1:])


@dataclass(frozen=True)
class _How:
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
class FolderReport:
    """What `predict_folder` did.

    Attributes:
        rows: the whole table, photographs of earlier calls included.
        skipped: photographs that could not be predicted, with the reason; a field counts as its first photograph.
        counts: rows per label, the most frequent first; "not sure" and the other refusals are among them.
        out: the folder written.
        sections: the thin sections, by name, with their areas.
        series: all of them together.
    """

    rows: tuple[FolderRow, ...]
    skipped: tuple[tuple[Path, str], ...]
    counts: dict[str, int]
    out: Path
    sections: tuple[Section, ...]
    series: Section


def predict_folder(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    model: Model,
    *,
    um_per_px: float | None = None,
    texture: bool = True,
    pairs: bool = False,
    porosity: Literal["blue"] | None = None,
    section_regex: str = "",
    count_refused: bool = False,
    points: int = 400,
    seed: int = 0,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> FolderReport:
    """Predict one photograph or every photograph of a folder, measure its areas, and write what was found.

    OUT holds ``pictures/`` (photograph, heatmap and enhanced heatmap side by side; and the photograph painted with its
    classes) and ``masks/`` (classes as numbers, see ``masks.json``), in the folders of the source;
    ``predictions.csv`` (`FolderRow`) and ``areas.csv`` (`areas.area_columns`), a row a photograph; ``sections.csv`` and
    ``classes.csv`` (`series_tables`), thin sections and the series; ``areas.html``, all of it to be read;
    ``skipped.csv`` (image, reason) and ``summary.json``.

    A row is written when its pictures are in place, so a call that was stopped is taken up by the same call: what
    is in the table is not done again. A photograph changed since is not noticed; use ``overwrite``. What is made from
    all photographs is made last, anew in every call; a call that is stopped leaves none of it.

    Args:
        source: a photograph, or a folder searched with its subfolders.
        out: the folder to write; it may lie inside the source, and is then not read.
        model: the student.
        um_per_px: micrometres a pixel of the photographs: draws a scale bar, gives areas in µm², and scales for a model
            whose card states its own (none that `distil` makes does so yet).
        texture: refine the heatmap with texture, and measure it.
        pairs: photographs whose paths differ in the light alone (``a_PPL.jpg``, ``a_XPL.jpg``; see
            `pairs.find_fields`) are one field: one row, one picture (of PPL), the evidence of all of them
            (`pairs.combine`). They must be registered. All others are predicted alone.
        porosity: "blue" measures pores filled with blue-dyed epoxy (`porosity.dye_mask`), on the photograph shown.
        section_regex: a regular expression, searched for in the path below the source, whose first group (or the group
            named ``section``) is the thin section; empty goes by folders and names (`sections.section_by_place`).
        count_refused: sum the areas of photographs that the model refuses to name as well.
        points: of the virtual point count of a section.
        seed: of the point grid and of the intervals' draws.
        overwrite: begin anew, whatever ``out`` holds of an earlier call.
        on_progress: called with (fields done, fields) at the start and after each; without ``pairs`` every photograph
            is a field.

    Raises:
        DataError: no photograph, an option out of range, ``out`` can't be written, or it holds results of another
            model, other options or another source. ``section_regex``, ``count_refused``, ``points`` and ``seed`` may
            change: what they decide is worked out anew.
    """
    _check_options(um_per_px, porosity)
    source, out = Path(source), Path(out)
    root, photographs = _find_photographs(source, out)
    settings = {
        "source": as_text(source.resolve()),
        "model": model.card.name,
        "model_sha256": model.sha256,
        "um_per_px": um_per_px,
        "texture": texture,
        "pairs": pairs,
        "porosity": porosity,
        "all_attitudes": model.all_attitudes,
        "threshold": THRESHOLD,
    }
    fields = _fields(photographs, root, out, pairs)
    summing = Summing(
        model.card,
        um_per_px=um_per_px,
        porosity=porosity is not None,
        folder=as_text(root.resolve().name),
        section_regex=section_regex,
        count_refused=count_refused,
        points=points,
        seed=seed,
    )
    summing.check([field.names[0] for field in fields])
    rows, areas = _take_up(out, settings, fields, overwrite, summing)
    done = {row.image for row in rows}
    skipped: list[tuple[Path, str]] = []
    how = _How(model, um_per_px, texture, summing.porosity, summing.folder)
    write_summary(out, settings, summing.settings, rows, skipped, finished=False, version=__version__)
    with (
        append_to_table(out / TABLE) as table,
        append_to_table(out / AREAS) as area_table,
        begin_table(out / SKIPPED, ("image", "reason")) as skipped_table,
    ):
        todo = [field for field in fields if field.names[0] not in done]
        before = len(fields) - len(todo)
        if on_progress is not None:
            on_progress(before, len(fields))
        for position, field in enumerate(todo, start=before + 1):
            try:
                row, area, pictures = _predict_one(field, how)
            except (DataError, ModelError) as error:
                skipped.append((field.paths[0], str(error)))
                write_row(skipped_table, (field.names[0], as_text(str(error))))
            else:
                for file, picture in pictures.items():
                    write_image(file, picture, quality=90)
                write_row(area_table, summing.area_cells(area, row.label))
                write_row(table, astuple(row))
                rows.append(row)
                areas[row.image] = area
            if on_progress is not None:
                on_progress(position, len(fields))
    path_of = {field.names[0]: field.paths[0].relative_to(root) for field in fields}
    told = [(_name(path, root), as_text(reason)) for path, reason in skipped]
    sections, series = write_sums(out, rows, areas, told, summing, path_of, version=__version__)
    write_summary(out, settings, summing.settings, rows, skipped, finished=True, version=__version__)
    counts = label_counts(row.label for row in rows)
    return FolderReport(tuple(rows), tuple(skipped), counts, out, tuple(sections), series)


def _check_options(um_per_px: float | None, porosity: str | None) -> None:
    if um_per_px is not None and not (math.isfinite(um_per_px) and um_per_px > 0):
        raise DataError(f"um_per_px (micrometres a pixel) must be above 0; received {um_per_px}.")
    if porosity is not None and porosity not in POROSITIES:
        raise DataError(unknown_name("porosity", porosity, POROSITIES))


def _fields(photographs: list[Path], root: Path, out: Path, pairs: bool) -> list[_Field]:
    path_of = {_name(path, root): path for path in photographs}
    found = []
    for names in find_fields(list(path_of)) if pairs else [(name,) for name in path_of]:
        shown = path_of[names[0]].relative_to(root)
        files = (picture_path(out, shown), areas_picture_path(out, shown), mask_path(out, shown))
        found.append(_Field(names, tuple(path_of[name] for name in names), *files))
    return found


def _predict_one(field: _Field, how: _How) -> tuple[FolderRow, PhotographArea, dict[Path, RgbImage]]:
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


def _find_photographs(source: Path, out: Path) -> tuple[Path, list[Path]]:
    """Return the folder that names are relative to, and the photographs, those below ``out`` left out."""
    if source.is_file():
        return source.parent, [source]
    if not source.exists():
        raise DataError(f"{source}: no such photograph or folder.")
    below, above = source.resolve(), out.resolve()
    if below == above or any(below.is_relative_to(above / name) for name in (PICTURES, MASKS)):
        raise DataError(f"{out}: OUT must be another folder than the source {source}.")
    found = list_images(source)
    if above.is_relative_to(below):
        found = [path for path in found if not path.parent.resolve().is_relative_to(above)]
        if not found:
            raise DataError(f"{source}: no photograph found in it, {out} left out.")
    return source, found


def _take_up(
    out: Path, settings: dict[str, Any], fields: list[_Field], overwrite: bool, summing: Summing
) -> tuple[list[FolderRow], dict[str, PhotographArea]]:
    """Return the rows and areas of an earlier call that still hold, the tables on disk holding just these."""
    table, summary = out / TABLE, out / SUMMARY
    field_of = {name: field for field in fields for name in field.names}

    def holds(row: FolderRow) -> bool:
        field = field_of.get(row.image)
        if field is None:
            return True  # the photograph is gone from the source; what is known of it is not lost
        files = (field.picture, field.areas_picture, field.mask)
        same = (row.image, row.joined) == (field.names[0], field.joined)
        return same and row.image in areas and all(file.is_file() for file in files)

    try:
        if overwrite:
            remove_results(out)
        if not table.exists():
            write_rows(table, ())
            write_table(out / AREAS, summing.columns, ())
            return [], {}
        if not summary.exists():
            raise DataError(
                f"{out}: holds a {TABLE} but no {SUMMARY} that says how it was made. Use --overwrite, or another OUT."
            )
        check_same_settings(summary, settings)
        rows, torn = read_rows(table)
        areas = summing.read_areas(out / AREAS)
        for name in FROM_ALL:  # they are of the photographs there were
            (out / name).unlink(missing_ok=True)
        kept: list[FolderRow] = []
        gone: list[FolderRow] = []
        for row in rows:
            (kept if holds(row) else gone).append(row)
        if torn or gone:
            write_rows(table, kept)
        cells = [summing.area_cells(areas[row.image], row.label) for row in kept if row.image in areas]
        write_table(out / AREAS, summing.columns, cells)
        for row in gone:  # its photograph may have become part of a field of another name
            for path in (picture_path, areas_picture_path, mask_path):
                path(out, Path(row.image)).unlink(missing_ok=True)
        return kept, {row.image: areas[row.image] for row in kept if row.image in areas}
    except OSError as error:
        raise DataError(cannot_write(out, error)) from error


def _name(path: Path, root: Path) -> str:
    return as_text(path.relative_to(root).as_posix())
