"""`geocamnet prepare` at size: photographs a second beside a bare loop, and whether memory grows with their number.

Photographs of about 17 MB each are drawn: a handful of pictures of grains, each file made distinct by a number in a
comment of the JPEG, as prepare sees that copies are copies. The bare loop (bare_prepare.py) does nothing but decode,
scale and encode, with the same libraries, settings and number of processes; both take turns, each in processes of its
own, and the ratio is what to believe. A photograph that is stored at a whole fraction of its size is decoded at that
size: what this saves is measured too. With --more, as many times the photographs, by hard links, tell how memory grows.

    python benchmarks/bench_prepare.py [--photographs 300] [--more 10] [--rounds 3] [--workers 2] [--out FILE.json]
"""

import argparse
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import PIL
import psutil
from bench_audit import Memory
from PIL import Image

from geocamnet.images import RgbImage, written_aside
from geocamnet.train.recipes import PrepareRecipe

SIZE_WH, DRAWINGS, CLASSES = (5472, 3648), 4, ("oolite", "vug", "foam")
QUALITY = 95  # 4:4:4, of the drawn photographs
LONG_SIDE_PX = PrepareRecipe().long_side_px or 0
WHOLE_FRACTION_PX = SIZE_WH[0] // 4
GOALS = {"share_of_bare": 0.85, "peak_mb": 1500}


def main() -> None:
    """Draw, take turns, print and write the figures; exit 1 where one is not what it must be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=int, default=300)
    parser.add_argument("--more", type=int, default=0, help="times as many photographs, to see how memory grows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where there is room for them; the system's own without")
    parser.add_argument("--note", default="", help="what is to be known of the machine, kept in the file")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder and asked.folder.resolve()) as folder:
        raw, work = Path(folder, "raw"), Path(folder)
        bytes_each = write_photographs(raw, asked.photographs)
        ways: dict[str, Callable[[], tuple[float, float]]] = {
            "prepare": partial(prepare, raw, work / "data", LONG_SIDE_PX, asked.workers),
            "bare": partial(bare, raw, work / "bare", LONG_SIDE_PX, asked.workers),
            "prepare at a quarter": partial(prepare, raw, work / "data", WHOLE_FRACTION_PX, asked.workers),
            "bare at a quarter": partial(bare, raw, work / "bare", WHOLE_FRACTION_PX, asked.workers),
        }
        seconds, most_mb = take_turns(ways, asked.rounds)
        result = {
            "photographs": asked.photographs,
            "megabytes_each": round(bytes_each / 1e6, 1),
            "megapixels_each": round(SIZE_WH[0] * SIZE_WH[1] / 1e6, 1),
            "workers": asked.workers,
            "rounds": asked.rounds,
            "long_side_px": LONG_SIDE_PX,
            "seconds": round(median(seconds["prepare"]), 1),
            "bare_seconds": round(median(seconds["bare"]), 1),
            "share_of_bare": share(seconds["bare"], seconds["prepare"]),
            "share_of_bare_by_round": [
                share([a], [b]) for a, b in zip(seconds["bare"], seconds["prepare"], strict=True)
            ],
            "quarter": {
                "long_side_px": WHOLE_FRACTION_PX,
                "seconds": round(median(seconds["prepare at a quarter"]), 1),
                "bare_seconds": round(median(seconds["bare at a quarter"]), 1),
                "share_of_bare": share(seconds["bare at a quarter"], seconds["prepare at a quarter"]),
            },
            "peak_mb": round(max(most_mb["prepare"])),
            **(at_more(work, raw, asked.more, asked.workers) if asked.more else {}),
            "cores": os.cpu_count(),
            "machine": platform.processor() or platform.machine(),
            "pillow": PIL.__version__,
            "opencv": cv2.__version__,
            **({"note": asked.note} if asked.note else {}),
        }
    print(json.dumps(result, indent=1))
    if asked.out is not None:
        with written_aside(asked.out) as aside:
            aside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    missed = result["share_of_bare"] < GOALS["share_of_bare"] or result["peak_mb"] >= GOALS["peak_mb"]
    sys.exit(bool(missed or result.get("peak_mb_of_more", 0) >= GOALS["peak_mb"]))


def take_turns(
    ways: dict[str, Callable[[], tuple[float, float]]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return the seconds and the most MB of every way, by round; the order turns round with each."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    most_mb: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            took, held = ways[name]()
            seconds[name].append(took)
            most_mb[name].append(held)
            print(f"round {number + 1}, {name}: {took:.1f} s, {held:.0f} MB", flush=True)
    return seconds, most_mb


def share(bare_s: list[float], ours_s: list[float]) -> float:
    """Return our photographs a second as a share of the bare loop's: the median of the rounds."""
    return round(median(bare / ours for bare, ours in zip(bare_s, ours_s, strict=True)), 3)


def at_more(work: Path, raw: Path, times: int, workers: int) -> dict[str, Any]:
    """Return the memory and the time of so many times the photographs."""
    more = work / "more"
    for file in [one for one in raw.rglob("*") if one.is_file()]:
        (more / file.parent.name).mkdir(parents=True, exist_ok=True)
        for number in range(times):
            os.link(file, more / file.parent.name / f"{file.stem}-{number}{file.suffix}")
    took, held = prepare(more, work / "data", LONG_SIDE_PX, workers)
    photographs = sum(1 for one in more.rglob("*.jpg"))
    return {"more": photographs, "seconds_of_more": round(took, 1), "peak_mb_of_more": round(held)}


def prepare(raw: Path, data: Path, long_side_px: int, workers: int) -> tuple[float, float]:
    """Run the command, and return its seconds and the most MB that all its processes held together."""
    command = [sys.executable, "-m", "geocamnet", "prepare", str(raw), str(data), "--workers", str(workers)]
    return watched([*command, "--long-side-px", str(long_side_px)], data)


def bare(raw: Path, out: Path, long_side_px: int, workers: int) -> tuple[float, float]:
    """Run the bare loop, and return the same of it."""
    arguments = raw, out, long_side_px, PrepareRecipe().jpeg_quality, workers
    return watched([sys.executable, "bare_prepare.py", *map(str, arguments)], out)


def watched(command: list[str], out: Path) -> tuple[float, float]:
    """Run a command, and return its seconds and the most MB that its processes held together; OUT is removed."""
    began = time.perf_counter()
    with subprocess.Popen(
        command, cwd=Path(__file__).parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        with Memory(str, process=psutil.Process(process.pid)) as memory:
            _, errors = process.communicate()
        if process.returncode:
            sys.exit(errors)
    took = time.perf_counter() - began
    shutil.rmtree(out)
    return took, memory.peak_bytes / 1e6


def write_photographs(raw: Path, count: int) -> int:
    """Write so many photographs, of a few drawings, no two files alike; return the mean of their bytes."""
    drawn = []
    for seed in range(DRAWINGS):
        stream = io.BytesIO()
        Image.fromarray(rock(seed)).save(stream, "JPEG", quality=QUALITY, subsampling=0)
        drawn.append(stream.getvalue())
    for number in range(count):
        photograph = drawn[number % DRAWINGS]
        comment = f"photograph {number}".encode()
        marked = photograph[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + photograph[2:]
        file = raw / CLASSES[number % len(CLASSES)] / f"p{number:05d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(marked)
    return sum(len(one) for one in drawn) // DRAWINGS


def rock(seed: int) -> RgbImage:
    """Draw grains of one size in clouds, with a camera's noise: RGB uint8 that a JPEG finds as hard as a photograph."""
    draw = np.random.default_rng(seed)
    width, height = SIZE_WH
    coarse = float(draw.uniform(1.2, 3))
    fine = cv2.GaussianBlur(draw.standard_normal((height, width), np.float32), (0, 0), coarse)
    broad = cv2.GaussianBlur(draw.standard_normal((height // 16, width // 16), np.float32), (0, 0), 4)
    grey = 130 + fine * coarse * 70 + cv2.resize(broad, SIZE_WH, interpolation=cv2.INTER_CUBIC) * 150
    noise = draw.standard_normal((height, width, 3), np.float32) * 6
    return np.clip(grey[..., None] * np.array([1, 0.96, 0.9], np.float32) + noise, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
