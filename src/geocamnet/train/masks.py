"""Which mask belongs to which photograph, and what the numbers in the masks mean."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from geocamnet.errors import DataError
from geocamnet.lights import view_of
from geocamnet.taxonomy import canonical_name
from geocamnet.train.originals import Originals
from geocamnet.train.readings import RawPhotograph

MASK_FOLDERS = frozenset({"masks", "mask", "掩膜"})
MASK_TABLE = "masks.json"
_ENDING = re.compile(r"[_\-. ](?:mask|label|seg)$", re.IGNORECASE)


def in_mask_folder(path: str) -> bool:
    """Return whether a path below RAW lies in a folder of masks."""
    return any(name.lower() in MASK_FOLDERS for name in PurePosixPath(path).parts[:-1])


def with_masks(photographs: Sequence[RawPhotograph], originals: Originals) -> tuple[list[RawPhotograph], list[str]]:
    """Give photographs without a mask the one of their name in a folder ``masks``, where a masks.json explains it.

    ``masks/a.png`` is the mask of ``a.jpg``, of ``PPL/a.jpg`` and ``XPL/a.jpg``, and of ``vug/a.jpg`` if no
    photograph of another view is called so; ``masks/vug/a_mask.png`` of ``vug/a.jpg``.

    Returns:
        The photographs in their order, and notes.
    """
    named = {one.mask for one in photographs}
    masks = [path for path in originals.images if in_mask_folder(path) and path not in named]
    if not masks:
        return list(photographs), []
    if not any(PurePosixPath(path).name == MASK_TABLE for path in originals.files):
        note = (
            f"{len(masks)} picture(s) lie in a folder of masks without a {MASK_TABLE}, and are left alone. If pixel "
            f'value v is the v-th class and 0 is not scored, write {{"classes": [...]}} into {MASK_TABLE} beside them.'
        )
        return list(photographs), [note]
    mask_of = {_mask_key(path): path for path in masks}
    views_of_stem: dict[str, set[str]] = defaultdict(set)
    for one in photographs:
        views_of_stem[PurePosixPath(view_of(one.path)).name].add(view_of(one.path))
    done = []
    for one in photographs:
        view = view_of(one.path)
        stem = PurePosixPath(view).name
        keys = [str(PurePosixPath(one.path).with_suffix("")), view, *([stem] if len(views_of_stem[stem]) == 1 else [])]
        mask = next((mask_of[key] for key in keys if key in mask_of), "")
        done.append(one if one.mask or one.shapes else replace(one, mask=mask))
    count = sum(bool(after.mask and not before.mask) for before, after in zip(photographs, done, strict=True))
    unused = len(set(masks) - {one.mask for one in done})
    notes = [f"{count} photograph(s) have a mask of their name."] if count else []
    if unused:
        notes.append(f"{unused} mask(s) are of no photograph by their name.")
    return done, notes


def mask_classes(photographs: Iterable[RawPhotograph], originals: Originals) -> tuple[str, ...]:
    """Return the classes that the masks' numbers mean: value v is the v-th; empty if no photograph has a mask file.

    The masks.json beside the masks says it, or the nearest one in a folder above.

    Raises:
        DataError: it is not there, can't be read, or several differ.
    """
    folders = sorted({str(PurePosixPath(one.mask).parent) for one in photographs if one.mask})
    tables = [_read_table(originals, PurePosixPath(folder)) for folder in folders]
    if any(table != tables[0] for table in tables):
        raise DataError(
            f"{originals.place()}: the {MASK_TABLE} of {', '.join(folders)} differ. All masks need the same classes."
        )
    return tables[0] if tables else ()


def _mask_key(path: str) -> str:
    pure = PurePosixPath(path)
    folders = [name for name in pure.parts[:-1] if name.lower() not in MASK_FOLDERS]
    return "/".join([*folders, _ENDING.sub("", pure.stem)])


def _read_table(originals: Originals, folder: PurePosixPath) -> tuple[str, ...]:
    places = [str(place / MASK_TABLE) for place in (folder, *folder.parents)]
    path = next((place for place in places if place in originals.files), None)
    if path is None:
        raise DataError(
            f"{originals.place(places[0])}: not there, so that the numbers in the masks mean nothing. Write "
            '{"classes": [...]}: pixel value v is the v-th class, 0 is not scored.'
        )
    try:
        names = json.loads(originals.read(path).decode("utf-8-sig"))["classes"]
        return tuple(canonical_name(name) for name in names)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f'{originals.place(path)}: can\'t be read ({error}). It must be {{"classes": [names]}}.'
        ) from error
