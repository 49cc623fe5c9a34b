"""What overlap of tiles is worth on a large photograph, and what it costs (`make overlap`).

Patches of validation photographs of fold 0 (`make folds`), at the scale the bundled student was taught at, fill the
cells of a Voronoi mosaic larger than a tile. The student maps it with tiles that overlap more and more; right is a cell
of the class map whose hottest class is the patch's. Written to results/tile-overlap.json.
"""

import logging
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from common import ROOT, end_well
from geocamnet import __version__
from geocamnet.card import ModelCard
from geocamnet.console import set_up_logging
from geocamnet.images import read_image, scaled_size_hw
from geocamnet.runtime.heatmap import scale_maps
from geocamnet.runtime.huge.bands import plan_tiles, predict_bands
from geocamnet.runtime.model import load
from geocamnet.train.index import IndexRow, read_index, use_fold
from geocamnet.train.runs import write_json

log = logging.getLogger("geocamnet")

DATA, RESULT = ROOT / "out" / "folds" / "data", ROOT / "results" / "tile-overlap.json"
SIDE_PX, PATCH_PX, JITTER_PX, MOSAICS = 3072, 600, 150, 4
EDGE_PX = (12, 40, 12, 12)  # top, bottom, left, right: frame lines and scale bars
QUARTERS = (0, 1, 2, 3)  # of a tile's side


def main() -> None:
    """Lay mosaics, map them, count cells."""
    set_up_logging()
    if not (DATA / "index.csv").is_file():
        sys.exit(f"{DATA}: not there. Run: make folds")
    rows = [row for row in use_fold(read_index(DATA), 0) if row.split == "val"]
    model = load()
    tile_px = plan_tiles((SIDE_PX, SIDE_PX), model.card).tile_cells * model.card.map_stride
    table: dict[int, dict[str, list[float]]] = {quarter: {"right": [], "miou": [], "tiles": []} for quarter in QUARTERS}
    for number in range(MOSAICS):
        image, mask = lay(rows, model.card, np.random.default_rng(number))
        for quarter, row in table.items():
            tiling = plan_tiles(image.shape[:2], model.card, overlap_px=quarter * tile_px // 4)
            bands = predict_bands(partial(_window, image), model, tiling)
            maps = scale_maps(np.concatenate([band.class_maps for band in bands], axis=1), model.card)
            truth = cv2.resize(mask, (maps.shape[2], maps.shape[1]), interpolation=cv2.INTER_NEAREST)
            named = maps.argmax(0)
            both = [((named == c) & (truth == c)).sum() for c in range(len(maps))]
            either = [((named == c) | (truth == c)).sum() for c in range(len(maps))]
            row["right"].append(round(float((named == truth).mean()), 4))
            row["miou"].append(round(float(np.mean([a / max(b, 1) for a, b in zip(both, either, strict=True)])), 4))
            row["tiles"].append(sum(len(tiles) for tiles in tiling.rows()))
            log.info("mosaic %d, %d quarters: %.3f right", number, quarter, row["right"][-1])
    write_json(
        RESULT,
        {
            "data": "carbonate-lithology (real), validation part of fold 0, laid to mosaics",
            "model": model.card.name,
            "mosaic_px": SIDE_PX,
            "patch_px": PATCH_PX,
            "tile_px": tile_px,
            "overlap_px": {str(quarter): quarter * tile_px // 4 for quarter in QUARTERS},
            "by_quarters_of_a_tile": {str(quarter): row for quarter, row in table.items()},
            "made": time.strftime("%Y-%m-%d"),
            "version": __version__,
        },
    )
    log.info("%s: written", RESULT)


def _window(image: NDArray[np.uint8], y: int, x: int, h: int, w: int) -> NDArray[np.uint8]:
    return image[y : y + h, x : x + w]


def lay(rows: list[IndexRow], card: ModelCard, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a mosaic, RGB uint8 (H, W, 3), and the class of every pixel, uint8 (H, W)."""
    middles = [
        (y + rng.uniform(-JITTER_PX, JITTER_PX), x + rng.uniform(-JITTER_PX, JITTER_PX))
        for y in range(PATCH_PX // 2, SIDE_PX, PATCH_PX)
        for x in range(PATCH_PX // 2, SIDE_PX, PATCH_PX)
    ]
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX].astype(np.float32)
    nearest = np.full((SIDE_PX, SIDE_PX), np.inf, np.float32)
    image, mask = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8), np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    for middle in middles:
        row: Any = rows[rng.integers(len(rows))]
        away = (y - middle[0]) ** 2 + (x - middle[1]) ** 2
        mine = away < nearest
        nearest[mine] = away[mine]
        image[mine] = carpet(DATA / row.image, card)[mine]
        mask[mine] = card.class_index(row.labels[0])
    return image, mask


def carpet(file: Path, card: ModelCard) -> NDArray[np.uint8]:
    """Return a photograph at the student's scale, mirrored and repeated until it fills the mosaic."""
    whole = read_image(file)
    height, width = scaled_size_hw(whole.shape[:2], card.long_side_px or max(whole.shape))
    top, bottom, left, right = EDGE_PX
    plain = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)[
        top : height - bottom, left : width - right
    ]
    plain = np.concatenate([plain, plain[:, ::-1]], axis=1)
    plain = np.concatenate([plain, plain[::-1]], axis=0)
    times = (-(-SIDE_PX // plain.shape[0]), -(-SIDE_PX // plain.shape[1]), 1)
    return np.tile(plain, times)[:SIDE_PX, :SIDE_PX]


if __name__ == "__main__":
    end_well(main, "make overlap")
