"""``sections.csv``, a row per thin section, and ``classes.csv``, a row per thin section and class."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from geocamnet.card import ModelCard
from geocamnet.runtime.folder.areas import NO_CLASS
from geocamnet.runtime.folder.series import Section
from geocamnet.runtime.folder.tables import write_table
from geocamnet.runtime.prediction import NOT_SURE, NOTHING_HERE, UNFAMILIAR

SECTIONS, CLASSES = "sections.csv", "classes.csv"

_REFUSAL_COLUMNS = {"not_sure": NOT_SURE, "nothing_here": NOTHING_HERE, "unlike_training": UNFAMILIAR}
_PERCENT = ("percent", "low_percent", "high_percent")

_Row = list[str | int | float | None]


def write_series_tables(
    out: Path, sections: Sequence[Section], series: Section, card: ModelCard, *, um_per_px: float | None, porosity: bool
) -> None:
    """Write both tables, the series as their last rows, in the columns of `section_columns` and `class_columns`.

    Raises:
        DataError: they can't be written.
    """
    names = (*card.class_names, NO_CLASS)
    every = (*sections, series)
    write_table(
        out / SECTIONS,
        section_columns(names, um_per_px=um_per_px, porosity=porosity),
        (_section_row(one, names, um_per_px, porosity) for one in every),
    )
    rows = (row for one in every for row in _class_rows(one, names, um_per_px))
    write_table(out / CLASSES, class_columns(um_per_px=um_per_px), rows)


def section_columns(names: Sequence[str], *, um_per_px: float | None, porosity: bool) -> tuple[str, ...]:
    """Return the columns of ``sections.csv`` for these classes; µm² where the scale is known."""
    units = ("px",) if um_per_px is None else ("px", "um2")
    total = tuple(f"total_{unit}" for unit in units)
    shares = tuple(f"{name}_{kind}" for name in names for kind in _PERCENT)
    pores = (*_PERCENT, *units, "photographs", "note") if porosity else ()
    return (
        *("section", "photographs", "counted", *_REFUSAL_COLUMNS, *total, "intervals_from", "points"),
        *shares,
        *(f"porosity_{kind}" for kind in pores),
    )


def class_columns(*, um_per_px: float | None) -> tuple[str, ...]:
    """Return the columns of ``classes.csv``; µm² where the scale is known."""
    units = ("px",) if um_per_px is None else ("px", "um2")
    return (
        *("section", "class", *_PERCENT, *units, "percent_refused_included"),
        *("points", "points_percent", "points_low_percent", "points_high_percent"),
    )


def intervals_from(section: Section) -> str:
    """Return what the intervals of a section rest on, or why there are none, such as "12 fields"."""
    units = count_units(section.units, section.unit)
    return units if any(share.low_percent is not None for share in section.shares.values()) else f"none: {units}"


def count_units(count: int, unit: str) -> str:
    """Return such as "1 field", "3 thin sections"."""
    return f"{count} {unit.removesuffix('s') if count == 1 else unit}"


def _section_row(section: Section, names: Sequence[str], um_per_px: float | None, porosity: bool) -> _Row:
    row: _Row = [section.name, section.photographs, section.counted]
    row += [section.refusals[said] for said in _REFUSAL_COLUMNS.values()]
    row += [section.total_px, *_um2(section.total_px, um_per_px)]
    row += [intervals_from(section), section.points.points if section.points else None]
    for name in names:
        share = section.shares.get(name)
        row += [None] * 3 if share is None else [share.percent, share.low_percent, share.high_percent]
    if porosity:
        row += _porosity_cells(section, um_per_px)
    return row


def _porosity_cells(section: Section, um_per_px: float | None) -> _Row:
    found = section.porosity
    if found is None or found.share is None:
        empty: _Row = [None] * (4 if um_per_px is None else 5)
        return [*empty, 0, "" if found is None else found.why_not]
    share = found.share
    row: _Row = [share.percent, share.low_percent, share.high_percent, share.px]
    return [*row, *_um2(share.px, um_per_px), found.measured_on, found.why_not]


def _class_rows(section: Section, names: Sequence[str], um_per_px: float | None) -> Iterator[_Row]:
    for position, name in enumerate(names):
        share, counted = section.shares.get(name), section.points
        label = (position + 1) % len(names)  # as in the masks: 0 is no class, the last of the names
        row: _Row = [section.name, name]
        row += [None] * 3 if share is None else [share.percent, share.low_percent, share.high_percent]
        row += [None] * (len(_um2(0, um_per_px)) + 1) if share is None else [share.px, *_um2(share.px, um_per_px)]
        row.append(section.percent_of_all.get(name))
        if counted is None:
            row += [None] * 4
        else:
            row += [counted.counts[label], counted.percent[label]]
            row += [counted.low_percent[label], counted.high_percent[label]]
        yield row


def _um2(px: int, um_per_px: float | None) -> list[float]:
    return [] if um_per_px is None else [px * um_per_px**2]
