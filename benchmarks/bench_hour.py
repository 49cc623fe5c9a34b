"""An hour of video without a window: memory and open files while it runs, and whether a frame is missing at the end.

A clip is drawn and looped through the functions of `geocamnet camera --headless`, faster than real time, until as many
frames have passed as an hour has at 25 a second. What is compared is the process with itself: after the first tenth,
and at the end. Weights are drawn, by a process of their own: PyTorch's memory is not the runtime's.

    python benchmarks/bench_hour.py [--minutes 60] [--model MODEL.onnx] [--texture] [--out FILE.json]
"""

import argparse
import csv
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import psutil

from geocamnet.images import written_aside
from geocamnet.runtime.live.live import Live, Wishes
from geocamnet.runtime.live.screen import View
from geocamnet.runtime.live.source import Frame, Source
from geocamnet.runtime.live.window import record
from geocamnet.runtime.model import load

FRAMES_PER_S, CLIP_FRAMES, SHAPE_HW = 25, 100, (240, 320)


class Looped(Source):
    """A film that begins anew when it ends, for so many frames."""

    def __init__(self, clip: Path, frames: int) -> None:
        super().__init__(clip)
        self.clip, self.count = clip, frames

    def frames(self, **_: object) -> Iterator[Frame]:
        """Yield the frames, numbered on."""
        number = 0
        while True:
            with Source(self.clip) as again:  # opened anew each time: a leak of files would show
                for frame in again.frames():
                    if number >= self.count:
                        return
                    yield Frame(number, number / FRAMES_PER_S, frame.image)
                    number += 1


def main() -> None:
    """Run it, print and write the figures; exit 1 where one is not what it must be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="of video")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--texture", action="store_true", help="refine each heatmap with texture")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    total = round(chosen.minutes * 60 * FRAMES_PER_S)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model = load(chosen.model or drawn_student(work))
        process, seen = psutil.Process(), []

        def look(done: int) -> None:
            if done % max(1, total // 20) == 0:
                files = process.num_fds() if hasattr(process, "num_fds") else process.num_handles()
                seen.append({"frame": done, "mb": round(process.memory_info().rss / 1e6, 1), "files": files})
                print(f"{done} frames: {seen[-1]['mb']} MB, {files} open files", flush=True)

        began = time.perf_counter()
        looped = Looped(write_clip(work / "clip.avi"), total)
        with Live(looped, model, Wishes(texture=chosen.texture), lossless=True) as live:
            outcome = record(live, View(um_per_px=1.5), out=work / "out", on_progress=look)
        seconds = time.perf_counter() - began
        with outcome.table.open(encoding="utf-8-sig", newline="") as stream:
            numbers = [int(line["source_frame"]) for line in csv.DictReader(stream)]
        capture = cv2.VideoCapture(str(outcome.video))
        in_video = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
    warm = seen[1]
    result = {
        "minutes_of_video": chosen.minutes,
        "frames": total,
        "in_table": len(numbers),
        "in_video": in_video,
        "in_order_and_none_missing": numbers == list(range(total)),
        "times_real_time": round(total / FRAMES_PER_S / seconds, 2),
        "frames_per_s": round(total / seconds, 1),
        "most_mb": max(one["mb"] for one in seen),
        "growth_mb_after_warm_up": round(max(one["mb"] for one in seen[1:]) - warm["mb"], 1),
        "more_files_after_warm_up": max(one["files"] for one in seen[1:])
        - warm["files"],  # at the end the film is closed
        "seen": seen,
        "texture": chosen.texture,
        "cores": os.cpu_count(),
    }
    print(json.dumps({name: value for name, value in result.items() if name != "seen"}, indent=1))
    if chosen.out is not None:
        with written_aside(chosen.out) as aside:
            aside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    complete = result["in_order_and_none_missing"] and in_video == total
    sys.exit(not (complete and result["more_files_after_warm_up"] <= 0 and result["growth_mb_after_warm_up"] < 20))


def drawn_student(folder: Path) -> Path:
    """Let another process write an untrained student."""
    program = (
        "from pathlib import Path; from bench_frame import WORKING_PX, drawn_student; import sys; "
        "print(drawn_student(Path(sys.argv[1]), WORKING_PX))"
    )
    command = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    return Path(done.stdout.splitlines()[-1])


def write_clip(path: Path) -> Path:
    """Draw a clip of grains that drift, with noise."""
    rng = np.random.default_rng(0)
    grains = rng.integers(60, 200, (SHAPE_HW[0] // 8, SHAPE_HW[1] // 8, 3), dtype=np.uint8)
    rock = cv2.resize(grains, SHAPE_HW[::-1], interpolation=cv2.INTER_CUBIC)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FRAMES_PER_S, SHAPE_HW[::-1])
    for number in range(CLIP_FRAMES):
        noise = rng.integers(-4, 5, rock.shape)
        writer.write((np.roll(rock, number, axis=1) + noise).clip(0, 255).astype(np.uint8))
    writer.release()
    return path


if __name__ == "__main__":
    main()
