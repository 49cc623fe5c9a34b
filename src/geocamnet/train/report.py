"""One self-contained HTML page of a run: what it is, how good it is, beside what, and what to mind."""

import base64
import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from geocamnet import __version__
from geocamnet.card import ModelCard
from geocamnet.errors import DataError
from geocamnet.images import written_aside
from geocamnet.runtime.prediction import REFUSALS
from geocamnet.train.caveats import verdicts_in_words
from geocamnet.train.plain_heatmaps import PLAIN_HEATMAPS
from geocamnet.train.report_figures import Curves, calibration_diagram, coverage_diagram, training_curves

MOST_PICTURE_BYTES = 6_000_000  # a third more once written as text: 8 MB

FIGURES_SINGLE = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "top5_accuracy": "Top-5 accuracy",
    "nll": "NLL ↓",
    "brier": "Brier ↓",
    "calibration_error": "Calibration error ↓",
}
FIGURES_MULTI = {"mAP": "mAP", "macro_f1": "Macro F1", "micro_f1": "Micro F1", "brier": "Brier ↓"}
LOWER_IS_BETTER = frozenset({"nll", "brier", "calibration_error", "deletion", "average_drop"})
FIGURES_OF_HEAT = {"miou": "mIoU", "pixel_ap": "Pixel AP", "energy": "Energy inside", "pointing": "Pointing game"}
FIGURES_OF_FAITH = {
    "insertion": "Insertion",
    "deletion": "Deletion ↓",
    "road": "ROAD",
    "average_drop": "Average drop ↓",
    "average_increase": "Average increase",
}
TITLES = {
    "model": "The model",
    "majority": "Always the commonest class",
    "random_forest": "Random forest (texture, grey, colour)",
    "model_texture": "The model, refined with texture",
    "model_smoothed": "The model, only smoothed",
    "model_grey_guided": "The model, refined with the grey level",
    "model_superpixels": "The model, mean of superpixels",
    "model_brightness_blur": "The model, half and half with blurred brightness",
    "model_softmax": "The model, softmax in every cell",
    "model_field": "The model, all photographs of the field",
    "untrained": "The network before training",
    "grey": "Grey level",
    "inverse_grey": "Inverse grey level",
    "blurred_grey": "Grey level, blurred",
    "blurred_inverse_grey": "Inverse grey level, blurred",
    "edges": "Edges",
    "centre": "A blob in the centre",
    "random": "Chance",
    "glcm_entropy": "GLCM entropy",
}

# What the page may ask for where a run was judged in part or not at all.
_NOT_JUDGED: dict[str, Any] = dict.fromkeys(
    ("split", "fold", "n", "sections", "sections_known", "labels", "localisation", "created")
) | {"classes": [], "baselines": {}, "excluded": {}, "skipped": [], "caveats": []}


def write_report(run: Path) -> Path:
    """Write RUN/report.html: one page without any outside request, pictures inside it.

    Reads what is there of ``card.json``, ``metrics.json``, ``log.csv``, ``recipe.toml`` and ``gallery/``; what is
    missing is said on the page with the command that makes it. Also takes a folder that `evaluate` wrote to.

    Args:
        run: the folder.

    Returns:
        The page's path.

    Raises:
        DataError: no such folder, none of these files in it, or one that can't be read.
    """
    if not run.is_dir():
        raise DataError(f"{run}: no such folder. Name a run folder.")
    card_text, recipe = _text(run / "card.json"), _text(run / "recipe.toml")
    metrics = _json(run / "metrics.json") or {}
    curves = _curves(run / "log.csv")
    if not (card_text or recipe or metrics or curves):
        raise DataError(
            f"{run}: not a run: none of card.json, metrics.json, log.csv and recipe.toml is in it. "
            "Name a folder that geocamnet train, distil or evaluate wrote."
        )
    card = ModelCard.from_json(card_text) if card_text else None
    gallery, left_out = _gallery(run / "gallery")
    missing = [
        why
        for is_there, why in (
            (card, "card.json: the training is not finished. Go on with --resume."),
            (metrics.get("model"), f"Figures: judge the model with geocamnet evaluate {run} DATA."),
            (curves, "log.csv: the curves of the training."),
            (recipe, "recipe.toml: how it was trained."),
            (gallery, "Pictures: geocamnet evaluate makes them."),
        )
        if not is_there
    ]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("geocamnet.train"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": _figure, "words": _words}
    model = metrics.get("model") or {}
    places = metrics.get("localisation") or {}
    names = FIGURES_MULTI if metrics.get("labels") == "multi" else FIGURES_SINGLE
    page = environment.get_template("report.html.j2").render(
        name=card.name if card else run.name,
        card=card,
        metrics=_NOT_JUDGED | metrics,
        model=model,
        titles=_class_titles(card, metrics),
        figures={name: title for name, title in names.items() if name in model},
        answers=_answers(metrics, names),
        heat=_heat_rows(places, FIGURES_OF_HEAT),
        heat_figures=FIGURES_OF_HEAT,
        voronoi=_heat_rows(places.get("voronoi"), FIGURES_OF_HEAT),
        faith=_heat_rows(places.get("faithfulness"), FIGURES_OF_FAITH),
        faith_figures=FIGURES_OF_FAITH,
        verdicts=verdicts(metrics),
        verdict_words=verdicts_in_words(model["verdicts"]) if model.get("verdicts") else "",
        heat_verdicts=heat_verdicts(metrics),
        confusion=_confusion(model),
        curves=training_curves(curves),
        calibration=calibration_diagram(model["calibration"]) if model.get("calibration") else "",
        coverage=coverage_diagram(model["coverage_accuracy"], model.get("abstention"))
        if model.get("coverage_accuracy")
        else "",
        gallery=gallery,
        refusals=REFUSALS,
        left_out=left_out,
        recipe=recipe,
        missing=missing,
        version=__version__,
    )
    target = run / "report.html"
    with written_aside(target) as aside:
        aside.write_text(page, encoding="utf-8", newline="\n")
    return target


def verdicts(metrics: Mapping[str, Any]) -> list[tuple[bool | None, str]]:
    """Return what the figures mean, in words: (good, bad or undecided as None; the sentence).

    The model is called better than a baseline only where the low end of its interval lies above the baseline.
    """
    found: list[tuple[bool | None, str]] = []
    model = metrics.get("model") or {}
    key, title = ("mAP", "mean average precision") if "mAP" in model else ("balanced_accuracy", "balanced accuracy")
    own = model.get(key)
    for name, words, if_not in (
        ("random_forest", "the random forest", "To name rock, without a map of it, the forest does as well."),
        ("majority", "always naming the commonest class", "It has learnt nothing worth using."),
    ):
        theirs = (metrics.get("baselines") or {}).get(name, {}).get(key)
        if own is None or theirs is None:
            continue
        low, high = (model.get("intervals") or {}).get(key, (None, None))
        pair = f"{title} {own:.3f} against {theirs:.3f}"
        if own <= theirs:
            found.append((False, f"The model is not better than {words}: {pair}. {if_not}"))
        elif low is not None and low <= theirs:
            found.append(
                (None, f"The model is above {words}, but not beyond doubt: {pair}, interval {low:.3f} to {high:.3f}.")
            )
        elif low is not None:
            found.append((True, f"The model is better than {words}: {pair}, interval {low:.3f} to {high:.3f}."))
        else:
            found.append((True, f"The model is above {words}: {pair}."))
    return found


def heat_verdicts(metrics: Mapping[str, Any]) -> list[tuple[bool | None, str]]:
    """Return in words how the model's heatmaps stand to the best that know no rock: (good; the sentence)."""
    found: list[tuple[bool | None, str]] = []
    judged = metrics.get("localisation") or {}
    table = judged.get("table") or {}
    plain = {name: table[name] for name in PLAIN_HEATMAPS if name in table}
    if plain and "model" in table:
        for figure, words in FIGURES_OF_HEAT.items():
            best = max(plain, key=lambda name: plain[name][figure] or 0)
            mine, rival = table["model"][figure], plain[best][figure]
            if mine is None or rival is None:
                continue
            place = "above" if mine > rival else "not above"
            found.append(
                (
                    mine > rival,
                    f"{words}: the model's heatmap ({mine:.3f}) is {place} the best map that knows no rock "
                    f"({TITLES[best].lower()}, {rival:.3f}).",
                )
            )
    if pixels := (judged.get("segmentation") or {}).get("table"):
        mine, rival = pixels["model"]["miou"], max(pixels[name]["miou"] for name in ("grey", "blurred_grey"))
        place = "above" if mine > rival else "not above"
        found.append(
            (
                mine > rival,
                f"Every pixel named, of all classes: the model's mean IoU ({mine:.3f}, "
                f"{pixels['model']['accuracy']:.0%} of the pixels right) is {place} what grey levels "
                f"tell ({rival:.3f}).",
            )
        )
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8") if file.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: can't be read ({error}).") from error


def _json(file: Path) -> Any:
    try:
        return json.loads(_text(file) or "null")
    except json.JSONDecodeError as error:
        raise DataError(f"{file}: is not JSON ({error}). Make it again with geocamnet evaluate.") from error


def _curves(file: Path) -> Curves:
    """Return column → (epoch, value) of log.csv; cells that are empty or no number are left out."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in csv.DictReader(io.StringIO(_text(file))):
        epoch = _number(row.get("epoch"))
        for name, cell in row.items():
            value = _number(cell)
            if epoch is not None and value is not None and name not in ("epoch", "step"):
                curves.setdefault(name, []).append((epoch, value))
    return curves


def _number(cell: object) -> float | None:
    try:
        value = float(str(cell))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _gallery(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the pictures as data URIs, and how many were left out for their size."""
    entries, size, left_out = [], 0, 0
    for entry in _json(folder / "gallery.json") or []:
        file = folder / Path(entry["file"]).name
        if not file.is_file():
            continue
        if size + file.stat().st_size > MOST_PICTURE_BYTES:
            left_out += 1
            continue
        size += file.stat().st_size
        kind = "png" if file.suffix.lower() == ".png" else "jpeg"
        uri = f"data:image/{kind};base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"
        entries.append({**entry, "uri": uri})
    return entries, left_out


def _class_titles(card: ModelCard | None, metrics: Mapping[str, Any]) -> dict[str, str]:
    named = {name: name for name in metrics.get("classes") or []}
    return named | ({one.name: one.title for one in card.classes} if card else {})


def _answers(metrics: Mapping[str, Any], figures: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the rows of the table of figures, the best of each column marked."""
    rows = []
    candidates = {"model": metrics.get("model"), **(metrics.get("baselines") or {})}
    for name, values in candidates.items():
        if isinstance(values, Mapping) and "n" in values:
            rows.append({"name": TITLES.get(name, name), "is_model": name == "model", "values": values})
    return _mark_best(rows, figures)


def _heat_rows(judged: Mapping[str, Any] | None, figures: Mapping[str, str]) -> list[dict[str, Any]]:
    table = (judged or {}).get("table") or {}
    rows = [
        {"name": TITLES.get(name, name), "is_model": name == "model" or name.startswith("model_"), "values": values}
        for name, values in table.items()
    ]
    return _mark_best(rows, figures)


def _mark_best(rows: list[dict[str, Any]], figures: Mapping[str, str]) -> list[dict[str, Any]]:
    for row in rows:
        row["best"] = set()
    for name in figures:
        known = [row for row in rows if row["values"].get(name) is not None]
        if known:
            choose = min if name in LOWER_IS_BETTER else max
            best = choose(row["values"][name] for row in known)
            for row in known:
                if row["values"][name] == best:
                    row["best"].add(name)
    return rows


def _confusion(model: Mapping[str, Any]) -> list[list[tuple[int, float]]]:
    """Return rows of (count, share of its row)."""
    counts: Sequence[Sequence[int]] = model.get("confusion") or []
    return [[(count, count / max(1, sum(row))) for count in row] for row in counts]


def _figure(value: Any) -> str:
    """Return a figure for people: three digits for shares, thousands parted, a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _words(name: str) -> str:
    return name.replace("_", " ")
