"""The long part of mapping a scan: every tile is looked at, and what was seen is kept on disk, to be taken up again."""

import os
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from itertools import accumulate
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.errors import DataError
from geocamnet.images import RgbImage
from geocamnet.runtime.folder.tables import append_to_table, cannot_write, read_table, write_row, write_table
from geocamnet.runtime.huge.bands import Band, Tiling, predict_bands
from geocamnet.runtime.huge.scan import Scan
from geocamnet.runtime.model import Model
from geocamnet.runtime.prediction import NOTHING_HERE, UNFAMILIAR

OVERVIEW_PX = 2048  # long side


@dataclass(frozen=True)
class SeenTile:
    """A line of ``tiles.csv``: where a tile lies, and what was said of it alone.

    Attributes:
        y_px, x_px, height_px, width_px: in pixels of the scan.
        label: the class named, or a refusal (`Prediction.verdict`).
        most_probable: the class with the highest probability, named or not.
        probability: of it.
        distance: from the training photographs.
    """

    y_px: int
    x_px: int
    height_px: int
    width_px: int
    label: str
    most_probable: str
    probability: float
    distance: float

    @property
    def is_refused(self) -> bool:
        """Whether it is unlike the training photographs or shows no evidence; "not sure" between classes is neither."""
        return self.label in (UNFAMILIAR, NOTHING_HERE)


TILE_COLUMNS = tuple(one.name for one in fields(SeenTile))


@dataclass(frozen=True)
class Seen:
    """The files that looking leaves: what is in them is whole up to a row of tiles.

    Attributes:
        tiles: CSV of `SeenTile`.
        maps: float32 (h, C, w), the blended class maps, row after row.
        small: RGB uint8 (H', W', 3), the scan made small.
    """

    tiles: Path
    maps: Path
    small: Path

    def read_tiles(self) -> list[SeenTile]:
        """Return the whole lines of the table.

        Raises:
            DataError: columns that are not these.
        """
        rows, _ = read_table(self.tiles, TILE_COLUMNS)
        kinds = [one.type for one in fields(SeenTile)]
        return [SeenTile(*(kind(value) for kind, value in zip(kinds, row, strict=True))) for row in rows]  # type: ignore[operator]


def small_size(shape_hw: tuple[int, int]) -> tuple[int, int]:
    """Return (H, W) of a scan made small."""
    factor = min(1.0, OVERVIEW_PX / max(shape_hw))
    return max(1, round(shape_hw[0] * factor)), max(1, round(shape_hw[1] * factor))


def look(
    scan: Scan, model: Model, tiling: Tiling, seen: Seen, *, on_progress: Callable[[int, int], None] | None = None
) -> list[SeenTile]:
    """Look at every tile that was not looked at before.

    What was seen of a row of tiles is on disk before the next row is begun; a torn end is cut off and looked at again.

    Args:
        scan: the photograph.
        model: the student.
        tiling: of the scan.
        seen: where it is kept.
        on_progress: called with (tiles done, tiles).

    Returns:
        All tiles, those of earlier calls included.

    Raises:
        DataError: the scan can't be read, or the disk is full.
        ModelError: the network fails.
    """
    try:
        first_row = _take_up(tiling, seen, len(model.card.classes))
        small = np.memmap(seen.small, np.uint8, mode="r+", shape=(*small_size(tiling.shape_hw), 3))

        def read(top: int, left: int, height: int, width: int) -> RgbImage:
            part = scan.read(top, left, height, width)
            _paste_small(small, part, top, left, tiling.shape_hw)
            return part

        with seen.maps.open("ab") as maps, append_to_table(seen.tiles) as table:
            for band in predict_bands(read, model, tiling, first_row=first_row, on_tile=on_progress):
                small.flush()
                for row in _rows(band, tiling):
                    write_row(table, astuple(row))
                maps.write(np.ascontiguousarray(band.class_maps.transpose(1, 0, 2)).tobytes())
                maps.flush()
                os.fsync(maps.fileno())
    except OSError as error:
        raise DataError(cannot_write(seen.maps.parent, error)) from error
    return seen.read_tiles()


def _take_up(tiling: Tiling, seen: Seen, count: int) -> int:
    """Bring the files to the end of a row of tiles, and return the first row that is to be looked at."""
    rows = tiling.rows()
    row_bytes = 4 * count * tiling.cells_hw[1]
    ends = [row[0].y for row in rows[1:]] + [tiling.cells_hw[0]]  # cells that are finished after each row of tiles
    tiles_until = list(accumulate(len(row) for row in rows))
    small_h, small_w = small_size(tiling.shape_hw)
    done = 0
    if all(one.is_file() for one in (seen.tiles, seen.maps, seen.small)):
        known, cells = seen.read_tiles(), seen.maps.stat().st_size // row_bytes
        whole = [end <= cells and until <= len(known) for end, until in zip(ends, tiles_until, strict=True)]
        done = sum(whole) if seen.small.stat().st_size == small_h * small_w * 3 else 0
    if done == 0:
        seen.maps.write_bytes(b"")
        write_table(seen.tiles, TILE_COLUMNS, [])
        seen.small.write_bytes(b"\xff" * (small_h * small_w * 3))
        return 0
    write_table(seen.tiles, TILE_COLUMNS, map(astuple, known[: tiles_until[done - 1]]))
    os.truncate(seen.maps, ends[done - 1] * row_bytes)
    return done


def _rows(band: Band, tiling: Tiling) -> list[SeenTile]:
    rows = []
    for tile, one in band.tiles:
        top, left, height, width = tiling.box(tile)
        name, probability = one.top(1)[0]
        rows.append(SeenTile(top, left, height, width, one.verdict, name, probability, one.distance))
    return rows


def _paste_small(small: NDArray[np.uint8], part: RgbImage, top: int, left: int, shape_hw: tuple[int, int]) -> None:
    """Put a part of the scan, made small, where it belongs."""
    spans = []
    for first, length, size, whole in zip((top, left), part.shape[:2], small.shape[:2], shape_hw, strict=True):
        start = first * size // whole
        spans.append(slice(start, max(start + 1, min(size, -(-(first + length) * size // whole)))))
    rows, columns = spans
    size_wh = (columns.stop - columns.start, rows.stop - rows.start)
    small[rows, columns] = cv2.resize(part, size_wh, interpolation=cv2.INTER_AREA)
