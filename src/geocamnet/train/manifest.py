"""A manifest: the table, CSV or XLSX, that says what each photograph shows."""

import csv
import io
import math
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from unicodedata import normalize

from geocamnet.errors import DataError, missing_extra
from geocamnet.images import UNDECODABLE
from geocamnet.taxonomy import canonical_name
from geocamnet.train.filenames import parse_light, parse_split
from geocamnet.train.readings import decoded

COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "image": (
        "images", "file", "filename", "file name", "image name", "photo", "photograph", "path",
        "图像", "图片", "照片", "文件名", "图像名称", "图片名称", "图像编号", "图片编号", "照片编号",
    ),
    "labels": (
        "label", "class", "classes", "lithology", "rock type",
        "类别", "标签", "岩性", "岩石类型", "岩石名称", "岩石定名", "定名", "分类",
    ),
    "section": (
        "thin section", "section id", "sample", "sample id",
        "薄片", "薄片号", "薄片编号", "样品", "样品号", "样品编号",
    ),
    "field": ("view", "field of view", "视域", "视野"),
    "light": ("polarisation", "polarization", "偏光", "偏光类型", "光"),
    "um_per_px": ("um/px", "μm/px", "μm per px", "微米每像素"),
    "split": ("set", "subset", "划分", "数据集划分"),
    "mask": ("masks", "掩膜"),
}  # fmt: skip
_LABEL_BOUNDARY = re.compile(r"[|;,，；、]")
_BOOK_BYTES = 512 * 1024**2


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


def read_manifest(content: bytes, name: str) -> tuple[ManifestRow, ...]:
    """Read a table with a column for the photograph and one for its labels, several labels joined by ``|``.

    Columns: ``image`` and ``labels``; optional ``section``, ``field``, ``light``, ``um_per_px``, ``split``, ``mask``,
    each also by the other names in `COLUMN_NAMES`, Chinese ones among them; others are left alone. CSV may be UTF-8,
    UTF-16 or GB18030, with commas, semicolons or tabs; of an XLSX, told by its content, the first sheet is read.

    Args:
        content: of the file.
        name: what errors call it.

    Raises:
        DataError: not a table, a column missing, or a value that can't be understood.
    """
    table = _table(content, name)
    if not table:
        raise DataError(f"{name}: the manifest is empty. It needs the columns image and labels.")
    header = _columns(table[0][1])
    if "image" not in header or "labels" not in header:
        raise DataError(
            f"{name}: a manifest needs the columns image and labels; found: {', '.join(table[0][1]) or 'none'}."
        )
    rows = []
    for line, cells in table[1:]:
        values = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        values.pop("", None)
        if any(values.values()):
            rows.append(_row(values, line, f"{name}, line {line}"))
    if not rows:
        raise DataError(f"{name}: the manifest names no photograph.")
    return tuple(rows)


def read_header(content: bytes, name: str) -> Sequence[str]:
    """Return the first row of a table that is not empty; nothing if there is none.

    Raises:
        DataError: not a table.
    """
    table = _table(content, name)
    return table[0][1] if table else ()


def _table(content: bytes, name: str) -> list[tuple[int, Sequence[str]]]:
    is_book = content.startswith(b"PK\x03\x04") or name.lower().endswith((".xlsx", ".xlsm"))
    return _xlsx_table(content, name) if is_book else _csv_table(content, name)


def _columns(header: Sequence[str]) -> list[str]:
    # Our name of each column, or nothing; where two columns could be one, the name listed first wins.
    said = [" ".join(normalize("NFKC", cell).strip().lower().replace("_", " ").split()) for cell in header]
    columns = [""] * len(said)
    for column, names in COLUMN_NAMES.items():
        known = (column.replace("_", " "), *names)
        place = next((said.index(name) for name in known if name in said), None)
        if place is not None:
            columns[place] = column
    return columns


def _row(values: dict[str, str], line: int, where: str) -> ManifestRow:
    spellings = {
        canonical_name(label): label.strip()
        for label in _LABEL_BOUNDARY.split(values.get("labels", ""))
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


def _csv_table(content: bytes, file: str) -> list[tuple[int, Sequence[str]]]:
    is_utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    text = decoded(content, ("utf-16",)) if is_utf16 else decoded(content)
    if text is None:
        raise DataError(f"{file}: neither UTF-8 nor GB18030 text. Save it as 'CSV UTF-8' or as XLSX.")
    header = text.splitlines()[0] if text.strip() else ""
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num}: not a CSV table ({error}).") from error


def _xlsx_table(content: bytes, file: str) -> list[tuple[int, Sequence[str]]]:
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise DataError(missing_extra("openpyxl", "train")) from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            unfolded = sum(part.file_size for part in parts.infolist())
        if unfolded > _BOOK_BYTES:
            raise DataError(f"{file}: {unfolded:,} bytes when unpacked are too many for a table. Save it as CSV.")
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        rows = list(book.worksheets[0].iter_rows(values_only=True))
        book.close()
    except DataError:
        raise
    except (zipfile.BadZipFile, *UNDECODABLE) as error:
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
