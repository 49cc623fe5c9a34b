"""A huge photograph cut into tiles at the network's own scale; their class maps blended, a band of rows at a time."""

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.card import ModelCard
from geocamnet.errors import DataError
from geocamnet.images import RgbImage
from geocamnet.runtime.model import Model, default_threads
from geocamnet.runtime.prediction import Prediction
from geocamnet.tiles import Blender, Tile, tile_grid

FloatArray = NDArray[np.float32]
# (top, left, height, width) in pixels -> RGB uint8 (height, width, 3)
Reader = Callable[[int, int, int, int], RgbImage]

DEFAULT_TILE_PX = 512  # where the card states no long side, any tile is at the network's own scale


@dataclass(frozen=True)
class Tiling:
    """How a photograph is cut.

    Attributes:
        shape_hw: of the photograph, in pixels.
        tile_cells: cells of the class map on a tile's side.
        overlap_cells: cells that neighbouring tiles share.
        cell_px: pixels of the photograph on a cell's side, not always a whole number.
        given_px: pixels on a cell's side as the model is given a tile (it may scale the tile further).
    """

    shape_hw: tuple[int, int]
    tile_cells: int
    overlap_cells: int
    cell_px: float
    given_px: int

    @property
    def covered_hw(self) -> tuple[float, float]:
        """How many cells the photograph spans, fractions included."""
        return self.shape_hw[0] / self.cell_px, self.shape_hw[1] / self.cell_px

    @property
    def cells_hw(self) -> tuple[int, int]:
        """How many cells there are; the last of a row or column may reach out of the photograph."""
        height, width = self.covered_hw
        return math.ceil(height), math.ceil(width)

    @property
    def is_one_tile(self) -> bool:
        """Whether the whole photograph fits in a tile."""
        return max(self.covered_hw) <= self.tile_cells

    def rows(self) -> list[list[Tile]]:
        """Return the tiles in cells, row by row."""
        tiles = tile_grid(self.cells_hw, tile_px=self.tile_cells, overlap_px=self.overlap_cells)
        return [list(row) for _, row in groupby(tiles, key=lambda tile: tile.y)]

    def box(self, tile: Tile) -> tuple[int, int, int, int]:
        """Return a tile's top, left, height and width in pixels of the photograph, cut at its end."""
        top, left = round(tile.y * self.cell_px), round(tile.x * self.cell_px)
        bottom, right = round((tile.y + tile.h) * self.cell_px), round((tile.x + tile.w) * self.cell_px)
        return top, left, min(bottom, self.shape_hw[0]) - top, min(right, self.shape_hw[1]) - left


@dataclass(frozen=True)
class Band:
    """Rows of the blended class maps that are finished, and the tiles that finished them.

    Attributes:
        top: first row, in cells.
        class_maps: float32 (C, rows, w).
        tiles: with what the student said of each.
    """

    top: int
    class_maps: FloatArray
    tiles: tuple[tuple[Tile, Prediction], ...]


def plan_tiles(
    shape_hw: tuple[int, int],
    card: ModelCard,
    *,
    tile_px: int | None = None,
    overlap_px: int | None = None,
    um_per_px: float | None = None,
) -> Tiling:
    """Plan how a photograph is cut, so that a tile looks like a training photograph.

    Args:
        shape_hw: of the photograph, in pixels.
        card: of the model.
        tile_px: side of a tile, rounded to whole cells of the class map. None takes the card's ``long_side_px``, at
            which the network scales nothing (512 where the card has none). In pixels at the card's scale where both
            scales are known, of the photograph otherwise.
        overlap_px: shared by neighbouring tiles, 0 to below ``tile_px``; None takes a quarter of the tile.
        um_per_px: micrometres a pixel of the photograph; where the card states its own too, tiles are brought to it.

    Raises:
        DataError: sizes out of range, or a scale that leaves less than a pixel for a cell.
    """
    tile_cells, given_px = _tile_of(card, tile_px)
    side_px = tile_px or tile_cells * given_px
    if overlap_px is not None and not 0 <= overlap_px < side_px:
        raise DataError(f"overlap_px must be from 0 to below tile_px = {side_px}; received {overlap_px}.")
    overlap_cells = tile_cells // 4 if overlap_px is None else min(math.ceil(overlap_px / given_px), tile_cells - 1)
    cell_px = float(given_px)
    if um_per_px is not None and not (math.isfinite(um_per_px) and um_per_px > 0):
        raise DataError(f"um_per_px (micrometres a pixel) must be above 0; received {um_per_px}.")
    if um_per_px is not None and card.um_per_px is not None:
        cell_px *= card.um_per_px / um_per_px
        if cell_px < 1:
            raise DataError(
                f"At {um_per_px} um a pixel the photograph is {um_per_px / card.um_per_px:.0f} times coarser than the "
                f"model expects ({card.um_per_px} um a pixel): a cell of its map would be less than a pixel. "
                "Check um_per_px."
            )
    return Tiling(shape_hw, tile_cells, overlap_cells, cell_px, given_px)


def _tile_of(card: ModelCard, tile_px: int | None) -> tuple[int, int]:
    """Return (cells on a tile's side, pixels given to the model on a cell's side), both whole numbers."""
    stride = card.map_stride
    if card.long_side_px is None:  # the network scales nothing: a cell is a stride, a tile any number of them
        tile_cells = max(2, round((tile_px or DEFAULT_TILE_PX) / stride))
        least_px, given_px = 2 * stride, stride
    else:  # the network scales a tile to long_side_px: the cells are given, their size is not
        tile_cells = math.ceil(card.long_side_px / stride)
        least_px = tile_cells
        given_px = stride if tile_px is None else max(1, round(tile_px / tile_cells))
    if tile_px is not None and tile_px < least_px:
        raise DataError(
            f"tile_px must be at least {least_px}, for one pixel a cell of the class map; received {tile_px}."
        )
    return tile_cells, given_px


def predict_bands(
    read: Reader, model: Model, tiling: Tiling, *, first_row: int = 0, on_tile: Callable[[int, int], None] | None = None
) -> Iterator[Band]:
    """Yield a band of finished rows for every row of tiles, top to bottom.

    Several tiles are looked at at a time, a thread each, while the next are read. Memory holds the rows of one band
    and a few tiles.

    Args:
        read: gives a rectangle of the photograph; it is called from another thread, once at a time.
        model: the student.
        tiling: of the photograph, by `plan_tiles`.
        first_row: of tiles; bands above it were had before. The rows of tiles that reach below it are looked at again,
            and what follows is the same to the last bit as without a break.
        on_tile: called with (tiles done, tiles) after each.

    Raises:
        DataError: the photograph can't be read.
        ModelError: the network fails.
    """
    rows = tiling.rows()
    starts = [row[0].y for row in rows] + [tiling.cells_hw[0]]
    overlap, top = tiling.overlap_cells, starts[first_row]
    blender = Blender(len(model.card.classes), tiling.cells_hw, overlap=overlap, top=top)
    again = first_row
    while again > 0 and starts[again - 1] + rows[again - 1][0].h > top:
        again -= 1
    done, total = sum(len(row) for row in rows[:first_row]), sum(len(row) for row in rows)
    workers, alone = default_threads(), model.one_thread()
    with (
        ThreadPoolExecutor(1, thread_name_prefix="reading") as reading,
        ThreadPoolExecutor(workers, thread_name_prefix="looking") as looking,
    ):

        def begin(tile: Tile) -> Future[Prediction]:
            part = reading.submit(_read_tile, read, tiling, tile)
            return looking.submit(lambda: alone.predict(part.result()))

        wanted = (tile for row in rows[again:] for tile in row)
        ahead = deque(begin(tile) for _, tile in zip(range(2 * workers), wanted, strict=False))
        try:
            for number in range(again, len(rows)):
                said = []
                for tile in rows[number]:
                    one = ahead.popleft().result()
                    if (following := next(wanted, None)) is not None:
                        ahead.append(begin(following))
                    blender.add(tile, _fitted(one.class_maps, tile))
                    said.append((tile, one))
                    if number >= first_row:
                        done += 1
                        if on_tile is not None:
                            on_tile(done, total)
                if number >= first_row:
                    yield Band(starts[number], blender.blend(starts[number + 1]), tuple(said))
        finally:
            for one_ahead in ahead:
                one_ahead.cancel()


def _read_tile(read: Reader, tiling: Tiling, tile: Tile) -> RgbImage:
    """Return a tile as the model is given it: scaled, and continued as it ends where it reaches out."""
    part = read(*tiling.box(tile))
    height, width = (round(cells * tiling.cell_px) for cells in (tile.h, tile.w))
    short_h, short_w = height - part.shape[0], width - part.shape[1]
    if short_h > 0 or short_w > 0:
        part = np.pad(part, ((0, max(0, short_h)), (0, max(0, short_w)), (0, 0)), mode="edge")
    size_wh = (tile.w * tiling.given_px, tile.h * tiling.given_px)
    if (part.shape[1], part.shape[0]) != size_wh:
        how = cv2.INTER_AREA if tiling.given_px < tiling.cell_px else cv2.INTER_LINEAR
        part = np.asarray(cv2.resize(np.ascontiguousarray(part), size_wh, interpolation=how), np.uint8)
    return part


def _fitted(maps: FloatArray, tile: Tile) -> FloatArray:
    if maps.shape[1:] == (tile.h, tile.w):
        return maps
    # A network without padding answers with fewer cells.
    resized = [cv2.resize(one, (tile.w, tile.h), interpolation=cv2.INTER_LINEAR) for one in maps]
    return np.stack(resized).astype(np.float32)
