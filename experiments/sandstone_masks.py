"""Names and heatmaps judged against an expert's pixel masks, on thin sections no network has seen (`make sandstone`).

Nine fields of five sandstone sections, in PPL and XPL, are cut into windows, each named for the mineral that fills
most of what is labelled in it, where that is enough (`sandstone_windows`). With that name alone, a fold per section:
train → distil (alone; then with two teachers, the teacher and the student alone) → evaluate, with
recipes/sandstone-masks.toml. What is finished is kept in out/sandstone, so that a stopped run goes on; the figures are
written to results/sandstone-masks.json.

The data are GPL-3.0: what is trained on them is not shipped, nothing of them is committed. It is sandstone, not
carbonate: it is here for its masks.
"""

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

from common import FIGURES, HEAT, ROOT, add, end_well, fit_folds, fold_options, judge_once, read_recipe, settings
from geocamnet import __version__
from geocamnet.console import set_up_logging
from geocamnet.train.index import read_index, use_fold
from geocamnet.train.predictor import network_predictor
from geocamnet.train.prepare import prepare
from geocamnet.train.recipes import DistilRecipe, PrepareRecipe, TrainRecipe
from geocamnet.train.runs import build_network, read_card, write_json
from sandstone_windows import MINERALS, cut

log = logging.getLogger("geocamnet")

SOURCE = ROOT.parent / "shared" / "data" / "sandstone-masks"
CAVEATS = (
    "Sandstone, not carbonate: minerals as grains, where the project names fabrics. It is measured for its masks.",
    "Nine fields of five thin sections: a fold tests on one section, chooses on another, trains on three.",
    "Windows of 256 px overlap within a field (stride 160), so their number says little; sections are what counts.",
    "A window is named for the mineral that fills most of its labelled pixels, six tenths or more; grains that nobody "
    "outlined may fill more: some names are noise. Windows with less than three tenths of their pixels labelled have "
    "no name; heatmaps are judged on them too.",
    "Heatmaps are judged inside the labelled grains alone: heat on what is not labelled counts neither way, heat on "
    "another labelled mineral counts as wrong.",
    "The classifier is taught the mineral that fills most of a window; heatmaps are judged for every mineral in it.",
    "The student learns from the mean of two teachers: the teacher, and the student alone.",
    "The data are GPL-3.0: networks trained on them are not shipped.",
)
Values = dict[str, dict[str, list[list[float]]]]  # who → figure → for every fold a list, a value per seed


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not finished, then judge, and write the result."""
    chosen = fold_options(__doc__, arguments, name="sandstone-masks", out="sandstone")
    set_up_logging()
    began = time.monotonic()
    recipe, out = read_recipe(chosen.recipe), chosen.out
    preparing = settings(PrepareRecipe, recipe["prepare"])
    data, runs = prepare_windows(out, preparing), out / "runs"
    folds = chosen.folds or list(range(preparing.folds))
    teaching, studying = settings(TrainRecipe, recipe["train"]), settings(DistilRecipe, recipe["distil"])
    fit_folds(data, runs, teaching, studying, folds=folds, seeds=chosen.seeds, alone_teaches=True)
    result = judge(data, runs, folds, chosen.seeds)
    result["minutes_this_call"] = round((time.monotonic() - began) / 60, 1)
    write_json(chosen.result, result)
    log.info("%s: written", chosen.result)


def prepare_windows(out: Path, preparing: PrepareRecipe) -> Path:
    """Return the prepared data set of windows, cut and prepared if it is not there yet."""
    if not SOURCE.is_dir():
        sys.exit(f"{SOURCE}: the photographs are not there; this result needs them.")
    cut(SOURCE, out / "raw")
    prepare(out / "raw", out / "data", preparing)
    return out / "data"


def judge(data: Path, runs: Path, folds: Sequence[int], seeds: Sequence[int]) -> dict[str, Any]:
    """Judge teachers, students and baselines, each on the section its fold has kept from it."""
    names: Values = {}
    lights: Values = {}
    heat: Values = {}
    recalls: dict[str, dict[str, list[tuple[float, int]]]] = {}
    measured: dict[str, Any] = {}
    about, shares = [], []
    for fold in folds:
        of_fold: dict[str, dict[str, dict[str, list[float]]]] = {"names": {}, "lights": {}, "heat": {}}
        judged = [("teacher", runs / f"teacher-{fold}")]
        judged += [
            (who, runs / f"{run}-{fold}-{seed}")
            for seed in seeds
            for who, run in (("student", "student"), ("student_alone", "alone"))
        ]
        for who, run in judged:
            first = run.name == f"student-{fold}-{seeds[0]}"
            card = read_card(run)
            untrained = network_predictor(build_network(card), card) if first else None
            metrics = judge_once(run, data, baselines=first, untrained=untrained, measured=measured)
            answers = {who: metrics["model"]}
            if first:
                answers |= {one: metrics["baselines"][one] for one in ("majority", "random_forest")}
            for one, figures in answers.items():
                parts = figures.get("by_light", {}) | {"field": figures.get("by_field", {})}
                add(of_fold["names"], one, figures, FIGURES)
                for part, row in parts.items() if one != "majority" else ():
                    add(of_fold["lights"], f"{one}_{part}", row, FIGURES)
                for mineral, row in figures["per_class"].items():
                    if row["support"]:
                        recalls.setdefault(one, {}).setdefault(mineral, []).append((row["recall"], row["support"]))
            for method, row in metrics["localisation"]["table"].items():
                if method.startswith("model") or first:
                    add(of_fold["heat"], method.replace("model", who), row, HEAT)
            log.info("%s: balanced accuracy %.3f", run.name, metrics["model"]["balanced_accuracy"])
            if first:
                student, fields_judged = card, metrics["model"]["by_field"]["n"]
                shares.append(metrics["localisation"].get("area_share"))
        for table, found in zip((names, lights, heat), of_fold.values(), strict=True):
            for name, row in found.items():
                for key, values in row.items():
                    table.setdefault(name, {}).setdefault(key, []).append(values)
        rows = use_fold(read_index(data, check_files=False), fold)
        sections = {split: sorted({row.section for row in rows if row.split == split}) for split in ("val", "test")}
        about.append({"fold": fold, "sections": sections, "n_test": metrics["n"], "fields_test": fields_judged})
    teacher = read_card(runs / f"teacher-{folds[0]}")
    return {
        "data": "sandstone-masks (real)",
        "classes": list(MINERALS),
        "sections_known": metrics["sections_known"],
        "folds": about,
        "seeds": list(seeds),
        "n_test": sum(one["n_test"] for one in about),
        "names": _flat(names),
        "names_summary": _summary(names),
        "names_by_light": _flat(lights),
        "names_by_light_summary": _summary(lights),
        "names_pooled": {who: _pooled(row) for who, row in recalls.items()},
        "heatmaps": _flat(heat),
        "heatmaps_summary": _summary(heat),
        "heatmaps_kind": metrics["localisation"]["kind"],
        "area_share": shares,
        "parameters": student.parameters,
        "teacher": {"architecture": teacher.architecture, "parameters": teacher.parameters},
        "caveats": list(CAVEATS),
        "version": __version__,
    }


def _flat(table: Values) -> dict[str, dict[str, list[float]]]:
    """Return the values of all folds and seeds in one list each."""
    return {
        who: {key: [one for fold in folds for one in fold] for key, folds in row.items()} for who, row in table.items()
    }


def _summary(table: Values) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return mean and spread: between folds (their means) and between the seeds of a fold, as standard deviations."""
    return {
        who: {
            key: {
                "mean": round(mean(mean(fold) for fold in folds), 4),
                "spread_folds": round(pstdev([mean(fold) for fold in folds]), 4),
                "spread_seeds": round(mean(map(pstdev, folds)), 4) if len(folds[0]) > 1 else None,
            }
            for key, folds in row.items()
        }
        for who, row in table.items()
    }


def _pooled(recalls: Mapping[str, Sequence[tuple[float, int]]]) -> dict[str, float]:
    """Return accuracy and balanced accuracy over the windows of all folds: a rare mineral has few in each."""
    right = {mineral: sum(recall * support for recall, support in rows) for mineral, rows in recalls.items()}
    support = {mineral: sum(one for _, one in rows) for mineral, rows in recalls.items()}
    return {
        "accuracy": round(sum(right.values()) / sum(support.values()), 4),
        "balanced_accuracy": round(mean(right[one] / support[one] for one in right), 4),
    }


if __name__ == "__main__":
    end_well(main, "make sandstone")
