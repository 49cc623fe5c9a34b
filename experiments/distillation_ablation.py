"""What each part of distillation is worth, on the validation photographs of 5 folds (`make ablation`).

For each fold the teachers of `make folds`, fitted if they are not there, and for each of `VARIANTS` a student, fitted
in a cheap setting (recipes/distillation-ablation.toml) and judged on the fold's validation part: settings are chosen
there, and the test parts stay unseen. What is finished is kept in out/ablation, so that a stopped run goes on; what is
there is written to results/distillation-ablation.json, beside the folds of earlier calls (`parts`).
"""

import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from carbonate_folds import RAW
from common import ROOT, distil_once, end_well, figures_of, fit_teacher, fold_options, read_recipe, settings, summary
from geocamnet import __version__
from geocamnet.console import set_up_logging
from geocamnet.images import read_image
from geocamnet.runtime.heatmap import place_maps, scale_maps
from geocamnet.train.evaluate import evaluate
from geocamnet.train.index import read_index, use_fold
from geocamnet.train.localise import energy_pointing
from geocamnet.train.mosaics import mosaics
from geocamnet.train.predictor import network_predictor
from geocamnet.train.prepare import prepare
from geocamnet.train.recipes import DistilRecipe, PrepareRecipe, TrainRecipe
from geocamnet.train.runs import load_network, read_card, write_json
from imagenet_weights import fetch
from parts import Part, kept_parts, recipe_tables, table_of, with_parts

log = logging.getLogger("geocamnet")

MOSAICS, CELL_PX = 60, 192
JUDGED = ("accuracy", "balanced_accuracy", "nll", "energy")
# What a variant changes, and nothing else; TEACHERS is no option of distil's recipe.
TEACHERS = "teachers"
VARIANTS: dict[str, dict[str, Any]] = {
    "all of it": {},
    "alone: no teacher": {TEACHERS: 0},
    "logits alone (KL)": {"map_weight": 0.0, "feature_weight": 0.0},
    "logits alone (DKD)": {"logit_loss": "dkd", "map_weight": 0.0, "feature_weight": 0.0},
    "logits alone (DIST)": {"logit_loss": "dist", "map_weight": 0.0, "feature_weight": 0.0},
    "class maps alone (CAT)": {"logit_weight": 0.0, "feature_weight": 0.0},
    "logits and class maps": {"feature_weight": 0.0},
    "logits and class maps, stored": {"teacher_maps": "stored", "feature_weight": 0.0},
    "all, of two teachers": {TEACHERS: 2},
    "all, and equivariance": {"equivariance_weight": 1.0},
    "all, without mosaics": {"mosaic_weight": 0.0},
    "all, borders of mosaics bent": {"mosaic_borders": "bent"},
    "all, maps of 8 px cells": {"detail_stride": 8},
    "all, from random weights": {"weights": "none"},
}
CAVEATS = (
    "Judged on validation photographs, a cheap setting: these figures choose between variants, and say nothing of how "
    "well rock is named.",
    "Of two teachers the second is the student alone that make folds has fitted, in three times as many steps.",
    "Every variant has one run a fold; the standard error of an accuracy over five folds is about 0.02.",
    "Energy: of the heatmap, in the right cells of mosaics of validation photographs, equally bright; chance is the "
    "share of the area.",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not finished, then write the table of what is."""
    chosen = fold_options(__doc__, arguments, name="distillation-ablation", out="ablation")
    set_up_logging()
    if not RAW.is_dir():
        sys.exit(f"{RAW}: the photographs are not there; this result needs them.")
    began = time.monotonic()
    recipe, of_folds = read_recipe(chosen.recipe), read_recipe(ROOT / "recipes" / "carbonate-folds.toml")
    folds_out = ROOT / "out" / "folds"
    data, preparing = folds_out / "data", settings(PrepareRecipe, of_folds["prepare"])
    prepare(RAW, data, preparing)
    teaching = replace(settings(TrainRecipe, of_folds["train"]), weights=str(fetch("lite0")))
    of_length = settings(DistilRecipe, of_folds["distil"])
    studying = replace(of_length, **recipe["distil"])
    recipes = recipe_tables({"teacher": teaching, "student": studying})
    for fold in chosen.folds or range(preparing.folds):
        second = folds_out / "runs" / f"first-alone-{fold}-0"
        distil_once(data, second, replace(of_length, fold=fold, seed=0), None)
        for seed in chosen.seeds:
            found: list[Part] = []
            for name, changed in VARIANTS.items():
                own = {key: value for key, value in changed.items() if key != TEACHERS}
                of_variant = replace(studying, fold=fold, seed=seed, **own)
                stored = of_variant.teacher_maps == "stored"
                teacher = fit_teacher(data, folds_out / "runs", teaching, fold, stored=stored)
                sources = (teacher, second)[: changed.get(TEACHERS, 1)] or None
                run = chosen.out / "runs" / f"{_slug(name)}-{fold}-{seed}"
                distil_once(data, run, of_variant, sources)
                figures = judged_once(run, data, fold)
                variants = {name: figures_of(figures, JUDGED)}
                found.append({"fold": fold, "seed": seed, "who": name, "n": figures["n"], "variants": variants})
                log.info("%s: balanced accuracy %.3f", run.name, figures["balanced_accuracy"])
            # Variants are compared in the same folds, so all of a fold are written, or none.
            parts = with_parts(kept_parts(chosen.result, recipes), found)
            result = result_of(parts, studying, read_card(teacher).architecture) | {"recipes": recipes}
            result["minutes_this_call"] = round((time.monotonic() - began) / 60, 1)
            write_json(chosen.result, result)
    log.info("%s: written", chosen.result)


def judged_once(run: Path, data: Path, fold: int) -> dict[str, Any]:
    """Return the figures of a run on its validation part, or those that were found before."""
    file = run / "ablation.json"
    if not file.is_file():
        found = evaluate(run, data, split="val", baselines=False, localisation=False)["model"]
        write_json(file, found | {"energy": energy_of(run, data, fold)})
    known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return known


def energy_of(run: Path, data: Path, fold: int) -> float:
    """Return the share of a student's heat that lies in the right cells of mosaics of the fold's validation part."""
    network, card = load_network(run)
    predict = network_predictor(network, card)
    images: dict[int, list[np.ndarray]] = {}
    for row in use_fold(read_index(data, check_files=False), fold):
        if row.split == "val":
            images.setdefault(card.class_index(row.labels[0]), []).append(read_image(data / row.image))
    shares: dict[int, list[float]] = {}
    for sample in mosaics(images, cell_px=CELL_PX, n=MOSAICS, seed=0):
        maps = scale_maps(np.asarray(predict(sample.image)[1], np.float32), card)
        for c in sample.labels:
            (heat,) = place_maps(maps[[c]], sample.mask.shape, card)
            shares.setdefault(c, []).append(energy_pointing(heat.clip(0, 1), sample.mask == c + 1))
    return mean(mean(of_class) for of_class in shares.values())


def result_of(parts: Sequence[Part], studying: DistilRecipe, teacher: str) -> dict[str, Any]:
    """Return what the result file holds; variants stand in the order of `VARIANTS`.

    ``against_first``: by how much a variant differs from the first, mean and standard error over folds and seeds.
    """
    table = table_of(parts, "variants")
    rows = {name: table[name] for name in VARIANTS if name in table}
    first = rows[next(iter(VARIANTS))]
    return {
        "data": "carbonate-lithology (real), validation parts",
        "folds": sorted({part["fold"] for part in parts}),
        "seeds": sorted({part["seed"] for part in parts}),
        "n": sum(part["n"] for part in parts if part["who"] == next(iter(VARIANTS))),
        "epochs": studying.epochs,
        "image_px": studying.image_px,
        "variants": rows,
        "summary": summary(rows),
        "against_first": {
            name: {key: _difference(values, first[key]) for key, values in row.items()} for name, row in rows.items()
        },
        "area_share": 1 / 3,
        "teacher": teacher,
        "caveats": list(CAVEATS),
        "parts": list(parts),
        "version": __version__,
    }


def _difference(values: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    pairs = np.subtract(values, others)
    error = pairs.std(ddof=1) / np.sqrt(len(pairs)) if len(pairs) > 1 else 0.0
    return {"mean": round(float(pairs.mean()), 4), "standard_error": round(float(error), 4)}


def _slug(name: str) -> str:
    return "-".join("".join(one if one.isalnum() else " " for one in name).split())


if __name__ == "__main__":
    end_well(main, "make ablation")
