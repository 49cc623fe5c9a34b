"""The whole pipeline on drawn thin sections: a teacher, its class maps, a student with and without it, pictures.

The student's data set is a second, lighter one, drawn from other sections, a third of them without a label: as
MidDynuy is to Carbonate-Sichuan-170G. Heatmaps are judged on a third collection, fields of two or three fabrics,
whose masks are exact.
"""

import logging
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from geocamnet import __version__
from geocamnet.errors import DataError
from geocamnet.images import read_image
from geocamnet.runtime.folder.predict import predict_folder
from geocamnet.runtime.model import load
from geocamnet.runtime.scale import scale_to_card
from geocamnet.train.cam import extract
from geocamnet.train.evaluate import evaluate
from geocamnet.train.export import export
from geocamnet.train.index import read_index
from geocamnet.train.map_samples import judge_heatmaps
from geocamnet.train.predictor import open_predictor
from geocamnet.train.prepare import prepare
from geocamnet.train.recipes import AugmentRecipe, CamRecipe, DistilRecipe, PrepareRecipe, SynthesizeRecipe, TrainRecipe
from geocamnet.train.report import write_report
from geocamnet.train.runs import write_json, write_text
from geocamnet.train.synthetic import synthesize
from geocamnet.train.training import distil, train

log = logging.getLogger(__name__)

CLASSES = (
    "coarse_crystalline_dolomite",
    "evaporite",
    "fine_crystalline_dolomite",
    "grape",
    "micritic_limestone",
    "oolite",
    "stromatolite",
    "vug",
)  # fmt: skip

# Minutes on two cores, so: small photographs, many sections of one field each (a new section teaches more than a
# new field), and sections that differ a little less than real slides do.
_AUGMENT = AugmentRecipe(stain=0.2, light=0.15, focus=0.05, noise=0.05, burn_in=0.05)
_DRAWN = SynthesizeRecipe(classes=CLASSES, size_px=160, fields=1, lights=("PPL",), style=0.6)
RECIPES: dict[str, Any] = {
    "teacher_raw": replace(_DRAWN, sections=75, seed=201),
    "student_raw": replace(_DRAWN, sections=100, unlabelled=1 / 3, seed=202),
    "composites_raw": replace(_DRAWN, sections=6, composites=1.0, seed=203),
    "prepare_teacher": PrepareRecipe(long_side_px=160, val_share=0.12, test_share=0.0),
    "prepare_student": PrepareRecipe(long_side_px=160, val_share=0.15, test_share=0.25),
    "prepare_composites": PrepareRecipe(long_side_px=160, val_share=0.35, test_share=0.6),
    "teacher": TrainRecipe(image_px=160, crop_px=80, epochs=4, batch_size=8, lr=2e-4, augment=_AUGMENT),
    # Four epochs from chance make a teacher that names worse than its student (on validation too), so it has less say.
    "student": DistilRecipe(
        image_px=160, crop_px=112, epochs=46, batch_size=16, lr=4e-3, logit_weight=0.3, map_weight=0.3, augment=_AUGMENT
    ),
}


def demo(out: Path, *, overwrite: bool = False, recipes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run every step of the pipeline, as the command line would, and say what it found.

    Args:
        out: everything the demo makes lies here; ``demo.json`` has the figures, ``pictures/`` the heatmaps.
        overwrite: start again where there is a demo.
        recipes: other settings than `RECIPES`, under the same names.

    Returns:
        What demo.json holds.

    Raises:
        DataError: ``out`` is not empty, or is no demo's folder.
    """
    chosen = RECIPES | (recipes or {})
    _make_room(out, overwrite=overwrite)
    began = time.monotonic()
    raw, data, runs = out / "raw", out / "data", out / "runs"
    steps = _Steps(9)

    steps.say("draw thin sections: the teacher's, the student's (a third without label), composite fields")
    for name in ("teacher", "student", "composites"):
        synthesize(raw / name, chosen[f"{name}_raw"])
    steps.say("prepare three data sets, split by thin section")
    for name in ("teacher", "student", "composites"):
        prepare(raw / name, data / name, chosen[f"prepare_{name}"])
    steps.say(f"train the teacher, {chosen['teacher'].backbone}")
    train(data / "teacher", runs / "teacher", chosen["teacher"])
    steps.say("extract its class activation maps on the student's data set")
    extract(data / "student", runs / "teacher", CamRecipe())
    steps.say("distil the student from labels, logits and class maps")
    distil(data / "student", runs / "student", chosen["student"], teacher=runs / "teacher")
    steps.say("train the same student alone, to know what the teacher was worth")
    distil(data / "student", runs / "alone", chosen["student"], teacher=None)
    steps.say("judge all three on sections none has seen")
    figures = _judge(data, runs)
    steps.say("export the student to one file, checked against the network")
    model = out / "student.onnx"
    card = export(runs / "student", model, data=data / "student", name="Demo student (drawn sections)")
    steps.say("run the file on photographs of the test sections and on composite fields")
    for name, folder in (("photographs", "student"), ("composites", "composites")):
        _run(data / folder, out / "pictures" / name, model)
    write_report(runs / "student")
    result = {
        "data": "drawn thin sections (synthetic)",
        "classes": len(card.classes),
        "parameters": card.parameters,
        "teacher": {key: card.teacher[key] for key in ("architecture", "parameters")},
        "teaching": card.teacher,
        "style": chosen["student_raw"].style,
        "minutes": round((time.monotonic() - began) / 60, 1),
        **figures,
        "version": __version__,
    }
    write_json(out / "demo.json", result)
    _summarise(result, out)
    return result


def _judge(data: Path, runs: Path) -> dict[str, Any]:
    names = {"student": "student", "alone": "student_alone", "teacher": "teacher"}
    figures: dict[str, Any] = {"names": {}, "heatmaps": {}}
    rows = read_index(data / "composites")
    val, test = ([row for row in rows if row.split == split] for split in ("val", "test"))
    for run, name in names.items():
        metrics = evaluate(
            runs / run,
            data / "student",
            out=None if run == "student" else runs / f"{run}_on_student_data",
            baselines=run == "student",
            localisation=run == "student",
        )
        keep = ("n", "accuracy", "balanced_accuracy", "macro_f1")
        figures["names"][name] = {key: metrics["model"][key] for key in keep if key in metrics["model"]}
        for who in ("majority", "random_forest") if run == "student" else ():
            figures["names"][who] = {key: metrics["baselines"][who][key] for key in keep[1:]}
        predict, card = open_predictor(runs / run)
        table = judge_heatmaps(predict, card, val, test, data=data / "composites", read_row=_reader(data, card))
        for method, row in table["table"].items():
            own = method.startswith("model")
            if own or run == "student":
                figures["heatmaps"][method.replace("model", name)] = {
                    key: row[key] for key in ("miou", "pixel_ap", "energy", "pointing") if key in row
                }
        figures["heatmap_area_share"] = table.get("area_share")
        figures["composite_fields"] = {"val": len(val), "test": len(test)}
    return figures


def _reader(data: Path, card: Any) -> Any:
    return lambda row: scale_to_card(read_image(data / "composites" / row.image), card, row.um_per_px)


def _run(data: Path, out: Path, model: Path, most: int = 12) -> None:
    test = [row for row in read_index(data) if row.split == "test"]
    chosen = test[:: max(1, len(test) // most)][:most]
    folder = out / "originals"
    folder.mkdir(parents=True, exist_ok=True)
    for row in chosen:
        shutil.copy(data / row.image, folder)
    opened = load(model)
    predict_folder(folder, out / "mapped", opened)
    log.info("%s: %d photographs mapped", out / "mapped", len(chosen))


def _make_room(out: Path, *, overwrite: bool) -> None:
    if out.is_dir() and any(out.iterdir()):
        if not overwrite:
            raise DataError(f"{out}: is not empty. Start again with --overwrite, or name another folder.")
        if not (out / "demo.started").is_file():
            raise DataError(f"{out}: is not empty and holds no demo, so it is left alone. Name another folder.")
        shutil.rmtree(out)
    write_text(out / "demo.started", "")


def _summarise(result: dict[str, Any], out: Path) -> None:
    log.info("Names, held-out drawn sections (balanced accuracy):")
    for who, row in result["names"].items():
        log.info("  %-24s %.3f", who.replace("_", " "), row["balanced_accuracy"])
    log.info("Heatmaps against exact masks of composite fields (mean IoU):")
    for who, row in result["heatmaps"].items():
        log.info("  %-24s %.3f", who.replace("_", " "), row["miou"])
    log.info("%.1f minutes. Figures: %s", result["minutes"], out / "demo.json")
    log.info("Pictures: %s", out / "pictures")
    log.info("Report: %s", out / "runs" / "student" / "report.html")
    log.info("Try it: geocamnet run PHOTOGRAPH OUT --model %s", out / "student.onnx")


class _Steps:
    """Says which step of how many begins, and how long it has been."""

    def __init__(self, count: int) -> None:
        self.count, self.done, self.began = count, 0, time.monotonic()

    def say(self, what: str) -> None:
        self.done += 1
        spent = int(time.monotonic() - self.began)
        log.info("[%d/%d] %d:%02d %s", self.done, self.count, spent // 60, spent % 60, what)
