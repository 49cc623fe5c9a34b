"""What must be said beside the figures of a model, in words."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geocamnet.card import ModelCard
from geocamnet.errors import DataError
from geocamnet.train.places import prefers_a_place


def sections_known_of(data: Path) -> bool | None:
    """Return whether DATA/prepare.json says that thin sections are known; None where it says nothing.

    Raises:
        DataError: prepare.json can't be read.
    """
    file = data / "prepare.json"
    if not file.is_file():
        return None
    try:
        known = json.loads(file.read_text(encoding="utf-8")).get("sections_known")
    except (json.JSONDecodeError, AttributeError) as error:
        raise DataError(f"{file}: can't be read ({error}). Run geocamnet prepare again.") from error
    return None if known is None else bool(known)


def caveats_of(
    figures: Mapping[str, Any], card: ModelCard, trained_fold: int | None, trained_on: int | None
) -> list[str]:
    """Return a sentence for each thing a reader must know before believing the figures of metrics.json.

    Args:
        figures: what `evaluate` found.
        card: of the model.
        trained_fold: the fold its card says it was trained on.
        trained_on: how many of the photographs judged it has learnt from; None where that is not known.
    """
    found = []
    if not figures["sections_known"]:
        found.append(
            "The thin sections of the photographs are not known: photographs of one section may lie in training and "
            "test, so every figure may be too high, and the intervals too narrow."
        )
    if figures["split"] != "test":
        found.append(f"Judged on the split '{figures['split']}', which training or its choices have seen.")
    if trained_on and figures["split"] != "train":
        found.append(f"{trained_on} of the {figures['n']} photographs judged were trained on: figures are too high.")
    elif trained_on is None and figures["fold"] != trained_fold:
        trained, judged = (
            "the split column" if fold is None else f"fold {fold}" for fold in (trained_fold, figures["fold"])
        )
        found.append(
            f"Trained on {trained} but judged on {judged}: if the data set is the same, photographs judged were "
            "trained on."
        )
    if figures["skipped"]:
        found.append(f"{len(figures['skipped'])} photograph(s) could not be read and are not counted.")
    unknown = figures["excluded"]["labels_unknown_to_the_model"]
    if unknown:
        found.append(f"Labels the model does not know are left out: {', '.join(unknown)}.")
    if figures["n"] < 100:
        found.append(f"Only {figures['n']} photographs were judged: mind the intervals.")
    per_class = figures["model"]["per_class"]
    absent = [name for name, one in per_class.items() if not one["support"]]
    if absent:
        found.append(f"No photograph judged shows: {', '.join(absent)}.")
    where = figures["localisation"]
    if where and where["kind"] == "mosaics":
        found.append(
            "No masks: heatmaps are judged on mosaics of the photographs, 2x2 and Voronoi cells, whose straight "
            "borders are not those of nature; every cell counts as its photograph's class throughout."
        )
    if prefers_a_place(places := figures["places"]):
        found.append(
            f"Heatmaps go by the place in the photograph: over {places['photographs']} of them the hottest cell has "
            f"{places['hottest']:.1f} times the mean heat, where chance gives {places['hottest_by_chance']:.1f}. Do "
            "not read one heatmap of a whole photograph as where the evidence lies."
        )
    if card.labels == "multi" and figures["model"].get("thresholds"):
        found.append("Thresholds per class were chosen on the validation split.")
    return found


def verdicts_in_words(verdicts: Mapping[str, Any]) -> str:
    """Return how many photographs were named, how many of those rightly, and how many refused, by reason."""
    refused = ", ".join(f"{count} {name}" for name, count in verdicts.items() if name not in ("named", "accuracy"))
    right = "" if verdicts["accuracy"] is None else f" ({verdicts['accuracy']:.0%} of them rightly)"
    return f"{verdicts['named']} named{right}, {refused}"
