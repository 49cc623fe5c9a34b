"""The figures of the studies beside the main results: what distillation is worth, what the labels allow, refusals."""

from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from pieces import MAP_FIGURES, NAME_FIGURES, WHO, caveats, missing, number, read, table

PLACES, FOLDS = "results/heat-by-place.json", "results/carbonate-folds.json"
STARTED, ABLATED = "results/student-start.json", "results/distillation-ablation.json"
LIGHTS = "results/paired-lights.json"
CEILING, REFUSED, BUNDLED = "results/label-ceiling.json", "results/strangers.json", "results/bundled-student.json"
NAMES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}
JUDGES = {
    "forest": "random forest on texture and grey histograms",
    "linear": "linear classifier on ImageNet features",
    "teacher": "teacher",
    "student": "student, distilled",
    "all four together": "the mean of all four",
}


def parts_of_distillation(root: Path) -> str:
    """Return the Markdown that belongs between the marks of explanation/distillation.md."""
    ablated, started = read(root / ABLATED), read(root / STARTED)
    lines = ["### The start", "", *(_started(started) if started else missing(STARTED, "make start"))]
    lines += ["", "### The terms", "", *(_ablated(ablated) if ablated else missing(ABLATED, "make ablation"))]
    return "\n".join(lines)


def ceiling_of_labels(root: Path) -> str:
    """Return the Markdown that belongs between the marks of explanation/data-honesty.md."""
    result = read(root / CEILING)
    if not result:
        return "\n".join(missing(CEILING, "make ceiling"))
    right, photographs = result["right"], result["photographs"]
    doubtful = right["none, and all four name the same other class"]
    contested = ", ".join(f"{count} {what}" for what, count in result["contested"].items())
    judges = {**result["judges"], "all four together": result["together"]}
    sizes = result["training_photographs"]
    curve = {
        f"{JUDGES[name]}, {size} photographs": row
        for name, rows in result["learning_curve"].items()
        for size, row in zip(sizes, rows, strict=True)
    }
    lines = [
        f"`make ceiling`: {result['data']}, {photographs} photographs, each judged by networks and classifiers of the "
        "fold that kept it from them.",
        "",
        *table("judge", judges, JUDGES, NAMES),
        "",
        f"All four are right on {right['all four']} photographs, some on {right['some']}, none on {right['none']}; on "
        f"{doubtful} of those ({doubtful / photographs:.1%}) all four name the same other class: {contested}. The most "
        f"similar photograph of another fold has another label in {result['nearest_has_another_label']:.0%} of cases.",
        "",
        *table("what more photographs bring", curve, {}, NAMES),
    ]
    return "\n".join(lines)


def heat_by_place(root: Path) -> str:
    """Return the Markdown that belongs between the marks of explanation/judging-heatmaps.md."""
    titles = {"teacher": "teacher", "student": "student, distilled", "alone": "the same student, trained alone"}
    places, folds = read(root / PLACES), read(root / FOLDS)
    if places:
        columns = {"hottest": "hottest place over the mean", "hottest_by_chance": "by chance"}
        lines = [
            f"`make places`: {places['data']}, about {round(mean(places['photographs']))} photographs of one shape in "
            "each of five folds: mean (lowest to highest).",
            "",
            *table("heat of whole photographs", places["networks"], titles, columns),
        ]
    else:
        lines = missing(PLACES, "make places")
    if marks := folds and folds.get("marks"):
        titles["student_alone"] = titles["alone"]
        columns = {
            "ratio": "heat on marks over even heat",
            "heat_share": "share of heat",
            "area_share": "of the area",
            "heat_share_unmarked": "of heat before painting",
        }
        lines += [
            "",
            f"`make folds`: {folds['data']}, marks painted into 40 test photographs of each of five folds: mean "
            "(lowest to highest).",
            "",
            *table("heat on painted scale bars and frame lines", marks, titles, columns),
        ]
    return "\n".join(lines)


def warning_of_places(root: Path) -> list[str]:
    """Return the sentence that belongs beside figures of heatmaps, where heat prefers a place."""
    result = read(root / PLACES)
    if not result:
        return []
    student, alone = (mean(result["networks"][who]["hottest"]) for who in ("student", "alone"))
    if student < 2 * alone:
        return []
    return [
        f"Heatmaps of whole photographs go by the place: the hottest cell of the distilled student's mean heat has "
        f"{student:.1f} times the mean, of the student alone {alone:.1f} times. Do not read one heatmap of a whole "
        "photograph of even rock as where the evidence lies."
    ]


def margin_over_alone(result: Mapping[str, Any], *, every: bool = True) -> list[str]:
    """Return in a sentence by how much the distilled student is better than the same alone, and how surely."""
    margin = result.get("student_above_alone")
    if not margin:
        return []
    titles = {
        **{key: NAME_FIGURES[key] for key in ("accuracy", "balanced_accuracy", "nll")},
        "accuracy_attitudes": "accuracy in eight attitudes",
        "nll_attitudes": "log loss in eight attitudes",
    }
    told = []
    for key in titles if every else ("accuracy", "nll", "accuracy_attitudes"):
        row, title = margin[key], titles[key]
        spread = f", spread over seeds {row['spread_seeds']:.3f}" if row["spread_seeds"] is not None else ""
        told.append(f"{title} {row['mean']:+.3f}{spread}, better in {row['better']} of {row['of']}")
    return [f"The student less the same alone, of the same fold and seed: {'; '.join(told)}."]


def lights_of_a_field(root: Path) -> list[str]:
    """Return lines: evidence of both lights summed, against one network that sees both at once."""
    result = read(root / LIGHTS)
    if not result:
        return missing(LIGHTS, "make lights")
    lines = [
        f"`make lights`: students that see PPL and XPL one by one, their evidence summed, and students of six channels "
        f"that see both at once; {result['epochs']} epochs at {result['image_px']} px, labels alone. Judged by "
        "fields of sections no network has seen: mean (lowest to highest)."
    ]
    for data, found in result["data"].items():
        lines += ["", *table(f"{data}, {found['fields']} fields", found["rows"], {}, NAMES | MAP_FIGURES)]
    return [*lines, *caveats(result["caveats"])]


def refusals_of_strangers(root: Path) -> str:
    """Return the Markdown that belongs between the marks of explanation/refusals.md."""
    result = read(root / REFUSED)
    if not result:
        return "\n".join(missing(REFUSED, "make bundled"))
    kinds, folds = result["kinds"], read(root / FOLDS)
    reasons = [one for one in next(iter(kinds.values())) if one not in ("photographs", "refused", "named")]
    lines = [
        f"`make bundled`: {result['model']}, {len(result['classes'])} classes; what it refuses of photographs it "
        "should know, and of others. None of these was looked at in choosing.",
        "",
        f"| shown | photographs | refused | {' | '.join(reasons)} |",
        f"|---|{'---:|' * (len(reasons) + 2)}",
    ]
    for kind, counts in kinds.items():
        share = f"{counts['refused'] / max(counts['photographs'], 1):.0%}"
        cells = (str(counts["photographs"]), share, *(str(counts[one]) for one in reasons))
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join([*lines, *(_trusted(folds) if folds and folds.get("trust") else [])])


def answers_in_short(result: Mapping[str, Any]) -> list[str]:
    """Return in a sentence how much of what it has not seen the student names, and how much of that rightly."""
    row = result.get("trust", {}).get("student")
    if not row:
        return []
    return [
        f"The student names {mean(row['named']):.0%} of the photographs, {mean(row['named_accuracy']):.0%} of these "
        'rightly, and says "not sure" of most others ([refusals](docs/explanation/refusals.md)).'
    ]


def bundled_precision(root: Path) -> str:
    """Return the Markdown that belongs between the marks of how-to/ship.md."""
    result = read(root / BUNDLED)
    if not result:
        return "\n".join(missing(BUNDLED, "make bundled"))
    lines = [
        f"`make bundled`: {result['model']}, {result['parameters']:,} parameters, {result['kilobytes']} kB in 8-bit "
        f"weights; {result['n_test']} held-out photographs of {result['data']}, heatmaps against mosaics of them.",
        "",
        *table(
            "precision", result["precisions"], {"fp32": "fp32", "int8-weights": "int8-weights"}, NAMES | MAP_FIGURES
        ),
    ]
    return "\n".join(lines)


def refinements_of_a_heatmap(result: Mapping[str, Any], refinements: Mapping[str, str]) -> list[str]:
    """Return the table of what refining a heatmap does, ``refinements`` being titled so."""
    n, both = result["photographs"], "refined with texture and the grey level"
    titles = {"model": "the heatmap as it is", **refinements, "texture_and_grey": both}
    titles |= {f"{name}_chosen": f"{title}, settings chosen" for name, title in titles.items()}
    rows = {
        name: {**row, **{f"val_{key}": value for key, value in row["validation"].items()}}
        for name, row in result["table"].items()
    }
    columns = {"val_miou": "mean IoU, validation", "val_pixel_ap": "pixel AP, validation", **MAP_FIGURES}
    lines = [
        f"`make refinements`: {result['model']}, {n['val']} validation and {n['test']} test photographs with exact "
        "masks, one model, small numbers. Settings, where chosen, by mean IoU on validation; the test part was judged "
        "once.",
        "",
        *table("heatmaps", rows, titles, columns),
        "",
        "| pixel AP of a class in a photograph | validation: difference (95 % interval) | test |",
        "|---|---:|---:|",
    ]
    for one, rivals in result["texture_helps"].items():
        for rival, gap in rivals.items():
            cells = (f"{gap[k]['mean']:+.3f} ({gap[k]['low']:+.3f} to {gap[k]['high']:+.3f})" for k in ("val", "test"))
            lines.append(f"| {titles[one]}, less {titles[rival]} | {' | '.join(cells)} |")
    return lines


def _trusted(result: Mapping[str, Any]) -> list[str]:
    runs = len(result["trust"]["student"]["named"]) // len(result["folds"])
    columns = {
        "named": "share named",
        "named_accuracy": "of these right",
        "calibration_error": "calibration error (low is good)",
    }
    return [
        "",
        f"`make folds`: {result['data']}, {result['n_test']} photographs in {len(result['folds'])} folds, {runs} runs "
        "of each student a fold: mean (lowest to highest). Thresholds aim at nine in ten right, on 82 validation "
        "photographs a fold.",
        "",
        *table("photographs not seen", result["trust"], WHO, columns),
    ]


def _started(result: Mapping[str, Any]) -> list[str]:
    about = (
        f"`make start`: {result['photographs']:,} {result['data']} without a label, {result['crops_seen']:,} crops of "
        f"{result['crop_px']} px, the features of {result['teacher']}; judged on {result['judged_on']} photographs of "
        f"sections not seen. The file has {result['kilobytes']:,} kB."
    )
    lines = [about, "", "| cycle | passes | distance of the features (0 to 2) |", "|---|---:|---:|"]
    for place, cycle in enumerate(result["cycles"], start=1):
        lines.append(f"| {place} | {cycle['epochs']} | {number(cycle['distance'])} |")
    return [*lines, *caveats(result["caveats"])]


def _ablated(result: Mapping[str, Any]) -> list[str]:
    about = (
        f"`make ablation`: {result['data']}, {result['n']} photographs in {len(result['folds'])} folds; "
        f"{result['epochs']} epochs at {result['image_px']} px, teacher {result['teacher']}: mean over the folds "
        f"(lowest to highest). Chance has {number(result['area_share'])} of the energy."
    )
    columns = NAME_FIGURES | {"energy": "energy in mosaics"}
    lines = [about, "", *table("variant", result["variants"], {}, columns)]
    (first, _), *others = result["against_first"].items()
    less = {
        name: {key: f"{one['mean']:+.3f} ± {one['standard_error']:.3f}" for key, one in row.items()}
        for name, row in others
    }
    lines += ["", f"Against *{first}* in the same folds: mean difference ± its standard error.", ""]
    lines += table("variant", less, {}, columns)
    return [*lines, *caveats(result["caveats"])]
