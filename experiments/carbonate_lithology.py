"""Without published weights: the whole pipeline on 816 photographs of a carbonate reservoir's cores (`make real`).

draw, pre-train teacher and student on what is drawn → prepare → train → cam → distil (with the teacher and alone,
several seeds) → evaluate → export → run, with the recipes `recipes/drawn.toml` and
`recipes/carbonate-lithology.toml`. Every step that is finished is kept in out/real, so that a stopped run goes on; the
figures are written to results/carbonate-lithology.json.

The photographs carry no thin-section ids: a split by section is impossible, and the result says so.
"""

import logging
import shutil
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from common import FIGURES, HEAT, ROOT, add, distil_once, end_well, once, read_recipe, settings
from geocamnet import __version__
from geocamnet.console import set_up_logging
from geocamnet.runtime.folder.predict import predict_folder
from geocamnet.runtime.model import load
from geocamnet.train.cam import extract
from geocamnet.train.evaluate import evaluate
from geocamnet.train.export import export
from geocamnet.train.index import read_index
from geocamnet.train.predictor import network_predictor
from geocamnet.train.prepare import prepare
from geocamnet.train.recipes import CamRecipe, DistilRecipe, PrepareRecipe, SynthesizeRecipe, TrainRecipe
from geocamnet.train.report import write_report
from geocamnet.train.runs import build_network, read_card, write_json
from geocamnet.train.synthetic import synthesize
from geocamnet.train.training import train

log = logging.getLogger("geocamnet")

RAW = ROOT.parent / "shared" / "data" / "carbonate-lithology"
OUT = ROOT / "out" / "real"
RESULT = ROOT / "results" / "carbonate-lithology.json"
SEEDS = (0, 1, 2)
CAVEATS = (
    "No thin-section ids are known: photographs of one section may lie in train and test, so every figure may flatter.",
    "Labels are per depth interval, not per texture; some are noisy.",
    "One hold-out split of 816 photographs, one teacher; the spread is over the students' seeds only. "
    "The standard error of an accuracy on this test part is about 0.03.",
    "Heatmaps are judged on 2x2 mosaics of test photographs, brightness equalised: there are no masks.",
    "The teacher starts from drawn thin sections, not from published weights: the machine had no internet.",
    "The student, and the student alone, start from drawn sections too, named without a teacher.",
)


def main() -> None:
    """Run what is not finished, then write the result."""
    set_up_logging()
    if not RAW.is_dir():
        sys.exit(f"{RAW}: the photographs are not there; this result needs them.")
    began = time.monotonic()
    recipe, drawing = (read_recipe(ROOT / "recipes" / f"{name}.toml") for name in ("carbonate-lithology", "drawn"))
    data, drawn = OUT / "data", OUT / "drawn"
    prepare(RAW, data, settings(PrepareRecipe, recipe["prepare"]))

    synthesize(drawn / "raw", settings(SynthesizeRecipe, drawing["synthesize"]))
    prepare(drawn / "raw", drawn / "data", settings(PrepareRecipe, drawing["prepare"]))
    start = settings(TrainRecipe, drawing["train"])
    drawn_teacher, drawn_student = (OUT / "runs" / f"drawn-{who}" for who in ("teacher", "student"))
    once(drawn_teacher, start, partial(train, drawn / "data"))
    distil_once(drawn / "data", drawn_student, settings(DistilRecipe, drawing["distil"]), None)
    teaching = replace(settings(TrainRecipe, recipe["train"]), weights=str(drawn_teacher.relative_to(ROOT)))
    teacher = OUT / "runs" / "teacher"
    once(teacher, teaching, partial(train, data))
    extract(data, teacher, CamRecipe())

    studying = replace(settings(DistilRecipe, recipe["distil"]), weights=str(drawn_student.relative_to(ROOT)))
    for seed in SEEDS:
        of_seed = replace(studying, seed=seed)
        for who, source in (("student", teacher), ("alone", None)):
            distil_once(data, OUT / "runs" / f"{who}-{seed}", of_seed, source)
    result = judge(data, teacher)

    model = OUT / "student.onnx"
    attribution = (
        "Trained on photographs of AhmadTaheri2021/Lithology-microscopic-images-mini-dataset (Apache-2.0), "
        "originals cropped and scaled."
    )
    export(
        OUT / "runs" / "student-0", model, data=data,
        name="Carbonate lithology, first student", licence="Apache-2.0", attribution=attribution,
    )  # fmt: skip
    pictures = OUT / "pictures"
    originals = pictures / "originals"
    originals.mkdir(parents=True, exist_ok=True)
    for row in [row for row in read_index(data) if row.split == "test"][::12]:
        shutil.copy(RAW / row.source, originals)
    predict_folder(originals, pictures / "mapped", load(model), overwrite=True)
    write_report(OUT / "runs" / "student-0")
    result["minutes_this_call"] = round((time.monotonic() - began) / 60, 1)
    write_json(RESULT, result)
    log.info("%s: written", RESULT)


def judge(data: Path, teacher: Path) -> dict[str, Any]:
    """Judge teacher, students and baselines on the test photographs; the only look at them."""
    names: dict[str, dict[str, list[float]]] = {}
    heat: dict[str, dict[str, list[float]]] = {}
    runs = [("teacher", teacher)]
    runs += [(who, OUT / "runs" / f"{run}-{seed}") for seed in SEEDS for who, run in
             (("student", "student"), ("student_alone", "alone"))]  # fmt: skip
    metrics: dict[str, Any] = {}
    for who, run in runs:
        first = run.name == "student-0"
        card = read_card(run)
        untrained = network_predictor(build_network(card), card) if first else None
        metrics = evaluate(run, data, baselines=first, untrained=untrained)
        add(names, who, metrics["model"], FIGURES)
        for baseline in ("majority", "random_forest") if first else ():
            add(names, baseline, metrics["baselines"][baseline], FIGURES)
        for method, row in metrics["localisation"]["table"].items():
            if method.startswith("model") or first:
                add(heat, method.replace("model", who), row, HEAT)
        log.info("%s: balanced accuracy %.3f", run.name, metrics["model"]["balanced_accuracy"])
    student, card = read_card(OUT / "runs" / "student-0"), read_card(teacher)
    return {
        "data": "carbonate-lithology (real)",
        "sections_known": metrics["sections_known"],
        "n_train": card.data["photographs"]["train"],
        "n_test": metrics["n"],
        "seeds": list(SEEDS),
        "names": names,
        "heatmaps": heat,
        "heatmaps_kind": metrics["localisation"]["kind"],
        "area_share": metrics["localisation"].get("area_share"),
        "parameters": student.parameters,
        "teacher": {"architecture": card.architecture, "parameters": card.parameters},
        "caveats": list(CAVEATS),
        "version": __version__,
    }


if __name__ == "__main__":
    end_well(main, "make real")
