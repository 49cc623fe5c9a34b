"""Tiny data sets and recipes on which a training takes a second: squares of a colour each, a class a colour."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from geocamnet.images import write_image
from geocamnet.train.index import IndexRow, write_index
from geocamnet.train.recipes import AugmentRecipe, DistilRecipe, TrainRecipe

COLOURS = {"micritic_limestone": (60, 60, 60), "oolite": (200, 60, 60), "vug": (60, 60, 200), "foam": (60, 200, 60)}
PLAIN = AugmentRecipe(scale=1.0, stain=0.0, light=0.0, focus=0.0, noise=0.0, burn_in=0.0)
TEACHER = TrainRecipe(
    backbone="test_resnet", image_px=64, crop_px=64, epochs=2, batch_size=4, lr=3e-3, workers=0, augment=PLAIN
)
STUDENT = DistilRecipe(
    backbone="mobilenetv3_small_050", image_px=64, crop_px=64, epochs=2, batch_size=4, workers=0, augment=PLAIN
)


def write_data(
    data: Path,
    *,
    train: Mapping[str, int] | Sequence[str] = ("oolite", "vug"),
    val: Mapping[str, int] | Sequence[str] = ("oolite", "vug"),
    test: Mapping[str, int] | Sequence[str] = ("oolite", "vug"),
    shape_hw: tuple[int, int] = (64, 64),
) -> Path:
    """Write a DATA folder.

    Args:
        data: the folder.
        train, val, test: photographs of each label; names alone mean 6, 2 and 2. A label may be several joined by
            ``|``, or empty; a photograph of several labels has a stripe of each one's colour.
        shape_hw: of every photograph; those of odd number are 8 px less high.
    """
    rows = []
    for split, wanted, usual in (("train", train, 6), ("val", val, 2), ("test", test, 2)):
        counts = wanted if isinstance(wanted, Mapping) else dict.fromkeys(wanted, usual)
        for label, count in counts.items():
            for number in range(count):
                labels = tuple(label.split("|")) if label else ()
                name = f"{split}_{label.replace('|', '+') or 'unlabelled'}_{number}"
                height, width = shape_hw[0] - 8 * (number % 2), shape_hw[1]
                write_image(data / "images" / f"{name}.png", paint(labels or ("oolite",), (height, width), name))
                rows.append(
                    IndexRow(
                        image=f"images/{name}.png",
                        labels=labels,
                        section=name,
                        field="",
                        light="PPL",
                        um_per_px=None,
                        split=split,
                        width_px=width,
                        height_px=height,
                        sha256=name,
                        source=f"{name}.png",
                    )
                )
    write_index(data, rows)
    return data


def paint(labels: Sequence[str], shape_hw: tuple[int, int], seed: str) -> np.ndarray:
    """Paint RGB uint8 (H, W, 3): stripes in the labels' colours, with grain; an unknown label is yellow."""
    image = np.empty((*shape_hw, 3), np.float64)
    for number, label in enumerate(labels):
        image[:, number * shape_hw[1] // len(labels) :] = COLOURS.get(label, (200, 200, 60))
    grain = np.random.default_rng(list(seed.encode())).normal(0, 20, image.shape)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def read_log(run: Path) -> list[dict[str, float]]:
    """Return the rows of RUN/log.csv; cells left empty are left out."""
    with (run / "log.csv").open(encoding="utf-8", newline="") as stream:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(stream)]
