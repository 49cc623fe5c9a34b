"""CSV tables that grow row by row and survive a stop: written for Excel, read back with torn rows left out."""

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from geocamnet.errors import DataError
from geocamnet.images import written_aside

# What a spreadsheet takes for a formula; and what was written behind an apostrophe as such, or looks as if it were.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def write_table(table: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a whole table, aside first and then renamed into place.

    Raises:
        DataError: it can't be written.
    """
    with written_aside(table) as aside, begin_table(aside, columns) as stream:
        for row in rows:
            write_row(stream, row)


def begin_table(table: Path, columns: Sequence[str]) -> TextIO:
    """Open a table anew; the byte-order mark tells Excel that the Chinese in it is UTF-8.

    Raises:
        DataError: it can't be written.
    """
    try:
        stream = table.open("w", encoding="utf-8-sig", newline="")
    except OSError as error:
        raise DataError(cannot_write(table, error)) from error
    write_row(stream, columns)
    return stream


def append_to_table(table: Path) -> TextIO:
    """Open a table to add rows.

    Raises:
        DataError: it can't be written.
    """
    try:
        return table.open("a", encoding="utf-8", newline="")
    except OSError as error:
        raise DataError(cannot_write(table, error)) from error


def write_row(stream: TextIO, values: Iterable[object]) -> None:
    """Add a row and hand it to the system at once: None as an empty cell, fractions with six digits.

    A text that a spreadsheet would take for a formula (a photograph called ``=a.png``) stands behind an apostrophe,
    which `read_table` takes off again.

    Raises:
        DataError: it can't be written.
    """
    cells = [_cell(value) for value in values]
    # Before Python 3.13 a carriage return alone is not quoted, yet read as the end of a row.
    returns = any("\r" in cell for cell in cells)
    writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL)
    try:
        writer.writerow(cells)
        stream.flush()
    except OSError as error:
        raise DataError(cannot_write(Path(stream.name), error)) from error


def read_table(table: Path, columns: Sequence[str]) -> tuple[list[list[str]], bool]:
    """Return the whole rows of a table as they were written, and whether anything else (a torn row) was met.

    Raises:
        DataError: columns that are not these.
    """
    text = table.read_bytes().decode("utf-8-sig", "replace")
    lines = [[_text(cell) for cell in line] for line in csv.reader(io.StringIO(text, newline=""))]
    if not lines or lines[0] != list(columns):
        raise DataError(f"{table}: its columns are not those of this version. Use --overwrite, or another OUT.")
    torn = not text.endswith("\n")
    rows = lines[1 : -1 if torn else None]
    whole = [row for row in rows if len(row) == len(columns)]
    return whole, torn or len(whole) < len(rows)


def as_text(value: str | Path) -> str:
    """Return a path as text that UTF-8 can hold: bytes that are none, as Linux allows, as escapes."""
    return os.fsencode(value).decode("utf-8", "backslashreplace")


def cannot_write(path: Path, error: OSError) -> str:
    """Return the sentence that tells a user why a file could not be written, and what to do."""
    reason = error.strerror or error
    return f"{path}: can't be written ({reason}). Close it in other programs; check the folder's rights and free space."


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if _FORMULA.match(value) else value
    if not isinstance(value, float):
        return str(value)
    return f"{value:.6g}" if abs(value) < 1e5 else f"{value:.0f}"  # an area in µm² is no place for 1.2e+06


def _text(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
