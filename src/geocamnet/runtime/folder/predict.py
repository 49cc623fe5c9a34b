"""A folder of photographs in; pictures, tables and a page out. May be stopped and taken up again."""

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Literal

from geocamnet import __version__
from geocamnet.errors import DataError, unknown_name
from geocamnet.images import list_images
from geocamnet.runtime.folder.areas import THRESHOLD, PhotographArea
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
    check_writes_over_nothing,
    label_counts,
    mask_path,
    picture_path,
    remove_leavings,
    remove_results,
    shard_folder,
    shard_folders,
    without_results,
    write_summary,
)
from geocamnet.runtime.folder.photograph import Field, FieldDone, How, do_field, do_job, job_of
from geocamnet.runtime.folder.row import FolderRow, read_rows, write_rows
from geocamnet.runtime.folder.series import Section
from geocamnet.runtime.folder.tables import append_to_table, as_text, begin_table, cannot_write, write_row, write_table
from geocamnet.runtime.model import Model
from geocamnet.runtime.pairs import find_fields
from geocamnet.sharing import Engine, read_shard, shared_out
from geocamnet.stores import is_file, shown, url_of

POROSITIES = ("blue",)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FolderReport:
    """What `predict_folder` did.

    Attributes:
        rows: of the table, photographs of earlier calls included if they are still in the source.
        skipped: photographs that could not be predicted, with the reason; a field counts as its first photograph.
        counts: rows per label, the most frequent first; "not sure" and the other refusals are among them.
        out: the folder written.
        sections: the thin sections, by name, with their areas; none for a job of an array.
        series: all of them together; None for a job of an array.
        gone: rows of photographs of earlier calls that are in the source no longer: they stay in the table, and are
            not counted.
    """

    rows: tuple[FolderRow, ...]
    skipped: tuple[tuple[Path, str], ...]
    counts: dict[str, int]
    out: Path
    sections: tuple[Section, ...]
    series: Section | None
    gone: tuple[FolderRow, ...] = ()


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
    engine: Engine = "local",
    shard: str = "",
    on_progress: Callable[[int, int], None] | None = None,
) -> FolderReport:
    """Predict one photograph or every photograph of a folder, measure its areas, and write what was found.

    OUT holds ``pictures/`` (photograph, heatmap and enhanced heatmap side by side; and the photograph painted with its
    classes) and ``masks/`` (classes as numbers, see ``masks.json``), in the folders of the source;
    ``predictions.csv`` (`FolderRow`) and ``areas.csv`` (`areas.area_columns`), a row a photograph; ``sections.csv`` and
    ``classes.csv`` (`series_tables`), thin sections and the series; ``areas.html``, all of it to be read;
    ``skipped.csv`` (image, reason) and ``summary.json``.

    A row is written when its pictures are in place, so a call that was stopped is taken up by the same call: what
    is in the table is not done again. A photograph changed since is not noticed; use ``overwrite``. What is known of
    one that is gone from the source stays in both tables, at the end of the first, and counts nowhere. What is made
    from all photographs is made last, anew in every call; a call that is stopped leaves none of it.

    Args:
        source: a photograph, or a folder searched with its subfolders, pictures that this function and `map_scan` have
            made left out; or the URL of either in a store.
        out: the folder to write; it may lie inside the source, and is then not read.
        model: the student.
        um_per_px: micrometres a pixel of the photographs: draws a scale bar, gives areas in µm², and scales for a model
            whose card states its own (fitted with ``--image-px 0``).
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
        engine: ``local`` predicts in this process, ``ray`` on the nodes of a Ray cluster (`sharing.in_ray`), all of
            which see source, OUT and the model file under the same paths.
        shard: ``I/N`` predicts every N-th field, from the I-th on, as one job of N, and leaves what it found in OUT;
            the same call without it then brings together what the jobs have done, and does what they have not.
        on_progress: called with (fields done, fields) at the start and after each; without ``pairs`` every photograph
            is a field.

    Raises:
        DataError: no photograph, an option out of range, ``overwrite`` together with ``shard``, ``out`` can't be
            written, holds files of another origin that would be written over, or results of another model, other
            options or another source. ``section_regex``, ``count_refused``, ``points`` and ``seed`` may change: what
            they decide is worked out anew.
    """
    _check_options(um_per_px, porosity)
    source, out = Path(source), Path(out)
    root, photographs = _find_photographs(source, out)
    settings = {
        "source": as_text(url_of(source) or source.resolve()),
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
    if not overwrite:
        check_writes_over_nothing(out)
    if part := read_shard(shard, overwrite=overwrite):
        where, fields = shard_folder(out, part), part.of_jobs(fields)
    else:
        where = out
    rows, areas = _take_up(where, settings, fields, overwrite, summing)
    if not part:
        _bring_together(out, settings, fields, summing, rows, areas)
    path_of = {field.names[0]: field.paths[0].relative_to(root) for field in fields}
    # To a job of an array, which sees its own share, what another's has become is not gone.
    gone = [] if part else [row for row in rows if row.image not in path_of]
    if gone:
        rows = [row for row in rows if row.image in path_of]
    done = {row.image for row in rows}
    skipped: list[tuple[Path, str]] = []
    how = How(model, um_per_px, texture, summing.porosity, summing.folder)
    write_summary(where, settings, summing.settings, rows, skipped, gone=gone, finished=False, version=__version__)
    with (
        append_to_table(where / TABLE) as table,
        append_to_table(where / AREAS) as area_table,
        begin_table(where / SKIPPED, ("image", "reason")) as skipped_table,
    ):
        todo = [field for field in fields if field.names[0] not in done]
        before = len(fields) - len(todo)
        if on_progress is not None:
            on_progress(before, len(fields))
        for position, one in enumerate(_in_order(todo, how, engine), start=before + 1):
            if one.row is None or one.area is None:
                skipped.append((one.field.paths[0], one.reason))
                write_row(skipped_table, (one.field.names[0], as_text(one.reason)))
            else:
                write_row(area_table, summing.area_cells(one.area, one.row.label))
                write_row(table, astuple(one.row))
                rows.append(one.row)
                areas[one.row.image] = one.area
            if on_progress is not None:
                on_progress(position, len(fields))
    counts = label_counts(row.label for row in rows)
    if part:
        write_summary(where, settings, summing.settings, rows, skipped, finished=True, version=__version__)
        return FolderReport(tuple(rows), tuple(skipped), counts, out, (), None)
    _write_tables(out, fields, summing, rows, areas, gone)
    told = [(_name(path, root), as_text(reason)) for path, reason in skipped]
    sections, series = write_sums(out, [*rows, *gone], areas, told, summing, path_of, version=__version__)
    remove_leavings(out)
    if gone:
        _log.warning(
            "%d row(s) of %s are of photographs no longer in %s: not counted, and listed in %s as gone",
            len(gone), TABLE, shown(source), SUMMARY,
        )  # fmt: skip
    write_summary(out, settings, summing.settings, rows, skipped, gone=gone, finished=True, version=__version__)
    return FolderReport(tuple(rows), tuple(skipped), counts, out, tuple(sections), series, tuple(gone))


def _in_order(todo: Sequence[Field], how: How, engine: Engine) -> Iterator[FieldDone]:
    """Yield what each field came to, in their order: what comes in early waits."""
    if engine == "local":
        yield from (do_field(field, how) for field in todo)
        return
    early: dict[str, FieldDone] = {}
    coming = shared_out(do_job, [job_of(field, how) for field in todo], engine=engine)
    for field in todo:
        while field.names[0] not in early:
            one = next(coming)
            early[one.field.names[0]] = one
        yield early.pop(field.names[0])


def _bring_together(
    out: Path,
    settings: dict[str, Any],
    fields: Sequence[Field],
    summing: Summing,
    rows: list[FolderRow],
    areas: dict[str, PhotographArea],
) -> None:
    """Add what the jobs of an array have found to the tables."""
    found: dict[str, tuple[FolderRow, PhotographArea]] = {}
    for where in shard_folders(out):
        theirs, their_areas = _take_up(where, settings, fields, overwrite=False, summing=summing)
        found |= {row.image: (row, their_areas[row.image]) for row in theirs}
    if not found:
        return
    known = {row.image for row in rows}
    rows += [row for name, (row, _) in found.items() if name not in known]
    areas |= {name: area for name, (_, area) in found.items() if name not in known}
    _write_tables(out, fields, summing, rows, areas)


def _write_tables(
    out: Path,
    fields: Sequence[Field],
    summing: Summing,
    rows: list[FolderRow],
    areas: Mapping[str, PhotographArea],
    gone: Sequence[FolderRow] = (),
) -> None:
    """Write both tables in the order of the fields, whoever did which of them when; what is gone comes last."""
    place = {field.names[0]: number for number, field in enumerate(fields)}
    rows.sort(key=lambda row: place.get(row.image, len(place)))
    every = [*rows, *gone]
    cells = [summing.area_cells(areas[row.image], row.label) for row in every if row.image in areas]
    write_table(out / AREAS, summing.columns, cells)
    write_rows(out / TABLE, every)


def _check_options(um_per_px: float | None, porosity: str | None) -> None:
    if um_per_px is not None and not (math.isfinite(um_per_px) and um_per_px > 0):
        raise DataError(f"um_per_px (micrometres a pixel) must be above 0; received {um_per_px}.")
    if porosity is not None and porosity not in POROSITIES:
        raise DataError(unknown_name("porosity", porosity, POROSITIES))


def _fields(photographs: list[Path], root: Path, out: Path, pairs: bool) -> list[Field]:
    path_of = {_name(path, root): path for path in photographs}
    found = []
    for names in find_fields(list(path_of)) if pairs else [(name,) for name in path_of]:
        shown = path_of[names[0]].relative_to(root)
        files = (picture_path(out, shown), areas_picture_path(out, shown), mask_path(out, shown))
        found.append(Field(names, tuple(path_of[name] for name in names), *files))
    return found


def _find_photographs(source: Path, out: Path) -> tuple[Path, list[Path]]:
    """Return the folder that names are relative to, and the photographs, without what calls of any OUT have made."""
    if url := url_of(source):
        return (source.parent, [source]) if is_file(url) else (source, list_images(source))
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
    taken = without_results(found, source)
    if not taken:
        raise DataError(f"{source}: no photograph found in it but {len(found)} that run or scan has made.")
    if len(taken) < len(found):
        _log.warning("%s: %d picture(s) that run or scan has made are left out", source, len(found) - len(taken))
    return source, taken


def _take_up(
    out: Path, settings: dict[str, Any], fields: Sequence[Field], overwrite: bool, summing: Summing
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
        if not table.exists() or not (summary.exists() or read_rows(table)[0]):  # killed before the first photograph
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
        outdated: list[FolderRow] = []
        for row in rows:
            (kept if holds(row) else outdated).append(row)
        if torn or outdated:
            write_rows(table, kept)
        cells = [summing.area_cells(areas[row.image], row.label) for row in kept if row.image in areas]
        write_table(out / AREAS, summing.columns, cells)
        for row in outdated:  # its photograph may have become part of a field of another name
            for path in (picture_path, areas_picture_path, mask_path):
                path(out, Path(row.image)).unlink(missing_ok=True)
        return kept, {row.image: areas[row.image] for row in kept if row.image in areas}
    except OSError as error:
        raise DataError(cannot_write(out, error)) from error


def _name(path: Path, root: Path) -> str:
    return as_text(path.relative_to(root).as_posix())
