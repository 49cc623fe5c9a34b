"""An audit of very many small photographs with planted copies: what is found, what is alleged, time and memory.

Drawn to resemble what was found in DeepCarbonate: of all files 28 % are exact copies, nearly all under another class
and many in another split; more are turned and mirrored, re-compressed or scaled copies. A pair is false if its two
files were not made from one drawing.

    python benchmarks/bench_audit.py [--files 2000] [--workers 2] [--out FILE.json]

The size that is promised: --files 50000.
"""

import argparse
import contextlib
import io
import json
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import psutil
from PIL import Image

from geocamnet.images import written_aside
from geocamnet.train.audit.audit import audit
from geocamnet.train.recipes import AuditRecipe

EXACT, NEAR = 0.28, 0.06  # of all files
SIZE_WH = (112, 84)
CLASSES = 22


def rock(seed: int) -> np.ndarray:
    """Draw grains of one of several sizes, RGB uint8, unlike any other seed's."""
    draw = np.random.default_rng(seed)
    width, height = SIZE_WH
    fine, broad = (draw.normal(size=(height, width)).astype(np.float32) for _ in range(2))
    coarse = float(draw.uniform(1.2, 4))
    grey = cv2.GaussianBlur(fine, (0, 0), coarse) * coarse * 50 + cv2.GaussianBlur(broad, (0, 0), 12) * 300
    return np.clip((130 + grey[..., None]) * np.array([1.0, 0.96, 0.9]), 0, 255).astype(np.uint8)


def plant(raw: Path, files: int) -> dict[str, tuple[int, str]]:
    """Draw the folder; return of every file which drawing it shows, and how it was made."""
    dice = random.Random(0)
    originals = round(files * (1 - EXACT - NEAR))
    made: dict[str, tuple[int, str]] = {}

    def path(number: int) -> str:
        split = dice.choices(("train", "val", "test"), (8, 1, 1))[0]
        return f"PPL/{split}/class{dice.randrange(CLASSES) + 1}/p{number:06d}.jpg"

    for folder in {path(k).rsplit("/", 1)[0] for k in range(20 * CLASSES * 3)}:
        (raw / folder).mkdir(parents=True, exist_ok=True)
    where = []
    for number in range(originals):
        where.append(path(number))
        (raw / where[-1]).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rock(number)).save(raw / where[-1], quality=90)
        made[where[-1]] = number, "original"
    for number in range(originals, files):
        source, name = dice.randrange(originals), path(number)
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        if number < originals + round(files * EXACT):
            shutil.copy(raw / where[source], raw / name)
            made[name] = source, "exact"
            continue
        image = np.asarray(Image.open(raw / where[source]))
        kind = dice.choice(("turned", "compressed", "scaled"))
        if kind == "turned":
            image = np.rot90(image, dice.randrange(4))
            image = image[:, ::-1] if dice.random() < 0.5 else image
        if kind == "scaled":
            factor = dice.uniform(0.6, 1.5)
            image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        stream = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(image)).save(stream, "JPEG", quality=dice.randrange(40, 85))
        (raw / name).write_bytes(stream.getvalue())
        made[name] = source, kind
    return made


class Memory:
    """The peak of what a process, this one or another, and its children hold together; shared memory counts once."""

    def __init__(self, stage: Callable[[], str], process: psutil.Process | None = None) -> None:
        self.peak_bytes, self.at, self._stage = 0, "", stage
        self._process = process or psutil.Process()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.5):
            held = 0
            with contextlib.suppress(psutil.Error):
                for one in (self._process, *self._process.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        held += one.memory_full_info().pss
            if held > self.peak_bytes:
                self.peak_bytes, self.at = held, self._stage()


def main() -> None:
    """Draw, audit, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raw, out = Path(folder, "raw"), Path(folder, "audit")
        made = plant(raw, asked.files)
        stages: dict[str, float] = {}

        def on_progress(done: int, total: int, what: str) -> None:
            stages[what] = time.perf_counter() - start

        start = time.perf_counter()
        with Memory(lambda: next(reversed(stages), "listing")) as memory:
            report = audit(raw, out, AuditRecipe(workers=asked.workers), on_progress=on_progress)
        seconds = time.perf_counter() - start
        page_mb = (out / "audit.html").stat().st_size / 1e6
    group_of = {report.paths[i]: number for number, group in enumerate(report.copies.groups) for i in group}
    exact_of = {report.paths[i]: number for number, group in enumerate(report.copies.exact) for i in group}
    first = {source: path for path, (source, how) in made.items() if how == "original"}
    figures: dict[str, float] = {}
    for how in ("exact", "turned", "compressed", "scaled"):
        of = exact_of if how == "exact" else group_of
        copies = [(path, first[source]) for path, (source, one) in made.items() if one == how]
        figures[f"found_{how}"] = sum(of.get(a, -1) == of.get(b, -2) for a, b in copies) / max(1, len(copies))
    pairs = [(one.first, one.second) for one in report.copies.near]
    false = sum(made[report.paths[i]][0] != made[report.paths[j]][0] for i, j in pairs)
    told = {
        "files": asked.files,
        **{name: round(value, 5) for name, value in figures.items()},
        "false_pairs_share_of_files": false / asked.files,
        "workers": asked.workers,
        "seconds": round(seconds, 1),
        "seconds_when_each_stage_ended": {name: round(value, 1) for name, value in stages.items()},
        "peak_mb": round(memory.peak_bytes / 1e6),
        "peak_mb_at": memory.at,
        "page_mb": round(page_mb, 2),
        "findings": {one.kind: one.severity for one in report.findings},
    }
    print(json.dumps(told, indent=1))
    if asked.out:
        with written_aside(asked.out) as aside:
            aside.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
