"""The student that comes with the package (`make bundled`): the first fold's of `make folds`, in 8-bit weights.

No fold is chosen: it is the first, and the figures on its card are those of the photographs that this fold kept from
it. The file is judged again as it is shipped, and asked about photographs of something else; what it loses by 8 bits
and what it refuses is written to results/bundled-student.json and results/strangers.json.
"""

import logging
import sys

import strangers
from carbonate_folds import RAW
from common import FIGURES, HEAT, ROOT, end_well, judge_once
from geocamnet import __version__
from geocamnet.console import set_up_logging
from geocamnet.train.evaluate import evaluate
from geocamnet.train.export import export
from geocamnet.train.runs import write_json

log = logging.getLogger("geocamnet")

FOLD = 0
OUT = ROOT / "out" / "folds"
MODEL = ROOT / "src" / "geocamnet" / "runtime" / "weights" / "student.onnx"
RESULT, REFUSED = (ROOT / "results" / name for name in ("bundled-student.json", "strangers.json"))
NAME = "carbonate-lithology student"
LICENCE = "Apache-2.0"
ATTRIBUTION = (
    "Photographs: Lithology-microscopic-images-mini-dataset, AhmadTaheri2021 (Apache-2.0), the grey originals cropped "
    "by 12 px. Features learnt from EfficientNet-Lite0 with ImageNet weights (Apache-2.0)."
)
LIMITS = (
    "three lithologies of one reservoir in the southern Persian Gulf (limestone, argillaceous limestone, dolomite), "
    "grey photographs of one microscope and scale; labels are per depth interval; thin sections unknown, so its "
    "figures may flatter; not the 22 fabrics"
)


def main() -> None:
    """Judge the run, export it, judge the file, ask it about strangers."""
    set_up_logging()
    run, data = OUT / "runs" / f"student-{FOLD}-0", OUT / "data"
    if not ((run / "card.json").is_file() and RAW.is_dir()):
        sys.exit(f"{run}: not there yet, or {RAW} is not. Run: make folds")
    judged = {"fp32": judge_once(run, data, baselines=True)}
    MODEL.parent.mkdir(exist_ok=True)
    card = export(
        run,
        MODEL,
        data=data,
        precision="int8-weights",
        name=NAME,
        licence=LICENCE,
        attribution=ATTRIBUTION,
        limits=LIMITS,
    )
    judged["int8-weights"] = evaluate(MODEL, data, fold=FOLD, out=OUT / "bundled", baselines=False)
    figures = {
        precision: {
            **{name: round(metrics["model"][name], 4) for name in FIGURES},
            **{name: round(metrics["localisation"]["table"]["model"][name], 4) for name in HEAT},
        }
        for precision, metrics in judged.items()
    }
    result = {
        "model": card.name,
        "classes": list(card.class_names),
        "data": "carbonate-lithology (real)",
        "fold": FOLD,
        "n_test": judged["fp32"]["n"],
        "kilobytes": round(MODEL.stat().st_size / 1000),
        "parameters": card.parameters,
        "precisions": figures,
        "version": __version__,
    }
    write_json(RESULT, result)
    strangers.main(MODEL, data, REFUSED, {})
    log.info("%s, %s and %s: written", MODEL, RESULT, REFUSED)


if __name__ == "__main__":
    end_well(main, "make bundled")
