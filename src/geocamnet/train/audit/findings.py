"""All findings, worst first: what was seen, what it means for a geologist, what to do."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np

from geocamnet.taxonomy import CLASSES, canonical_name
from geocamnet.train.audit.evidence import SEVERITIES, Evidence, Finding, Severity, labels_of, line_of
from geocamnet.train.audit.found_copies import copy_findings
from geocamnet.train.audit.marks import STRIP_FROM
from geocamnet.train.audit.shortcuts import PROPERTIES, STRONG, Shortcut
from geocamnet.train.audit.table import Line
from geocamnet.train.filenames import prefix_of
from geocamnet.train.sources import RawPhotograph

MARKED_FROM = 0.02  # of the photographs carry a mark: a habit of the microscope, not an accident
MOST_CROPPED = 0.25  # of a side; more would cut off the rock
FEW = 5  # photographs of a class, below which nothing can be said of it
_OUTLIER = 5.0  # robust deviations
_SUFFIXES = {"JPEG": {".jpg", ".jpeg"}, "PNG": {".png"}, "TIFF": {".tif", ".tiff"}, "BMP": {".bmp"}, "WEBP": {".webp"}}
_KNOWN = {rock.name for rock in CLASSES}
_Marked = tuple[RawPhotograph, str, str]  # photograph, edges to cut, in words


def find(seen: Evidence) -> tuple[Finding, ...]:
    """Return the findings, errors first."""
    found = [
        *copy_findings(seen),
        *_shortcuts(seen),
        *_names_against_folders(seen),
        *_marks(seen),
        *_unread(seen),
        *_classes(seen),
        *_doubts(seen),
        *_outliers(seen),
        *_wrappings(seen),
        *_others(seen),
    ]
    return tuple(sorted(found, key=lambda one: SEVERITIES.index(one.severity)))


def _shortcuts(seen: Evidence) -> Iterator[Finding]:
    for one in seen.shortcuts:
        if one.found:
            yield _shortcut(seen, one)
    quiet = [one for one in seen.shortcuts if not one.found]
    if quiet:
        yield Finding(
            "shortcuts-tried",
            "note",
            f"{len(quiet)} other propert{'y' if len(quiet) == 1 else 'ies'} tell little or nothing of the class",
            "Each was given to a small decision tree and judged on photographs it had not seen.",
            "Nothing to do.",
            listed=_shortcut_rows(quiet),
        )


_TELL = {"border": "alone tell", "smeared edges": "alone tell", "together": "tell"}


def _shortcut(seen: Evidence, one: Shortcut) -> Finding:
    severity: Severity = "error" if one.skill >= STRONG else "warning"
    classes = ", ".join(f"{label} ({area:.2f})" for label, area in one.classes.items())
    what = PROPERTIES[one.name]
    lamp = (
        " Rock has a say in brightness too: dark mud and bright spar differ under one lamp. Compare glue or quartz."
        if one.name == "lamp"
        else ""
    )
    todo = {
        "size": "Bring all photographs to one scale (--um-per-px) or size (--long-side-px), cut to one shape.",
        "border": "Crop the edges: prepare --audit does, or --crop-px for all alike.",
        "scale bar": "Crop the bars off, or draw them into every class alike (training does: burn_in).",
        "lamp": "Photograph every class at one lamp setting, and correct the white balance.",
        "colour": "Store all photographs in one colour mode.",
        "camera": "Photograph every class with every camera, and split by camera.",
        "compression": "Store all photographs in one format and quality, from the originals.",
        "smeared edges": "Leave augmented copies out, and crop smeared edges.",
        "together": "Crop the edges (prepare --audit) and bring all photographs to one size and format (prepare).",
    }[one.name]
    return Finding(
        f"shortcut-{one.name.replace(' ', '-')}",
        severity,
        f"{what[0].upper()}{what[1:]} {_TELL.get(one.name, 'alone tells')} the class: "
        f"balanced accuracy {one.balanced_accuracy:.2f}, chance {one.chance:.2f}",
        "A network may learn this instead of rock, score well on photographs of this collection, and fail on any other."
        + (f" Told best, by area under the ROC curve: {classes}." if classes else "")
        + lamp,
        todo,
        groups=[_one_a_class(seen)],
        figures={
            "balanced_accuracy": round(one.balanced_accuracy, 4),
            "chance": round(one.chance, 4),
            "p_value": round(one.p_value, 4),
            "classes": {label: round(area, 4) for label, area in one.classes.items()},
            "photographs": one.photographs,
        },
        listed=_shortcut_rows([one]),
    )


def _shortcut_rows(tried: Sequence[Shortcut]) -> list[tuple[str, ...]]:
    head = ("property", "balanced accuracy", "chance", "as good by permuted labels", "photographs")
    rows = [
        (
            PROPERTIES[one.name],
            f"{one.balanced_accuracy:.3f}",
            f"{one.chance:.3f}",
            f"p = {one.p_value:.3f}",
            str(one.photographs),
        )
        for one in tried
    ]
    return [head, *rows]


def _one_a_class(seen: Evidence) -> list[tuple[str, str]]:
    first: dict[str, str] = {}
    for one in seen.photographs:
        if one.labels:
            first.setdefault(labels_of(one), one.path)
    return [(path, label) for label, path in list(first.items())[:4]]


def _names_against_folders(seen: Evidence) -> Iterator[Finding]:
    if seen.layout != "folders":
        return
    lines, groups = [], []
    for one in seen.photographs:
        named = canonical_name(prefix_of(PurePosixPath(one.path).stem))
        if named in _KNOWN and one.labels and named not in one.labels:
            lines.append(
                line_of(
                    one,
                    "name-against-folder",
                    "error",
                    detail=f"the file is called {named}, the folder says {labels_of(one)}",
                )
            )
            groups.append([(one.path, f"folder: {labels_of(one)}; name: {named}")])
    if lines:
        yield Finding(
            "name-against-folder",
            "error",
            f"{len(lines)} photograph(s) carry the name of another class than their folder",
            "A class folder holds files of another class: whoever sorted them contradicts whoever named them.",
            "Look at the pictures, and move the files; or read labels from the names: --layout prefix.",
            lines,
            groups,
            {"photographs": len(lines)},
        )


def _marks(seen: Evidence) -> Iterator[Finding]:
    frames: list[_Marked] = []
    strips: list[_Marked] = []
    bars: list[_Marked] = []
    smeared: list[_Marked] = []
    for one, look in zip(seen.photographs, seen.looks, strict=True):
        sides = (look.width_px, look.height_px, look.width_px, look.height_px)
        edges = look.edges_ltrb
        is_strip = any(edge >= max(6, STRIP_FROM * side) for edge, side in zip(edges, sides, strict=True))
        cut = ",".join(map(str, edges))
        if any(edges):
            where = strips if is_strip else frames
            where.append((one, cut, f"{cut} px at the left, top, right and bottom edge"))
        if look.bars:
            crop = _crop_of_bars(look.bars, look.width_px, look.height_px)
            boxes = "; ".join(f"x {x}, y {y}, {w} x {h} px" for x, y, w, h in look.bars)
            bars.append((one, crop, boxes))
        if any(look.smeared_ltrb):
            smeared.append((one, ",".join(map(str, look.smeared_ltrb)), "rows at the edge only repeat the next one"))
    heat = "A network finds such marks long before it finds rock, and heat that falls on them is wrong by definition."
    for kind, what, marked in (
        ("annotation-strips", "carry a strip or a broad frame at an edge", strips),
        ("frame-lines", "have a frame line at an edge", frames),
        ("scale-bars", "carry a burnt-in scale bar or label", bars),
        ("smeared-edges", "have edges smeared by shifting or turning", smeared),
    ):
        if not marked:
            continue
        share = len(marked) / len(seen.photographs)
        severity: Severity = "warning" if share >= MARKED_FROM and len(marked) >= 3 else "note"
        yield Finding(
            kind,
            severity,
            f"{len(marked)} photograph(s) ({100 * share:.1f} %) {what}",
            heat,
            "prepare --audit crops each photograph as audit.csv says; a bar too far from the edge is "
            "left, to be cropped "
            "by hand.",
            [
                line_of(one, kind, severity, action="crop" if value else "", value=value, detail=detail)
                for one, value, detail in marked
            ],
            [[(one.path, labels_of(one)) for one, _, _ in marked[:: max(1, len(marked) // 8)][:8]]],
            {
                "photographs": len(marked),
                "share": round(share, 4),
                "classes": dict(sorted(Counter(labels_of(one) for one, _, _ in marked).items())),
            },
        )


def _crop_of_bars(bars: Sequence[tuple[int, int, int, int]], width: int, height: int) -> str:
    # What the nearest edge must lose so that the bar and its text are gone; nothing if that is too much.
    cut = [0, 0, 0, 0]
    for x, y, wide, high in bars:
        gap = min(6, max(2, high // 2))
        ways = [
            (x + wide + gap) / width,
            (y + high + gap) / height,
            (width - x + gap) / width,
            (height - y + gap) / height,
        ]
        side = int(np.argmin(ways))
        if ways[side] > MOST_CROPPED:
            return ""
        cut[side] = max(cut[side], round(ways[side] * (width, height)[side % 2]))
    return ",".join(map(str, cut))


def _unread(seen: Evidence) -> Iterator[Finding]:
    if seen.unread:
        lines = [Line(path, "unreadable", "warning", "", "", "", reason) for path, reason in seen.unread]
        yield Finding(
            "unreadable",
            "warning",
            f"{len(lines)} file(s) can't be used",
            "They are damaged, empty, no images though named so, or listed and not there.",
            "Copy them again from the camera or the disk they came from; prepare leaves them out.",
            lines,
            figures={"files": len(lines)},
            listed=[("file", "why"), *((line.image, line.detail) for line in lines[:50])],
        )


def _classes(seen: Evidence) -> Iterator[Finding]:
    counts = Counter(label for one in seen.photographs for label in one.labels)
    unlabelled = sum(not one.labels for one in seen.photographs)
    lights = Counter(one.light or "not told" for one in seen.photographs)
    rows = [("class", "photographs"), *((name, str(counts[name])) for name in sorted(counts))]
    rows += [("(no label)", str(unlabelled))] if unlabelled else []
    told = ", ".join(f"{light} {count}" for light, count in sorted(lights.items()))
    if not counts:
        title, meaning = "No photograph has a label", "Shortcuts and labels can't be judged; copies and marks can."
    else:
        title = f"{len(counts)} class{'' if len(counts) == 1 else 'es'}, {len(seen.photographs)} photographs"
        meaning = "A class with few photographs is judged on few: its figures will swing."
    yield Finding(
        "classes",
        "note",
        title,
        meaning,
        "See the notes on the folder below.",
        figures={
            "classes": dict(sorted(counts.items())),
            "unlabelled": unlabelled,
            "lights": dict(sorted(lights.items())),
        },
        listed=[*rows, ("light", told)],
    )
    if len(counts) == 1:
        yield Finding(
            "one-class",
            "warning",
            f"Only one class, {next(iter(counts))}",
            "Nothing can be learnt from one class, and no shortcut can be looked for.",
            "Add photographs of other fabrics, or check how the folders are read.",
        )
    few = sorted(name for name in counts if counts[name] < FEW)
    if few and len(counts) > 1:
        yield Finding(
            "small-classes",
            "note",
            f"{len(few)} class(es) have fewer than {FEW} photographs",
            "They are left out where shortcuts and labels are judged, and can't be split fairly.",
            "Photograph more thin sections of them, or join them to a related class.",
            listed=[("class", "photographs"), *((name, str(counts[name])) for name in few)],
        )


def _doubts(seen: Evidence) -> Iterator[Finding]:
    noise = seen.noise
    if noise is None:
        return
    skill = (noise.balanced_accuracy - noise.chance) / (1 - noise.chance)
    if not noise.doubts or skill < 0.2:
        return  # a forest that knows no rock has no say
    lines = [
        line_of(
            seen.photographs[one.place],
            "doubtful-label",
            "note",
            detail=f"looks like {one.looks_like} ({one.probability:.2f})",
        )
        for one in noise.doubts
    ]
    yield Finding(
        "doubtful-labels",
        "note",
        f"{len(lines)} photograph(s) look like another class than theirs",
        f"A forest on texture and grey levels, balanced accuracy {noise.balanced_accuracy:.2f} "
        f"(chance {noise.chance:.2f}) on "
        "photographs it had not seen, is sure of another name. It is wrong often enough: texture is not the whole "
        "of a rock.",
        "Let a petrographer look, the first ones first. Nothing is changed.",
        lines,
        [
            [(seen.photographs[one.place].path, f"{one.label}; looks like {one.looks_like}, {one.probability:.2f}")]
            for one in noise.doubts[:8]
        ],
        {"photographs": len(lines), "balanced_accuracy": round(noise.balanced_accuracy, 4), "of": noise.photographs},
    )


def _outliers(seen: Evidence) -> Iterator[Finding]:
    if not seen.looks:
        return
    sharp = np.log([max(look.sharpness, 1e-6) for look in seen.looks])
    mean = np.array([look.mean for look in seen.looks])
    empty = np.array([look.contrast < 2 for look in seen.looks])

    def far(values: np.ndarray) -> np.ndarray:
        middle = np.median(values)
        spread = 1.4826 * np.median(np.abs(values - middle))
        return (values - middle) / max(spread, 1e-3)

    many = len(seen.looks) >= 20  # of fewer no one can say what is usual
    for kind, title, chosen, meaning in (
        ("empty", "show nothing: one even grey", empty, "No grain can be seen in them."),
        (
            "blurred",
            "are far less sharp than the others",
            many & (far(sharp) < -_OUTLIER) & ~empty,
            "Fine textures can't be told where the focus missed.",
        ),
        (
            "brightness",
            "are far darker or brighter than the others",
            many & (np.abs(far(mean)) > _OUTLIER) & ~empty,
            "Lamp or exposure differ, or it is another light mode.",
        ),
    ):
        places = np.flatnonzero(chosen).tolist()
        if len(places):
            yield Finding(
                kind,
                "note",
                f"{len(places)} photograph(s) {title}",
                meaning,
                "Look at them; retake what failed.",
                [line_of(seen.photographs[i], kind, "note", detail=title) for i in places],
                [[(seen.photographs[i].path, labels_of(seen.photographs[i])) for i in places[:6]]],
                {"photographs": len(places)},
            )


def _wrappings(seen: Evidence) -> Iterator[Finding]:
    wrong = [
        (one, look)
        for one, look in zip(seen.photographs, seen.looks, strict=True)
        if look.format in _SUFFIXES and PurePosixPath(one.path).suffix.lower() not in _SUFFIXES[look.format]
    ]
    if wrong:
        yield Finding(
            "wrong-suffix",
            "note",
            f"{len(wrong)} file(s) are of another format than their names say",
            "They are read all the same, by what they are. Other programs may refuse them.",
            "Nothing to do.",
            [line_of(one, "wrong-suffix", "note", detail=f"is {look.format}") for one, look in wrong],
            figures={"files": len(wrong)},
        )


def _others(seen: Evidence) -> Iterator[Finding]:
    if seen.others:
        yield Finding(
            "no-photographs",
            "note",
            f"{len(seen.others)} file(s) are no photographs and were left alone",
            "Tables, texts, thumbnails' data bases and the like.",
            "Nothing to do.",
            [
                Line(path, "no-photograph", "note", "", "", "", f"a {PurePosixPath(path).suffix or 'nameless'} file")
                for path in seen.others
            ],
            listed=[("file",), *((path,) for path in seen.others[:20])],
        )
