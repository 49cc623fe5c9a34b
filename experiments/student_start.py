"""The start of a student that comes with the package, `--weights bundled` (`make start`).

drawn sections → prepare → pretrain: a MobileNetV3-Small trunk learns to give the features of an EfficientNet-Lite0
with ImageNet weights, with recipes/student-start.toml. No label and no real photograph is used, so the start knows
nothing of any test part. Cycles follow one another, each with its own warm-up and cosine, from where the last one
ended. What is finished is kept in out/start, so that a stopped run goes on; the trunk is written to
src/geocamnet/train/starts in half precision, what was measured to results/student-start.json.
"""

import json
import logging
import time
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save

from common import ROOT, end_well, read_recipe, settings
from geocamnet import __version__
from geocamnet.console import set_up_logging
from geocamnet.images import written_aside
from geocamnet.train.index import read_index
from geocamnet.train.prepare import prepare
from geocamnet.train.pretrain import pretrain
from geocamnet.train.recipes import PrepareRecipe, PretrainRecipe, SynthesizeRecipe
from geocamnet.train.runs import write_json
from geocamnet.train.synthetic import synthesize
from geocamnet.train.weights import BUNDLED, read_weights
from imagenet_weights import fetch

log = logging.getLogger("geocamnet")

OUT = ROOT / "out" / "start"
RESULT = ROOT / "results" / "student-start.json"
FURTHER_CYCLES = (75,)  # epochs
CAVEATS = (
    "The distance is 1 - the cosine of the student's projected and the teacher's standardised features, the mean of "
    "strides 8, 16 and the last, on drawn photographs of sections not trained on: it says how near the features are, "
    "not how well rock is named from them.",
)


def main() -> None:
    """Run what is not finished, write the start and its figures."""
    set_up_logging()
    began = time.monotonic()
    recipe = read_recipe(ROOT / "recipes" / "student-start.toml")
    data = draw(recipe["synthesize"], recipe["prepare"])
    every = replace(settings(PretrainRecipe, recipe["pretrain"]), teacher_weights=str(fetch("lite0")))
    about, before, cycles = [], every.weights, (every.epochs, *FURTHER_CYCLES)
    for number, epochs in enumerate(cycles):
        run = OUT / "runs" / f"cycle-{number}"
        if not (run / "pretrain.json").is_file():
            pretrain(data, run, replace(every, weights=before, epochs=epochs), resume=(run / "recipe.toml").is_file())
        before = str(run)
        about.append(
            {"epochs": epochs, "distance": json.loads((run / "pretrain.json").read_text(encoding="utf-8"))["distance"]}
        )
    file = write_start(Path(before), every.backbone)
    rows = read_index(data, check_files=False)
    photographs = sum(row.split == "train" for row in rows)
    result = {
        "data": "drawn sections",
        "backbone": every.backbone,
        "teacher": every.teacher_backbone,
        "photographs": photographs,
        "judged_on": sum(row.split == "val" for row in rows),
        "crops_seen": photographs * sum(cycles),
        "crop_px": every.crop_px,
        "cycles": about,
        "kilobytes": round(file.stat().st_size / 1000),
        "minutes_this_call": round((time.monotonic() - began) / 60, 1),
        "caveats": list(CAVEATS),
        "version": __version__,
    }
    write_json(RESULT, result)
    log.info("%s and %s: written", file, RESULT)


def draw(drawing: dict[str, object], preparing: dict[str, object]) -> Path:
    """Return the prepared data set of drawn photographs."""
    synthesize(OUT / "drawn_raw", settings(SynthesizeRecipe, drawing))
    prepare(OUT / "drawn_raw", OUT / "drawn", settings(PrepareRecipe, preparing))
    return OUT / "drawn"


def write_start(run: Path, backbone: str) -> Path:
    """Write the trunk of a run into the package: weights in half precision, statistics of normalisation as they are."""
    tensors = {}
    for name, value in read_weights(run).items():
        if name.startswith("trunk.") and not name.endswith("num_batches_tracked"):
            whole = "running_" in name  # a variance may be too large for half precision
            tensors[name.removeprefix("trunk.")] = value.clone() if whole else value.to(torch.float16)
    file = BUNDLED / f"{backbone}.safetensors"
    with written_aside(file) as aside:
        aside.write_bytes(save(tensors))
    return file


if __name__ == "__main__":
    end_well(main, "make start")
