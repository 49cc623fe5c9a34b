"""A mosaic of 400 million pixels through `geocamnet scan`: pixels a second, memory, and whether tiles are the whole.

A tiled JPEG TIFF is drawn, the command run in a process of its own, and its time set against reading the same pixels
alone and against as many tiles given to the network alone, in the same run. A smaller mosaic and one four times as
large tell whether memory grows. The first corner's class maps, read from disk, are compared with those of its pixels
held in memory.

    python benchmarks/bench_scan.py [--side-px 20000] [--model MODEL.onnx] [--out FILE.json]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import psutil
import tifffile
from bench_hour import drawn_student
from numpy.typing import NDArray

from geocamnet.images import written_aside
from geocamnet.runtime.huge.bands import plan_tiles, predict_bands
from geocamnet.runtime.huge.predict import predict_huge
from geocamnet.runtime.huge.scan import open_scan
from geocamnet.runtime.model import default_threads, load

TILE_PX, CORNER_PX = 512, 2048


def main() -> None:
    """Run it, print and write the figures; exit 1 where one is not what it must be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side-px", type=int, default=20_000)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model_file = chosen.model or drawn_student(work)
        large = write_mosaic(work / "large.tif", chosen.side_px)
        small = write_mosaic(work / "small.tif", chosen.side_px // 4)
        seconds, most_mb = scan(large, work / "large", model_file)
        _, most_mb_small = scan(small, work / "small", model_file)
        larger = write_mosaic(work / "larger.tif", 2 * chosen.side_px)
        _, most_mb_larger = scan(larger, work / "larger", model_file)
        model = load(model_file)
        with open_scan(large) as opened:
            tiling = plan_tiles(opened.shape_hw, model.card)
            tiles = [tile for row in tiling.rows() for tile in row]
            began = time.perf_counter()
            for tile in tiles:
                part = opened.read(*tiling.box(tile))
            reading = time.perf_counter() - began
            alone, some = model.one_thread(), min(600, len(tiles))
            with ThreadPoolExecutor(default_threads()) as looking:
                began = time.perf_counter()
                list(looking.map(lambda _: alone.predict(part), range(some)))
                network = (time.perf_counter() - began) * len(tiles) / some
            corner = opened.read(0, 0, CORNER_PX, CORNER_PX)
            band = next(predict_bands(opened.read, model, tiling))
        whole = predict_huge(corner, model).class_maps
        rows, columns = band.class_maps.shape[1], whole.shape[2] - 2 * tiling.tile_cells  # the corner's end is its own
        difference = float(np.abs(band.class_maps[:, :, :columns] - whole[:, :rows, :columns]).max())
        result = {
            "megapixels": round(chosen.side_px**2 / 1e6, 1),
            "file_mb": round(large.stat().st_size / 1e6, 1),
            "tiles": len(tiles),
            "classes": len(model.card.classes),
            "seconds": round(seconds, 1),
            "megapixels_per_s": round(chosen.side_px**2 / 1e6 / seconds, 2),
            "reading_alone_s": round(reading, 1),
            "network_alone_s": round(network, 1),
            "times_the_network_alone": round(seconds / network, 2),
            "most_mb": round(most_mb, 1),
            "most_mb_of_a_sixteenth": round(most_mb_small, 1),
            "most_mb_of_four_times_as_much": round(most_mb_larger, 1),
            "corner_differs_by": difference,
            "written_mb": {one.name: round(one.stat().st_size / 1e6, 2) for one in sorted((work / "large").iterdir())},
            "cores": os.cpu_count(),
        }
    print(json.dumps(result, indent=1))
    if chosen.out is not None:
        with written_aside(chosen.out) as aside:
            aside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    held_mb = max(most_mb, most_mb_larger)
    sys.exit(not (difference < 1e-3 and held_mb < 1000 and result["megapixels_per_s"] >= 8))


def scan(source: Path, out: Path, model: Path) -> tuple[float, float]:
    """Run the command, and return its seconds and the most memory it held, in MB."""
    began, most = time.perf_counter(), 0
    command = [sys.executable, "-m", "geocamnet", "scan", str(source), str(out), "--model", str(model)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                most = max(most, watched.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.05)
        if process.wait() != 0:
            sys.exit(process.stderr.read() if process.stderr else "geocamnet scan failed")
    return time.perf_counter() - began, most / 1e6


def write_mosaic(path: Path, side_px: int) -> Path:
    """Draw a mosaic of coarse and fine grains, and write it as a tiled JPEG TIFF."""
    rng = np.random.default_rng(0)
    kinds = []
    for grain_px in (3, 8, 20, 60):
        grains = rng.integers(40, 230, (TILE_PX // grain_px + 2, TILE_PX // grain_px + 2, 3), np.uint8)
        kinds.append(cv2.resize(grains, (TILE_PX, TILE_PX), interpolation=cv2.INTER_CUBIC))

    def tiles() -> Iterator[NDArray[np.uint8]]:
        across = -(-side_px // TILE_PX)
        for number in range(across**2):
            yield kinds[(number % across // 4 + number // across // 4) % len(kinds)]

    tifffile.imwrite(
        path, tiles(), shape=(side_px, side_px, 3), dtype=np.uint8, tile=(TILE_PX, TILE_PX), photometric="rgb",
        compression="jpeg", compressionargs={"level": 90}, bigtiff=True,
    )  # fmt: skip
    return path


if __name__ == "__main__":
    main()
