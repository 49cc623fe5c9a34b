"""Heat of a scan on a grid of half cells, worked out from class maps on disk, a band at a time."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geocamnet.card import ModelCard
from geocamnet.runtime.heatmap import scale_maps, threshold
from geocamnet.runtime.huge.bands import Tiling

FloatArray = NDArray[np.float32]

_BAND_POINTS = 1 << 22  # of all classes together


@dataclass(frozen=True)
class HeatGrid:
    """Where heat is worked out: points of a grid over the photograph, each for a square of ``step_px`` around it.

    Attributes:
        tiling: of the photograph.
        stride: pixels of the network's input on a cell's side.
        per_cell: points along a cell's side; between the centres of cells heat is interpolated, and knows no more.
    """

    tiling: Tiling
    stride: int
    per_cell: int = 2

    @property
    def step_px(self) -> float:
        """Pixels of the photograph from one point to the next."""
        return self.tiling.cell_px / self.per_cell

    @property
    def shape_hw(self) -> tuple[int, int]:
        """How many points there are."""
        height, width = self.tiling.covered_hw
        return math.ceil(height * self.per_cell), math.ceil(width * self.per_cell)

    def covered(self, axis: int) -> FloatArray:
        """Return how many pixels of each row (axis 0) or column (1) of points lie in the photograph."""
        edges = np.minimum(np.arange(self.shape_hw[axis] + 1) * self.step_px, self.tiling.shape_hw[axis])
        return np.diff(edges).astype(np.float32)

    def looked_up(self, axis: int) -> tuple[NDArray[np.intp], NDArray[np.intp], FloatArray]:
        """Return for every point the cells before and after it, and the weight of the one after.

        A point x lies at ``q = x / cell_px - 1 / (2 stride)`` of the cells, as in `heatmap.place_maps`; beyond the
        outermost centres the edge value holds.
        """
        cells = self.tiling.cells_hw[axis]
        places = (np.arange(self.shape_hw[axis]) + 0.5) / self.per_cell - 0.5 / self.stride
        places = np.clip(places, 0, cells - 1)
        before = np.floor(places).astype(np.intp)
        return before, np.minimum(before + 1, cells - 1), (places - before).astype(np.float32)


def heat_bands(maps: Path, grid: HeatGrid, card: ModelCard) -> Iterator[tuple[int, FloatArray]]:
    """Yield bands of heat, top to bottom: the first row of points, and float32 (C, rows, W) in [0, 1].

    Args:
        maps: file of float32 class maps, (h, C, w), raw evidence.
        grid: of the scan.
        card: of the model that made them.
    """
    count, (height, width) = len(card.classes), grid.shape_hw
    cells_w = grid.tiling.cells_hw[1]
    above, below, weight = grid.looked_up(0)
    left, right, across = grid.looked_up(1)
    rows = max(1, _BAND_POINTS // (count * width))
    for top in range(0, height, rows):
        band = slice(top, min(height, top + rows))
        first, last = int(above[band][0]), int(below[band][-1])
        heat = scale_maps(_rows_of(maps, count, cells_w, first, last + 1), card)  # (C, cells, w)
        down = weight[band][:, None]
        heat = heat[:, above[band] - first] * (1 - down) + heat[:, below[band] - first] * down
        heat = heat[..., left] * (1 - across) + heat[..., right] * across
        yield top, np.clip(heat, 0, 1)


def read_maps(maps: Path, count: int, cells_w: int) -> Iterator[tuple[int, FloatArray]]:
    """Yield bands of class maps, top to bottom: the first row of cells, and float32 (C, rows, w).

    Args:
        maps: file of float32 class maps, (h, C, w).
        count: C.
        cells_w: w.
    """
    height, rows = maps.stat().st_size // (4 * count * cells_w), max(1, _BAND_POINTS // (count * cells_w))
    for top in range(0, height, rows):
        yield top, _rows_of(maps, count, cells_w, top, min(height, top + rows))


def _rows_of(maps: Path, count: int, cells_w: int, first: int, end: int) -> FloatArray:
    row = count * cells_w
    values = np.fromfile(maps, np.float32, (end - first) * row, offset=4 * first * row)
    return np.ascontiguousarray(values.reshape(-1, count, cells_w).transpose(1, 0, 2))


def hottest_class(heat: FloatArray, *, least: float) -> NDArray[np.uint8]:
    """Return the class of every point of heat (C, H, W), uint8 (H, W): 0 for none, v for the v-th class."""
    hottest = heat.argmax(axis=0)
    strong = threshold(np.take_along_axis(heat, hottest[None], axis=0)[0], least)
    return np.where(strong, hottest + 1, 0).astype(np.uint8)
