"""The layout of COCO: a JSON file with outlines drawn by hand, which become labels and masks.

Lin et al. 2014, *Microsoft COCO: Common Objects in Context*, arXiv 1405.0312; read are polygons and uncompressed run
lengths, which is what annotation programs write.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocamnet.errors import DataError, missing_extra
from geocamnet.lights import light_of_path
from geocamnet.taxonomy import canonical_name
from geocamnet.train.filenames import split_of
from geocamnet.train.originals import Originals
from geocamnet.train.readings import Names, RawPhotograph, Reading, Shape, spelling_notes

_MOST_FILES = 50  # JSON files looked into


def find_coco(originals: Originals) -> list[str]:
    """Return the paths of the JSON files of RAW that are of this kind."""
    found = []
    for path in [one for one in originals.files if one.lower().endswith(".json")][:_MOST_FILES]:
        try:
            told = json.loads(originals.read(path).decode("utf-8-sig"))
        except (DataError, ValueError, RecursionError):
            continue
        if isinstance(told, dict) and all(isinstance(told.get(key), list) for key in ("images", "categories")):
            found.append(path)
    return found


def read_coco(originals: Originals, files: Sequence[str]) -> Reading:
    """Read photographs, their labels and the outlines that masks are drawn of.

    A photograph's labels are the categories of its outlines. Its split is what its path says, or the file's name
    (``instances_train.json``, ``valid/_annotations.coco.json``).

    Args:
        originals: RAW.
        files: by `find_coco`.

    Raises:
        DataError: a file that can't be understood, or none of the photographs is there.
    """
    names = Names(originals.images)
    reading = Reading("coco", [])
    told = {file: _told(originals, file) for file in files}
    classes = sorted({name for one in told.values() for name in one["names"].values()})
    reading.mask_classes = tuple(classes)
    met: dict[str, RawPhotograph] = {}
    for file, one in told.items():
        for image_id, image in one["images"].items():
            path, how = names.find(str(PurePosixPath(file).parent / image["file_name"]))
            if not path:
                path, how = names.find(image["file_name"])
            if not path or path in met:
                reading.skipped.append((path or image["file_name"], f"named again in {file}" if path else how))
                continue
            shapes, unread = _shapes(one["annotations"].get(image_id, []), one["names"], classes, image)
            if unread:
                reading.skipped.append((path, f"{unread} outline(s) in {file} can't be read and are left out"))
            labels = {one["names"][outline["category_id"]] for outline in one["annotations"].get(image_id, [])}
            light, split = light_of_path(path), _split(path) or _split(file)
            met[path] = RawPhotograph(path, tuple(sorted(labels)), light=light, split=split, shapes=shapes)
    if not met:
        raise DataError(f"{originals.place()}: none of the photographs that {', '.join(files)} name is there.")
    reading.photographs = list(met.values())
    spelt = {(name, canonical_name(name)) for one in told.values() for name in one["spelt"]}
    outlines = sum(len(one.shapes) for one in met.values())
    reading.notes += [f"Labels and {outlines} outlines are from {', '.join(files)}.", *spelling_notes(spelt)]
    unnamed = len(originals.images) - len(met)
    if unnamed:
        reading.notes.append(f"{unnamed} photograph(s) are not named there.")
    return reading


def draw_mask(shapes: Sequence[Shape], shape_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw a class mask of outlines; where they overlap, the smaller lies on top.

    Args:
        shapes: one or more.
        shape_hw: height and width of the photograph in pixels.

    Returns:
        uint8 (H, W): 0 where nothing was outlined, else the class's value.

    Raises:
        DataError: the outlines were drawn on a photograph of another size.
    """
    wrong = next((one for one in shapes if one.size_hw != shape_hw), None)
    if wrong:
        raise DataError(
            f"its outlines were drawn on {wrong.size_hw[1]} x {wrong.size_hw[0]} px, the photograph has "
            f"{shape_hw[1]} x {shape_hw[0]} px."
        )
    inside = [(_inside(one), one.value) for one in shapes]
    mask = np.zeros(shape_hw, np.uint8)
    for place, value in sorted(inside, key=lambda pair: -int(pair[0].sum())):
        mask[place > 0] = value
    return mask


def _inside(shape: Shape) -> NDArray[np.uint8]:
    height, width = shape.size_hw
    if shape.runs:
        values = np.arange(len(shape.runs)) % 2
        return np.repeat(values, shape.runs).astype(np.uint8).reshape(width, height).T
    try:
        from skimage.draw import polygon  # OpenCV's fillPoly also takes the pixels that the outline only touches
    except ImportError as error:
        raise DataError(missing_extra("scikit-image", "train")) from error
    x, y = np.asarray(shape.polygon).reshape(-1, 2).T - 0.5  # COCO counts from the corner of a pixel, not its middle
    drawn = np.zeros((height, width), np.uint8)
    drawn[polygon(y, x, (height, width))] = 1
    return drawn


def _told(originals: Originals, file: str) -> dict[str, Any]:
    try:
        told = json.loads(originals.read(file).decode("utf-8-sig"))
        spelt = {one["id"]: str(one["name"]) for one in told["categories"]}
        names = {number: canonical_name(name) for number, name in spelt.items()}
        images = {one["id"]: {**one, "file_name": str(one["file_name"]).replace("\\", "/")} for one in told["images"]}
        annotations: dict[Any, list[Any]] = {}
        for one in told.get("annotations") or []:
            if one["category_id"] not in names:
                raise KeyError(f"category {one['category_id']}")
            annotations.setdefault(one["image_id"], []).append(one)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{originals.place(file)}: not COCO that can be understood ({error!r}).") from error
    if (bad := next((name for name in names.values() if not name or "|" in name), None)) is not None:
        raise DataError(
            f"{originals.place(file)}: the category '{bad}' can't be a class name (the sign | joins labels). Rename it."
        )
    if len(set(names.values())) > 255:
        raise DataError(f"{originals.place(file)}: {len(names)} categories; a mask holds 255.")
    return {"names": names, "images": images, "annotations": annotations, "spelt": sorted(spelt.values())}


def _split(path: str) -> str:
    # Of folders, or of a word in the name of the JSON file.
    pure = PurePosixPath(path)
    words = [*pure.parts[:-1], *pure.stem.replace("-", "_").split("_")] if pure.suffix == ".json" else pure.parts[:-1]
    return next((split for word in words if (split := split_of(word))), "")


def _shapes(
    outlines: Sequence[Mapping[str, Any]], names: Mapping[Any, str], classes: Sequence[str], image: Mapping[str, Any]
) -> tuple[tuple[Shape, ...], int]:
    found, unread = [], 0
    for outline in outlines:
        value = classes.index(names[outline["category_id"]]) + 1
        drawn = outline.get("segmentation") or []
        try:
            size_hw = (int(image["height"]), int(image["width"]))
            if isinstance(drawn, dict):
                runs = tuple(int(run) for run in drawn["counts"])  # compressed ones are text, and no numbers
                if min(runs) < 0 or sum(runs) != size_hw[0] * size_hw[1]:
                    raise ValueError("run lengths")
                found.append(Shape(value, (), runs, size_hw))
                continue
            polygons = [tuple(float(number) for number in polygon) for polygon in drawn]
            if any(
                len(one) < 6 or len(one) % 2 or not np.isfinite(one).all() or np.abs(one).max() > 1e6
                for one in polygons
            ):
                raise ValueError("polygon")
            found += [Shape(value, polygon, (), size_hw) for polygon in polygons]
        except (ValueError, TypeError, KeyError):
            unread += 1
    return tuple(found), unread
