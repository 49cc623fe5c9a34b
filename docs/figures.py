"""Fill the figures of README and docs from results/*.json: ``python docs/figures.py`` (``--check`` compares).

Every number there stands between two marks and comes from here; a file that is not there yet is said to be. README
shows the rows of `SHOWN`, results.md all of them, explanation/distillation.md what each part of it is worth.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from pieces import MAP_FIGURES, NAME_FIGURES, WHO, caveats, missing, number, read, table
from sizes import audit_at_size, large_collections, scan_at_size
from speeds import speeds
from studies import (
    answers_in_short,
    bundled_precision,
    ceiling_of_labels,
    heat_by_place,
    lights_of_a_field,
    margin_over_alone,
    parts_of_distillation,
    refinements_of_a_heatmap,
    refusals_of_strangers,
    warning_of_places,
)

ROOT = Path(__file__).resolve().parent.parent
START, END = "<!-- figures:start -->", "<!-- figures:end -->"
REAL, DRAWN = "results/carbonate-lithology.json", "results/demo.json"
FOLDS, MASKS = "results/carbonate-folds.json", "results/sandstone-masks.json"
REFINED, ALL_DRAWN = "results/heatmap-refinements.json", "results/drawn-sections.json"

REFINEMENTS = {
    "texture": "refined with texture",
    "smoothed": "only smoothed",
    "grey_guided": "refined with the grey level",
    "superpixels": "mean of superpixels",
    "brightness_blur": "half and half with blurred brightness",
}


def _refined(who: str, title: str) -> dict[str, str]:
    return {f"{who}_{one}": f"{title}, {words}" for one, words in REFINEMENTS.items()}


MAPS = {
    "student": "**student, distilled**",
    **_refined("student", "student"),
    "student_softmax": "student, softmax in every cell",
    "student_field": "student, PPL and XPL together",
    "student_alone": "the same student, trained alone",
    **_refined("student_alone", "the same alone"),
    "student_alone_softmax": "the same alone, softmax in every cell",
    "student_alone_field": "the same alone, PPL and XPL together",
    "teacher": "teacher",
    **_refined("teacher", "teacher"),
    "teacher_softmax": "teacher, softmax in every cell",
    "teacher_field": "teacher, PPL and XPL together",
    "untrained": "the network before training",
    "grey": "grey level",
    "inverse_grey": "grey level, inverted",
    "blurred_grey": "grey level, blurred",
    "blurred_inverse_grey": "grey level, inverted and blurred",
    "edges": "edges",
    "glcm_entropy": "GLCM entropy alone",
    "centre": "a blob in the centre",
    "random": "chance",
}
PLAIN = (
    *("untrained", "grey", "inverse_grey", "blurred_grey", "blurred_inverse_grey", "edges"),
    *("glcm_entropy", "centre", "random"),
)
# Rows of the README; what else was judged stands in results.md.
SHOWN = (
    *("student", "student_texture", "student_field", "student_alone", "teacher", "untrained"),
    *("grey", "edges", "centre", "random"),
)


def figures(root: Path = ROOT, *, every: bool = False) -> str:
    """Return the Markdown that belongs between the marks of README.md, or with ``every`` of results.md."""
    real, drawn, refined = (read(root / name) for name in (REAL, DRAWN, REFINED))
    folds = read(root / FOLDS)
    parts = ["### Real photographs, every one held out once", "", *_cross_validated(folds, every), ""] if folds else []
    if folds and real and not every:
        parts += ["### Without published weights", "", *_real_briefly(real)]
    else:
        parts += ["### Real photographs", "", *(_real(real, every) if real else missing(REAL, "make real"))]
    parts += ["", "### Drawn thin sections", "", *(_drawn(drawn, every) if drawn else missing(DRAWN, "make demo"))]
    if of_all := read(root / ALL_DRAWN):
        parts += ["", "### Drawn thin sections, all 22 classes", ""]
        parts += _all_drawn(of_all) if every else _all_drawn_briefly(of_all)
    if masks := read(root / MASKS):
        parts += [
            "",
            "### Sandstone with an expert's masks",
            "",
            *(_masked(masks) if every else _masked_briefly(masks)),
        ]
    if every:
        parts += ["", "### Refinements of a heatmap", ""]
        parts += refinements_of_a_heatmap(refined, REFINEMENTS) if refined else missing(REFINED, "make refinements")
        parts += ["", "### PPL and XPL of a field", "", *lights_of_a_field(root)]
    return "\n".join(parts)


PAGES = {
    "README.md": figures,
    "docs/results.md": partial(figures, every=True),
    "docs/explanation/distillation.md": partial(parts_of_distillation, ROOT),
    "docs/explanation/data-honesty.md": partial(ceiling_of_labels, ROOT),
    "docs/explanation/refusals.md": partial(refusals_of_strangers, ROOT),
    "docs/how-to/ship.md": partial(bundled_precision, ROOT),
    "docs/explanation/judging-heatmaps.md": partial(heat_by_place, ROOT),
    "docs/explanation/speed.md": partial(speeds, ROOT),
    "docs/how-to/audit.md": partial(audit_at_size, ROOT),
    "docs/how-to/scan.md": partial(scan_at_size, ROOT),
    "docs/how-to/large.md": partial(large_collections, ROOT),
}


def filled(text: str, block: str) -> str:
    """Return a page's text with ``block`` between its two marks."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise SystemExit(f"The page must hold the marks {START} and {END}, in this order.")
    return f"{before}{start}\n{block}\n{end}{after}"


def main(arguments: Sequence[str]) -> int:
    """Write the pages anew, or with ``--check`` say which of them that would change (exit status 1)."""
    stale = 0
    for name, block in PAGES.items():
        file = ROOT / name
        text = file.read_text(encoding="utf-8")
        wanted = filled(text, block())
        if text == wanted:
            continue
        if "--check" in arguments:
            sys.stderr.write(f"{name}: its figures are not those of results/. Run: python docs/figures.py\n")
            stale = 1
        else:
            file.write_text(wanted, encoding="utf-8", newline="\n")
    return stale


def _real(result: Mapping[str, Any], every: bool) -> list[str]:
    seeds = result.get("seeds") or [0]
    runs = f"{len(seeds)} runs of other seeds: mean (lowest to highest)" if len(seeds) > 1 else "one run"
    known = "by thin section" if result.get("sections_known") else "by photograph, for no thin-section ids are known"
    about = (
        f"`make real`: {result['data']}, {result['n_test']} held-out photographs, split {known}; {runs}. "
        f"{_networks(result)}"
    )
    return [
        about,
        "",
        *_tables(result, _where(result), result.get("area_share"), every),
        *caveats([*_verdicts(result["names"]), *_flat_maps(result), *result.get("caveats", [])]),
    ]


def _real_briefly(result: Mapping[str, Any]) -> list[str]:
    """Return one sentence: what comes of a teacher that has seen no photographs of anything before."""
    score = {who: _mean(row["balanced_accuracy"]) for who, row in result["names"].items()}
    without = ", or do without one" if score["student_alone"] > score["student"] else ""
    return [
        f"`make real`: {result['teacher']['architecture']} that has learnt from drawn sections alone before it met "
        f"{result['data']}: balanced accuracy of the teacher {score['teacher']:.2f}, of its student "
        f"{score['student']:.2f}, of the student alone {score['student_alone']:.2f}, of the random forest "
        f"{score['random_forest']:.2f}: give the teacher published weights{without}. [All of it](docs/results.md)."
    ]


def _where(result: Mapping[str, Any]) -> str:
    kind = {"mosaics": "2x2 mosaics of held-out photographs, equally bright", "masks": "hand-drawn masks"}
    return kind.get(result.get("heatmaps_kind", ""), "held-out photographs")


def _cross_validated(result: Mapping[str, Any], every: bool) -> list[str]:
    folds, seeds = len(result["folds"]), len(result["seeds"])
    known = "by thin section" if result["sections_known"] else "by photograph, for no thin-section ids are known"
    about = (
        f"`make folds`: {result['data']}, {result['n_test']} photographs in {folds} folds, split {known}, "
        f"{seeds} {'runs' if seeds > 1 else 'run'} of each student a fold: mean (lowest to highest) over folds and "
        f"runs. {_networks(result)}"
    )
    told = [*_verdicts(result["names"]), *_flat_maps(result), *warning_of_places(ROOT)]
    told = told if every else [*answers_in_short(result), *told]
    return [
        about,
        "",
        *_tables(result, _where(result), mean(result["area_share"]), every),
        *caveats([*margin_over_alone(result, every=every), *told, *result["caveats"]]),
    ]


def _masked_briefly(result: Mapping[str, Any]) -> list[str]:
    """Return one sentence: the student's maps, the best of the plain ones, the teacher's."""
    maps, names = result["heatmaps"], result["names"]
    told = []
    for key, title in (("energy", "energy inside"), ("miou", "mean IoU")):
        others = {
            "with PPL and XPL together": _mean(maps.get("student_field", {}).get(key)),
            "teacher": _mean(maps.get("teacher", {}).get(key)),
            "best plain map": max((_mean(maps[who].get(key)) for who in PLAIN if who in maps), default=0.0),
        }
        beside = ", ".join(f"{words} {value:.2f}" for words, value in others.items())
        told.append(f"{title} {_mean(maps['student'].get(key)):.2f} ({beside})")
    named = ", ".join(
        f"{words} {_mean(names[who]['balanced_accuracy']):.2f}"
        for who, words in (("student", "student"), ("teacher", "teacher"), ("student_alone", "alone"))
    )
    return [
        f"`make sandstone`: {result['n_test']} named windows of {len(result['folds'])} thin sections no network has "
        f"seen, {len(result['classes'])} minerals, learnt from names alone: {'; '.join(told)}. Names, balanced "
        f"accuracy: {named}, random forest {_mean(names['random_forest']['balanced_accuracy']):.2f}. "
        "[All of it](docs/results.md)."
    ]


def _masked(result: Mapping[str, Any]) -> list[str]:
    about = (
        f"`make sandstone`: {result['data']}, {len(result['classes'])} minerals, {result['n_test']} named windows of "
        f"{len(result['folds'])} thin sections, each judged by networks that never saw its section: mean (lowest to "
        f"highest) over the sections. {_networks(result)}"
    )
    both = table("names, by light", result["names_by_light"], _by_light(WHO), NAME_FIGURES)
    where = "an expert's masks, inside the labelled grains"
    return [
        about,
        "",
        *_tables(result, where, result.get("area_share"), every=True),
        "",
        *both,
        *caveats([*_verdicts(result["names"]), *_flat_maps(result), *result["caveats"]]),
    ]


def _by_light(who: Mapping[str, str]) -> dict[str, str]:
    lights = {"PPL": "PPL", "XPL": "XPL", "field": "PPL and XPL together"}
    return {f"{name}_{light}": f"{title}, {told}" for name, title in who.items() for light, told in lights.items()}


def _drawn(result: Mapping[str, Any], every: bool) -> list[str]:
    names, fields = result["names"].get("student", {}), result.get("composite_fields", {})
    photographs = result.get("teaching", {})
    terms = [
        f"The student learnt from the teacher on {photographs['photographs_with_teacher_terms']} photographs, "
        f"from a label on {photographs['photographs_with_label_terms']} of them."
        for _ in [0]
        if "photographs_with_teacher_terms" in photographs
    ]
    about = " ".join(
        [
            f"`make demo`: {result['data']}, {result['classes']} classes, judged on sections no network has seen;"
            " one run, small numbers: "
            f"{names.get('n', '?')} test photographs, {fields.get('test', '?')} composite fields.",
            _networks(result),
            *terms,
        ]
    )
    sentences = [
        f"The classes were chosen, and sections differ {result.get('style', 1):.1f} times as much as real ones do.",
        *_verdicts(result["names"]),
        *_flat_maps(result),
        "Drawn sections are easier than rock: these figures say that the pipeline works, not how well it names rocks.",
    ]
    where = "exact masks of fields of two or three fabrics"
    return [about, "", *_tables(result, where, result.get("heatmap_area_share"), every), *caveats(sentences)]


def _all_drawn(result: Mapping[str, Any]) -> list[str]:
    fields, seeds = result["composite_fields"]["test"], len(result["seeds"])
    about = (
        f"`make drawn`: {result['data']}, {len(result['classes'])} classes, {result['n_test']} test photographs and "
        f"{fields} composite fields, of sections no network has seen, {seeds} "
        f"{'runs' if seeds > 1 else 'run'} of each student. {_networks(result)}"
    )
    where, columns = "exact masks of fields of two or three fabrics", {"miou": "mean IoU", "accuracy": "pixels right"}
    titles = {**MAPS, "grey": "the grey level of a pixel", "blurred_grey": "the grey level around a pixel"}
    titles |= {"commonest": WHO["majority"]}
    return [
        about,
        "",
        *_tables(result, where, result["area_share"], every=True),
        "",
        *table("every pixel named, of all classes", result["pixels"], titles, columns),
        "",
        *table("names, by light", result["names_by_light"], _by_light(WHO), NAME_FIGURES),
        *caveats([*_verdicts(result["names"]), *_flat_maps(result), *result["caveats"]]),
    ]


def _all_drawn_briefly(result: Mapping[str, Any]) -> list[str]:
    pixels = {who: _mean(row["miou"]) for who, row in result["pixels"].items()}
    names = {who: _mean(row["balanced_accuracy"]) for who, row in result["names"].items()}
    maps = {who: _mean(row["pixel_ap"]) for who, row in result["heatmaps"].items()}
    return [
        f"`make drawn`: {len(result['classes'])} classes, fields of two or three fabrics with exact masks, learnt from "
        f"names alone. Every pixel named, mean IoU of all classes: student {pixels['student']:.2f} (with PPL and XPL "
        f"together {pixels['student_field']:.2f}), teacher "
        f"{pixels['teacher']:.2f}, alone {pixels['student_alone']:.2f}, grey level "
        f"{max(pixels['grey'], pixels['blurred_grey']):.2f}. Where a class is that is there, pixel AP: student "
        f"{maps['student']:.2f}, grey level {maps['grey']:.2f}. Names, balanced accuracy: student "
        f"{names['student']:.2f}, teacher {names['teacher']:.2f}, alone {names['student_alone']:.2f}, random forest "
        f"{names['random_forest']:.2f}. [All of it](docs/results.md)."
    ]


def _verdicts(names: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return in words what a hasty reader of the table would like to overlook."""
    score = {who: _mean(row.get("balanced_accuracy")) for who, row in names.items()}
    rivals = {
        "random_forest": "The random forest names better than the student.",
        "student_alone": "The student does not name better with the teacher than alone.",
        "majority": "The student names no better than the commonest class does.",
    }
    return [
        text for who, text in rivals.items() if who in score and "student" in score and score["student"] <= score[who]
    ]


def _flat_maps(result: Mapping[str, Any]) -> list[str]:
    share = result.get("heatmap_area_share", result.get("area_share"))
    grey = _mean(result.get("heatmaps", {}).get("grey", {}).get("miou"))
    if share is None or abs(grey - _mean(share)) > 0.01:
        return []
    return [f"A mean IoU of {grey:.3f} is that of calling the whole picture hot: plain maps do no better."]


def _mean(value: Any) -> float:
    return mean(value) if isinstance(value, list) else float(value or 0.0)


def _networks(result: Mapping[str, Any]) -> str:
    teacher = result["teacher"]
    return (
        f"Student: {result['parameters']:,} parameters; "
        f"teacher: {teacher['architecture']}, {teacher['parameters']:,} parameters."
    )


def _tables(result: Mapping[str, Any], where: str, area_share: Any, every: bool) -> list[str]:
    # results/carbonate-lithology.json may call the student "model".
    maps = {name.replace("model", "student", 1): row for name, row in result.get("heatmaps", {}).items()}
    maps = {name: row for name, row in maps.items() if every or name in SHOWN}
    lines = table("names", result["names"], WHO, NAME_FIGURES)
    if maps:
        lines += ["", *table(f"heatmaps, against {where}", maps, MAPS, MAP_FIGURES)]
    if maps and area_share is not None:
        lines += [
            "",
            f"A map that knows nothing has {number(area_share)} of its energy inside, the share of the area."
            + ("" if every else " [All maps that were compared](docs/results.md)."),
        ]
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
