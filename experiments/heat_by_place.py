"""Whether heatmaps go by the place in the photograph, of teachers and students (`make places`).

Over the validation photographs of every fold (`make folds`): how much hotter the hottest cell of the mean heat is than
the mean, beside chance. Written to results/heat-by-place.json.
"""

import logging
import sys
import time

import numpy as np

from common import ROOT, end_well
from geocamnet import __version__
from geocamnet.console import set_up_logging
from geocamnet.errors import DataError
from geocamnet.images import read_image
from geocamnet.runtime.heatmap import scale_maps
from geocamnet.train.index import read_index, use_fold
from geocamnet.train.places import Places
from geocamnet.train.predictor import open_predictor
from geocamnet.train.runs import write_json

log = logging.getLogger("geocamnet")

FOLDS, RUNS = ROOT / "out" / "folds", {"teacher": "teacher-{}", "student": "student-{}-0", "alone": "alone-{}-0"}
RESULT = ROOT / "results" / "heat-by-place.json"


def main() -> None:
    """Judge every run that is there."""
    set_up_logging()
    data = FOLDS / "data"
    if not (data / "index.csv").is_file():
        sys.exit(f"{data}: not there. Run: make folds")
    rows = read_index(data, check_files=False)
    table: dict[str, dict[str, list[float]]] = {who: {"hottest": [], "hottest_by_chance": []} for who in RUNS}
    photographs = []
    for fold in range(5):
        validation = [row for row in use_fold(rows, fold) if row.split == "val"]
        for who, name in RUNS.items():
            predict, card = open_predictor(FOLDS / "runs" / name.format(fold))
            places = Places()
            for row in validation:
                try:
                    probabilities, class_maps = predict(read_image(data / row.image))
                except DataError as error:
                    log.warning("left out: %s", error)
                    continue
                heat = scale_maps(np.asarray(class_maps, np.float32), card)
                places.add(heat[int(np.argmax(probabilities))])
            found = places.figures()
            if found is None:
                sys.exit(f"{name.format(fold)}: too few photographs of one shape to tell.")
            judged = found["photographs"]
            for key, values in table[who].items():
                values.append(round(found[key], 2))
            log.info("%s: hottest place %.2f, by chance %.2f", name.format(fold), *(v[-1] for v in table[who].values()))
        photographs.append(judged)
    write_json(
        RESULT,
        {
            "data": "carbonate-lithology (real), validation parts",
            "photographs": photographs,
            "networks": table,
            "made": time.strftime("%Y-%m-%d"),
            "version": __version__,
        },
    )
    log.info("%s: written", RESULT)


if __name__ == "__main__":
    end_well(main, "make places")
