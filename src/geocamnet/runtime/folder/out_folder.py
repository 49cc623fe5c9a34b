"""What a folder of results holds, and where: its files, how they were made, and what is taken off to begin anew."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from geocamnet.errors import DataError
from geocamnet.images import remove_asides, written_aside
from geocamnet.runtime.folder.row import FolderRow
from geocamnet.runtime.folder.series_tables import CLASSES, SECTIONS
from geocamnet.sharing import Shard

TABLE, AREAS, SKIPPED, SUMMARY = "predictions.csv", "areas.csv", "skipped.csv", "summary.json"
PAGE, MASK_NAMES = "areas.html", "masks.json"
PICTURES, MASKS, SHARDS = "pictures", "masks", "shards"
FROM_ALL = (SECTIONS, CLASSES, PAGE)  # made from all photographs, once each of them is done
SENT_LAST = (PAGE, SUMMARY)  # to a store: who sees the summary sees all that it counts

_ENDINGS = {PICTURES: ("_heatmap.jpg", "_areas.jpg"), MASKS: ("_classes.png",)}
_SCAN_TABLE = "tiles.csv"  # what `scan` calls its files: its code, further up, can't be imported here
_SCAN_PICTURES = ("heatmaps.ome.tif", "overview.jpg")
_MOST_STEM_BYTES = 200  # file systems take names of 255; room is left for our ending and a suffix


def picture_path(out: Path, image: Path) -> Path:
    """Return where the picture of ``image`` (its path below the source) lies; no two images share one.

    ``b/a.jpg`` gives ``OUT/pictures/b/a_jpg_heatmap.jpg``: the suffix stays in the name, for ``a.png`` may lie
    beside ``a.jpg``. A name too long for our ending is cut, and a digest of it added.
    """
    return out / PICTURES / image.parent / f"{_stem(image)}_heatmap.jpg"


def areas_picture_path(out: Path, image: Path) -> Path:
    """Return where the picture of the classes' areas lies, such as ``OUT/pictures/b/a_jpg_areas.jpg``."""
    return out / PICTURES / image.parent / f"{_stem(image)}_areas.jpg"


def mask_path(out: Path, image: Path) -> Path:
    """Return where the class mask lies, such as ``OUT/masks/b/a_jpg_classes.png``."""
    return out / MASKS / image.parent / f"{_stem(image)}_classes.png"


def check_writes_over_nothing(out: Path) -> None:
    """Check that a first call would write over no table or page that another has put into OUT.

    Raises:
        DataError: it would.
    """
    # A first call writes its table before anything else, the first jobs of an array theirs.
    if os.path.lexists(out / TABLE) or any((out / SHARDS).glob(f"*-of-*/{TABLE}")):
        return
    for name in (AREAS, SKIPPED, SUMMARY, MASK_NAMES, *FROM_ALL):
        if os.path.lexists(out / name):
            raise DataError(
                f"{out}: holds {name} and no {TABLE}, so it is not of an earlier call. Choose an empty or new folder "
                f"as OUT; --overwrite would write over {name}."
            )


def without_results(photographs: Iterable[Path], source: Path) -> list[Path]:
    """Return the photographs without the pictures that `run` and `scan` have made, where an OUT lies in the source.

    Args:
        photographs: files below the source.
        source: a folder.
    """
    is_out = cache(_is_out)

    def is_made(file: Path) -> bool:
        parts = file.relative_to(source).parts
        for depth, part in enumerate(parts):
            is_name = depth == len(parts) - 1
            looks_made = part in _SCAN_PICTURES if is_name else file.name.endswith(_ENDINGS.get(part, ()))
            if looks_made and is_out(source.joinpath(*parts[:depth]), _SCAN_TABLE if is_name else TABLE):
                return True
        return False

    return [file for file in photographs if not is_made(file)]


def remove_results(out: Path) -> None:
    """Remove everything that an earlier call made, and nothing else."""
    # The summary goes first: without it nothing here is ever taken for whole.
    for name in (SUMMARY, TABLE, AREAS, SKIPPED, MASK_NAMES, *FROM_ALL):
        (out / name).unlink(missing_ok=True)
    remove_leavings(out)
    for folder, endings in _ENDINGS.items():
        for ending in endings:
            for file in (out / folder).rglob(f"*{ending}"):
                file.unlink()


def shard_folder(out: Path, shard: Shard) -> Path:
    """Return where a job of an array keeps its tables until they are brought together; the pictures are in place."""
    return out / SHARDS / str(shard)


def shard_folders(out: Path) -> list[Path]:
    """Return the folders of the jobs that have left something."""
    return sorted(file.parent for file in (out / SHARDS).glob(f"*/{SUMMARY}"))


def remove_leavings(out: Path) -> None:
    """Remove what the jobs of an array have left, once it is brought together, and what killed ones have.

    Raises:
        DataError: it can't be removed.
    """
    try:
        for folder in (out / SHARDS).glob("*-of-*"):
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
        if (out / SHARDS).is_dir():
            (out / SHARDS).rmdir()
        remove_asides(out, deep=False)
        for name in (PICTURES, MASKS):
            remove_asides(out / name)
    except OSError as error:
        raise DataError(f"{error.filename or out}: can't be removed ({error.strerror or error}).") from error


def check_same_settings(summary: Path, settings: dict[str, Any]) -> None:
    """Check that an earlier call's results were made as this call makes them.

    Raises:
        DataError: they were not, or it can't be told.
    """
    try:
        earlier = json.loads(summary.read_text(encoding="utf-8"))["settings"]
        changed = [(key, earlier.get(key), value) for key, value in settings.items() if earlier.get(key) != value]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{summary}: can't be read ({error}). Use --overwrite, or another OUT.") from error
    if changed:
        key, was, now = changed[0]
        raise DataError(
            f"{summary.parent}: holds results made with {key} = {was}; this call has {key} = {now}. "
            "Use --overwrite to begin anew, or another OUT."
        )


def write_summary(
    out: Path,
    settings: dict[str, Any],
    summing: dict[str, Any],
    rows: Sequence[FolderRow],
    skipped: Sequence[tuple[Path, str]],
    *,
    gone: Sequence[FolderRow] = (),
    finished: bool,
    version: str,
) -> None:
    """Write OUT/summary.json: what there is, and how it was made.

    Args:
        out: the folder.
        settings: that a later call must share.
        summing: settings of what is made from all photographs.
        rows, skipped: of the tables.
        gone: rows of photographs that are in the source no longer, which are not counted.
        finished: every photograph has been looked at.
        version: of this program.

    Raises:
        DataError: it can't be written.
    """
    joined = [row for row in rows if row.joined]
    summary = {
        "finished": finished,
        "photographs": len(rows) + sum(1 + row.joined.count("|") for row in joined),
        "fields_joined": len(joined),
        "photographs_alone": len(rows) - len(joined),
        "skipped": len(skipped),
        "gone": sorted(row.image for row in gone),
        "counts": label_counts(row.label for row in rows),
        "settings": settings,
        "summing": summing,
        "version": version,
    }
    write_json(out / SUMMARY, summary)


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write a JSON file, aside first.

    Raises:
        DataError: it can't be written.
    """
    with written_aside(file) as aside:
        aside.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def label_counts(labels: Iterable[str]) -> dict[str, int]:
    """Return how many photographs each label has, the most frequent first; of several joined by ``|`` each counts."""
    return dict(Counter(label for joined in labels for label in joined.split("|")).most_common())


def _is_out(folder: Path, table: str) -> bool:
    return all((folder / name).is_file() for name in (SUMMARY, table)) or bool(shard_folders(folder))


def _stem(image: Path) -> str:
    stem = f"{image.stem}_{image.suffix[1:]}"
    raw = os.fsencode(stem)
    if len(raw) > _MOST_STEM_BYTES:
        digest = hashlib.sha256(raw).hexdigest()[:16]
        stem = f"{raw[: _MOST_STEM_BYTES - 17].decode('utf-8', 'ignore')}_{digest}"
    return stem
