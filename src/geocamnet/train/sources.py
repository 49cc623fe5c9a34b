"""Where labels come from: a manifest, folders, or file names become one list of labelled photographs.

Nothing is guessed silently: what was concluded is said in the notes, and what fits no layout is an error that
tells what was seen.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from unicodedata import normalize

from geocamnet.errors import DataError, unknown_name
from geocamnet.images import IMAGE_SUFFIXES, list_images
from geocamnet.lights import light_of, light_of_folder, light_of_path, view_of
from geocamnet.sections import section_pattern, sections_by_regex
from geocamnet.taxonomy import CLASSES, canonical_name, find_class
from geocamnet.train.filenames import prefix_of, split_of
from geocamnet.train.manifest import read_manifest
from geocamnet.train.recipes import PrepareRecipe

LAYOUTS = ("auto", "manifest", "folders", "prefix")
UNLABELLED_FOLDERS = ("unlabelled", "unlabeled", "未标注")
_KNOWN_CLASSES = frozenset(rock.name for rock in CLASSES)


@dataclass(frozen=True)
class RawPhotograph:
    """One photograph as RAW tells it.

    Attributes:
        path: below RAW, with ``/``.
        labels: canonical class names, sorted; empty where unknown.
        section: the thin section; empty where unknown.
        field: the view; the PPL and XPL photographs of one view share it.
        light: ``PPL``, ``XPL``, ``R`` or empty.
        um_per_px: micrometres a pixel of the file as it is, None where unknown.
        split: ``train``, ``val`` or ``test`` where RAW says so, else empty.
        mask: path of its class mask below RAW, or empty.
    """

    path: str
    labels: tuple[str, ...] = ()
    section: str = ""
    field: str = ""
    light: str = ""
    um_per_px: float | None = None
    split: str = ""
    mask: str = ""


@dataclass(frozen=True)
class Source:
    """What a folder of raw photographs holds.

    Attributes:
        layout: ``manifest``, ``folders`` or ``prefix``.
        photographs: sorted by path.
        notes: what was concluded, in sentences.
        skipped: (path, reason) of photographs that can't be used.
    """

    layout: str
    photographs: tuple[RawPhotograph, ...]
    notes: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def sections_known(self) -> bool:
        """Whether the thin section of every photograph is known."""
        return all(one.section for one in self.photographs)


class _Reading(NamedTuple):
    # What a layout makes of RAW, before sections and fields are worked out.
    photographs: list[RawPhotograph]
    notes: list[str]
    skipped: list[tuple[str, str]]


def find_photographs(raw: Path, recipe: PrepareRecipe) -> Source:
    """List the photographs of RAW with what is known of each.

    Layouts: ``manifest`` (a table, see `read_manifest`; ``RAW/manifest.csv`` is found by itself), ``folders``
    (a folder a class, with folders for splits and lights above or below it), ``prefix`` (the class in front of
    the number in the file name). ``auto`` takes the first that fits.

    Args:
        raw: the folder of original photographs.
        recipe: ``layout``, ``manifest``, ``section_regex`` and ``raw_um_per_px`` are used.

    Raises:
        DataError: no photograph, no layout that fits, a manifest or regular expression that can't be read, or
            a manifest none of whose photographs is there.
    """
    if recipe.layout not in LAYOUTS:
        raise DataError(unknown_name("layout", recipe.layout, LAYOUTS))
    pattern = section_pattern(recipe.section_regex) if recipe.section_regex else None
    found, skipped = _image_paths(raw)
    manifest = _manifest_file(raw, recipe)
    if manifest:
        layout, reading = "manifest", _read_by_manifest(raw, manifest, found)
    elif recipe.layout in ("auto", "folders") and (by_folder := _read_by_folder(found, recipe.layout)):
        layout, reading = "folders", by_folder
    elif recipe.layout != "folders" and (by_prefix := _read_by_prefix(found, recipe.layout)):
        layout, reading = "prefix", by_prefix
    else:
        raise DataError(_nothing_fits(raw, found, recipe.layout))
    photographs = [
        replace(one, um_per_px=recipe.raw_um_per_px) if one.um_per_px is None else one for one in reading.photographs
    ]
    photographs, section_notes = _with_sections(photographs, pattern)
    photographs, field_notes = _with_fields(photographs)
    photographs.sort(key=lambda one: one.path)
    notes = [
        _class_note(layout, photographs),
        *reading.notes,
        _light_note(photographs),
        *section_notes,
        *field_notes,
        *_split_notes(photographs, recipe.keep_splits),
        *_left_alone(raw, manifest),
    ]
    return Source(layout, tuple(photographs), tuple(notes), (*skipped, *sorted(reading.skipped)))


def _image_paths(raw: Path) -> tuple[list[str], list[tuple[str, str]]]:
    found, skipped = [], []
    for file in list_images(raw):
        path = file.relative_to(raw).as_posix()
        try:
            path.encode("utf-8")
            found.append(path)
        except UnicodeEncodeError:
            skipped.append((_readable(path), "its name is not valid Unicode: rename the file"))
    if not found:
        raise DataError(f"{raw}: no photograph with a valid name. The first: {skipped[0][0]}.")
    return found, skipped


def _readable(path: str) -> str:
    return path.encode("utf-8", "replace").decode()


def _manifest_file(raw: Path, recipe: PrepareRecipe) -> Path | None:
    if recipe.manifest and recipe.layout not in ("auto", "manifest"):
        raise DataError(f"--manifest can't be used with --layout {recipe.layout}. Leave one of them out.")
    if recipe.manifest:
        return raw / recipe.manifest
    if recipe.layout in ("auto", "manifest"):
        beside = [file for name in ("manifest.csv", "manifest.xlsx") if (file := raw / name).is_file()]
        if beside:
            return beside[0]
    if recipe.layout == "manifest":
        raise DataError(f"{raw}: no manifest.csv or manifest.xlsx in it. Name the table with --manifest.")
    return None


def _read_by_manifest(raw: Path, manifest: Path, found: Sequence[str]) -> _Reading:
    rows = read_manifest(manifest)
    there = {normalize("NFC", path): path for path in found}  # a Mac stores "é" as two characters
    photographs: dict[str, RawPhotograph] = {}
    skipped: list[tuple[str, str]] = []
    for row in rows:
        path = there.get(normalize("NFC", row.image), row.image)
        if path in photographs:
            same = photographs[path].labels == row.labels
            again = "" if same else " with other labels (join them by | in one row)"
            skipped.append((path, f"named again in line {row.line} of the manifest{again}"))
        elif PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            skipped.append((path, f"lies outside RAW (line {row.line} of the manifest)"))
        elif not (raw / path).is_file():
            skipped.append((path, f"not there (line {row.line} of the manifest)"))
        else:
            light = row.light or light_of(PurePosixPath(path).stem)[0]
            photographs[path] = RawPhotograph(
                path, row.labels, row.section, row.field, light, row.um_per_px, row.split, row.mask
            )
    if not photographs:
        raise DataError(
            f"{manifest}: none of its {len(rows)} photographs can be used; the first: {skipped[0][0]}, "
            f"{skipped[0][1]}. Paths in the column image are relative to {raw}."
        )
    spelt = {(spelling, label) for row in rows for spelling, label in zip(row.spellings, row.labels, strict=True)}
    notes = [f"Labels are from {manifest.name}.", *_spelling_notes(spelt)]
    masks = {one.mask for one in photographs.values()}
    unnamed = [path for path in found if path not in photographs and path not in masks]
    if unnamed:
        notes.append(f"{len(unnamed)} photograph(s) are not in the manifest, the first: {unnamed[0]}.")
    return _Reading(list(photographs.values()), notes, skipped)


def _read_by_folder(found: Sequence[str], layout: str) -> _Reading | None:
    notes: list[str] = []
    kept = [path for path in found if not path.startswith("masks/")]
    if len(kept) < len(found):
        notes.append("The folder masks/ is no class; its masks are used only where a manifest names them.")
    read: list[tuple[RawPhotograph, list[str]]] = []
    for path in kept:
        folders: list[str] = []
        lights, split = set(), ""
        for name in PurePosixPath(path).parts[:-1]:
            if not split and split_of(name):
                split = split_of(name)
                continue
            light, rest = light_of_folder(name)
            lights.add(light)
            if rest:
                folders.append(rest)
        lights.add(light_of(PurePosixPath(path).stem)[0])
        lights.discard("")
        photograph = RawPhotograph(path, light=lights.pop() if len(lights) == 1 else "", split=split)
        read.append((photograph, folders))
    depths = Counter(len(folders) for _, folders in read)
    while depths and min(depths) > 1 and len({folders[0] for _, folders in read}) == 1:
        for _, folders in read:
            del folders[0]  # a folder around everything tells nothing
        depths = Counter(len(folders) for _, folders in read)
    level = _class_level([folders for _, folders in read], layout)
    if level is None:
        return None
    names = {folders[level] for _, folders in read if len(folders) > level}
    if layout == "auto" and len(names) == 1 and _read_by_prefix(found, "auto"):
        return None  # one folder of photographs that carry their class in their names
    label_of = {name: canonical_name(name) for name in names}
    if set(label_of.values()) == {f"class{rock.id}" for rock in CLASSES}:  # the folders of DeepCarbonate
        label_of = {name: find_class(name).name for name in names}
    photographs, skipped = [], []
    for photograph, folders in read:
        if len(folders) <= level:
            skipped.append((photograph.path, "lies in no class folder"))
            continue
        label = label_of[folders[level]]
        labels = () if label in UNLABELLED_FOLDERS else (_checked(label, photograph.path),)
        photographs.append(replace(photograph, labels=labels))
    deeper = sum(len(folders) > level + 1 for _, folders in read)
    if deeper:
        notes.append(f"{deeper} photograph(s) lie in folders below the class folders, which are not read as labels.")
    notes += _spelling_notes(label_of.items())
    return _Reading(photographs, notes, skipped)


def _class_level(folders: Sequence[Sequence[str]], layout: str) -> int | None:
    # Which level of folders, from the top, names the classes; None if that can't be told.
    depth = min((len(names) for names in folders if names), default=0)
    for level in range(depth):
        met = {canonical_name(names[level]) for names in folders if names}
        if met <= _KNOWN_CLASSES | set(UNLABELLED_FOLDERS):
            return level
    if depth == 1 or (depth > 1 and layout == "folders"):
        return 0
    return None


def _read_by_prefix(found: Sequence[str], layout: str) -> _Reading | None:
    photographs, skipped, spelt = [], [], set()
    for path in found:
        stem = PurePosixPath(path).stem
        prefix = prefix_of(stem)
        label = canonical_name(prefix)
        if layout != "prefix" and label not in _KNOWN_CLASSES:
            return None
        if not prefix:
            skipped.append((path, "no class in front of the number in its name"))
            continue
        folders = PurePosixPath(path).parts[:-1]
        split = next((split_of(name) for name in folders if split_of(name)), "")
        photographs.append(RawPhotograph(path, (label,), light=light_of_path(path), split=split))
        spelt.add((prefix, label))
    if not photographs:
        raise DataError(f"No file name begins with a class; the first: {found[0]}. Write a manifest instead.")
    return _Reading(photographs, _spelling_notes(spelt), skipped)


def _with_sections(
    photographs: Sequence[RawPhotograph], pattern: re.Pattern[str] | None
) -> tuple[list[RawPhotograph], list[str]]:
    if pattern:
        sections = sections_by_regex([one.path for one in photographs], pattern, below="RAW")
        photographs = [replace(one, section=section) for one, section in zip(photographs, sections, strict=True)]
    known = {one.section for one in photographs if one.section}
    without = sum(not one.section for one in photographs)
    where = f"from --section-regex '{pattern.pattern}'" if pattern else "from the manifest"
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


def _checked(label: str, path: str) -> str:
    if not label or "|" in label:
        raise DataError(f"{path}: '{label}' can't be a class name (the sign | joins labels). Rename the folder.")
    return label


def _class_note(layout: str, photographs: Iterable[RawPhotograph]) -> str:
    counts = Counter(label for one in photographs for label in (one.labels or ("(no label)",)))
    told = {"manifest": "a manifest", "folders": "a folder a class", "prefix": "the class in the file name"}
    return f"Layout: {told[layout]}. " + ", ".join(f"{name} {counts[name]}" for name in sorted(counts)) + "."


def _spelling_notes(spelt: Iterable[tuple[str, str]]) -> list[str]:
    changed = sorted(pair for pair in spelt if re.sub(r"[\s_-]+", "_", pair[0].lower()) != pair[1])
    return ["Read as: " + ", ".join(f"'{name}' as {label}" for name, label in changed) + "."] if changed else []


def _light_note(photographs: Iterable[RawPhotograph]) -> str:
    counts = Counter(one.light or "not told" for one in photographs)
    return "Light: " + ", ".join(f"{light} {counts[light]}" for light in sorted(counts)) + "."


def _split_notes(photographs: Iterable[RawPhotograph], keep: bool) -> list[str]:
    counts = Counter(one.split for one in photographs if one.split)
    if not counts:
        return ["RAW has no splits to keep: all are drawn."] if keep else []
    told = ", ".join(f"{split} {counts[split]}" for split in ("train", "val", "test") if counts[split])
    return [f"RAW has splits ({told}): " + ("kept." if keep else "drawn anew; --keep-splits keeps them.")]


def _left_alone(raw: Path, manifest: Path | None) -> list[str]:
    below = [file.relative_to(raw) for file in raw.rglob("*") if file != manifest and file.name != "masks.json"]
    others = sorted(
        _readable(path.as_posix())
        for path in below
        if path.suffix.lower() not in IMAGE_SUFFIXES and not any(part.startswith(".") for part in path.parts)
        if (raw / path).is_file()
    )
    if not others:
        return []
    shown = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
    return [f"{len(others)} file(s) are no photographs and were left alone: {shown}."]


def _nothing_fits(raw: Path, found: Sequence[str], layout: str) -> str:
    folders = Counter(str(PurePosixPath(path).parent) for path in found)
    shown = ", ".join(f"{name} ({count})" for name, count in sorted(folders.items())[:8])
    prefixes = Counter(canonical_name(prefix_of(PurePosixPath(path).stem)) or "(none)" for path in found)
    begun = ", ".join(f"{name} ({count})" for name, count in prefixes.most_common(8))
    deep = all(len(PurePosixPath(path).parts) > 2 for path in found)
    advice = (
        f"If the topmost folders are the classes: geocamnet prepare {raw} DATA --layout folders."
        if deep and layout == "auto"
        else f"If names begin with the class: geocamnet prepare {raw} DATA --layout prefix."
    )
    return (
        f"{raw}: {len(found)} photograph(s), but nothing tells their classes ({'layout ' + layout}). "
        f"Folders: {shown}. File names begin with: {begun}. For example: {', '.join(found[:3])}. {advice} "
        "Otherwise sort them into a folder a class, or write RAW/manifest.csv with the columns image and labels."
    )
