"""Student and teacher on 816 photographs of a carbonate reservoir's cores, by 5-fold cross-validation (`make folds`).

For each fold: train → distil (alone; then with two teachers, the teacher and the student alone; from the same start,
the one that comes with the package, in two passes) → evaluate, with recipes/carbonate-folds.toml. What is finished is
kept in out/folds, so that a stopped run goes on; figures of the folds and seeds that are done are written to
results/carbonate-folds.json, beside those of earlier calls (`parts`).

The photographs carry no thin-section ids: folds by section are impossible, and the result says so.
"""

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import numpy as np
from scipy.special import softmax

from common import (
    FIGURES,
    HEAT,
    MARKS,
    ROOT,
    end_well,
    figures_of,
    fit_folds,
    fold_options,
    judge_once,
    read_recipe,
    settings,
    summary,
)
from geocamnet import __version__
from geocamnet.console import set_up_logging
from geocamnet.images import read_image
from geocamnet.train.index import read_index, use_fold
from geocamnet.train.metrics import classification_metrics, fit_temperature
from geocamnet.train.predictor import network_predictor, open_predictor
from geocamnet.train.prepare import prepare
from geocamnet.train.recipes import DistilRecipe, PrepareRecipe, TrainRecipe
from geocamnet.train.runs import build_network, read_card, write_json
from imagenet_weights import fetch
from parts import Part, kept_parts, recipe_tables, table_of, with_parts

log = logging.getLogger("geocamnet")

RAW = ROOT.parent / "shared" / "data" / "carbonate-lithology"
# A second pass of student and student alone starts where the first has come. Features have been learnt; answers and
# maps are gone over again. On validation the five students named 2.9 points more after it (the first was not judged on
# test).
AGAIN = {"epochs": 24, "lr": 1e-3, "feature_weight": 0.0}
TRUST = ("named", "named_accuracy", "calibration_error")
STUDENTS = {"student": "student", "student_alone": "alone"}  # who, and what its runs are called
Rows = Mapping[str, Mapping[str, Any]]
CAVEATS = (
    "No thin-section ids are known: photographs of one section may lie in train and test, so every figure may flatter.",
    "Labels are per depth interval, not per texture; some are noisy.",
    "The teacher starts from ImageNet weights; the student starts from those weights' features, on drawn sections.",
    "The student alone has the same start, schedule and photographs; only the teachers' terms are missing.",
    "The student learns from the mean of two teachers: the teacher, and the student alone after its first pass.",
    "A machine that rounds otherwise ends in another network of the same recipe and seed: figures of one fold differ "
    "then by as much as between seeds.",
    "Heatmaps are judged on mosaics of test photographs, brightness equalised: there are no masks.",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not finished, then judge, and write the result."""
    chosen = fold_options(__doc__, arguments, name="carbonate-folds", out="folds")
    set_up_logging()
    if not RAW.is_dir():
        sys.exit(f"{RAW}: the photographs are not there; this result needs them.")
    began = time.monotonic()
    recipe, out = read_recipe(chosen.recipe), chosen.out
    data, preparing = out / "data", settings(PrepareRecipe, recipe["prepare"])
    prepare(RAW, data, preparing)
    teaching = replace(settings(TrainRecipe, recipe["train"]), weights=str(fetch("lite0")))
    studying = settings(DistilRecipe, recipe["distil"])
    folds = chosen.folds or list(range(preparing.folds))
    fit_folds(data, out / "runs", teaching, studying, folds=folds, seeds=chosen.seeds, again=AGAIN, alone_teaches=True)
    recipes = recipe_tables({"teacher": teaching, "student": studying})
    parts = with_parts(kept_parts(chosen.result, recipes), judge(data, out / "runs", folds, chosen.seeds))
    runs, fold = out / "runs", folds[0]
    result = result_of(parts, runs / f"student-{fold}-{chosen.seeds[0]}", runs / f"teacher-{fold}")
    result["recipes"] = recipes
    result["minutes_this_call"] = round((time.monotonic() - began) / 60, 1)
    write_json(chosen.result, result)
    log.info("%s: written", chosen.result)


def judge(data: Path, runs: Path, folds: Sequence[int], seeds: Sequence[int]) -> list[Part]:
    """Judge teachers, students and baselines, each on the photographs its fold has kept from it; a part for each."""
    parts: list[Part] = []
    measured: dict[str, Any] = {}
    for fold in folds:
        judged: list[tuple[str, int | None, Path]] = [("teacher", None, runs / f"teacher-{fold}")]
        for of_seed in seeds:
            judged += [(who, of_seed, runs / f"{run}-{fold}-{of_seed}") for who, run in STUDENTS.items()]
        for who, seed, run in judged:
            first = run.name == f"student-{fold}-{seeds[0]}"
            card = read_card(run)
            untrained = network_predictor(build_network(card), card) if first else None
            metrics = judge_once(run, data, baselines=first, untrained=untrained, measured=measured)
            patient = judge_once(run, data, all_attitudes=True, localisation=False)
            named = {who: metrics["model"], f"{who}_attitudes": patient["model"]}
            maps = metrics["localisation"]["table"].items()
            own = {method.replace("model", who): row for method, row in maps if method.startswith("model")}
            marks = {who: metrics["localisation"].get("marks", {})}
            trust = {one: trust_of(row) for one, row in named.items()}
            parts.append({"fold": fold, "seed": seed, "who": who} | _tables(named, own, marks, trust))
            if who == "student":
                teachers = (runs / f"teacher-{fold}", runs / f"first-alone-{fold}-{seed}")
                named = {"teachers_together": together(teachers, data, fold)}
                parts.append({"fold": fold, "seed": seed, "who": "teachers_together"} | _tables(named))
            if first:
                plain = {method: row for method, row in maps if not method.startswith("model")}
                named = {one: metrics["baselines"][one] for one in ("majority", "random_forest")}
                known = {"n": metrics["n"], "sections_known": metrics["sections_known"]}
                known |= {one: metrics["localisation"].get(one) for one in ("kind", "area_share")}
                parts.append({"fold": fold, "seed": None, "who": "plain"} | _tables(named, plain) | known)
            log.info("%s: balanced accuracy %.3f", run.name, metrics["model"]["balanced_accuracy"])
    return parts


def trust_of(row: Mapping[str, Any]) -> dict[str, float]:
    """Return what an answer may be trusted for: the share it names, of these the share right, the calibration error."""
    verdicts = row["verdicts"]
    of_named = {"named": verdicts["named"] / row["n"], "named_accuracy": verdicts["accuracy"]}
    return of_named | {"calibration_error": row["calibration_error"]}


def _tables(
    names: Rows, heat: Rows | None = None, marks: Rows | None = None, trust: Rows | None = None
) -> dict[str, Any]:
    """Return the tables of a part."""
    tables = (
        ("names", names, FIGURES),
        ("heatmaps", heat or {}, HEAT),
        ("marks", marks or {}, MARKS),
        ("trust", trust or {}, TRUST),
    )
    return {name: {one: figures_of(row, keys) for one, row in rows.items()} for name, rows, keys in tables if rows}


def result_of(parts: Sequence[Part], student: Path, teacher: Path) -> dict[str, Any]:
    """Return what the result file holds: the tables of all parts, what is known of the networks, the parts.

    Args:
        parts: all that were judged.
        student, teacher: runs whose cards tell of all.
    """
    card, of_teacher = read_card(student), read_card(teacher)
    names, heat = table_of(parts, "names"), table_of(parts, "heatmaps")
    plain = [part for part in parts if part["who"] == "plain"]
    return {
        "data": "carbonate-lithology (real)",
        "classes": list(card.class_names),
        "sections_known": all(part["sections_known"] for part in plain),
        "folds": [part["fold"] for part in plain],
        "seeds": sorted({part["seed"] for part in parts if part["seed"] is not None}),
        "n_test": sum(part["n"] for part in plain),
        "names": names,
        "names_summary": summary(names),
        "student_above_alone": above_alone(parts),
        "heatmaps": heat,
        "heatmaps_summary": summary(heat),
        "marks": table_of(parts, "marks"),
        "trust": table_of(parts, "trust"),
        "heatmaps_kind": plain[0]["kind"],
        "area_share": [part["area_share"] for part in plain],
        "parameters": card.parameters,
        "teacher": {"architecture": of_teacher.architecture, "parameters": of_teacher.parameters},
        "caveats": list(CAVEATS),
        "parts": list(parts),
        "version": __version__,
    }


def above_alone(parts: Sequence[Part]) -> dict[str, dict[str, Any]]:
    """Return by how much the student's figures lie above those of the same alone, of the same fold and seed.

    For every figure: of every seed the mean over folds, the spread of these means over seeds (None for one seed), the
    spread over all folds and seeds, and in how many of them the student was better.
    """
    found: dict[str, dict[str, Any]] = {}
    by_key = {(part["who"], part["seed"], part["fold"]): part["names"] for part in parts if part["who"] in STUDENTS}
    pairs = sorted(key[1:] for key in by_key if key[0] == "student" and ("student_alone", *key[1:]) in by_key)
    for ending in ("", "_attitudes"):
        for figure in FIGURES:
            of_seed: dict[int, list[float]] = {}
            for seed, fold in pairs:
                student, alone = (by_key[who, seed, fold][f"{who}{ending}"][figure] for who in STUDENTS)
                of_seed.setdefault(seed, []).append(student - alone)
            every = [one for values in of_seed.values() for one in values]
            means = [round(mean(values), 4) for values in of_seed.values()]
            found[f"{figure}{ending}"] = {
                "seeds": means,
                "mean": round(mean(every), 4),
                "spread_seeds": round(pstdev(means), 4) if len(means) > 1 else None,
                "spread": round(pstdev(every), 4),
                "better": sum(one < 0 if figure == "nll" else one > 0 for one in every),
                "of": len(every),
            }
    return found


def together(runs: Sequence[Path], data: Path, fold: int) -> dict[str, Any]:
    """Return how well the mean of several networks' logits names the photographs that their fold kept from them."""
    known = use_fold(read_index(data), fold)
    val, test = ([row for row in known if row.split == split] for split in ("val", "test"))
    logits = []
    for run in runs:
        predict, card = open_predictor(run)
        maps = (predict(read_image(data / row.image))[1] for row in (*val, *test))
        logits.append([one.mean(axis=(1, 2), dtype=np.float64) + np.asarray(card.class_bias) for one in maps])
    both = np.mean(logits, axis=0)
    truth = np.array([card.class_index(row.labels[0]) for row in (*val, *test)])
    temperature = fit_temperature(both[: len(val)], truth[: len(val)])  # as every network's own answers have one
    probabilities = softmax(both[len(val) :] / temperature, axis=1)
    return classification_metrics(probabilities, truth[len(val) :], card.class_names)


if __name__ == "__main__":
    end_well(main, "make folds")
