"""Photographs become a data set: each decoded once, scaled, stored, and split by thin section.

While it runs, ``prepare.partial.jsonl`` in DATA says what is stored already; ``index.csv`` is written last. A run
that was cut short, however roughly, goes on where it was when the same command is given again.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geocamnet import __version__
from geocamnet.errors import DataError
from geocamnet.images import remove_asides, written_aside
from geocamnet.sharing import read_shard
from geocamnet.stores import from_anywhere
from geocamnet.train.audit.carry_out import carry_out
from geocamnet.train.audit.table import Actions, read_actions, read_verdict
from geocamnet.train.data_card import DATA_CARD, make_data_card, read_data_card, with_words, write_data_card
from geocamnet.train.index import SPLITS, class_names, read_index, write_index
from geocamnet.train.journal import append_to_journal, read_journal, start_journal
from geocamnet.train.originals import close_archives
from geocamnet.train.recipes import PrepareRecipe
from geocamnet.train.rows import class_notes, duplicate_notes, index_rows
from geocamnet.train.sources import Source, find_photographs
from geocamnet.train.store import MIN_SIDE_PX, Stored, StoreJob, mask_sha256, original_sha256, store_all, stored_names

JOURNAL = "prepare.partial.jsonl"
_SHARD_JOURNAL = "prepare.partial-"  # and which of how many jobs
SUMMARY = "prepare.json"
SENT_LAST = (SUMMARY, DATA_CARD, "index.csv")  # to a store: who sees the index sees all that it names
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
        shard: the share of a job array that was done, such as ``2-of-8``; the data set is then not finished.
    """

    data: Path
    photographs: int
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    classes: dict[str, int]
    splits: dict[str, int]
    already_prepared: bool = False
    shard: str = ""


def prepare(
    raw: Path,
    data: Path,
    recipe: PrepareRecipe,
    *,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> PrepareReport:
    """Make a data set of photographs in a folder, an archive or an object store.

    Each photograph is decoded once: cropped by ``crop_px``, scaled to ``long_side_px`` (or ``um_per_px``) and
    stored in DATA/images; one that can't be used is listed with the reason. Then the thin sections are dealt to
    train, val and test. ``index.csv`` is the same whatever the number of processes and of interruptions.

    Args:
        raw: folder, ZIP or TAR of original photographs, or the URL of a folder in a store; it is only read.
        data: the folder to make.
        recipe: every choice, see `PrepareRecipe`.
        overwrite: make it anew if DATA holds another data set made by `prepare`.
        on_progress: called with (done, total) after each photograph.

    Returns:
        What was made; with ``already_prepared`` if DATA was finished, of the same recipe and the same RAW.

    Raises:
        DataError: nothing to prepare, an impossible recipe, DATA holding something else, a disk that is full or
            can't be written.
        SourceError: the store that RAW lies in can't be used; the same call goes on.
    """
    raw, data = Path(raw), Path(data)
    _check_recipe(recipe)
    _check_places(raw, data)
    shard = read_shard(recipe.shard, overwrite=overwrite)
    actions = read_actions(Path(recipe.audit)) if recipe.audit else Actions()
    try:
        source, changes = carry_out(find_photographs(raw, recipe), actions)
    finally:
        close_archives()
    jobs = _jobs(source, data, recipe, actions)
    listing = _listing(source, jobs, actions)
    if (data / "index.csv").exists() and not overwrite:
        return _already_prepared(data, recipe, listing, jobs)

    if shard:
        jobs, journal_file = shard.of_jobs(jobs), data / f"{_SHARD_JOURNAL}{shard}.jsonl"
        done = _done_before(data, [data / JOURNAL, journal_file], recipe, jobs)
        start_journal(journal_file, _recipe_kept(recipe), done)
    else:
        journal_file = data / JOURNAL
        done = _take_up(data, recipe, jobs, overwrite)
    _log.info("%d photographs, %d of them stored already", len(jobs), len(done))
    if on_progress and done:
        on_progress(len(done), len(jobs))
    key_of = {job.path: job.key for job in jobs}
    todo = [job for job in jobs if job.key not in done]
    with (
        journal_file.open("a", encoding="utf-8") as journal,
        closing(store_all(todo, workers=recipe.workers, engine=recipe.engine)) as results,
    ):
        for one in results:
            done[key_of[one.path]] = one
            append_to_journal(journal, key_of[one.path], one)
            if on_progress:
                on_progress(len(done), len(jobs))
    stored = [done[job.key] for job in jobs]
    if shard:
        skipped = tuple((one.path, one.skipped) for one in stored if one.skipped)
        return PrepareReport(data, len(stored) - len(skipped), skipped, (), {}, {}, shard=str(shard))
    kept = {"listing": listing, **_masks_kept(jobs, stored)}
    return _finish(data, recipe, source, stored, kept, actions, changes)


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
    if raw.is_dir() and data.resolve().is_relative_to(raw.resolve()):
        raise DataError(
            f"{data}: lies inside {raw}, so that its photographs would be taken for originals. Choose another folder."
        )
    made_here = any((data / name).exists() for name in (JOURNAL, SUMMARY)) or any(data.glob(f"{_SHARD_JOURNAL}*"))
    others = [name for name in ("index.csv", "images", "masks") if (data / name).exists()]
    if others and not made_here:
        raise DataError(f"{data}: holds {others[0]} that prepare has not made. Choose another folder.")


def _jobs(source: Source, data: Path, recipe: PrepareRecipe, actions: Actions) -> list[StoreJob]:
    suffix = ".jpg" if recipe.jpeg_quality else ".png"
    files, photographs = source.originals.files, source.photographs
    jobs = []
    for one, name in zip(photographs, stored_names([one.path for one in photographs]), strict=True):
        original, mask = files[one.path], files.get(one.mask)
        job = StoreJob(
            raw=from_anywhere(source.originals.raw),  # the nodes of a cluster are in folders of their own
            data=str(data.absolute()),
            position=original.position,
            mask_position=mask.position if mask else -1,
            mask_bytes=mask.size_bytes if mask else 0,
            mask_mtime_ns=mask.mtime_ns if mask else 0,
            path=one.path,
            image=f"images/{name}{suffix}",
            um_per_px=one.um_per_px,
            crop_px=recipe.crop_px,
            long_side_px=recipe.long_side_px,
            target_um_per_px=recipe.um_per_px,
            jpeg_quality=recipe.jpeg_quality,
            mask=one.mask,
            shapes=one.shapes,
            mask_stored=f"masks/{name}.png" if one.mask or one.shapes else "",
            mask_classes=len(source.mask_classes),
            size_bytes=original.size_bytes,
            mtime_ns=original.mtime_ns,
            crop_ltrb=actions.crop.get(one.path, (0, 0, 0, 0)),
        )
        jobs.append(job)
    return jobs


def _recipe_kept(recipe: PrepareRecipe) -> dict[str, Any]:
    kept = asdict(recipe)
    for name in ("workers", "engine", "shard", "title", "origin", "licence"):  # change nothing in the photographs
        del kept[name]
    return kept


def _listing(source: Source, jobs: Sequence[StoreJob], actions: Actions) -> str:
    told = [(*asdict(one).values(), job.size_bytes) for one, job in zip(source.photographs, jobs, strict=True)]
    asked = [sorted(actions.crop.items()), sorted(actions.group.items())] if actions != Actions() else []
    return hashlib.sha256(json.dumps([told, source.skipped, source.mask_classes, *asked]).encode()).hexdigest()


def _digest(told: Mapping[str, int | str]) -> str:
    return hashlib.sha256(json.dumps(sorted(told.items())).encode()).hexdigest()


def _masks_kept(jobs: Sequence[StoreJob], stored: Sequence[Stored]) -> dict[str, dict[str, str]]:
    # By what masks that change later are noticed. In the listing, it would refuse data sets of earlier versions.
    used = [(job, one) for job, one in zip(jobs, stored, strict=True) if job.mask and not one.skipped]
    sizes = _digest({job.mask: job.mask_bytes for job, _ in used})
    contents = _digest({job.mask: one.mask_sha256 for job, one in used})
    return {"masks": {"sizes": sizes, "sha256": contents}} if used else {}


def _already_prepared(data: Path, recipe: PrepareRecipe, listing: str, jobs: Sequence[StoreJob]) -> PrepareReport:
    anew = "Choose another folder, or make it anew with --overwrite."
    file = data / SUMMARY
    try:
        summary = json.loads(file.read_text("utf-8"))
        now = json.loads(json.dumps(_recipe_kept(recipe)))
        # A choice that an earlier version did not have was made as its default makes it.
        before = json.loads(json.dumps(_recipe_kept(PrepareRecipe()))) | summary["recipe"]
        changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        if changed:
            told = ", ".join(f"{name} was {before.get(name)} and is {now.get(name)}" for name in changed)
            raise DataError(f"{data}: holds a data set of another recipe ({told}). {anew}")
        if summary["listing"] != listing:
            raise DataError(f"{data}: the photographs or labels have changed since it was made. {anew}")
        if reason := _change(data, summary.get("masks"), jobs, file.stat().st_mtime_ns):
            raise DataError(f"{data}: {reason} {anew}")
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
    card = read_data_card(data)
    if (said := with_words(card, recipe)) != card:
        write_data_card(data, said)
    (data / JOURNAL).unlink(missing_ok=True)  # left behind if the run was killed after its last step
    remove_asides(data, deep=False)
    return report


def _change(data: Path, masks: Mapping[str, str] | None, jobs: Sequence[StoreJob], made_ns: int) -> str:
    # What to say where photographs or masks are no longer those of the data set; nothing where they are.
    # Sizes of photographs are in the listing already. Only what was touched since is read, so that this stays quick.
    sha256_of = {row.source: row.sha256 for row in read_index(data)}
    jobs = [job for job in jobs if job.path in sha256_of]
    touched = sorted((job for job in jobs if job.mtime_ns > made_ns), key=lambda job: job.position)
    try:
        if any(original_sha256(job) != sha256_of[job.path] for job in touched):
            return "the photographs have changed since it was made."
        return _mask_change(masks, [job for job in jobs if job.mask], made_ns)
    finally:
        close_archives()


def _mask_change(masks: Mapping[str, str] | None, jobs: Sequence[StoreJob], made_ns: int) -> str:
    # One hash of all keeps prepare.json short; so where one mask was touched, all are read.
    changed = "the masks have changed since it was made."
    if masks and masks["sizes"] != _digest({job.mask: job.mask_bytes for job in jobs}):
        return changed
    if not any(job.mask_mtime_ns > made_ns for job in jobs):
        return ""
    if not masks:
        return "masks are newer than it, and the version that made it kept nothing to tell whether they have changed."
    ordered = sorted(jobs, key=lambda job: job.mask_position)
    return "" if masks["sha256"] == _digest({job.mask: mask_sha256(job) for job in ordered}) else changed


def _done_before(
    data: Path, journals: Sequence[Path], recipe: PrepareRecipe, jobs: Sequence[StoreJob]
) -> dict[str, Stored]:
    # What earlier runs have stored, by the key of its job, where it is still there.
    earlier: dict[str, Stored] = {}
    for file in journals:
        earlier |= read_journal(file, _recipe_kept(recipe))
    return {
        job.key: stored
        for job in jobs
        if (stored := earlier.get(job.key))
        and all((data / path).is_file() for path in (stored.image, stored.mask) if path)
    }


def _take_up(data: Path, recipe: PrepareRecipe, jobs: Sequence[StoreJob], overwrite: bool) -> dict[str, Stored]:
    # Returns what an earlier run has stored, by the key of its job, and removes what no entry vouches for.
    try:
        of_shards = sorted(data.glob(f"{_SHARD_JOURNAL}*.jsonl"))
        done = {} if overwrite else _done_before(data, [data / JOURNAL, *of_shards], recipe, jobs)
        start_journal(data / JOURNAL, _recipe_kept(recipe), done)
        for file in of_shards:
            file.unlink()
        for name in ("index.csv", SUMMARY, DATA_CARD):
            (data / name).unlink(missing_ok=True)
        vouched = {data / path for stored in done.values() for path in (stored.image, stored.mask) if path}
        for folder in ("images", "masks"):
            for stray in [file for file in (data / folder).glob("*") if file.is_file() and file not in vouched]:
                stray.unlink()
        remove_asides(data, deep=False)
    except OSError as error:
        raise DataError(f"{data}: can't be written ({error.strerror or error}). Choose another folder.") from error
    return done


def _finish(
    data: Path,
    recipe: PrepareRecipe,
    source: Source,
    stored: Sequence[Stored],
    kept: Mapping[str, Any],
    actions: Actions,
    changes: Mapping[str, int],
) -> PrepareReport:
    skipped = [*source.skipped, *((one.path, one.skipped) for one in stored if one.skipped)]
    skipped += [
        (photograph.mask or photograph.path, f"mask of {photograph.path}: {one.mask_skipped}")
        for photograph, one in zip(source.photographs, stored, strict=True)
        if one.mask_skipped
    ]
    pairs = [pair for pair in zip(source.photographs, stored, strict=True) if not pair[1].skipped]
    if not pairs:
        first = "; ".join(f"{path}: {reason}" for path, reason in skipped[:3])
        raise DataError(f"None of {len(stored)} photographs can be used. The first: {first}")
    rows, split_notes = index_rows(pairs, recipe, actions)
    notes = [*source.notes, *split_notes, *class_notes(rows)]
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
        **kept,
    }
    if source.mask_classes and any(row.mask for row in rows):
        _write_json(data / "masks" / "masks.json", {"classes": source.mask_classes})
    _write_json(data / SUMMARY, summary)
    faults = [*source.faults, *duplicate_notes(pairs)]
    card = make_data_card(
        rows,
        recipe,
        name=source.originals.name,
        licence_file=source.originals.licence,
        layout=source.layout,
        sections_known=source.sections_known,
        skipped=len(skipped),
        faults=faults,
        audit={"found": read_verdict(Path(recipe.audit)), "carried_out": dict(changes)} if recipe.audit else None,
    )
    write_data_card(data, card)
    write_index(data, rows)
    (data / JOURNAL).unlink(missing_ok=True)
    totals = {name: sum(counts.values()) for name, counts in classes.items()}
    return PrepareReport(data, len(rows), tuple(skipped), tuple(notes), totals, splits)


def _write_json(file: Path, values: Mapping[str, Any]) -> None:
    with written_aside(file) as aside:
        aside.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", "utf-8")
