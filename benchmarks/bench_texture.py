"""How much faster texture maps by box filters are than one plane per pair of levels, as a ratio in one run.

The plain way, found in much published code, builds for every pair of levels (i, j) the plane of pixels where
the pair begins, box-filters it to the local count P(i, j), and sums the features over all planes. Both run
here on the same image and thread; their maps are compared before their times are.

    python benchmarks/bench_texture.py [--out FILE.json]
"""

import argparse
import json
import platform
import sys
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.images import written_aside
from geocamnet.runtime.texture import quantise, texture_maps

SIDE_PX, LEVELS, WINDOW_PX, REPEATS = 1024, 8, 5, 7
FEATURES = ("contrast", "dissimilarity", "homogeneity", "mean", "variance", "correlation")


def plane_per_level_pair(image: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """The six features at 0 degrees from one box-filtered plane per ordered pair of levels."""
    levels = quantise(image, levels=LEVELS, low=0, high=255)
    first, second = levels[:, :-1], levels[:, 1:]
    pairs = [(i, j) for i in range(LEVELS) for j in range(LEVELS)]
    one_way = {(i, j): _box(((first == i) & (second == j)).astype(np.float32)) for i, j in pairs}
    planes = {(i, j): one_way[i, j] + one_way[j, i] for i, j in pairs}
    total = sum(planes.values())
    share = {pair: plane / total for pair, plane in planes.items()}
    maps = {
        "contrast": sum((i - j) ** 2 * p for (i, j), p in share.items()),
        "dissimilarity": sum(abs(i - j) * p for (i, j), p in share.items()),
        "homogeneity": sum(p / (1 + (i - j) ** 2) for (i, j), p in share.items()),
        "mean": sum(i * p for (i, _), p in share.items()),
    }
    mean = maps["mean"]
    maps["variance"] = sum((i - mean) ** 2 * p for (i, _), p in share.items())
    together = sum((i - mean) * (j - mean) * p for (i, j), p in share.items())
    flat = maps["variance"] < 1e-6
    maps["correlation"] = np.where(flat, 1, together / np.where(flat, 1, maps["variance"]))
    return maps


def _box(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    padded = cv2.copyMakeBorder(plane, 0, 0, 0, 1, cv2.BORDER_CONSTANT, value=0)
    size_wh, anchor_xy = (WINDOW_PX - 1, WINDOW_PX), (WINDOW_PX // 2, WINDOW_PX // 2)
    return cv2.boxFilter(padded, cv2.CV_32F, size_wh, anchor=anchor_xy, normalize=False, borderType=cv2.BORDER_CONSTANT)


def by_box_filters(image: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """The same six features by `geocamnet.runtime.texture`."""
    return texture_maps(image, features=FEATURES, window_px=WINDOW_PX, levels=LEVELS, angles_deg=(0,))


def best_ms(measured, image: NDArray[np.uint8], repeats: int) -> float:
    """The shortest of several runs, after one to warm up: what the machine can do when left alone."""
    measured(image)
    times = []
    for _ in range(repeats):
        start = perf_counter()
        measured(image)
        times.append(1000 * (perf_counter() - start))
    return min(times)


def main() -> None:
    """Compare, measure, print; write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file as well")
    out = parser.parse_args().out

    cv2.setNumThreads(1)
    noise = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX), dtype=np.uint8)
    image = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)
    plain, ours = plane_per_level_pair(image), by_box_filters(image)
    largest = max(float(np.abs(plain[name] - ours[name]).max()) for name in FEATURES)
    if not largest < 1e-3:  # the plain way subtracts in float32, which costs it the last digits
        sys.exit(f"The two ways disagree by up to {largest:g}: nothing to compare.")

    plain_ms = best_ms(plane_per_level_pair, image, repeats=2)
    ours_ms = best_ms(by_box_filters, image, REPEATS)
    print(f"Six features, {LEVELS} levels, window {WINDOW_PX}, one angle, {SIDE_PX} x {SIDE_PX}, one thread")
    print(f"  one plane per pair of levels  {plain_ms:8.1f} ms")
    print(f"  box filters of pairs          {ours_ms:8.1f} ms")
    print(f"  ratio                         {plain_ms / ours_ms:8.1f}   largest difference {largest:.1e}")
    if out is not None:
        figures = {
            "side_px": SIDE_PX, "levels": LEVELS, "window_px": WINDOW_PX, "features": FEATURES,
            "plain_ms": round(plain_ms, 1), "box_filters_ms": round(ours_ms, 1),
            "ratio": round(plain_ms / ours_ms, 1), "largest_difference": largest,
            "machine": platform.processor() or platform.machine(), "opencv": cv2.__version__,
        }  # fmt: skip
        with written_aside(out) as aside:
            aside.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
