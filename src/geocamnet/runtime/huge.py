"""Photographs larger than the network's view: cut into tiles at the network's own scale, maps blended."""

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.card import ModelCard
from geocamnet.errors import DataError
from geocamnet.images import RgbImage, read_image
from geocamnet.runtime.heatmap import resize_heatmap
from geocamnet.runtime.model import Model, check_image, scale_to_card
from geocamnet.runtime.prediction import Prediction, evidence_of, probabilities_of
from geocamnet.tiles import Blender, Tile, tile_grid

FloatArray = NDArray[np.float32]

DEFAULT_TILE_PX = 512  # where the card states no long side, any tile is at the network's own scale


@dataclass(frozen=True, eq=False)
class HugePrediction(Prediction):
    """What a student says of a huge photograph: a `Prediction` whose class maps are a mosaic of tiles."""

    def heatmap(self, class_name: str | None = None, *, long_side_px: int | None = 2048) -> FloatArray:
        """Return where the evidence for a class lies, small enough to be looked at.

        Args:
            class_name: None takes the most probable class, sure or not.
            long_side_px: of the heatmap; never larger than the photograph. None gives the photograph's size.

        Returns:
            float32 (H', W') in [0, 1], the whole photograph.

        Raises:
            ModelError: the model does not know the class.
            DataError: ``long_side_px`` is below 1.
        """
        if long_side_px is not None and long_side_px < 1:
            raise DataError(f"long_side_px must be at least 1; received {long_side_px}.")
        factor = min(1.0, (long_side_px or math.inf) / max(self.shape_hw))
        out_hw = tuple(max(1, round(side * factor)) for side in self.shape_hw)
        return resize_heatmap(self._scaled_map(class_name), out_hw, self.card, covered_hw=self.covered_hw)


def predict_huge(
    image: RgbImage | str | os.PathLike[str],
    model: Model,
    *,
    tile_px: int | None = None,
    overlap_px: int | None = None,
    um_per_px: float | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> HugePrediction:
    """Predict a photograph tile by tile and blend the class maps.

    **The photograph must fit in memory** (as RGB uint8, 3 bytes a pixel); it is not streamed from disk.
    **A tile must look like a training photograph**: where the card states micrometres a pixel and ``um_per_px``
    is given the photograph is brought to that scale; otherwise choose ``tile_px`` so that a tile shows as much
    rock as a training photograph did.

    Probabilities follow from the blended maps as inside the network: ``z_c = (mean(M_c) + b_c) / T`` with the
    card's ``class_bias`` b and ``temperature`` T, then softmax or sigmoid; the mean weighs each cell with the
    area of the photograph in it. Its distance from the training photographs is the median of its tiles'. A
    photograph that fits in one tile is predicted exactly as by `Model.predict`.

    Args:
        image: RGB uint8 (H, W, 3), or the path of a photograph.
        model: the student.
        tile_px: side of a tile, rounded to whole cells of the class map. None takes the card's
            ``long_side_px``, at which the network scales nothing (512 where the card has none).
        overlap_px: shared by neighbouring tiles, 0 to below ``tile_px``; None takes a quarter of the tile.
        um_per_px: micrometres a pixel of the photograph.
        on_progress: called with (tiles done, tiles) after each tile.

    Raises:
        DataError: not a photograph, sizes out of range.
        ModelError: the network fails.
    """
    start = time.perf_counter()
    photograph = read_image(image) if isinstance(image, (str, os.PathLike)) else image
    check_image(photograph)
    scaled = scale_to_card(photograph, model.card, um_per_px)
    tile_cells, cell_px = _tile_of(model.card, tile_px)
    side_px = tile_cells * cell_px
    if overlap_px is not None and not 0 <= overlap_px < (tile_px or side_px):
        raise DataError(f"overlap_px must be from 0 to below tile_px = {tile_px or side_px}; received {overlap_px}.")
    if max(scaled.shape[:2]) <= side_px:
        one = model.predict(scaled)
        if on_progress is not None:
            on_progress(1, 1)
        shape_hw = (photograph.shape[0], photograph.shape[1])
        return HugePrediction(**{**vars(one), "shape_hw": shape_hw})

    overlap_cells = tile_cells // 4 if overlap_px is None else math.ceil(overlap_px / cell_px)
    overlap_cells = min(overlap_cells, tile_cells - 1)
    covered_h, covered_w = scaled.shape[0] / cell_px, scaled.shape[1] / cell_px
    cells_hw = (math.ceil(covered_h), math.ceil(covered_w))
    tiles = tile_grid(cells_hw, tile_px=tile_cells, overlap_px=overlap_cells)
    blender = Blender(len(model.card.classes), cells_hw, overlap=overlap_cells)
    distances = []
    for done, (tile, maps, distance) in enumerate(_predicted_tiles(scaled, model, tiles, cell_px), start=1):
        blender.add(tile, maps)
        distances.append(distance)
        if on_progress is not None:
            on_progress(done, len(tiles))
    class_maps = blender.blend()  # (C, h, w)
    logits = _logits(class_maps, (covered_h, covered_w), model.card)
    return HugePrediction(
        card=model.card,
        probabilities=probabilities_of(logits, model.card),
        class_maps=class_maps,
        shape_hw=(photograph.shape[0], photograph.shape[1]),
        elapsed_ms=(time.perf_counter() - start) * 1000,
        covered_hw=(covered_h, covered_w),
        evidence=evidence_of(logits, model.card.labels),
        distance=float(np.median(distances)),
    )


def _tile_of(card: ModelCard, tile_px: int | None) -> tuple[int, int]:
    """Return (cells on a tile's side, pixels of the photograph on a cell's side), both whole numbers."""
    stride = card.map_stride
    if card.long_side_px is None:  # the network scales nothing: a cell is a stride, a tile any number of them
        tile_cells = max(2, round((tile_px or DEFAULT_TILE_PX) / stride))
        least_px, cell_px = 2 * stride, stride
    else:  # the network scales a tile to long_side_px: the cells are given, their size is not
        tile_cells = math.ceil(card.long_side_px / stride)
        least_px = tile_cells
        cell_px = stride if tile_px is None else max(1, round(tile_px / tile_cells))
    if tile_px is not None and tile_px < least_px:
        raise DataError(
            f"tile_px must be at least {least_px}, for one pixel a cell of the class map; received {tile_px}."
        )
    return tile_cells, cell_px


def _predicted_tiles(
    image: RgbImage, model: Model, tiles: list[Tile], cell_px: int
) -> Iterator[tuple[Tile, FloatArray, float]]:
    """Yield each tile, its class maps, and its distance from the training photographs."""
    for tile in tiles:
        top, left, height, width = (side * cell_px for side in tile)
        part = image[top : top + height, left : left + width]
        # The last row and column may reach out of the photograph by less than a cell: continued as it ends.
        short_h, short_w = height - part.shape[0], width - part.shape[1]
        if short_h or short_w:
            part = np.pad(part, ((0, short_h), (0, short_w), (0, 0)), mode="edge")
        one = model.predict(part)
        maps = one.class_maps
        if maps.shape[1:] != (tile.h, tile.w):  # a network without padding answers with fewer cells
            resized = [cv2.resize(one, (tile.w, tile.h), interpolation=cv2.INTER_LINEAR) for one in maps]
            maps = np.stack(resized).astype(np.float32)
        yield tile, maps, one.distance


def _logits(class_maps: FloatArray, covered_hw: tuple[float, float], card: ModelCard) -> NDArray[np.float64]:
    rows, columns = (
        np.clip(covered - np.arange(cells), 0, 1)
        for covered, cells in zip(covered_hw, class_maps.shape[1:], strict=True)
    )
    # The share of cell (y, x) that is photograph is rows[y] * columns[x].
    mean = np.stack([rows @ one.astype(np.float64) @ columns for one in class_maps]) / (rows.sum() * columns.sum())
    return np.asarray(mean + np.asarray(card.class_bias))
