"""AUDIT/audit.csv: a line a photograph and finding, with what `prepare --audit` is to do about it.

The table is the user's: lines may be deleted or their action emptied before `prepare --audit` reads it.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from geocamnet.errors import DataError, unknown_name
from geocamnet.images import written_aside

TABLE = "audit.csv"
SUMMARY = "audit.json"
ACTIONS = ("merge", "drop", "crop", "group")


@dataclass(frozen=True)
class Line:
    """One finding on one photograph.

    Attributes:
        image: path below RAW.
        finding: its kind, as the page names it.
        severity: ``error``, ``warning`` or ``note``.
        action: ``drop`` (leave out), ``merge`` (take ``value`` for its labels), ``crop`` (cut ``value`` off), ``group``
            (keep with all photographs of the same ``value`` in one split), or empty: nothing is done.
        value: of the action: labels joined by ``|``; ``left,top,right,bottom`` in px; a name of the group.
        labels: as they are.
        detail: in words.
    """

    image: str
    finding: str
    severity: str
    action: str
    value: str
    labels: str
    detail: str


@dataclass(frozen=True)
class Actions:
    """What a table asks to do.

    Attributes:
        drop: paths to leave out.
        labels: path → labels to take.
        crop: path → (left, top, right, bottom) px to cut off the upright photograph.
        group: path → names of the groups it belongs to, sorted.
    """

    drop: frozenset[str] = frozenset()
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    crop: Mapping[str, tuple[int, int, int, int]] = field(default_factory=dict)
    group: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


COLUMNS = tuple(one.name for one in fields(Line))


def write_table(out: Path, lines: Iterable[Line]) -> None:
    """Write AUDIT/audit.csv, UTF-8 with a mark by which Excel knows it.

    Raises:
        DataError: it can't be written.
    """
    with written_aside(out / TABLE) as aside, aside.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for line in lines:
            writer.writerow([getattr(line, name) for name in COLUMNS])


def read_verdict(audit: Path) -> list[str]:
    """Return what an audit found that makes figures wrong or may, in sentences; empty where only its table is left.

    Args:
        audit: the folder of an audit, or its table.

    Raises:
        DataError: AUDIT/audit.json can't be read.
    """
    file = (audit if audit.is_dir() else audit.parent) / SUMMARY
    if not file.is_file():
        return []
    try:
        findings = json.loads(file.read_text("utf-8"))["findings"]
        return [f"{one['severity']}: {one['title']}" for one in findings if one["severity"] != "note"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: can't be read ({error}). Run geocamnet audit again.") from error


def read_actions(audit: Path) -> Actions:
    """Return what a table asks to do.

    Args:
        audit: the folder of an audit, or its table.

    Raises:
        DataError: no such table, a column missing, an action or value that can't be read; labels or crops of one
            photograph that contradict each other.
    """
    file = audit / TABLE if audit.is_dir() else audit
    if not file.is_file():
        raise DataError(f"{file}: no such table. Make one with: geocamnet audit RAW {audit}")
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in ("image", "action", "value") if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{file}: columns missing: {', '.join(missing)}. Save it as CSV with commas.")
            rows = list(enumerate(reader, start=2))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: not a UTF-8 table ({error}). Save it as CSV UTF-8.") from error
    drop: set[str] = set()
    labels: dict[str, tuple[str, ...]] = {}
    crop: dict[str, tuple[int, int, int, int]] = {}
    group: dict[str, set[str]] = defaultdict(set)
    for number, row in rows:
        image, action, value = ((row[name] or "").strip() for name in ("image", "action", "value"))
        where = f"{file}, line {number}"
        if not action:
            continue
        if action not in ACTIONS:
            raise DataError(f"{where}: {unknown_name('action', action, ACTIONS)}")
        if action == "drop":
            drop.add(image)
        elif action == "merge":
            merged = tuple(sorted(filter(None, (label.strip() for label in value.split("|")))))
            if labels.setdefault(image, merged) != merged:
                raise DataError(f"{where}: {image} is given other labels above. Leave one of the lines.")
        elif action == "crop":
            cut, before = _edges(value, where), crop.get(image, (0, 0, 0, 0))
            crop[image] = max(cut[0], before[0]), max(cut[1], before[1]), max(cut[2], before[2]), max(cut[3], before[3])
        else:
            if not value:
                raise DataError(f"{where}: the action group needs the name of a group in the column value.")
            group[image].add(value)
    return Actions(frozenset(drop), labels, crop, {image: tuple(sorted(names)) for image, names in group.items()})


def _edges(value: str, where: str) -> tuple[int, int, int, int]:
    parts = value.split(",")
    try:
        left, top, right, bottom = (int(part) for part in parts)
    except ValueError as error:
        raise DataError(
            f"{where}: a crop is left,top,right,bottom in px, such as 0,0,0,24; received '{value}'."
        ) from error
    if min(left, top, right, bottom) < 0:
        raise DataError(f"{where}: a crop can't be below 0; received '{value}'.")
    return left, top, right, bottom
