"""A folder of photographs in; pictures, a table and a summary out. May be stopped and taken up again."""

import csv
import hashlib
import io
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet import __version__
from geocamnet.errors import DataError, ModelError
from geocamnet.images import RgbImage, list_images, write_image, written_aside
from geocamnet.runtime.heatmap import enhance
from geocamnet.runtime.measure import area_percent, texture_entropy
from geocamnet.runtime.model import Model
from geocamnet.runtime.pairs import find_fields, predict_field
from geocamnet.runtime.render import MAX_PANEL_PX, draw_scale_bar, overlay, side_by_side

THRESHOLD = 0.5  # heat at or above it counts as covered in area_percent
HEAT_OPACITY = 0.6  # of the colour at full heat

FloatArray = NDArray[np.float32]

_TABLE, _SKIPPED, _SUMMARY, _PICTURES = "predictions.csv", "skipped.csv", "summary.json", "pictures"
_ENDING = "_heatmap.jpg"
_MOST_STEM_BYTES = 200  # file systems take names of 255; room is left for our ending and a suffix


@dataclass(frozen=True)
class FolderRow:
    """One line of ``predictions.csv``.

    Attributes:
        image: path below the source, with ``/``; of a field the photograph shown, PPL where there is one.
        joined: the other photographs of the field, predicted together with it, joined by ``|``; empty for none.
        label: class named; several joined by ``|`` where the model may name several, the most probable first; "not
            sure", "nothing here" or "unlike the training photographs" where none is (see `Prediction.verdict`).
        most_probable: the class with the highest probability, named or not; the heatmap drawn is that of the first
            class named, or else of this one.
        probability: of ``most_probable``, 0 to 1.
        second, third: the next classes, empty where the model has fewer; with their probabilities.
        area_percent: share of the photograph, 0 to 100, where the heatmap drawn is at least 0.5.
        texture_entropy: mean GLCM entropy of the photograph, None without texture.
        width_px, height_px: of the photograph.
        um_per_px: micrometres a pixel, None where unknown.
        elapsed_ms: of the network, all photographs of the field together.
    """

    image: str
    joined: str
    label: str
    most_probable: str
    probability: float
    second: str
    second_probability: float | None
    third: str
    third_probability: float | None
    area_percent: float
    texture_entropy: float | None
    width_px: int
    height_px: int
    um_per_px: float | None
    elapsed_ms: float


COLUMNS = tuple(one.name for one in fields(FolderRow))
_TEXT = frozenset({"image", "joined", "label", "most_probable", "second", "third"})
_WHOLE = frozenset({"width_px", "height_px"})


@dataclass(frozen=True)
class _Field:
    """Photographs predicted as one, most often a single one; it is called by the first of them."""

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    picture: Path

    @property
    def joined(self) -> str:
        return "|".join(self.names[1:])


@dataclass(frozen=True)
class FolderReport:
    """What `predict_folder` did.

    Attributes:
        rows: the whole table, photographs of earlier calls included.
        skipped: photographs that could not be predicted, with the reason; a field counts as its first photograph.
        counts: rows per label, the most frequent first; "not sure" and the other refusals are among them.
        out: the folder written.
    """

    rows: tuple[FolderRow, ...]
    skipped: tuple[tuple[Path, str], ...]
    counts: dict[str, int]
    out: Path


def predict_folder(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    model: Model,
    *,
    um_per_px: float | None = None,
    texture: bool = True,
    pairs: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> FolderReport:
    """Predict one photograph or every photograph of a folder, and write what was found.

    OUT holds ``pictures/`` (photograph, heatmap and enhanced heatmap side by side, in the folders of the
    source), ``predictions.csv`` (`FolderRow`), ``skipped.csv`` (image, reason) and ``summary.json``.

    A row is written when its picture is in place, so a call that was stopped is taken up by the same call: what
    is in the table is not done again. A photograph changed since is not noticed; use ``overwrite``.

    Args:
        source: a photograph, or a folder searched with its subfolders.
        out: the folder to write; it may lie inside the source, and is then not read.
        model: the student.
        um_per_px: micrometres a pixel of the photographs: draws a scale bar, and scales for a model whose card states
            its own (none that `distil` makes does so yet).
        texture: refine the heatmap with texture, and measure it.
        pairs: photographs whose paths differ in the light alone (``a_PPL.jpg``, ``a_XPL.jpg``; see
            `pairs.find_fields`) are one field: one row, one picture (of PPL), the evidence of all of them
            (`pairs.combine`). They must be registered. All others are predicted alone.
        overwrite: begin anew, whatever ``out`` holds of an earlier call.
        on_progress: called with (fields done, fields) at the start and after each; without ``pairs`` every photograph
            is a field.

    Raises:
        DataError: no photograph, ``out`` can't be written, or it holds results of another model, other options or
            another source.
    """
    if um_per_px is not None and not (math.isfinite(um_per_px) and um_per_px > 0):
        raise DataError(f"um_per_px (micrometres a pixel) must be above 0; received {um_per_px}.")
    source, out = Path(source), Path(out)
    root, photographs = _find_photographs(source, out)
    settings = {
        "source": _text(source.resolve()),
        "model": model.card.name,
        "model_sha256": model.sha256,
        "um_per_px": um_per_px,
        "texture": texture,
        "pairs": pairs,
        "all_attitudes": model.all_attitudes,
        "threshold": THRESHOLD,
    }
    fields = _fields(photographs, root, out, pairs)
    rows = _take_up(out, settings, fields, overwrite)
    done = {row.image for row in rows}
    skipped: list[tuple[Path, str]] = []
    _write_summary(out, settings, rows, skipped, finished=False)
    with _append(out / _TABLE) as table, _begin(out / _SKIPPED, ("image", "reason")) as skipped_table:
        todo = [field for field in fields if field.names[0] not in done]
        before = len(fields) - len(todo)
        if on_progress is not None:
            on_progress(before, len(fields))
        for position, field in enumerate(todo, start=before + 1):
            try:
                row, picture = _predict_one(field, model, um_per_px, texture)
            except (DataError, ModelError) as error:
                skipped.append((field.paths[0], str(error)))
                _write_row(skipped_table, (field.names[0], _text(str(error))))
            else:
                write_image(field.picture, picture, quality=90)
                _write_row(table, [_format(getattr(row, column)) for column in COLUMNS])
                rows.append(row)
            if on_progress is not None:
                on_progress(position, len(fields))
    _write_summary(out, settings, rows, skipped, finished=True)
    return FolderReport(tuple(rows), tuple(skipped), _counts(rows), out)


def picture_path(out: Path, image: Path) -> Path:
    """Return where the picture of ``image`` (its path below the source) lies; no two images share one.

    ``b/a.jpg`` gives ``OUT/pictures/b/a_jpg_heatmap.jpg``: the suffix stays in the name, for ``a.png`` may lie
    beside ``a.jpg``. A name too long for our ending is cut, and a digest of it added.
    """
    stem = f"{image.stem}_{image.suffix[1:]}"
    raw = os.fsencode(stem)
    if len(raw) > _MOST_STEM_BYTES:
        digest = hashlib.sha256(raw).hexdigest()[:16]
        stem = f"{raw[: _MOST_STEM_BYTES - 17].decode('utf-8', 'ignore')}_{digest}"
    return out / _PICTURES / image.parent / (stem + _ENDING)


def _fields(photographs: list[Path], root: Path, out: Path, pairs: bool) -> list[_Field]:
    path_of = {_name(path, root): path for path in photographs}
    return [
        _Field(names, tuple(path_of[name] for name in names), picture_path(out, path_of[names[0]].relative_to(root)))
        for names in (find_fields(list(path_of)) if pairs else [(name,) for name in path_of])
    ]


def _predict_one(field: _Field, model: Model, um_per_px: float | None, texture: bool) -> tuple[FolderRow, RgbImage]:
    image, prediction = predict_field(field.paths, model, um_per_px=um_per_px)
    heatmap = prediction.heatmap(prediction.label)
    enhanced = enhance(heatmap, image, texture=model.card.texture) if texture else None
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
        texture_entropy=texture_entropy(image, model.card.texture) if texture else None,
        width_px=image.shape[1],
        height_px=image.shape[0],
        um_per_px=um_per_px,
        elapsed_ms=prediction.elapsed_ms,
    )
    if enhanced is None:
        return row, _two_panels(image, heatmap, um_per_px)
    together = f", {len(field.names)} photographs together" if field.joined else ""
    title = f"{prediction.words}{together}"
    return row, side_by_side(image, heatmap, enhanced, title=title, um_per_px=um_per_px)


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
    if below == above or below.is_relative_to(above / _PICTURES):
        raise DataError(f"{out}: OUT must be another folder than the source {source}.")
    found = list_images(source)
    if above.is_relative_to(below):
        found = [path for path in found if not path.parent.resolve().is_relative_to(above)]
        if not found:
            raise DataError(f"{source}: no photograph found in it, {out} left out.")
    return source, found


def _take_up(out: Path, settings: dict[str, Any], fields: list[_Field], overwrite: bool) -> list[FolderRow]:
    """Return the rows of an earlier call that still hold, the table on disk holding just these."""
    table, summary = out / _TABLE, out / _SUMMARY
    field_of = {name: field for field in fields for name in field.names}

    def holds(row: FolderRow) -> bool:
        field = field_of.get(row.image)  # None for a photograph that is gone from the source
        return field is None or ((row.image, row.joined) == (field.names[0], field.joined) and field.picture.is_file())

    try:
        if overwrite:
            _remove_results(out)
        if not table.exists():
            _write_table(table, ())
            return []
        if not summary.exists():
            raise DataError(
                f"{out}: holds a {_TABLE} but no {_SUMMARY} that says how it was made. Use --overwrite, or another OUT."
            )
        _check_same_settings(summary, settings)
        rows, torn = _read_table(table)
        kept: list[FolderRow] = []
        gone: list[FolderRow] = []
        for row in rows:
            (kept if holds(row) else gone).append(row)
        if torn or gone:
            _write_table(table, kept)
        for row in gone:  # its photograph may have become part of a field of another name
            picture_path(out, Path(row.image)).unlink(missing_ok=True)
        return kept
    except OSError as error:
        raise DataError(_cannot_write(out, error)) from error


def _check_same_settings(summary: Path, settings: dict[str, Any]) -> None:
    try:
        earlier = json.loads(summary.read_text(encoding="utf-8"))["settings"]
        changed = [(key, earlier.get(key), value) for key, value in settings.items() if earlier.get(key) != value]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{summary}: can't be read ({error}). Use --overwrite, or another OUT.") from error
    if changed:
        key, was, now = changed[0]
        raise DataError(
            f"{summary.parent}: holds results made with {key} = {was}; this call has {key} = {now}. "
            "Use --overwrite to begin anew, or another OUT."
        )


def _remove_results(out: Path) -> None:
    # The summary goes first: without it nothing here is ever taken for whole.
    for name in (_SUMMARY, _TABLE, _SKIPPED):
        (out / name).unlink(missing_ok=True)
    for picture in (out / _PICTURES).rglob(f"*{_ENDING}"):
        picture.unlink()


def _read_table(table: Path) -> tuple[list[FolderRow], bool]:
    """Return the whole rows, and whether anything else (a row torn by a crash) was met."""
    text = table.read_bytes().decode("utf-8-sig", "replace")
    lines = list(csv.reader(io.StringIO(text, newline="")))
    if not lines or tuple(lines[0]) != COLUMNS:
        raise DataError(f"{table}: its columns are not those of this version. Use --overwrite, or another OUT.")
    torn = not text.endswith("\n")
    rows: dict[str, FolderRow] = {}
    for values in lines[1 : -1 if torn else None]:
        try:
            row = FolderRow(**dict(zip(COLUMNS, map(_parse, COLUMNS, values), strict=True)))
        except (ValueError, TypeError):
            torn = True
        else:
            rows[row.image] = row
    return list(rows.values()), torn


def _parse(column: str, text: str) -> Any:
    if column in _TEXT:
        return text
    return None if text == "" else int(text) if column in _WHOLE else float(text)


def _format(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _write_table(table: Path, rows: Iterable[FolderRow]) -> None:
    with written_aside(table) as aside, _begin(aside, COLUMNS) as stream:
        for row in rows:
            _write_row(stream, [_format(getattr(row, column)) for column in COLUMNS])


def _begin(file: Path, columns: Iterable[str]) -> TextIO:
    """Open a table anew; the byte-order mark tells Excel that the Chinese in it is UTF-8."""
    try:
        stream = file.open("w", encoding="utf-8-sig", newline="")
    except OSError as error:
        raise DataError(_cannot_write(file, error)) from error
    _write_row(stream, columns)
    return stream


def _append(file: Path) -> TextIO:
    try:
        return file.open("a", encoding="utf-8", newline="")
    except OSError as error:
        raise DataError(_cannot_write(file, error)) from error


def _write_row(stream: TextIO, values: Iterable[str]) -> None:
    try:
        csv.writer(stream, lineterminator="\n").writerow(values)
        stream.flush()
    except OSError as error:
        raise DataError(_cannot_write(Path(stream.name), error)) from error


def _write_summary(
    out: Path, settings: dict[str, Any], rows: list[FolderRow], skipped: list[tuple[Path, str]], *, finished: bool
) -> None:
    joined = [row for row in rows if row.joined]
    summary = {
        "finished": finished,
        "photographs": len(rows) + sum(1 + row.joined.count("|") for row in joined),
        "fields_joined": len(joined),
        "photographs_alone": len(rows) - len(joined),
        "skipped": len(skipped),
        "counts": _counts(rows),
        "settings": settings,
        "version": __version__,
    }
    with written_aside(out / _SUMMARY) as aside:
        aside.write_text(json.dumps(summary, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _counts(rows: Iterable[FolderRow]) -> dict[str, int]:
    return dict(Counter(label for row in rows for label in row.label.split("|")).most_common())


def _name(path: Path, root: Path) -> str:
    return _text(path.relative_to(root).as_posix())


def _text(value: str | Path) -> str:
    """Return a path as text that UTF-8 can hold: bytes that are none, as Linux allows, as escapes."""
    return os.fsencode(value).decode("utf-8", "backslashreplace")


def _cannot_write(path: Path, error: OSError) -> str:
    reason = error.strerror or error
    return f"{path}: can't be written ({reason}). Close it in other programs; check the folder's rights and free space."
