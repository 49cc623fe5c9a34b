"""Photographs become a data set: each decoded once, scaled, stored, and split by thin section.

While it runs, ``prepare.partial.jsonl`` in DATA says what is stored already; ``index.csv`` is written last. A run
that was cut short, however roughly, goes on where it was when the same command is given again.
"""

import hashlib
import json
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from unicodedata import normalize

from geocamnet import __version__
from geocamnet.errors import DataError
from geocamnet.images import written_aside
from geocamnet.taxonomy import canonical_name
from geocamnet.train.audit.carry_out import carry_out
from geocamnet.train.audit.table import Actions, read_actions
from geocamnet.train.index import SPLITS, IndexRow, class_names, labels_kind, read_index, write_index
from geocamnet.train.journal import append_to_journal, read_journal, start_journal
from geocamnet.train.recipes import PrepareRecipe
from geocamnet.train.sources import RawPhotograph, Source, find_photographs
from geocamnet.train.split import fold_sections, join_sections, split_sections
from geocamnet.train.store import MIN_SIDE_PX, Stored, StoreJob, file_sha256, store_all

JOURNAL = "prepare.partial.jsonl"
SUMMARY = "prepare.json"
_NO_ACTIONS = Actions()
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` made.

    Attributes:
        data: the data set folder.
        photographs: how many it holds.
        skipped: (path below RAW, reason) of what is not in it.
        notes: what was concluded and what to know, in sentences.
        classes: photographs of each class, by name.
        splits: photographs in train, val and test.
        already_prepared: True if there was nothing to do.
    """

    data: Path
    photographs: int
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    classes: dict[str, int]
    splits: dict[str, int]
    already_prepared: bool = False


def prepare(
    raw: Path,
    data: Path,
    recipe: PrepareRecipe,
    *,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> PrepareReport:
    """Make a data set of a folder of photographs.

    Each photograph is decoded once: cropped by ``crop_px``, scaled to ``long_side_px`` (or ``um_per_px``) and
    stored in DATA/images; one that can't be used is listed with the reason. Then the thin sections are dealt to
    train, val and test. ``index.csv`` is the same whatever the number of processes and of interruptions.

    Args:
        raw: the folder of original photographs; it is only read.
        data: the folder to make.
        recipe: every choice, see `PrepareRecipe`.
        overwrite: make it anew if DATA holds another data set made by `prepare`.
        on_progress: called with (done, total) after each photograph.

    Returns:
        What was made; with ``already_prepared`` if DATA was finished, of the same recipe and the same RAW.

    Raises:
        DataError: nothing to prepare, an impossible recipe, DATA holding something else, a disk that is full or
            can't be written.
    """
    raw, data = Path(raw), Path(data)
    _check_recipe(recipe)
    _check_places(raw, data)
    actions = read_actions(Path(recipe.audit)) if recipe.audit else Actions()
    source, changes = carry_out(find_photographs(raw, recipe), actions)
    mask_table = _mask_table(raw, source.photographs)
    jobs = _jobs(raw, data, source.photographs, recipe, len(mask_table["classes"]) if mask_table else 0, actions)
    listing = _listing(source, jobs, mask_table, actions)
    if (data / "index.csv").exists() and not overwrite:
        return _already_prepared(data, recipe, listing, jobs)

    done = _take_up(data, recipe, jobs, overwrite)
    _log.info("%d photographs, %d of them stored already", len(jobs), len(done))
    if on_progress and done:
        on_progress(len(done), len(jobs))
    key_of = {job.path: job.key for job in jobs}
    todo = [job for job in jobs if job.key not in done]
    with (
        (data / JOURNAL).open("a", encoding="utf-8") as journal,
        closing(store_all(todo, workers=recipe.workers)) as results,
    ):
        for stored in results:
            done[key_of[stored.path]] = stored
            append_to_journal(journal, key_of[stored.path], stored)
            if on_progress:
                on_progress(len(done), len(jobs))
    return _finish(data, recipe, source, [done[job.key] for job in jobs], mask_table, listing, actions, changes)


def _check_recipe(recipe: PrepareRecipe) -> None:
    def check(name: str, fits: bool, wanted: str) -> None:
        if not fits:
            option = "--" + name.replace("_", "-")
            raise DataError(f"{option} must be {wanted}; received {getattr(recipe, name)}.")

    check("crop_px", recipe.crop_px >= 0, "0 or more")
    check("long_side_px", recipe.long_side_px is None or recipe.long_side_px >= MIN_SIDE_PX, f"{MIN_SIDE_PX} or more")
    check("um_per_px", recipe.um_per_px is None or recipe.um_per_px > 0, "above 0")
    check("raw_um_per_px", recipe.raw_um_per_px is None or recipe.raw_um_per_px > 0, "above 0")
    check("jpeg_quality", 0 <= recipe.jpeg_quality <= 100, "1 to 100, or 0 for PNG")
    check("folds", recipe.folds == 0 or recipe.folds >= 3, "0, or 3 or more (one tests, one validates)")
    check("workers", recipe.workers >= 0, "0 (every core) or more")
    check("val_share", 0 <= recipe.val_share < 1, "from 0 to below 1")
    check("test_share", 0 <= recipe.test_share < 1 - recipe.val_share, "0 or more, and below 1 with --val-share")


def _check_places(raw: Path, data: Path) -> None:
    if not raw.is_dir():
        raise DataError(f"{raw}: no such folder.")
    if data.resolve().is_relative_to(raw.resolve()):
        raise DataError(
            f"{data}: lies inside {raw}, so that its photographs would be taken for originals. Choose another folder."
        )
    made_here = any((data / name).exists() for name in (JOURNAL, SUMMARY))
    others = [name for name in ("index.csv", "images", "masks") if (data / name).exists()]
    if others and not made_here:
        raise DataError(f"{data}: holds {others[0]} that prepare has not made. Choose another folder.")


def _nearest_mask_table(raw: Path, folder: PurePosixPath) -> Path:
    """Return the masks.json beside the masks, or in the nearest folder above them, as one table may serve many."""
    for place in (folder, *folder.parents):
        if (file := raw / place / "masks.json").is_file():
            return file
    return raw / folder / "masks.json"


def _mask_table(raw: Path, photographs: Iterable[RawPhotograph]) -> dict[str, Any] | None:
    folders = sorted({str(PurePosixPath(one.mask).parent) for one in photographs if one.mask})
    tables = []
    for folder in folders:
        file = _nearest_mask_table(raw, PurePosixPath(folder))
        try:
            table = json.loads(file.read_text("utf-8-sig"))
            table["classes"] = [canonical_name(name) for name in table["classes"]]
        except FileNotFoundError as error:
            raise DataError(
                f'{file}: not there, so that the numbers in the masks mean nothing. Write {{"classes": [...]}}: '
                "pixel value v is the v-th class, 0 is not scored."
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f'{file}: can\'t be read ({error}). It must be {{"classes": [names]}}.') from error
        tables.append(table)
    if any(table != tables[0] for table in tables):
        raise DataError(f"{raw}: the masks.json of {', '.join(folders)} differ. All masks need the same classes.")
    return tables[0] if tables else None


def _jobs(
    raw: Path,
    data: Path,
    photographs: Sequence[RawPhotograph],
    recipe: PrepareRecipe,
    mask_classes: int,
    actions: Actions,
) -> list[StoreJob]:
    suffix = ".jpg" if recipe.jpeg_quality else ".png"
    jobs = []
    for one, name in zip(photographs, _stored_names([one.path for one in photographs]), strict=True):
        state = (raw / one.path).stat()
        job = StoreJob(
            raw=str(raw),
            data=str(data),
            path=one.path,
            image=f"images/{name}{suffix}",
            um_per_px=one.um_per_px,
            crop_px=recipe.crop_px,
            long_side_px=recipe.long_side_px,
            target_um_per_px=recipe.um_per_px,
            jpeg_quality=recipe.jpeg_quality,
            mask=one.mask,
            mask_stored=f"masks/{name}.png" if one.mask else "",
            mask_classes=mask_classes,
            size_bytes=state.st_size,
            mtime_ns=state.st_mtime_ns,
            crop_ltrb=actions.crop.get(one.path, (0, 0, 0, 0)),
        )
        jobs.append(job)
    return jobs


def _stored_names(paths: Sequence[str]) -> list[str]:
    # Readable, and unique also where a.jpg and A.JPG are one file: the path with / as __, a hash where that is
    # not enough. 120 bytes at most; file systems take 255.
    names = []
    for path in paths:
        flat = normalize("NFC", str(PurePosixPath(path).with_suffix(""))).replace("/", "__")
        flat = re.sub(r"[^\w.()+-]", "_", flat).strip(".")
        short = flat.encode()[:120].decode("utf-8", "ignore")
        names.append(short or "_")
    counts = Counter(name.casefold() for name in names)
    return [
        name if counts[name.casefold()] == 1 else f"{name}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"
        for name, path in zip(names, paths, strict=True)
    ]


def _recipe_kept(recipe: PrepareRecipe) -> dict[str, Any]:
    kept = asdict(recipe)
    del kept["workers"]  # changes nothing in the result
    return kept


def _listing(source: Source, jobs: Sequence[StoreJob], mask_table: Mapping[str, Any] | None, actions: Actions) -> str:
    told = [(*asdict(one).values(), job.size_bytes) for one, job in zip(source.photographs, jobs, strict=True)]
    asked = [sorted(actions.crop.items()), sorted(actions.group.items())] if actions != Actions() else []
    return hashlib.sha256(json.dumps([told, source.skipped, mask_table, *asked]).encode()).hexdigest()


def _already_prepared(data: Path, recipe: PrepareRecipe, listing: str, jobs: Sequence[StoreJob]) -> PrepareReport:
    anew = "Choose another folder, or make it anew with --overwrite."
    file = data / SUMMARY
    try:
        summary = json.loads(file.read_text("utf-8"))
        before, now = summary["recipe"], json.loads(json.dumps(_recipe_kept(recipe)))
        changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        if changed:
            told = ", ".join(f"{name} was {before.get(name)} and is {now.get(name)}" for name in changed)
            raise DataError(f"{data}: holds a data set of another recipe ({told}). {anew}")
        if summary["listing"] != listing or _has_changed(data, jobs, file.stat().st_mtime_ns):
            raise DataError(f"{data}: the photographs or labels have changed since it was made. {anew}")
        report = PrepareReport(
            data=data,
            photographs=summary["photographs"],
            skipped=tuple((one["path"], one["reason"]) for one in summary["skipped"]),
            notes=tuple(summary["notes"]),
            classes={name: sum(counts.values()) for name, counts in summary["classes"].items()},
            splits=summary["splits"],
            already_prepared=True,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: can't be read ({error}). {anew}") from error
    (data / JOURNAL).unlink(missing_ok=True)  # left behind if the run was killed after its last step
    return report


def _has_changed(data: Path, jobs: Sequence[StoreJob], made_ns: int) -> bool:
    # Sizes are in the listing already. Only files touched since are read, so that this stays quick.
    sha256_of = {row.source: row.sha256 for row in read_index(data)}
    return any(
        job.path in sha256_of and file_sha256(Path(job.raw, job.path)) != sha256_of[job.path]
        for job in jobs
        if job.mtime_ns > made_ns
    )


def _take_up(data: Path, recipe: PrepareRecipe, jobs: Sequence[StoreJob], overwrite: bool) -> dict[str, Stored]:
    # Returns what an earlier run has stored, by the key of its job, and removes what no entry vouches for.
    try:
        earlier = {} if overwrite else read_journal(data / JOURNAL, _recipe_kept(recipe))
        done = {
            job.key: stored
            for job in jobs
            if (stored := earlier.get(job.key))
            and all((data / path).is_file() for path in (stored.image, stored.mask) if path)
        }
        start_journal(data / JOURNAL, _recipe_kept(recipe), done)
        for name in ("index.csv", SUMMARY):
            (data / name).unlink(missing_ok=True)
        vouched = {data / path for stored in done.values() for path in (stored.image, stored.mask) if path}
        for folder in ("images", "masks"):
            for stray in [file for file in (data / folder).glob("*") if file.is_file() and file not in vouched]:
                stray.unlink()
    except OSError as error:
        raise DataError(f"{data}: can't be written ({error.strerror or error}). Choose another folder.") from error
    return done


def _finish(
    data: Path,
    recipe: PrepareRecipe,
    source: Source,
    stored: Sequence[Stored],
    mask_table: Mapping[str, Any] | None,
    listing: str,
    actions: Actions,
    changes: Mapping[str, int],
) -> PrepareReport:
    skipped = [*source.skipped, *((one.path, one.skipped) for one in stored if one.skipped)]
    skipped += [
        (photograph.mask, f"mask of {photograph.path}: {one.mask_skipped}")
        for photograph, one in zip(source.photographs, stored, strict=True)
        if one.mask_skipped
    ]
    pairs = [pair for pair in zip(source.photographs, stored, strict=True) if not pair[1].skipped]
    if not pairs:
        first = "; ".join(f"{path}: {reason}" for path, reason in skipped[:3])
        raise DataError(f"None of {len(stored)} photographs can be used. The first: {first}")
    rows, split_notes = _rows(pairs, recipe, actions)
    notes = [*source.notes, *split_notes, *_class_notes(rows)]
    splits = {split: sum(row.split == split for row in rows) for split in SPLITS}
    classes = {
        name: {split: sum(row.split == split and name in row.labels for row in rows) for split in SPLITS}
        for name in class_names(rows)
    }
    summary = {
        "format": 1,
        "geocamnet": __version__,
        "recipe": _recipe_kept(recipe),
        "layout": source.layout,
        "sections_known": source.sections_known,
        "photographs": len(rows),
        "splits": splits,
        "sections": {split: len({row.section for row in rows if row.split == split}) for split in SPLITS},
        "classes": classes,
        "lights": dict(sorted(Counter(row.light for row in rows).items())),
        "notes": notes,
        "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
        **({"audit": dict(changes)} if changes else {}),
        "listing": listing,
    }
    if mask_table and any(row.mask for row in rows):
        _write_json(data / "masks" / "masks.json", mask_table)
    _write_json(data / SUMMARY, summary)
    write_index(data, rows)
    (data / JOURNAL).unlink(missing_ok=True)
    totals = {name: sum(counts.values()) for name, counts in classes.items()}
    return PrepareReport(data, len(rows), tuple(skipped), tuple(notes), totals, splits)


def _rows(
    pairs: Sequence[tuple[RawPhotograph, Stored]], recipe: PrepareRecipe, actions: Actions = _NO_ACTIONS
) -> tuple[list[IndexRow], list[str]]:
    # Copies of one file, photographs of one view and groups of an audit go wherever their section goes, so these are
    # joined.
    own = [photograph.section or photograph.field for photograph, _ in pairs]
    ties = [
        (
            ("field", photograph.field),
            ("file", stored.sha256),
            *(("audit", name) for name in actions.group.get(photograph.path, ())),
        )
        for photograph, stored in pairs
    ]
    sections = join_sections(own, ties)
    notes = _duplicate_notes(pairs)
    joined = len(set(own)) - len(set(sections))
    if joined:
        notes.append(
            f"{joined} section(s) share a view, a file or a group of the audit with another and are joined to it."
        )
    labels_of: dict[str, set[str]] = defaultdict(set)
    asked_of: dict[str, set[str]] = defaultdict(set)
    for section, (photograph, _) in zip(sections, pairs, strict=True):
        labels_of[section].update(photograph.labels)
        if recipe.keep_splits and photograph.split:
            asked_of[section].add(photograph.split)
    straddling = sum(len(asked) > 1 for asked in asked_of.values())
    if straddling:
        notes.append(f"{straddling} section(s) lie in several splits of RAW: each is put in test, or else in val.")
    kept = {section: max(asked, key=("train", "val", "test").index) for section, asked in asked_of.items()}
    split = split_sections(
        labels_of, val_share=recipe.val_share, test_share=recipe.test_share, seed=recipe.seed, kept=kept
    )
    folds = fold_sections(labels_of, folds=recipe.folds, seed=recipe.seed) if recipe.folds else {}
    rows = [
        IndexRow(
            image=stored.image,
            labels=photograph.labels,
            section=section,
            field=photograph.field,
            light=photograph.light,
            um_per_px=stored.um_per_px,
            split=split.split_of[section],
            width_px=stored.width_px,
            height_px=stored.height_px,
            sha256=stored.sha256,
            source=photograph.path,
            fold=folds.get(section),
            mask=stored.mask,
        )
        for section, (photograph, stored) in zip(sections, pairs, strict=True)
    ]
    return rows, [*notes, *split.notes]


def _duplicate_notes(pairs: Sequence[tuple[RawPhotograph, Stored]]) -> list[str]:
    copies: dict[str, list[RawPhotograph]] = defaultdict(list)
    for photograph, stored in pairs:
        copies[stored.sha256].append(photograph)
    copied = [group for group in copies.values() if len(group) > 1]
    if not copied:
        return []
    conflicting = [group for group in copied if len({one.labels for one in group}) > 1]
    extra = sum(len(group) - 1 for group in copied)
    note = f"{extra} photograph(s) are exact copies of others; copies stay in one split."
    if conflicting:
        first = conflicting[0]
        note += (
            f" {len(conflicting)} photograph(s) are filed under different labels, such as {first[0].path} and "
            f"{first[1].path}: a class for each is not true of one photograph."
        )
    return [note]


def _class_notes(rows: Sequence[IndexRow]) -> list[str]:
    counts = Counter(label for row in rows for label in row.labels)
    notes = [f"Class '{name}' has a single photograph." for name in sorted(counts) if counts[name] == 1]
    unlabelled = sum(not row.labels for row in rows)
    if unlabelled:
        notes.append(f"{unlabelled} photograph(s) have no label.")
    if len(counts) == 1:
        notes.append(f"Only one class, '{next(iter(counts))}': nothing can be learnt from one class.")
    if not counts:
        notes.append("No photograph has a label: a network can't be trained on them.")
    if labels_kind(rows) == "multi":
        notes.append("Some photographs carry several labels.")
    return notes


def _write_json(file: Path, values: Mapping[str, Any]) -> None:
    with written_aside(file) as aside:
        aside.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", "utf-8")
