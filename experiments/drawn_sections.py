"""All 22 classes on drawn thin sections, judged against exact masks (`make drawn`).

synthesize → prepare → train → distil (with the teacher, and alone, both from the start that comes with the package) →
evaluate, with recipes/drawn-sections.toml. Networks see fields of one fabric and its name;
they are judged on the names of sections they have not seen, and on fields of two or three fabrics with natural borders,
drawn apart, whose masks are exact. What is finished is kept in out/drawn, so that a stopped run goes on; the figures
are written to results/drawn-sections.json.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from common import FIGURES, HEAT, add, distil_once, end_well, once, options, read_recipe, settings, summary
from geocamnet import __version__
from geocamnet.console import set_up_logging
from geocamnet.images import read_image
from geocamnet.runtime.scale import scale_to_card
from geocamnet.train.evaluate import evaluate
from geocamnet.train.index import IndexRow, read_index
from geocamnet.train.map_samples import judge_heatmaps
from geocamnet.train.predictor import network_predictor, open_predictor
from geocamnet.train.prepare import prepare
from geocamnet.train.recipes import DistilRecipe, PrepareRecipe, SynthesizeRecipe, TrainRecipe
from geocamnet.train.runs import build_network, read_card, write_json
from geocamnet.train.synthetic import synthesize
from geocamnet.train.training import train
from imagenet_weights import fetch

log = logging.getLogger("geocamnet")

# Fields of several fabrics, 8 for every class: thresholds are chosen on a third of them.
COMPOSITES = {"sections": 8, "composites": 1.0, "seed": 34}
PARTS = {"val_share": 0.35, "test_share": 0.6}
CAVEATS = (
    "Drawn, not photographed: it says that places can be learnt from names alone, not how well rock is named.",
    "The teacher starts from ImageNet weights; the student starts from those weights' features, on drawn sections of "
    "other seeds.",
    "Networks are shown all photographs at one scale, which has to be known for that.",
    "Fields of several fabrics were shown to no network, neither teacher nor student, with or without masks.",
    "Fractures and stylolites are a few pixels wide, less than a cell of a class map.",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not finished, then judge, and write the result."""
    chosen = options(__doc__, name="drawn-sections", out="drawn").parse_args(arguments)
    set_up_logging()
    began = time.monotonic()
    recipe, out = read_recipe(chosen.recipe), chosen.out
    drawing, preparing = settings(SynthesizeRecipe, recipe["synthesize"]), settings(PrepareRecipe, recipe["prepare"])
    data, composites = out / "data", out / "composites"
    for folder, how, parts in (
        (data, drawing, preparing),
        (composites, replace(drawing, **COMPOSITES), replace(preparing, **PARTS)),
    ):
        synthesize(out / "raw" / folder.name, how)
        prepare(out / "raw" / folder.name, folder, parts)
    teaching = replace(settings(TrainRecipe, recipe["train"]), weights=str(fetch("lite0")))
    studying, runs = settings(DistilRecipe, recipe["distil"]), out / "runs"
    once(runs / "teacher", teaching, partial(train, data))
    for seed in chosen.seeds:
        of_seed = replace(studying, seed=seed)
        distil_once(data, runs / f"alone-{seed}", of_seed, None)
        distil_once(data, runs / f"student-{seed}", of_seed, runs / "teacher")
    result = judge(data, composites, runs, chosen.seeds)
    result["minutes_this_call"] = round((time.monotonic() - began) / 60, 1)
    write_json(chosen.result, result)
    log.info("%s: written", chosen.result)


def judge(data: Path, composites: Path, runs: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Judge names on sections not seen, and heatmaps on fields of several fabrics."""
    names: dict[str, dict[str, list[float]]] = {}
    lights: dict[str, dict[str, list[float]]] = {}
    heat: dict[str, dict[str, list[float]]] = {}
    pixels: dict[str, dict[str, list[float]]] = {}
    measured: dict[str, Any] = {}
    fields = read_index(composites)
    val, test = ([row for row in fields if row.split == split] for split in ("val", "test"))
    judged = [("teacher", "teacher")]
    judged += [(who, f"{run}-{seed}") for seed in seeds for who, run in _STUDENTS.items()]
    for who, name in judged:
        run, first = runs / name, name == f"student-{seeds[0]}"
        metrics = evaluate(run, data, baselines=first, localisation=False, measured=measured)
        answers = {who: metrics["model"]}
        if first:
            answers |= {one: metrics["baselines"][one] for one in ("majority", "random_forest")}
        for one, row in answers.items():
            add(names, one, row, FIGURES)
            for part, of_part in (row["by_light"] | {"field": row["by_field"]}).items() if one != "majority" else ():
                add(lights, f"{one}_{part}", of_part, FIGURES)
        predict, card = open_predictor(run)
        untrained = network_predictor(build_network(card), card) if first else None

        def read_row(row: IndexRow, card: Any = card) -> Any:
            return scale_to_card(read_image(composites / row.image), card, row.um_per_px)

        found = judge_heatmaps(predict, card, val, test, data=composites, read_row=read_row, untrained=untrained)
        for table, rows, keys in (
            (heat, found["table"], HEAT),
            (pixels, found["segmentation"]["table"], ("miou", "accuracy")),
        ):
            for method, row in rows.items():
                if method.startswith("model") or first:
                    add(table, method.replace("model", who), row, keys)
        log.info("%s: balanced accuracy %.3f", name, metrics["model"]["balanced_accuracy"])
    student, teacher = read_card(runs / f"student-{seeds[0]}"), read_card(runs / "teacher")
    return {
        "data": "drawn thin sections (synthetic)",
        "classes": list(student.class_names),
        "seeds": list(seeds),
        "n_test": metrics["n"],
        "composite_fields": {part: len({row.field for row in rows}) for part, rows in (("val", val), ("test", test))},
        "names": names,
        "names_summary": summary(names),
        "names_by_light": lights,
        "names_by_light_summary": summary(lights),
        "heatmaps": heat,
        "heatmaps_summary": summary(heat),
        "heatmaps_kind": found["kind"],
        "area_share": found["area_share"],
        "pixels": pixels,
        "pixels_summary": summary(pixels),
        "parameters": student.parameters,
        "teacher": {"architecture": teacher.architecture, "parameters": teacher.parameters},
        "caveats": list(CAVEATS),
        "version": __version__,
    }


_STUDENTS = {"student": "student", "student_alone": "alone"}


if __name__ == "__main__":
    end_well(main, "make drawn")
