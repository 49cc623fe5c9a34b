"""Predict a photograph that fits in memory and not in the network's view."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geocamnet.errors import DataError
from geocamnet.images import RgbImage, read_image
from geocamnet.runtime.heatmap import resize_heatmap
from geocamnet.runtime.huge.bands import plan_tiles, predict_bands
from geocamnet.runtime.model import Model, check_image
from geocamnet.runtime.prediction import Prediction, evidence_of, probabilities_of

FloatArray = NDArray[np.float32]


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

    **The photograph must fit in memory** (as RGB uint8, 3 bytes a pixel); `huge.scan_map.map_scan` takes larger ones.
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
        tile_px, overlap_px, um_per_px: see `huge.bands.plan_tiles`.
        on_progress: called with (tiles done, tiles) after each tile.

    Raises:
        DataError: not a photograph, sizes out of range.
        ModelError: the network fails.
    """
    start = time.perf_counter()
    photograph = read_image(image) if isinstance(image, (str, os.PathLike)) else image
    check_image(photograph)
    shape_hw = (photograph.shape[0], photograph.shape[1])
    tiling = plan_tiles(shape_hw, model.card, tile_px=tile_px, overlap_px=overlap_px, um_per_px=um_per_px)
    if tiling.is_one_tile:
        one = model.predict(photograph, um_per_px=um_per_px)
        if on_progress is not None:
            on_progress(1, 1)
        return HugePrediction(**vars(one))

    def read(top: int, left: int, height: int, width: int) -> RgbImage:
        return photograph[top : top + height, left : left + width]

    bands = list(predict_bands(read, model, tiling, on_tile=on_progress))
    class_maps = np.concatenate([band.class_maps for band in bands], axis=1)  # (C, h, w)
    logits = weighted_sums(class_maps, tiling.covered_hw) / math.prod(tiling.covered_hw) + model.card.class_bias
    return HugePrediction(
        card=model.card,
        probabilities=probabilities_of(logits, model.card),
        class_maps=class_maps,
        shape_hw=shape_hw,
        elapsed_ms=(time.perf_counter() - start) * 1000,
        covered_hw=tiling.covered_hw,
        evidence=evidence_of(logits, model.card.labels),
        distance=float(np.median([one.distance for band in bands for _, one in band.tiles])),
    )


def weighted_sums(class_maps: FloatArray, covered_hw: tuple[float, float], *, top: int = 0) -> NDArray[np.float64]:
    """Return the sum of each class's cells (C,), every cell weighed with the share of it that is photograph.

    Args:
        class_maps: float32 (C, rows, w), rows of the whole from ``top`` on.
        covered_hw: cells that the photograph spans, fractions included.
        top: of the rows.
    """
    rows, columns = (
        np.clip(covered - first - np.arange(cells), 0, 1)
        for covered, first, cells in zip(covered_hw, (top, 0), class_maps.shape[1:], strict=True)
    )
    # The share of cell (y, x) that is photograph is rows[y] * columns[x].
    return np.stack([rows @ one.astype(np.float64) @ columns for one in class_maps])
