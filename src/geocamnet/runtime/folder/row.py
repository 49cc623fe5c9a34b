"""A line of ``predictions.csv``: what is said of a photograph, written and read back."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from geocamnet.runtime.folder.tables import read_table, write_table


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


def write_rows(table: Path, rows: Iterable[FolderRow]) -> None:
    """Write the whole table anew.

    Raises:
        DataError: it can't be written.
    """
    write_table(table, COLUMNS, map(astuple, rows))


def read_rows(table: Path) -> tuple[list[FolderRow], bool]:
    """Return the whole rows, the last one of each photograph, and whether anything else (a torn row) was met.

    Raises:
        DataError: columns that are not these.
    """
    lines, torn = read_table(table, COLUMNS)
    rows: dict[str, FolderRow] = {}
    for values in lines:
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
