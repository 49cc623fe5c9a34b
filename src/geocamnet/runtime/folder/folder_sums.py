"""What a folder's photographs add up to: which section each belongs to, and the tables and the page of all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from geocamnet.card import ModelCard
from geocamnet.errors import DataError
from geocamnet.images import read_image
from geocamnet.runtime.folder.areas import PhotographArea, area_columns, area_row, read_areas
from geocamnet.runtime.folder.areas_page import Page, Picture, write_page
from geocamnet.runtime.folder.out_folder import (
    AREAS,
    MASK_NAMES,
    areas_picture_path,
    mask_path,
    picture_path,
    write_json,
)
from geocamnet.runtime.folder.row import FolderRow
from geocamnet.runtime.folder.series import Mask, Measured, Section, sum_up
from geocamnet.runtime.folder.series_tables import write_series_tables
from geocamnet.runtime.folder.tables import write_table
from geocamnet.runtime.prediction import REFUSALS
from geocamnet.sections import section_by_place, section_by_regex, section_pattern, sections_by_regex

NOT_TOLD = "(not told)"  # the section of photographs that --section-regex does not match


@dataclass(frozen=True)
class Summing:
    """How photographs are summed to thin sections and a series.

    Attributes:
        card: of the model.
        um_per_px: micrometres a pixel of all photographs, None where unknown.
        porosity: it was measured.
        folder: name of the source.
        section_regex, count_refused, points, seed: as for `folder.predict_folder`.
    """

    card: ModelCard
    um_per_px: float | None
    porosity: bool
    folder: str
    section_regex: str
    count_refused: bool
    points: int
    seed: int

    def check(self, images: Sequence[str]) -> None:
        """Check the settings against the photographs there are.

        Raises:
            DataError: points or seed out of range, or a regular expression that finds no section.
        """
        if self.points < 1:
            raise DataError(f"points must be at least 1, of a section (300 to 500 are usual); received {self.points}.")
        if self.seed < 0:
            raise DataError(f"seed must be 0 or above; received {self.seed}.")
        if self._pattern is not None:
            sections_by_regex(images, self._pattern, below="the source")

    def section_of(self, image: str) -> str:
        """Return the thin section of a photograph, by its path below the source."""
        if self._pattern is None:
            return section_by_place(image, self.folder)
        return section_by_regex(image, self._pattern) or NOT_TOLD

    @property
    def sections_told_by(self) -> str:
        """How sections were recognised, in words."""
        if self._pattern is not None:
            return (
                f"The thin section is what --section-regex '{self.section_regex}' finds in the path of a photograph; "
                f"those it does not match are together as '{NOT_TOLD}'."
            )
        return (
            "A subfolder is a thin section (folders for a light aside). Photographs directly in the source are of one "
            "section where their names differ in the number at the end and the light alone; names that end in no "
            f"number of their own are together as '{self.folder}'. If that is not so, say it with --section-regex."
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What ``summary.json`` says of it."""
        names = ("section_regex", "count_refused", "points", "seed")
        return {name: getattr(self, name) for name in names}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of ``areas.csv``."""
        return area_columns(self.card, um_per_px=self.um_per_px, porosity=self.porosity)

    def area_cells(self, area: PhotographArea, label: str, *, gone: bool = False) -> list[str | int | float | None]:
        """Return a row of ``areas.csv``; a photograph that is gone from the source is not counted."""
        counted = not gone and (self.count_refused or label not in REFUSALS)
        section = self.section_of(area.image)
        return area_row(area, section=section, label=label, counted=counted, um_per_px=self.um_per_px)

    def read_areas(self, table: Path) -> dict[str, PhotographArea]:
        """Return what ``areas.csv`` holds, by photograph; nothing where there is none.

        Raises:
            DataError: columns that are not these.
        """
        return {one.image: one for one in read_areas(table, self.columns, self.card)} if table.exists() else {}

    @cached_property
    def _pattern(self) -> Any:
        return section_pattern(self.section_regex) if self.section_regex else None


def write_sums(
    out: Path,
    rows: Sequence[FolderRow],
    areas: Mapping[str, PhotographArea],
    skipped: Sequence[tuple[str, str]],
    summing: Summing,
    path_of: Mapping[str, Path],
    *,
    version: str,
) -> tuple[list[Section], Section]:
    """Write what is made from all photographs, the same whatever order they were done in; return what it says.

    Args:
        out: the folder.
        rows: of ``predictions.csv``; those of photographs that are gone from the source are not summed.
        areas: by photograph.
        skipped: photographs that could not be predicted, and why.
        summing: how.
        path_of: paths below the source, by photograph that is in it.
        version: of this program.

    Raises:
        DataError: a file that can't be read or written.
    """

    def read_mask(image: str) -> Mask | None:
        file = mask_path(out, path_of[image])
        return read_image(file)[..., 0] if file.is_file() else None

    of_image = {row.image: row for row in sorted(rows, key=lambda row: row.image) if row.image in areas}
    measured = [
        Measured(areas[image], row.label, summing.section_of(image))
        for image, row in of_image.items()
        if image in path_of
    ]
    sections, series = sum_up(
        measured,
        summing.card.class_names,
        read_mask=read_mask,
        count_refused=summing.count_refused,
        points=summing.points,
        seed=summing.seed,
    )
    cells = [summing.area_cells(areas[image], row.label, gone=image not in path_of) for image, row in of_image.items()]
    write_table(out / AREAS, summing.columns, cells)
    write_series_tables(out, sections, series, summing.card, um_per_px=summing.um_per_px, porosity=summing.porosity)
    write_json(out / MASK_NAMES, {"classes": list(summing.card.class_names)})
    pictures = [
        Picture(one.section, one.area.image, one.label, *_files(out, path_of[one.area.image]), one.refused)
        for one in measured
    ]
    page = Page(
        card=summing.card,
        um_per_px=summing.um_per_px,
        sections_told_by=summing.sections_told_by,
        count_refused=summing.count_refused,
        points=summing.points,
        seed=summing.seed,
        sections=sections,
        series=series,
        pictures=pictures,
        skipped=skipped,
        gone=sum(row.image not in path_of for row in rows),
        version=version,
    )
    write_page(out, page)
    return sections, series


def _files(out: Path, image: Path) -> tuple[Path, Path]:
    return areas_picture_path(out, image), picture_path(out, image)
