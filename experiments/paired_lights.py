"""PPL and XPL of one field: evidence summed, or both photographs as one input of six channels? (`make lights`).

Two students of the same start and schedule, for every fold of the sandstone and for the drawn sections. One sees every
photograph alone, and what it says of a field's two is averaged (`runtime.pairs.combine`); the other sees both at once,
its first convolution widened to six channels that begin as half the weights each. Labels alone teach them. Judged on
fields of sections neither has seen: names by field, and heat against the masks. The windows are those of
`make sandstone`, the drawings those of `make start`. Written to results/paired-lights.json.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from common import ROOT, end_well, read_recipe, settings, summary
from geocamnet import __version__
from geocamnet.console import set_up_logging
from geocamnet.images import read_image, scaled_size_hw
from geocamnet.train.augment import change_light, crop_image, draw_geometry, scale_long_side
from geocamnet.train.index import IndexRow, class_names, read_index, use_fold
from geocamnet.train.localise import Sample, energy_pointing, pointing_game
from geocamnet.train.map_samples import mask_samples
from geocamnet.train.metrics import classification_metrics
from geocamnet.train.recipes import AugmentRecipe, PrepareRecipe
from geocamnet.train.runs import write_json
from geocamnet.train.student import Student, enlarged, make_student
from sandstone_masks import prepare_windows
from student_start import draw

log = logging.getLogger("geocamnet")

RESULT = ROOT / "results" / "paired-lights.json"
IMAGE_PX, CROP_PX, EPOCHS, BATCH, LR = 192, 144, 20, 16, 2e-3
AUGMENT = AugmentRecipe(light=0.2, noise=0.1)
FIGURES = ("accuracy", "balanced_accuracy", "energy", "pointing")
STRIDE = 16
CAVEATS = (
    "Students alone, without a teacher: the question is the input, not the teaching.",
    "The two have the same start, the same fields a step and the same number of steps; the one that sees photographs "
    "alone computes twice as much for it.",
    "Sandstone: five sections, a fold each; windows of one field overlap. Drawn sections: one split, classes drawn.",
)
Field = tuple[IndexRow, IndexRow]


@dataclass(frozen=True)
class Data:
    """A data set of fields in both lights, split."""

    folder: Path
    classes: tuple[str, ...]
    training: list[Field]
    test: list[Field]
    masked: list[IndexRow]
    others: dict[str, list[IndexRow]]


class BothAtOnce(nn.Module):
    """A student whose input is PPL and XPL, (B, 6, H, W)."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        old = student.trunk.conv_stem
        new = nn.Conv2d(6, old.out_channels, old.kernel_size, old.stride, old.padding, bias=False)
        new.padding_mode = old.padding_mode
        new._reversed_padding_repeated_twice = old._reversed_padding_repeated_twice
        new.weight = nn.Parameter(torch.cat([old.weight, old.weight], dim=1).detach() / 2)
        student.trunk.conv_stem = new
        student.mean, student.std = (torch.cat([one, one], dim=-3) for one in (student.mean, student.std))
        self.student = student

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, C) and class maps (B, C, h, w) of (B, 6, H, W)."""
        return self.student(images)


class OneByOne(nn.Module):
    """A student that sees both photographs of a field alone; their evidence is averaged."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean logits and class maps of (B, 6, H, W); in training logits (2B, C) of each photograph."""
        logits, maps = self.student(torch.cat([images[:, :3], images[:, 3:]]))
        if self.training:
            return logits, maps
        return tuple(torch.stack(one.chunk(2)).mean(0) for one in (logits, maps))  # type: ignore[return-value]


NETWORKS = {"evidence summed": OneByOne, "six channels": BothAtOnce}


def main() -> None:
    """Fit and judge both on every data set that is there."""
    set_up_logging()
    began = time.monotonic()
    result: dict[str, Any] = {}
    for name, found in data_sets():
        rows: dict[str, dict[str, list[float]]] = {who: {key: [] for key in FIGURES} for who in NETWORKS}
        for number, data in enumerate(found):
            for who, kind in NETWORKS.items():
                torch.manual_seed(number)
                student = make_student(len(data.classes), weights="bundled")
                network = fitted(kind(student), data, seed=number)
                figures = judged(network, data)
                for key in FIGURES:
                    rows[who][key].append(round(figures[key], 4))
                log.info("%s, %d, %s: %s", name, number, who, {key: round(figures[key], 3) for key in FIGURES})
        result[name] = {"fields": sum(len(data.test) for data in found), "rows": rows, "summary": summary(rows)}
        about = {"epochs": EPOCHS, "image_px": IMAGE_PX, "caveats": list(CAVEATS), "version": __version__}
        minutes = round((time.monotonic() - began) / 60, 1)
        write_json(RESULT, {"data": result, **about, "minutes_this_call": minutes})
    log.info("%s: written", RESULT)


def data_sets() -> Iterator[tuple[str, list[Data]]]:
    """Yield the data sets by name, each as its folds; what is not cut or drawn yet is made."""
    recipe = read_recipe(ROOT / "recipes" / "sandstone-masks.toml")
    sandstone = prepare_windows(ROOT / "out" / "sandstone", settings(PrepareRecipe, recipe["prepare"]))
    recipe = read_recipe(ROOT / "recipes" / "student-start.toml")
    drawn = draw(recipe["synthesize"], recipe["prepare"])
    rows = read_index(sandstone)
    yield "sandstone (real)", [fields_of(sandstone, use_fold(rows, fold), tested="test") for fold in range(5)]
    yield "drawn sections (synthetic)", [fields_of(drawn, read_index(drawn), tested="val")]


def fields_of(folder: Path, rows: Sequence[IndexRow], *, tested: str) -> Data:
    """Return the fields of a split data set that have both lights, PPL first."""
    views: dict[tuple[str, str], dict[str, IndexRow]] = {}
    for row in rows:
        views.setdefault((row.section, row.field), {})[row.light] = row
    fields = [(view["PPL"], view["XPL"]) for view in views.values() if {"PPL", "XPL"} <= set(view)]
    named = [field for field in fields if len(field[0].labels) == 1]
    test = [field for field in named if field[0].split == tested]
    return Data(
        folder=folder,
        classes=class_names([field[0] for field in named]),
        training=[field for field in named if field[0].split not in ("test", tested)],
        test=test,
        masked=[field[0] for field in fields if field[0].split == tested and field[0].mask],
        others={field[0].image: [field[1]] for field in fields},
    )


def fitted(network: nn.Module, data: Data, *, seed: int) -> nn.Module:
    """Fit a network on the fields' labels, every class equally often; warm-up, then half a cosine."""
    rng = np.random.default_rng(seed)
    labels = [data.classes.index(field[0].labels[0]) for field in data.training]
    pixels = [[shrunk(data.folder / row.image) for row in field] for field in data.training]
    share = 1 / np.bincount(labels)[labels]
    steps = EPOCHS * max(1, len(labels) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total_steps=steps, pct_start=0.1)
    network.train()
    for _ in range(steps):
        chosen = rng.choice(len(labels), size=BATCH, p=share / share.sum())
        images = torch.stack([crop_of(pixels[number], rng) for number in chosen])
        targets = torch.tensor([labels[number] for number in chosen])
        logits, _ = network(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits, targets.repeat(len(logits) // BATCH), label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        schedule.step()
    return network.eval()


def shrunk(path: Path) -> NDArray[np.uint8]:
    """Read a photograph at the network's scale."""
    return small(read_image(path))


def crop_of(lights: Sequence[NDArray[np.uint8]], rng: np.random.Generator) -> Tensor:
    """Return (6, CROP_PX, CROP_PX) of a field: one geometry for both lights, the lamp of each its own."""
    geometry = draw_geometry(lights[0].shape[:2], CROP_PX, AUGMENT, rng)
    cut = [change_light(crop_image(image, geometry, CROP_PX), AUGMENT, rng) for image in lights]
    return torch.from_numpy(np.concatenate(cut, axis=2)).permute(2, 0, 1).float() / 255


@torch.inference_mode()
def judged(network: nn.Module, data: Data) -> dict[str, float]:
    """Return the names' figures over the test fields, and the heat's against the masks."""

    def answer(lights: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
        both = torch.from_numpy(np.concatenate(lights, axis=2)).permute(2, 0, 1)[None].float() / 255
        logits, maps = network(both)
        return logits[0], maps[0]

    answers = [answer([shrunk(data.folder / row.image) for row in field])[0].softmax(0) for field in data.test]
    truth = np.array([data.classes.index(field[0].labels[0]) for field in data.test])
    names = classification_metrics(torch.stack(answers).numpy(), truth, data.classes)
    energy: dict[int, list[float]] = {}
    pointing: dict[int, list[float]] = {}
    for sample in mask_samples(
        data.folder,
        data.masked,
        data.classes,
        read_row=lambda row: read_image(data.folder / row.image),
        others=data.others,
    ):
        heat = heat_of(answer([small(image) for image in (sample.image, *sample.registered)])[1], sample)
        scored = sample.mask != 0
        for c in sample.labels:
            inside = sample.mask == c + 1
            if inside.sum() > 0.95 * scored.sum():
                continue  # nothing to point away from
            energy.setdefault(c, []).append(energy_pointing(heat[c], inside, scored=scored))
            pointing.setdefault(c, []).append(pointing_game(heat[c], inside, scored=scored))
    return {
        "accuracy": names["accuracy"],
        "balanced_accuracy": names["balanced_accuracy"],
        "energy": mean(mean(one) for one in energy.values()),
        "pointing": mean(mean(one) for one in pointing.values()),
    }


def small(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a photograph at the network's scale."""
    scaled = scale_long_side(torch.from_numpy(image).permute(2, 0, 1)[None].float(), IMAGE_PX)
    return scaled[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()


def heat_of(maps: Tensor, sample: Sample) -> NDArray[np.float32]:
    """Return heat (C, H, W): the positive evidence beyond what all classes have in common, where cells lie."""
    evidence = (maps - maps.mean(dim=0, keepdim=True)).clamp_min(0)
    seen_hw = scaled_size_hw(sample.image.shape[:2], IMAGE_PX)
    fine = enlarged(evidence[None], seen_hw, STRIDE)
    full = F.interpolate(fine, size=sample.mask.shape, mode="bilinear", align_corners=False)[0]
    return (full / full.max().clamp_min(1e-6)).numpy()


if __name__ == "__main__":
    end_well(main, "make lights")
