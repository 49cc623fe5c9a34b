"""Tile grid and overlap blending: an image cut into tiles, their maps put together without seams."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geocamnet.errors import DataError

FloatArray = NDArray[np.float32]


class Tile(NamedTuple):
    """A rectangle of a grid: top left corner, height and width, in the grid's own unit (pixels or cells)."""

    y: int
    x: int
    h: int
    w: int


def tile_grid(shape_hw: tuple[int, int], *, tile_px: int, overlap_px: int) -> list[Tile]:
    """Return tiles that cover an image, row by row.

    Every tile has ``tile_px`` on each side, or the image's own side where that is smaller. Neighbours overlap
    by ``overlap_px``; only the last of a row or column is moved back so that it ends with the image, and
    overlaps more.

    Args:
        shape_hw: of the image.
        tile_px: side of a tile, at least 1.
        overlap_px: 0 or more, below ``tile_px``.

    Raises:
        DataError: a size that is out of its range.
    """
    if min(shape_hw) < 1 or tile_px < 1:
        raise DataError(f"Image and tile must be at least 1 px; received {shape_hw} and tile_px={tile_px}.")
    if not 0 <= overlap_px < tile_px:
        raise DataError(f"overlap_px must be from 0 to tile_px - 1 = {tile_px - 1}; received {overlap_px}.")
    height, width = shape_hw
    return [
        Tile(y, x, min(tile_px, height), min(tile_px, width))
        for y in _starts(height, tile_px, overlap_px)
        for x in _starts(width, tile_px, overlap_px)
    ]


def blend_window(h: int, w: int, overlap: int) -> FloatArray:
    """Return the weight of each cell of a tile: 1 in the middle, falling linearly over the overlap.

    The ramp of cell i is ``(i + 1/2) / overlap``, so that two neighbours overlapping by ``overlap`` cells add up
    to exactly 1. No weight is 0; where a tile meets the border of the image, or overlaps more than asked,
    `Blender` divides by the sum.

    Args:
        h, w: shape of the tile.
        overlap: cells shared with a neighbour; 0 for none.

    Returns:
        float32 (h, w) in (0, 1].
    """
    return np.outer(_ramp(h, overlap), _ramp(w, overlap)).astype(np.float32)


class Blender:
    """Adds up the maps of tiles, weighted, and returns their blend, a band of finished rows at a time if wanted.

    The blend is ``sum_t w_t(y, x) M_t(y, x) / sum_t w_t(y, x)``: the normalised weights are a partition of
    unity, so what all tiles agree on stays as it is. Only rows between the last one taken and the lowest tile are kept.

    Args:
        channels: C of the maps.
        shape_hw: of the whole, in cells of the maps.
        overlap: cells that neighbouring tiles share.
        top: rows above it are not wanted: of tiles that reach there, that part is left out.
    """

    def __init__(self, channels: int, shape_hw: tuple[int, int], *, overlap: int, top: int = 0) -> None:
        self._shape = (channels, *shape_hw)
        self._top = top  # the first row not taken yet
        self._sum = np.zeros((channels, 0, shape_hw[1]), np.float32)
        self._weight = np.zeros((0, shape_hw[1]), np.float32)
        self._overlap = overlap

    def add(self, tile: Tile, maps: FloatArray) -> None:
        """Add the maps of one tile; what lies in rows already taken is left out.

        Args:
            tile: where, in cells.
            maps: float32 (C, tile.h, tile.w).

        Raises:
            DataError: maps of another shape, or a tile that reaches out of the whole.
        """
        channels, height, width = self._shape
        if maps.shape != (channels, tile.h, tile.w):
            raise DataError(f"Maps of {tile} must be {(channels, tile.h, tile.w)}; received {maps.shape}.")
        if tile.y < 0 or tile.x < 0 or tile.y + tile.h > height or tile.x + tile.w > width:
            raise DataError(f"{tile} reaches out of the whole of {height} x {width} cells.")
        if tile.y + tile.h <= self._top:
            return
        self._grow(tile.y + tile.h)
        window = blend_window(tile.h, tile.w, self._overlap)
        taken = max(0, self._top - tile.y)  # rows of the tile
        here = np.s_[max(tile.y, self._top) - self._top : tile.y + tile.h - self._top, tile.x : tile.x + tile.w]
        self._sum[:, *here] += (maps * window)[:, taken:]
        self._weight[here] += window[taken:]

    def blend(self, until_y: int | None = None) -> FloatArray:
        """Return the blended maps of the rows not taken yet, float32 (C, rows, W), and forget them.

        Args:
            until_y: the first row that more tiles may reach; None takes all.

        Raises:
            DataError: a part of them was covered by no tile.
        """
        until = self._shape[1] if until_y is None else until_y
        self._grow(until)
        count = max(0, until - self._top)
        weight = self._weight[:count]
        if (bare := int(np.count_nonzero(weight == 0))) > 0:
            raise DataError(f"{bare} of {weight.size} cells were covered by no tile.")
        blended = self._sum[:, :count] / weight
        self._sum, self._weight, self._top = self._sum[:, count:].copy(), self._weight[count:].copy(), self._top + count
        return blended

    def _grow(self, until_y: int) -> None:
        more = until_y - self._top - len(self._weight)
        if more > 0:
            self._sum = np.pad(self._sum, ((0, 0), (0, more), (0, 0)))
            self._weight = np.pad(self._weight, ((0, more), (0, 0)))


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    if side <= tile:
        return [0]
    last = side - tile
    return [*range(0, last, tile - overlap), last]


def _ramp(length: int, overlap: int) -> NDArray[np.float64]:
    from_start = (np.arange(length) + 0.5) / max(overlap, 0.5)  # at least 1 everywhere without an overlap
    return np.minimum(1.0, np.minimum(from_start, from_start[::-1]))
