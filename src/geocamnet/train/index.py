"""DATA/index.csv: the list of photographs of a prepared data set, read, checked and written."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from geocamnet.errors import DataError, unknown_name
from geocamnet.images import written_aside

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class IndexRow:
    """One photograph of a data set.

    Attributes:
        image: path below DATA, with ``/``.
        labels: canonical class names; empty where no label is known.
        section: the thin section; photographs of one section never lie in two splits.
        field: the view; its PPL and XPL photographs share it.
        light: ``PPL``, ``XPL``, ``R`` (reflected) or empty.
        um_per_px: micrometres a pixel of the stored photograph, None where unknown.
        split: ``train``, ``val`` or ``test``.
        width_px, height_px: of the stored photograph.
        sha256: of the original file.
        source: path of the original below RAW.
        fold: 0 to K-1 for cross-validation, or None.
        mask: path of the class mask below DATA, or empty.
    """

    image: str
    labels: tuple[str, ...]
    section: str
    field: str
    light: str
    um_per_px: float | None
    split: str
    width_px: int
    height_px: int
    sha256: str
    source: str
    fold: int | None = None
    mask: str = ""


COLUMNS = tuple(one.name for one in fields(IndexRow))


def read_index(data: Path, *, check_files: bool = True) -> tuple[IndexRow, ...]:
    """Read DATA/index.csv.

    Args:
        data: the data set folder.
        check_files: also check that every photograph named is there.

    Raises:
        DataError: no index, a missing column, a value that can't be read, a file that is not there.
    """
    file = data / "index.csv"
    if not file.is_file():
        raise DataError(f"{data}: no index.csv in it. Make a data set with: geocamnet prepare RAW {data}")
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{file}: columns missing: {', '.join(missing)}. Run geocamnet prepare again.")
            rows = tuple(_parse(values, f"{file}, line {number}") for number, values in enumerate(reader, start=2))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: not a UTF-8 table ({error}). Run geocamnet prepare again.") from error
    if not rows:
        raise DataError(f"{file}: holds no photograph.")
    if check_files:
        absent = [row.image for row in rows if not (data / row.image).is_file()]
        if absent:
            raise DataError(
                f"{file}: names {len(absent)} photograph(s) that are not there, the first: {absent[0]}. "
                "Restore them, or run geocamnet prepare again."
            )
    return rows


def write_index(data: Path, rows: Iterable[IndexRow]) -> None:
    """Write DATA/index.csv, aside first and then renamed into place."""
    with written_aside(data / "index.csv") as aside, aside.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([_format(getattr(row, name)) for name in COLUMNS])


def class_names(rows: Iterable[IndexRow]) -> tuple[str, ...]:
    """Return every label met, sorted: the order of a network's outputs."""
    return tuple(sorted({label for row in rows for label in row.labels}))


def labels_kind(rows: Iterable[IndexRow]) -> str:
    """Return ``"multi"`` if any photograph carries several labels, else ``"single"``."""
    return "multi" if any(len(row.labels) > 1 for row in rows) else "single"


def use_fold(rows: Sequence[IndexRow], fold: int | None) -> tuple[IndexRow, ...]:
    """Return the rows split for cross-validation: fold k tests, half of fold k+1 validates, the rest trains.

    Every other section of fold k+1 is taken class by class, so that validation has every class in its share. Without a
    fold the rows are split as they are.

    Raises:
        DataError: the index has no folds, or not that one.
    """
    if fold is None:
        return tuple(rows)
    folds = sorted({row.fold for row in rows if row.fold is not None})
    if not folds or any(row.fold is None for row in rows):
        raise DataError("The index has no folds. Run geocamnet prepare with --folds 5.")
    if fold not in folds:
        raise DataError(f"The index has folds {folds[0]} to {folds[-1]}; received {fold}.")
    validation = folds[(folds.index(fold) + 1) % len(folds)]
    candidates: dict[str, tuple[str, ...]] = {}
    for row in rows:
        if row.fold == validation:
            candidates[row.section] = max(candidates.get(row.section, ()), row.labels)
    chosen = set(sorted(candidates, key=lambda section: (candidates[section], section))[::2])

    def split_of(row: IndexRow) -> str:
        if row.fold == fold:
            return "test"
        return "val" if row.section in chosen else "train"

    return tuple(replace(row, split=split_of(row)) for row in rows)


def _parse(values: dict[str, str], where: str) -> IndexRow:
    try:
        row = IndexRow(
            image=values["image"],
            labels=tuple(label for label in values["labels"].split("|") if label),
            section=values["section"],
            field=values["field"],
            light=values["light"],
            um_per_px=float(values["um_per_px"]) if values["um_per_px"] else None,
            split=values["split"],
            width_px=int(values["width_px"]),
            height_px=int(values["height_px"]),
            sha256=values["sha256"],
            source=values["source"],
            fold=int(values["fold"]) if values["fold"] else None,
            mask=values["mask"] or "",
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{where}: can't be read ({error}).") from error
    if row.split not in SPLITS:
        raise DataError(f"{where}: {unknown_name('split', row.split, SPLITS)}")
    if row.um_per_px is not None and not (math.isfinite(row.um_per_px) and row.um_per_px > 0):
        raise DataError(f"{where}: um_per_px must be above 0; received {row.um_per_px}.")
    return row


def _format(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return "|".join(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
