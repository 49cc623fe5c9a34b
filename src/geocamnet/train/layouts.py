"""Layouts without a table: a folder a class, and the class in front of the number in the file name."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from types import MappingProxyType

from geocamnet.errors import DataError
from geocamnet.lights import light_of, light_of_folder, light_of_path
from geocamnet.taxonomy import CLASSES, canonical_name, find_class
from geocamnet.train.classmap import CLASSMAP, names_by_classmap
from geocamnet.train.filenames import is_stained, prefix_of, split_of
from geocamnet.train.masks import in_mask_folder
from geocamnet.train.readings import KNOWN_CLASSES, RawPhotograph, Reading, checked_label, spelling_notes

UNLABELLED_FOLDERS = ("unlabelled", "unlabeled", "未标注")
_NUMBERED = {f"class{rock.id}" for rock in CLASSES}  # the folders of DeepCarbonate


def read_by_folder(
    found: Sequence[str], layout: str, classmap: Mapping[int, str] = MappingProxyType({})
) -> Reading | None:
    """Read a folder a class, with folders for splits and lights above or below it.

    Folders called ``class1`` to ``class22`` get the names of a ``classmap.txt`` that names each of them; else those of
    the taxonomy where all 22 are there, or where the file names in most of them agree. Photographs whose file name
    names another class than their folder are a fault.

    Args:
        found: paths of the photographs below RAW.
        layout: ``auto``, or ``folders`` to take the topmost folders for classes whatever they are called.
        classmap: number → class name, see `classmap.read_classmap`.

    Returns:
        None if no level of folders can be told to be the classes.

    Raises:
        DataError: a folder whose name can't be a class.
    """
    read = [_folders_of(path) for path in found if not in_mask_folder(path)]
    while read and min(len(folders) for _, folders in read) > 1 and len({folders[0] for _, folders in read}) == 1:
        for _, folders in read:
            del folders[0]  # a folder around everything tells nothing
    level = _class_level([folders for _, folders in read], layout)
    if level is None:
        return None
    names = {folders[level] for _, folders in read if len(folders) > level}
    label_of = {name: canonical_name(name) for name in names}
    reading = Reading("folders", [])
    if mapped := names_by_classmap(names, classmap):
        label_of = mapped
        reading.notes.append(f"The {len(mapped)} numbered folder(s) have the names of {CLASSMAP}.")
        reading.faults += _against_the_numbers(mapped)
    elif set(label_of.values()) <= _NUMBERED:
        label_of = _names_of_numbers(label_of, [(folders[level], one.path) for one, folders in read if folders[level:]])
    for photograph, folders in read:
        if len(folders) <= level:
            reading.skipped.append((photograph.path, "lies in no class folder"))
            continue
        label = label_of[folders[level]]
        labels = () if label in UNLABELLED_FOLDERS else (checked_label(label, photograph.path),)
        reading.photographs.append(replace(photograph, labels=labels))
    deeper = sum(len(folders) > level + 1 for _, folders in read)
    if deeper:
        reading.notes.append(f"{deeper} photograph(s) lie in folders below the class folders: not read as labels.")
    reading.notes += [*spelling_notes(label_of.items()), *stain_notes(reading.photographs)]
    reading.faults += _contradictions(reading.photographs)
    return reading


def read_by_prefix(found: Sequence[str], layout: str) -> Reading | None:
    """Read the class in front of the number, or of the light, in the file name.

    Args:
        found: paths of the photographs below RAW.
        layout: ``auto`` takes the 22 classes only, ``prefix`` whatever stands there.

    Returns:
        None if a name begins with none of the 22 classes and ``layout`` is ``auto``.

    Raises:
        DataError: no name begins with a word.
    """
    reading, spelt = Reading("prefix", []), set()
    for path in found:
        if in_mask_folder(path):
            continue
        prefix = prefix_of(PurePosixPath(path).stem)
        label = canonical_name(prefix)
        if layout != "prefix" and label not in KNOWN_CLASSES:
            return None
        if not prefix:
            reading.skipped.append((path, "no class in front of the number in its name"))
            continue
        split = split_of_path(path)
        reading.photographs.append(RawPhotograph(path, (label,), light=light_of_path(path), split=split))
        spelt.add((prefix, label))
    if not reading.photographs:
        raise DataError(f"No file name begins with a class; the first: {found[0]}. Write a manifest instead.")
    reading.notes += [*spelling_notes(spelt), *stain_notes(reading.photographs)]
    return reading


def split_of_path(path: str) -> str:
    """Return the split that the topmost such folder of a path tells, or nothing."""
    return next((split for name in PurePosixPath(path).parts[:-1] if (split := split_of(name))), "")


def stain_notes(photographs: Sequence[RawPhotograph]) -> list[str]:
    """Return a sentence on the photographs that their names (``_ARS``) call stained."""
    stained = [one for one in photographs if is_stained(PurePosixPath(one.path).stem)]
    if not stained:
        return []
    classes = len({one.labels for one in stained})
    return [
        f"{len(stained)} photograph(s) of {classes} class(es) are of sections stained with Alizarin Red S (ARS): their "
        "colour may give the class away."
    ]


def _folders_of(path: str) -> tuple[RawPhotograph, list[str]]:
    # The photograph with its light and split, and the folders that tell something else.
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
    return RawPhotograph(path, light=lights.pop() if len(lights) == 1 else "", split=split), folders


def _class_level(folders: Sequence[Sequence[str]], layout: str) -> int | None:
    # Which level of folders, from the top, names the classes; None if that can't be told.
    depth = min((len(names) for names in folders if names), default=0)
    for level in range(depth):
        met = {canonical_name(names[level]) for names in folders if names}
        if met <= KNOWN_CLASSES | set(UNLABELLED_FOLDERS):
            return level
    if depth == 1 or (depth > 1 and layout == "folders"):
        return 0
    return None


def _known_prefix(path: str) -> str:
    label = canonical_name(prefix_of(PurePosixPath(path).stem))
    return label if label in KNOWN_CLASSES else ""


def _names_of_numbers(label_of: dict[str, str], places: Sequence[tuple[str, str]]) -> dict[str, str]:
    # "class7" is a class of DeepCarbonate if all 22 are there, or if the names of the files mostly say the same.
    by_number = {name: find_class(name).name for name in label_of}
    if set(label_of.values()) == _NUMBERED:
        return by_number
    prefixes: dict[str, Counter[str]] = defaultdict(Counter)
    for name, path in places:
        if prefix := _known_prefix(path):
            prefixes[name][prefix] += 1
    agree = sum(counts.most_common(1)[0][0] == by_number[name] for name, counts in prefixes.items())
    return by_number if agree and 2 * agree >= len(label_of) else label_of


def _against_the_numbers(mapped: Mapping[str, str]) -> list[str]:
    # The published numbers of the 22 classes, where the names are those classes but not under those numbers.
    if not set(mapped.values()) <= KNOWN_CLASSES:
        return []
    published = {folder: find_class(name).name for folder in mapped if (name := canonical_name(folder)) in _NUMBERED}
    against = [
        f"{folder} is {mapped[folder]}, not {name}" for folder, name in published.items() if mapped[folder] != name
    ]
    if not against:
        return []
    return [
        f"{CLASSMAP} names {len(against)} folder(s) otherwise than the published numbers of the 22 classes: "
        f"{'; '.join(sorted(against)[:3])}. {CLASSMAP} is believed."
    ]


def _contradictions(photographs: Sequence[RawPhotograph]) -> list[str]:
    told = [(one, prefix) for one in photographs if one.labels and (prefix := _known_prefix(one.path))]
    against = [(one, prefix) for one, prefix in told if prefix not in one.labels]
    if not against:
        return []
    kinds = Counter((prefix, one.labels[0]) for one, prefix in against).most_common()
    shown = ", ".join(f"{count} called {prefix} among {label}" for (prefix, label), count in kinds[:5])
    more = f", and {len(kinds) - 5} more kinds" if len(kinds) > 5 else ""
    return [
        f"{len(against)} of {len(told)} photographs that are named after a class lie in the folder of another: "
        f"{shown}{more}; the first: {against[0][0].path}. The folders are believed."
    ]
