"""A manifest: the table, CSV or XLSX, that says what each photograph shows."""

import csv
import io
import math
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from geocamnet.errors import DataError, missing_extra
from geocamnet.taxonomy import canonical_name
from geocamnet.train.filenames import parse_light, parse_split

_LABEL_BOUNDARY = re.compile(r"[|;,，；、]")


@dataclass(frozen=True)
class ManifestRow:
    """One line of a manifest.

    Attributes:
        line: in the file, from 1.
        image: path below RAW, with ``/``.
        labels: canonical class names, sorted.
        spellings: the labels as written, in the order of ``labels``.
        section, field, light, split, mask: empty where not stated.
        um_per_px: None where not stated.
    """

    line: int
    image: str
    labels: tuple[str, ...]
    spellings: tuple[str, ...]
    section: str
    field: str
    light: str
    um_per_px: float | None
    split: str
    mask: str


def read_manifest(file: Path) -> tuple[ManifestRow, ...]:
    """Read a manifest with columns ``image`` and ``labels`` (or ``label``), several labels joined by ``|``.

    Optional columns: ``section``, ``field``, ``light``, ``um_per_px``, ``split``, ``mask``; others are left alone.
    CSV may be UTF-8, UTF-16 or GB18030, with commas, semicolons or tabs; of an XLSX the first sheet is read.

    Raises:
        DataError: no such file, not a table, a column missing, or a value that can't be understood.
    """
    if not file.is_file():
        raise DataError(f"{file}: no such manifest. It is looked for below RAW; check --manifest.")
    try:
        table = _xlsx_table(file) if file.suffix.lower() in {".xlsx", ".xlsm"} else _csv_table(file)
    except OSError as error:
        raise DataError(f"{file}: can't be read ({error.strerror or error}).") from error
    if not table:
        raise DataError(f"{file}: the manifest is empty. It needs the columns image and labels.")
    header = [name.strip().lower() for name in table[0][1]]
    label_column = next((name for name in ("labels", "label") if name in header), None)
    if "image" not in header or label_column is None:
        raise DataError(
            f"{file}: a manifest needs the columns image and labels; found: {', '.join(table[0][1]) or 'none'}."
        )
    rows = []
    for line, cells in table[1:]:
        values = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        if any(values.values()):
            rows.append(_row(values, label_column, line, f"{file}, line {line}"))
    if not rows:
        raise DataError(f"{file}: the manifest names no photograph.")
    return tuple(rows)


def _row(values: dict[str, str], label_column: str, line: int, where: str) -> ManifestRow:
    spellings = {
        canonical_name(label): label.strip()
        for label in _LABEL_BOUNDARY.split(values.get(label_column, ""))
        if label.strip()
    }
    if not values.get("image"):
        raise DataError(f"{where}: the column image is empty.")
    try:
        light, split = parse_light(values.get("light", "")), parse_split(values.get("split", ""))
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    return ManifestRow(
        line=line,
        image=_posix(values["image"]),
        labels=tuple(sorted(spellings)),
        spellings=tuple(spellings[label] for label in sorted(spellings)),
        section=values.get("section", ""),
        field=values.get("field", ""),
        light=light,
        um_per_px=_um_per_px(values.get("um_per_px", ""), where),
        split=split,
        mask=_posix(values["mask"]) if values.get("mask") else "",
    )


def _posix(path: str) -> str:
    return str(PurePosixPath(path.replace("\\", "/")))


def _um_per_px(value: str, where: str) -> float | None:
    if not value:
        return None
    try:
        um_per_px = float(value.replace(",", "."))  # where a comma is the decimal sign, it is in Excel's CSV too
    except ValueError:
        um_per_px = math.nan
    if not (math.isfinite(um_per_px) and um_per_px > 0):
        raise DataError(f"{where}: um_per_px must be a number above 0; received '{value}'.")
    return um_per_px


def _csv_table(file: Path) -> list[tuple[int, Sequence[str]]]:
    content = file.read_bytes()
    encodings = ("utf-16",) if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "gb18030")
    for encoding in encodings:
        try:
            text = content.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise DataError(f"{file}: neither UTF-8 nor GB18030 text. Save it as 'CSV UTF-8' or as XLSX.")
    header = text.splitlines()[0] if text.strip() else ""
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num}: not a CSV table ({error}).") from error


def _xlsx_table(file: Path) -> list[tuple[int, Sequence[str]]]:
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise DataError(missing_extra("openpyxl", "train")) from error
    try:
        book = load_workbook(file, read_only=True, data_only=True)
        rows = list(book.worksheets[0].iter_rows(values_only=True))
        book.close()
    except (zipfile.BadZipFile, KeyError, ValueError, IndexError) as error:
        raise DataError(f"{file}: not an XLSX table ({error}). Save it again, or as 'CSV UTF-8'.") from error
    return [
        (line, [_cell(value) for value in row])
        for line, row in enumerate(rows, start=1)
        if any(value is not None and str(value).strip() for value in row)
    ]


def _cell(value: object) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
