"""Whether training waits for photographs, and what Lightning costs a step: two ratios, each in one run.

Input: photographs a second that the student's training loader gives by itself (the first pass reads and decodes, later
ones take photographs from memory), against photographs a second that its training step takes. Step: the student's, as
`geocamnet distil` runs it with a teacher's stored maps, against a bare loop with the same network, losses, optimiser,
clipping and batches. All take turns. Beside the seconds of a step stand those of the processor, which a machine that
others use too does not lengthen. Photographs, maps and weights are drawn: time knows no training.

    python benchmarks/bench_training.py [--photographs 256] [--rounds 5] [--batch-size 32] [--out FILE.json]
"""

import argparse
import json
import logging
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import lightning
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from geocamnet.images import scaled_size_hw, write_image, written_aside
from geocamnet.taxonomy import CLASSES
from geocamnet.train.cam import StoredMaps
from geocamnet.train.dataset import PhotographDataset
from geocamnet.train.distil import logit_loss, map_loss
from geocamnet.train.fit import Photographs, choose_workers, fit
from geocamnet.train.fitting import Fitting, Lessons
from geocamnet.train.index import IndexRow
from geocamnet.train.memory import kept_memory
from geocamnet.train.recipes import DistilRecipe
from geocamnet.train.runs import write_json
from geocamnet.train.student import Student, make_student

SIZE_WH, DRAWINGS, TEACHER_STRIDE = (1024, 683), 8, 32  # as prepare stores a photograph
NAMES = tuple(one.name for one in CLASSES)
GOALS = {"input_over_step": 2.0, "lightning_over_bare": 1.05}

Batch = dict[str, Tensor]


class Timed(Fitting):
    """The fitting that notes when each of its batches ends."""

    ends: tuple[tuple[float, float], ...] = ()

    def on_train_batch_end(self, *arguments: Any) -> None:
        """Note the time, after what a batch ends with."""
        super().on_train_batch_end(*arguments)
        self.ends = (*self.ends, now())


class Held(Photographs):
    """Batches made before, so that nothing but the step takes time."""

    def __init__(self, photographs: Photographs, batches: list[Batch]) -> None:
        super().__init__(photographs.training, photographs.validation, photographs.recipe)
        self.batches = batches

    def train_dataloader(self) -> DataLoader:
        """Give out the batches."""
        return DataLoader(self.batches, batch_size=None)  # type: ignore[arg-type]


def main() -> None:
    """Draw, take turns, print and write the figures; exit 1 where a ratio is not what it must be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    recipe = DistilRecipe(batch_size=asked.batch_size, epochs=1)
    rates: dict[str, list[tuple[float, float]]] = {"reading": [], "from_memory": []}
    steps: dict[str, list[tuple[float, float]]] = {"lightning": [], "bare": []}
    with tempfile.TemporaryDirectory() as folder:
        data, run = Path(folder, "data"), Path(folder, "run")
        rows = write_data(data, asked.photographs)
        maps = write_maps(Path(folder, "maps"), rows, recipe.image_px)
        held = next(iter(loader_of(data, rows, maps, recipe)))
        for number in range(asked.rounds):
            loader = loader_of(data, rows, maps, recipe)
            with kept_memory():  # as in a training
                for name in rates:  # a new loader has nothing in memory yet, after one pass it has all
                    rates[name].append(rate_of(loader))
            batches = [held] * max(2, asked.photographs // asked.batch_size)
            ways = {"lightning": lightning_steps, "bare": bare_steps}
            for name in list(ways)[:: -1 if number % 2 else 1]:
                steps[name].append(ways[name](data, rows, maps, recipe, batches, run))
            told = ", ".join(f"{name} {values[-1][0]:.1f} photographs/s" for name, values in rates.items())
            print(f"round {number + 1}: {told}, " + ", ".join(f"{k} {1e3 * v[-1][0]:.0f} ms" for k, v in steps.items()))
    result = figures(recipe, rates, steps) | {"photographs": asked.photographs}
    print(json.dumps(result, indent=1))
    if asked.out is not None:
        with written_aside(asked.out) as aside:
            aside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    missed = result["reading_over_step"] < GOALS["input_over_step"]  # the first pass; later ones are from memory
    overhead = min(result["lightning_over_bare"], result["lightning_over_bare_on_processor"])
    raise SystemExit(missed or overhead > GOALS["lightning_over_bare"])


def figures(
    recipe: DistilRecipe, rates: dict[str, list[tuple[float, float]]], steps: dict[str, list[tuple[float, float]]]
) -> dict[str, Any]:
    """Return medians, and ratios by round: both halves of a ratio are of one round."""
    takes = [[recipe.batch_size / took for took in both] for both in steps["lightning"]]

    def over_step(name: str, clock: int = 0) -> float:
        return round(median(given[clock] / taken[clock] for given, taken in zip(rates[name], takes, strict=True)), 2)

    def on_processor_too(name: str) -> dict[str, float]:
        # The processor's time of a loader is that of this process, if it has none of its own.
        return {} if choose_workers(recipe) else {f"{name}_over_step_on_processor": over_step(name, 1)}

    overhead, on_processor = (
        [ours[clock] / bare[clock] for ours, bare in zip(steps["lightning"], steps["bare"], strict=True)]
        for clock in (0, 1)
    )
    return {
        "backbone": recipe.backbone,
        "image_px": recipe.image_px,
        "crop_px": recipe.crop_px,
        "batch_size": recipe.batch_size,
        "stored_px": list(SIZE_WH),
        "loading_processes": choose_workers(recipe),
        "rounds": len(takes),
        "step_photographs_per_s": round(median(wall for wall, _ in takes), 1),
        "reading_photographs_per_s": round(median(wall for wall, _ in rates["reading"]), 1),
        "from_memory_photographs_per_s": round(median(wall for wall, _ in rates["from_memory"]), 1),
        "reading_over_step": over_step("reading"),
        **on_processor_too("reading"),
        "from_memory_over_step": over_step("from_memory"),
        **on_processor_too("from_memory"),
        "lightning_step_ms": round(1e3 * median(seconds for seconds, _ in steps["lightning"]), 1),
        "bare_step_ms": round(1e3 * median(seconds for seconds, _ in steps["bare"]), 1),
        "lightning_step_processor_ms": round(1e3 * median(cpu for _, cpu in steps["lightning"]), 1),
        "bare_step_processor_ms": round(1e3 * median(cpu for _, cpu in steps["bare"]), 1),
        "lightning_over_bare": round(median(overhead), 3),
        "lightning_over_bare_by_round": [round(one, 3) for one in overhead],
        "lightning_over_bare_on_processor": round(median(on_processor), 3),
        "lightning_over_bare_on_processor_by_round": [round(one, 3) for one in on_processor],
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "machine": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
    }


def rate_of(loader: DataLoader) -> tuple[float, float]:
    """Return photographs a second of one pass, and a second of the processor."""
    began, count = now(), 0
    for batch in loader:
        count += len(batch["row"])
    wall, on_processor = (end - start for start, end in zip(began, now(), strict=True))
    return count / wall, count / on_processor


def lightning_steps(
    data: Path, rows: list[IndexRow], maps: StoredMaps, recipe: DistilRecipe, batches: list[Batch], run: Path
) -> tuple[float, float]:
    """Return the median seconds, and those of the processor, from batch to batch as `geocamnet distil` runs them."""
    module = Timed(
        student_of(recipe), recipe, classes=NAMES, labels="single", prior=np.full(len(NAMES), 1 / len(NAMES)),
        lessons=Lessons(recipe, torch.arange(len(NAMES))), run=run,
    )  # fmt: skip
    fit(module, Held(photographs_of(data, rows, maps, recipe), batches), run)
    return between(module.ends)


def bare_steps(
    data: Path, rows: list[IndexRow], maps: StoredMaps, recipe: DistilRecipe, batches: list[Batch], run: Path
) -> tuple[float, float]:
    """Return the same of a bare loop."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = student_of(recipe).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1.0)
    ends = []
    with kept_memory():  # as in a training
        for held in batches:
            batch = {name: value.to(device) for name, value in held.items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = bare_loss(network, batch, recipe)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            float(loss.detach())  # as a fitting, which looks whether the loss is finite
            ends.append(now())
    return between(ends)


def student_of(recipe: DistilRecipe) -> Student:
    """Return a student of the recipe's shape."""
    return make_student(len(NAMES), output_stride=recipe.output_stride, map_stride=recipe.map_stride)


def now() -> tuple[float, float]:
    """Return the time, and that of the processor."""
    return time.perf_counter(), time.process_time()


def between(ends: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the median difference of both."""
    seconds, on_processor = np.median(np.diff(np.array(ends), axis=0), axis=0).tolist()
    return seconds, on_processor


def bare_loss(network: Student, batch: Batch, recipe: DistilRecipe) -> Tensor:
    """Return the loss of labels, logits and class maps, all weighted alike."""
    logits, class_maps = network(batch["image"].contiguous(memory_format=torch.channels_last))
    by_label = F.cross_entropy(logits, batch["target"].argmax(1))
    theirs = batch["teacher_logits"]
    by_logits = logit_loss(logits, theirs, kind=recipe.logit_loss, temperature=recipe.temperature)
    return by_label + by_logits + map_loss(class_maps, batch["teacher_maps"], cells=round(recipe.crop_px / 32))


def loader_of(data: Path, rows: list[IndexRow], maps: StoredMaps, recipe: DistilRecipe) -> DataLoader:
    """Return the loader of a student's training."""
    return photographs_of(data, rows, maps, recipe).train_dataloader()


def photographs_of(data: Path, rows: list[IndexRow], maps: StoredMaps, recipe: DistilRecipe) -> Photographs:
    """Return the photographs of a distillation, none to validate with."""
    common: dict[str, Any] = {"classes": NAMES, "image_px": recipe.image_px, "cache_mb": recipe.cache_mb}
    crops = PhotographDataset(
        data, rows, **common, crop_px=recipe.crop_px, recipe=recipe.augment, maps=maps, map_stride=recipe.map_stride
    )
    return Photographs(crops, PhotographDataset(data, [], **common), recipe)


def write_data(data: Path, count: int) -> list[IndexRow]:
    """Write so many photographs of a few drawings, as prepare stores them, and return their rows."""
    width, height = SIZE_WH
    draw = np.random.default_rng(0)
    rows = []
    for number in range(count):
        name = f"images/{number:05d}.jpg"
        if number < DRAWINGS:
            grain = cv2.GaussianBlur(draw.standard_normal((height, width, 3), np.float32), (0, 0), 1 + number / 4)
            image = np.clip(130 + grain * 60 * (1 + number / 4), 0, 255).astype(np.uint8)
            write_image(data / name, image)
        else:
            (data / name).write_bytes((data / f"images/{number % DRAWINGS:05d}.jpg").read_bytes())
        label = NAMES[number % len(NAMES)]
        about = {"section": str(number), "field": str(number), "light": "PPL", "um_per_px": None, "split": "train"}
        rows.append(IndexRow(name, (label,), **about, width_px=width, height_px=height, sha256="", source=name))
    return rows


def write_maps(folder: Path, rows: list[IndexRow], image_px: int) -> StoredMaps:
    """Write drawn class maps of every photograph in the form of `geocamnet cam`, and open them."""
    draw = np.random.default_rng(1)
    height, width = (-(-side // TEACHER_STRIDE) for side in scaled_size_hw(SIZE_WH[::-1], image_px))
    shape = len(NAMES), height, width
    arrays = {f"maps_{place}": draw.standard_normal(shape).astype(np.float16) for place in range(len(rows))}
    folder.mkdir()
    np.savez(
        folder / "00000.npz", images=np.array([row.image for row in rows]),
        logits=draw.standard_normal((len(rows), len(NAMES))).astype(np.float32), **arrays,
    )  # fmt: skip
    about = {"classes": NAMES, "method": "cam", "shards": 1, "image_px": image_px, "stride": TEACHER_STRIDE}
    write_json(folder / "maps.json", about)
    return StoredMaps(folder)


if __name__ == "__main__":
    main()
