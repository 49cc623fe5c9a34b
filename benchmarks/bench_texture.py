"""How much faster texture maps are than by one plane per pair of levels, as ratios in one run.

The plain way, found in much published code, builds for every pair of levels (i, j) the plane of pixels where the pair
begins, filters it to the local count of the pair, and sums a feature over all planes, for each feature anew. Both ways
take turns on one image and one thread, so that a busy machine disturbs both; a round's ratio is that of the shortest
times in it. The maps of both are compared with each other, and ours with scikit-image's at some pixels, first.

    python benchmarks/bench_texture.py [--out FILE.json]
"""

import argparse
import json
import platform
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import cv2
import numpy as np
import skimage
from numpy.typing import NDArray
from skimage.feature import graycomatrix, graycoprops

from geocamnet.images import written_aside
from geocamnet.runtime.texture import FEATURES, quantise, texture_maps

SIDE_PX, LEVELS, WINDOW_PX, ROUNDS, TURNS, PLACES = 1024, 8, 5, 5, 5, 200
GROUPS = {"linear": FEATURES[:6], "counted": FEATURES[6:]}
LIVE = {"features": ("contrast", "homogeneity"), "window_px": 15, "levels": 16}
LIVE_SIDE_PX = 512
PAIRS = [(i, j) for i in range(LEVELS) for j in range(LEVELS)]


def plane_per_level_pair(image: NDArray[np.uint8], feature: str) -> NDArray[np.float32]:
    """One feature at 0 degrees from one filtered plane per ordered pair of levels."""
    levels = quantise(image, levels=LEVELS, low=0, high=255)
    first, second = levels[:, :-1], levels[:, 1:]
    planes = {(i, j): _count(((first == i) & (second == j)).astype(np.uint8)) for i, j in PAIRS}
    pairs = np.zeros(image.shape, np.float32)
    for plane in planes.values():
        pairs += plane

    def share_weighted(weight) -> NDArray[np.float32]:
        """Sum weight(i, j) P(i, j), P being symmetric as the weights are."""
        total = np.zeros(image.shape, np.float32)
        for (i, j), plane in planes.items():
            if weight(i, j):
                total += plane * np.float32(weight(i, j))
        return total / pairs

    if feature == "contrast":
        return share_weighted(lambda i, j: (i - j) ** 2)
    if feature == "dissimilarity":
        return share_weighted(lambda i, j: abs(i - j))
    if feature == "homogeneity":
        return share_weighted(lambda i, j: 1 / (1 + (i - j) ** 2))
    if feature in ("energy", "entropy"):
        total = np.zeros(image.shape, np.float32)
        for i, j in PAIRS:
            share = (planes[i, j].astype(np.float32) + planes[j, i]) / (2 * pairs)
            total += share**2 if feature == "energy" else -share * np.log(np.maximum(share, np.float32(1e-9)))
        return np.sqrt(total) if feature == "energy" else total
    mean = share_weighted(lambda i, j: (i + j) / 2)
    if feature == "mean":
        return mean
    variance, together = np.zeros_like(mean), np.zeros_like(mean)
    for (i, j), plane in planes.items():
        share = plane / pairs
        variance += ((i - mean) ** 2 + (j - mean) ** 2) / 2 * share
        if feature == "correlation":
            together += (i - mean) * (j - mean) * share
    flat = variance < 1e-6
    return variance if feature == "variance" else np.where(flat, 1, together / np.where(flat, 1, variance))


def _count(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    padded = cv2.copyMakeBorder(plane, 0, 0, 0, 1, cv2.BORDER_CONSTANT, value=0)
    kernel, anchor_xy = np.ones((WINDOW_PX, WINDOW_PX - 1), np.uint8), (WINDOW_PX // 2, WINDOW_PX // 2)
    return cv2.filter2D(padded, -1, kernel, anchor=anchor_xy, borderType=cv2.BORDER_CONSTANT)


def ours(image: NDArray[np.uint8], features: tuple[str, ...]) -> dict[str, NDArray[np.float32]]:
    """The same features by `geocamnet.runtime.texture`."""
    return texture_maps(image, features=features, window_px=WINDOW_PX, levels=LEVELS, angles_deg=(0,))


def ms(measured, *arguments) -> float:
    """How long a call takes."""
    start = perf_counter()
    measured(*arguments)
    return 1000 * (perf_counter() - start)


def difference_from_scikit_image(image: NDArray[np.uint8]) -> dict[str, float]:
    """The largest difference of each feature from scikit-image's at some pixels, on the edge and inside."""
    maps, levels = ours(image, FEATURES), quantise(image, levels=LEVELS, low=0, high=255)
    places = np.random.default_rng(1).integers(0, SIDE_PX, (PLACES, 2))
    places[: PLACES // 4] %= WINDOW_PX
    largest = dict.fromkeys(FEATURES, 0.0)
    reach = WINDOW_PX // 2
    for y, x in places.tolist():
        window = levels[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        matrix = graycomatrix(window, [1], [0], LEVELS, symmetric=True, normed=True)
        for name in FEATURES:
            away = abs(float(maps[name][y, x]) - float(graycoprops(matrix, name)[0, 0]))
            largest[name] = max(largest[name], away)
    return largest


def main() -> None:
    """Compare, measure, print; write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file as well")
    out = parser.parse_args().out

    cv2.setNumThreads(1)
    noise = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX), dtype=np.uint8)
    image = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)
    reference = difference_from_scikit_image(image)
    maps = ours(image, FEATURES)
    largest = max(float(np.abs(plane_per_level_pair(image, name) - maps[name]).max()) for name in FEATURES)
    if not largest < 1e-3:  # the plain way subtracts in float32, which costs it the last digits
        sys.exit(f"The two ways disagree by up to {largest:g}: nothing to compare.")

    plain_ms: dict[str, list[float]] = {name: [] for name in FEATURES}
    ours_ms: dict[str, list[float]] = {group: [] for group in GROUPS}
    live_ms: list[float] = []
    frame = image[:LIVE_SIDE_PX, :LIVE_SIDE_PX]
    for _ in range(ROUNDS):
        for group, names in GROUPS.items():
            turns = [ms(ours, image, names) for _ in range(TURNS)]
            for name in names:
                plain_ms[name].append(ms(plane_per_level_pair, image, name))
                turns += [ms(ours, image, names) for _ in range(2)]
            ours_ms[group].append(min(turns))
        live_ms.append(min(ms(lambda: texture_maps(frame, **LIVE)) for _ in range(4 * TURNS)))

    print(f"{LEVELS} levels, window {WINDOW_PX}, one angle, {SIDE_PX} x {SIDE_PX}, one thread, {ROUNDS} rounds")
    print(f"{'':10}{'a plane per pair, ms':>22}{'ours, ms':>10}{'ratio':>8}{'by round':>24}")
    figures: dict[str, object] = {
        "side_px": SIDE_PX, "levels": LEVELS, "window_px": WINDOW_PX, "rounds": ROUNDS,
        "machine": platform.processor() or platform.machine(), "opencv": cv2.__version__, "numpy": np.__version__,
    }  # fmt: skip
    for group, names in GROUPS.items():
        totals = [sum(plain_ms[name][turn] for name in names) for turn in range(ROUNDS)]
        ratios = [total / one for total, one in zip(totals, ours_ms[group], strict=True)]
        plain, best = sum(min(plain_ms[name]) for name in names), min(ours_ms[group])
        spread = f"{median(ratios):.0f} ({min(ratios):.0f} to {max(ratios):.0f})"
        print(f"{group:10}{plain:22.0f}{best:10.1f}{plain / best:8.0f}{spread:>24}")
        figures[group] = {
            "features": names, "plain_ms": {name: round(min(plain_ms[name]), 1) for name in names},
            "ours_ms": round(best, 2), "ratio": round(plain / best, 1),
            "ratio_by_round": [round(one, 1) for one in ratios],
        }  # fmt: skip
    print("a plane per pair, each map: " + ", ".join(f"{name} {min(times):.0f} ms" for name, times in plain_ms.items()))
    print(
        f"largest difference from scikit-image {skimage.__version__} at {PLACES} pixels: {max(reference.values()):.1e}"
    )
    print(
        f"live: {' + '.join(LIVE['features'])}, {LIVE['levels']} levels, window {LIVE['window_px']}, four angles, "
        f"{LIVE_SIDE_PX} x {LIVE_SIDE_PX}: {min(live_ms):.1f} ms, median of rounds {median(live_ms):.1f}"
    )
    if out is not None:
        figures |= {
            "scikit_image": skimage.__version__, "largest_difference_from_scikit_image": reference,
            "largest_difference_of_the_two_ways": largest,
            "live": {"side_px": LIVE_SIDE_PX, "angles": 4, **LIVE, "ms_by_round": [round(one, 2) for one in live_ms]},
        }  # fmt: skip
        with written_aside(out) as aside:
            aside.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
