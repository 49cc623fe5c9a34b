"""Pieces of Markdown that the tables of figures are made of."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

WHO = {
    "teacher": "teacher",
    "teacher_attitudes": "teacher, eight attitudes",
    "teachers_together": "teacher and the student alone, the mean of both",
    "student": "**student, distilled**",
    "student_attitudes": "**student, distilled, eight attitudes**",
    "student_alone": "the same student, trained alone",
    "student_alone_attitudes": "the same alone, eight attitudes",
    "random_forest": "random forest on texture and grey histograms",
    "majority": "always the commonest class",
}
NAME_FIGURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "nll": "log loss (low is good)",
}
MAP_FIGURES = {"miou": "mean IoU", "pixel_ap": "pixel AP", "energy": "energy inside", "pointing": "pointing game"}


def read(file: Path) -> dict[str, Any] | None:
    """Return a result, or None where there is none yet."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def missing(name: str, command: str) -> list[str]:
    """Return the line that stands where a result is missing."""
    return [f"Not measured yet: `{command}` measures it, `{name}` will hold it."]


def table(
    corner: str, rows: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str], columns: Mapping[str, str]
) -> list[str]:
    """Return a table: a row per entry of ``rows``, those of ``titles`` first, and the columns that are there."""
    shown = {name: title for name, title in columns.items() if any(name in row for row in rows.values())}
    order = [*(name for name in titles if name in rows), *(name for name in rows if name not in titles)]
    lines = [f"| {corner} | {' | '.join(shown.values())} |", f"|---|{'---:|' * len(shown)}"]
    for name in order:
        cells = " | ".join(number(rows[name].get(column)) for column in shown)
        lines.append(f"| {titles.get(name, name.replace('_', ' '))} | {cells} |")
    return lines


def number(value: Any) -> str:
    """Return a figure, of several the mean with the lowest and the highest; words as they are."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list) and value:
        return f"{mean(value):.3f} ({min(value):.3f} to {max(value):.3f})"
    return f"{value:.3f}" if isinstance(value, int | float) else "-"


def caveats(sentences: Sequence[str]) -> list[str]:
    """Return what is to be kept in mind, as a list."""
    return ["", "Mind:", "", *(f"- {one}" for one in sentences)] if sentences else []
