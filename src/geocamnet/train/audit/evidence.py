"""What the findings are made of: photographs with their looks, copies, shortcuts and doubts, and what a finding is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from geocamnet.train.audit.duplicates import Copies
from geocamnet.train.audit.label_noise import LabelNoise
from geocamnet.train.audit.look import Look
from geocamnet.train.audit.shortcuts import Shortcut
from geocamnet.train.audit.table import Line
from geocamnet.train.sources import RawPhotograph

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Evidence:
    """All that was seen.

    Attributes:
        layout: of the folder, or ``none`` where nothing tells classes.
        photographs: those that can be read, sorted by path.
        looks: of each of them.
        copies: positions are of these photographs.
        shortcuts: every property that was tried.
        noise: doubtful labels; None where they can't be judged.
        unread: (path, reason) of photographs that can't be read or used.
        others: paths of files that are no photographs.
        notes: what was concluded of the folder, in sentences.
    """

    layout: str
    photographs: Sequence[RawPhotograph]
    looks: Sequence[Look]
    copies: Copies
    shortcuts: Sequence[Shortcut]
    noise: LabelNoise | None
    unread: Sequence[tuple[str, str]]
    others: Sequence[str]
    notes: Sequence[str]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes:
        kind: a short name, the same in table and page.
        severity: ``error`` (figures will be wrong), ``warning`` (they may be) or ``note``.
        title: what was found, with counts.
        meaning: what that does to a figure, for a geologist.
        advice: what to do.
        lines: of the table.
        groups: photographs to show side by side, each (path, caption), most telling first.
        figures: numbers, for audit.json.
        listed: rows of a small table on the page, the head first.
    """

    kind: str
    severity: Severity
    title: str
    meaning: str
    advice: str
    lines: Sequence[Line] = ()
    groups: Sequence[Sequence[tuple[str, str]]] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    listed: Sequence[Sequence[str]] = ()


def labels_of(photograph: RawPhotograph) -> str:
    """Return the labels joined by ``|``, as tables write them."""
    return "|".join(photograph.labels)


def line_of(
    photograph: RawPhotograph, finding: str, severity: str, *, action: str = "", value: str = "", detail: str = ""
) -> Line:
    """Return a line of the table on a photograph."""
    return Line(photograph.path, finding, severity, action, value, labels_of(photograph), detail)
