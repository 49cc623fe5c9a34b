"""Where labels come from: a table, folders, file names or outlines become one list of labelled photographs.

Nothing is guessed silently: what was concluded is said in the notes, and what fits no layout is an error that
tells what was seen.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from geocamnet.errors import DataError, unknown_name
from geocamnet.lights import light_of_path, view_of
from geocamnet.sections import section_pattern, sections_by_regex
from geocamnet.taxonomy import canonical_name
from geocamnet.train.classmap import CLASSMAP, find_classmap, read_classmap
from geocamnet.train.coco import find_coco, read_coco
from geocamnet.train.filenames import prefix_of
from geocamnet.train.layouts import read_by_folder, read_by_prefix
from geocamnet.train.masks import in_mask_folder, mask_classes, with_masks
from geocamnet.train.originals import ARCHIVE_SUFFIXES, Originals, open_originals
from geocamnet.train.readings import RawPhotograph, Reading
from geocamnet.train.recipes import PrepareRecipe
from geocamnet.train.table_layout import columns_of, find_table, read_by_manifest, tables_of

LAYOUTS = ("auto", "manifest", "folders", "prefix", "coco", "masks")


@dataclass(frozen=True)
class Source:
    """What RAW holds.

    Attributes:
        layout: ``manifest``, ``folders``, ``prefix``, ``coco`` or ``masks``.
        photographs: sorted by path.
        notes: what was concluded, in sentences.
        skipped: (path, reason) of photographs that can't be used.
        faults: what is wrong with the data set as it came, in sentences; they are among the notes too.
        mask_classes: what the values of the masks mean: v is the v-th.
        originals: the files.
    """

    layout: str
    photographs: tuple[RawPhotograph, ...]
    notes: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    faults: tuple[str, ...]
    mask_classes: tuple[str, ...]
    originals: Originals

    @property
    def sections_known(self) -> bool:
        """Whether the thin section of every photograph is known."""
        return all(one.section for one in self.photographs)


def find_photographs(raw: Path, recipe: PrepareRecipe) -> Source:
    """List the photographs of RAW with what is known of each.

    Layouts: ``manifest`` (a table, see `read_manifest`; ``RAW/manifest.csv`` is found by itself), ``folders``
    (a folder a class, with folders for splits and lights above or below it), ``prefix`` (the class in front of
    the number in the file name), ``coco`` (outlines in a JSON file), ``masks`` (no labels, but masks of the same
    names). ``auto`` takes the first that fits: a manifest, COCO, folders or names of the 22 classes, another table
    that names the photographs, other folders.

    Args:
        raw: folder, ZIP or TAR of original photographs.
        recipe: ``layout``, ``manifest``, ``section_regex`` and ``raw_um_per_px`` are used.

    Raises:
        DataError: no photograph, no layout that fits, a manifest or regular expression that can't be read, or
            a manifest none of whose photographs is there.
    """
    if recipe.layout not in LAYOUTS:
        raise DataError(unknown_name("layout", recipe.layout, LAYOUTS))
    pattern = section_pattern(recipe.section_regex) if recipe.section_regex else None
    originals = open_originals(raw)
    manifest = _manifest_path(originals, recipe)
    reading = _read(originals, recipe.layout, manifest)
    photographs, mask_notes = with_masks(reading.photographs, originals)
    photographs = [replace(one, um_per_px=one.um_per_px or recipe.raw_um_per_px) for one in photographs]
    photographs, section_notes = _with_sections(photographs, pattern)
    photographs, field_notes = _with_fields(photographs)
    photographs.sort(key=lambda one: one.path)
    notes = [
        _class_note(reading.layout, photographs),
        *reading.notes,
        *reading.faults,
        *mask_notes,
        _light_note(photographs),
        *section_notes,
        *field_notes,
        *_split_notes(photographs, recipe.keep_splits),
        *_left_alone(originals, manifest),
    ]
    return Source(
        layout=reading.layout,
        photographs=tuple(photographs),
        notes=tuple(notes),
        skipped=(*originals.refused, *sorted(reading.skipped)),
        faults=(*reading.faults, *(note for note in section_notes if "Leakage" in note)),
        mask_classes=reading.mask_classes or mask_classes(photographs, originals),
        originals=originals,
    )


def _manifest_path(originals: Originals, recipe: PrepareRecipe) -> str:
    if recipe.manifest and recipe.layout not in ("auto", "manifest"):
        raise DataError(f"--manifest can't be used with --layout {recipe.layout}. Leave one of them out.")
    if recipe.manifest:
        path = str(PurePosixPath(recipe.manifest.replace("\\", "/")))
        if path not in originals.files:
            raise DataError(f"{originals.place(path)}: no such manifest. It is looked for below RAW; check --manifest.")
        return path
    if recipe.layout not in ("auto", "manifest"):
        return ""
    path = next((name for name in ("manifest.csv", "manifest.xlsx") if name in originals.files), "")
    if recipe.layout == "manifest" and not path:
        raise DataError(f"{originals.place()}: no manifest.csv or manifest.xlsx in it. Name the table with --manifest.")
    return path


def _read(originals: Originals, layout: str, manifest: str) -> Reading:
    if manifest:
        return read_by_manifest(originals, manifest)
    found = [path for path in originals.images if not in_mask_folder(path)]
    if not found:
        raise DataError(f"{originals.place()}: every picture lies in a folder of masks, and there is no photograph.")
    if layout in ("auto", "coco") and (outlines := find_coco(originals)):
        return read_coco(originals, outlines)
    classmap = find_classmap(originals.files)
    numbers = read_classmap(originals.read(classmap)) if classmap else {}
    by_folder = read_by_folder(found, layout, numbers) if layout in ("auto", "folders") else None
    if by_folder and (layout == "folders" or by_folder.only_known_classes):
        return by_folder
    by_prefix = read_by_prefix(found, layout) if layout in ("auto", "prefix") else None
    if by_prefix:
        return by_prefix
    if layout == "auto" and (table := find_table(originals)):
        return read_by_manifest(originals, table)
    if layout == "masks" or (layout == "auto" and not (by_folder and _tells_classes(by_folder))):
        unlabelled = Reading("masks", [RawPhotograph(path, light=light_of_path(path)) for path in found])
        if any(one.mask for one in with_masks(unlabelled.photographs, originals)[0]):
            return unlabelled
    if by_folder:
        return by_folder
    raise DataError(_nothing_fits(originals, found, layout))


def _tells_classes(reading: Reading) -> bool:
    return len({one.labels for one in reading.photographs}) > 1


def _with_sections(
    photographs: Sequence[RawPhotograph], pattern: re.Pattern[str] | None
) -> tuple[list[RawPhotograph], list[str]]:
    if pattern:
        sections = sections_by_regex([one.path for one in photographs], pattern, below="RAW")
        photographs = [replace(one, section=section) for one, section in zip(photographs, sections, strict=True)]
    known = {one.section for one in photographs if one.section}
    without = sum(not one.section for one in photographs)
    where = f"from --section-regex '{pattern.pattern}'" if pattern else "from the table"
    notes = [f"{len(known)} thin section(s), {where}."] if known else []
    if without:
        notes.append(
            f"The thin section of {without} photograph(s) is not known: each view counts as a section of its own. "
            "Leakage between train, val and test through photographs of one section can't be excluded."
        )
    return list(photographs), notes


def _with_fields(photographs: Sequence[RawPhotograph]) -> tuple[list[RawPhotograph], list[str]]:
    notes = []
    sections_of = defaultdict(set)
    lights_of = defaultdict(set)
    for one in photographs:
        if one.field:
            sections_of[one.field].add(one.section)
        elif one.light:
            lights_of[view_of(one.path)].add(one.light)
    ambiguous = {field for field, sections in sections_of.items() if len(sections) > 1}
    if ambiguous:
        notes.append("Fields are numbered anew in each section: their names are completed by the section's.")
    done = []
    for one in photographs:
        if one.field:
            field = f"{one.section or one.path}/{one.field}" if one.field in ambiguous else one.field
        else:
            view = view_of(one.path)
            field = view if one.light and len(lights_of[view]) > 1 else one.path
        done.append(replace(one, field=field))
    members = Counter(one.field for one in done)
    pairs = sum(count > 1 for count in members.values())
    if pairs:
        notes.append(f"{pairs} view(s) have several photographs (such as PPL and XPL), which stay together.")
    return done, notes


def _class_note(layout: str, photographs: Iterable[RawPhotograph]) -> str:
    counts = Counter(label for one in photographs for label in (one.labels or ("(no label)",)))
    told = {
        "manifest": "a table",
        "folders": "a folder a class",
        "prefix": "the class in the file name",
        "coco": "outlines in COCO's JSON",
        "masks": "photographs with masks, without labels",
    }
    return f"Layout: {told[layout]}. " + ", ".join(f"{name} {counts[name]}" for name in sorted(counts)) + "."


def _light_note(photographs: Iterable[RawPhotograph]) -> str:
    counts = Counter(one.light or "not told" for one in photographs)
    return "Light: " + ", ".join(f"{light} {counts[light]}" for light in sorted(counts)) + "."


def _split_notes(photographs: Iterable[RawPhotograph], keep: bool) -> list[str]:
    counts = Counter(one.split for one in photographs if one.split)
    if not counts:
        return ["RAW has no splits to keep: all are drawn."] if keep else []
    told = ", ".join(f"{split} {counts[split]}" for split in ("train", "val", "test") if counts[split])
    return [f"RAW has splits ({told}): " + ("kept." if keep else "drawn anew; --keep-splits keeps them.")]


def _left_alone(originals: Originals, manifest: str) -> list[str]:
    others = sorted(
        path
        for path in originals.files.keys() - set(originals.images) - {manifest}
        if PurePosixPath(path).name not in ("masks.json", CLASSMAP)
        and PurePosixPath(path).suffix.lower() not in ARCHIVE_SUFFIXES
    )
    if not others:
        return []
    shown = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
    return [f"{len(others)} file(s) are no photographs and were left alone: {shown}."]


def _nothing_fits(originals: Originals, found: Sequence[str], layout: str) -> str:
    folders = Counter(str(PurePosixPath(path).parent) for path in found)
    shown = ", ".join(f"{name} ({count})" for name, count in sorted(folders.items())[:8])
    prefixes = Counter(canonical_name(prefix_of(PurePosixPath(path).stem)) or "(none)" for path in found)
    begun = ", ".join(f"{name} ({count})" for name, count in prefixes.most_common(8))
    seen = [f"Folders: {shown}", f"File names begin with: {begun}"]
    command = f"geocamnet prepare {originals.place()} DATA"
    advice = []
    if layout == "auto" and all(len(PurePosixPath(path).parts) > 2 for path in found):
        advice.append(f"If the topmost folders are the classes: {command} --layout folders.")
    elif set(prefixes) != {"(none)"}:
        advice.append(f"If names begin with the class: {command} --layout prefix.")
    if tables := tables_of(originals):
        seen.append("Tables: " + "; ".join(f"{path} ({columns_of(originals, path)})" for path in tables[:3]))
        advice.append(
            f"If a table tells the classes, call its columns image and labels: {command} --manifest '{tables[0]}'."
        )
    masks = [path for path in originals.images if in_mask_folder(path)]
    if masks:
        seen.append(f"{len(masks)} picture(s) in a folder of masks")
        advice.append(
            f'To score heatmaps on the masks, write what their values mean, {{"classes": [...]}}, into '
            f"{PurePosixPath(masks[0]).parent}/masks.json: {command} --layout masks."
        )
    return (
        f"{originals.place()}: {len(found)} photograph(s), but nothing tells their classes (layout {layout}). "
        f"{'. '.join(seen)}. For example: {', '.join(found[:3])}. {' '.join(advice)} "
        "Otherwise sort them into a folder a class, or write RAW/manifest.csv with the columns image and labels."
    )
