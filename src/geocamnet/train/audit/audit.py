"""The audit of a collection of photographs: looked at, compared, judged, told on one page and in one table."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from geocamnet import __version__
from geocamnet.errors import DataError
from geocamnet.images import is_empty, remove_asides, written_aside
from geocamnet.sections import section_pattern, sections_by_regex
from geocamnet.train.archives import unfold
from geocamnet.train.audit.duplicates import Copies, find_copies
from geocamnet.train.audit.evidence import Evidence, Finding
from geocamnet.train.audit.findings import find
from geocamnet.train.audit.label_noise import find_label_noise
from geocamnet.train.audit.look import Look
from geocamnet.train.audit.looking import LOOKS, look_at_photographs
from geocamnet.train.audit.page import PAGE, write_page
from geocamnet.train.audit.shortcuts import find_shortcuts
from geocamnet.train.audit.table import SUMMARY, TABLE, write_table
from geocamnet.train.masks import in_mask_folder
from geocamnet.train.originals import Originals, close_archives, open_originals
from geocamnet.train.recipes import HIGHEST_SEED, AuditRecipe, PrepareRecipe
from geocamnet.train.sources import RawPhotograph, Source, find_photographs

_UNFOLDED = "unfolded.tar"  # a compressed TAR, for as long as it is audited
_TABLES = {"manifest.csv", "manifest.xlsx", "masks.json", "classmap.txt"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Attributes:
        out: the folder with audit.html, audit.csv and audit.json.
        photographs: that could be read.
        unread: (path, reason) of those that could not.
        findings: worst first.
        copies: which photographs show the same; positions are of ``paths``.
        paths: of the photographs that could be read, below RAW.
    """

    out: Path
    photographs: int
    unread: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]
    copies: Copies
    paths: tuple[str, ...]


def audit(
    raw: Path, out: Path, recipe: AuditRecipe, *, on_progress: Callable[[int, int, str], None] | None = None
) -> AuditReport:
    """Look for what would make figures on these photographs wrong.

    Every photograph is decoded once; what was seen is kept in AUDIT/looks.jsonl, so that the same command goes on
    with an audit that was stopped, and looks only at what has changed. Labels are not needed: without them copies,
    marks and files that can't be read are found all the same.

    Args:
        raw: folder, ZIP or TAR of photographs, or the URL of a folder in a store; it is only read.
        out: the folder to write audit.html, audit.csv and audit.json into.
        recipe: how labels and sections are told, see `AuditRecipe`.
        on_progress: called with (done, total, what is being done).

    Raises:
        DataError: nothing there or no photograph, a manifest or section pattern that can't be read, AUDIT inside RAW or
            holding something else, a disk that is full.
    """
    raw, out = Path(raw), Path(out)
    _check_places(raw, out, recipe)
    remove_asides(out, deep=False)
    told = on_progress or (lambda done, total, what: None)
    try:
        source = _source(raw, recipe)
        with _in_any_order(source.originals, out, told) as originals:
            return _audited(replace(source, originals=originals), out, recipe, told)
    finally:
        close_archives()


def _audited(source: Source, out: Path, recipe: AuditRecipe, told: Callable[[int, int, str], None]) -> AuditReport:
    originals = source.originals
    photographs = {one.path: one for one in source.photographs}
    looks = look_at_photographs(
        originals,
        out,
        [*photographs, *_images_beside(source)],
        workers=recipe.workers,
        on_progress=lambda done, total: told(done, total, "looking"),
    )
    read = [look for look in looks if not look.problem]
    unread = [(look.path, look.problem) for look in looks if look.problem]
    unread += [pair for pair in source.skipped if pair[0] not in {look.path for look in looks}]
    everything = sorted(
        ((photographs.get(look.path) or RawPhotograph(look.path, field=look.path), look) for look in read),
        key=lambda pair: pair[0].path,
    )
    ones, kept = [one for one, _ in everything], [look for _, look in everything]
    copies = find_copies(
        originals,
        kept,
        fields=[one.field or one.path for one in ones],
        workers=recipe.workers,
        seed=recipe.seed,
        on_progress=lambda done, total: told(done, total, "comparing"),
    )
    told(0, 1, "judging")
    seen = _judged(source, ones, kept, copies, unread, _others(originals), recipe.seed)
    findings = find(seen)
    write_page(originals, out, seen, findings)
    write_table(out, [line for one in findings for line in one.lines])
    _write_summary(out, seen, findings, recipe)
    told(1, 1, "judging")
    return AuditReport(out, len(ones), tuple(unread), findings, copies, tuple(one.path for one in ones))


def _check_places(raw: Path, out: Path, recipe: AuditRecipe) -> None:
    if out.resolve().is_relative_to(raw.resolve()):
        raise DataError(f"{out}: lies inside {raw}, whose files would be taken for originals. Choose another folder.")
    ours = {LOOKS, PAGE, TABLE, SUMMARY, _UNFOLDED}
    if out.is_file() or (out.is_dir() and not is_empty(out) and not ours & {one.name for one in out.iterdir()}):
        raise DataError(f"{out}: holds something that audit has not made. Choose another folder.")
    if recipe.workers < 0:
        raise DataError(f"--workers must be 0 (every core) or more; received {recipe.workers}.")
    if not 0 <= recipe.seed <= HIGHEST_SEED:
        raise DataError(f"--seed must be from 0 to {HIGHEST_SEED}; received {recipe.seed}.")


def _source(raw: Path, recipe: AuditRecipe) -> Source:
    # An audit works without labels: where nothing tells them and nothing was said of them, it goes on without.
    asked = PrepareRecipe(layout=recipe.layout, manifest=recipe.manifest, section_regex=recipe.section_regex)
    pattern = section_pattern(recipe.section_regex) if recipe.section_regex else None
    try:
        return find_photographs(raw, asked)
    except DataError as error:
        originals = open_originals(raw)
        if recipe.manifest or recipe.layout != "auto" or {"manifest.csv", "manifest.xlsx"} & originals.files.keys():
            raise
        paths = [path for path in originals.images if not in_mask_folder(path)]
        if not paths:
            raise
        # It may be the pattern that nothing fits: what is wrong with that is told, not taken for a want of labels.
        sections = sections_by_regex(paths, pattern, below="RAW") if pattern else [""] * len(paths)
        note = f"Nothing tells classes here, so photographs are audited without labels. ({error})"
        return Source(
            layout="none",
            photographs=tuple(
                RawPhotograph(path, section=section, field=path) for path, section in zip(paths, sections, strict=True)
            ),
            notes=(note,),
            skipped=originals.refused,
            faults=(),
            mask_classes=(),
            originals=originals,
        )


@contextmanager
def _in_any_order(originals: Originals, out: Path, told: Callable[[int, int, str], None]) -> Iterator[Originals]:
    # Copies are laid on each other in no order, and a compressed TAR is only read forwards: it is unfolded meanwhile.
    if originals.kind in ("folder", "store", "zip", "tar"):
        yield originals
        return
    told(0, 1, "unfolding")
    plain = out / _UNFOLDED
    plain.parent.mkdir(parents=True, exist_ok=True)
    ends = (file.position + file.size_bytes for file in originals.files.values())
    try:
        unfold(originals.raw, originals.kind, plain, size_bytes=max(ends))
        yield replace(originals, raw=plain, kind="tar")
    finally:
        plain.unlink(missing_ok=True)


def _images_beside(source: Source) -> list[str]:
    # Photographs that no label reaches: they can still be copies of others. Masks are no photographs.
    known = {one.path for one in source.photographs} | {one.mask for one in source.photographs}
    return [path for path in source.originals.images if path not in known and not in_mask_folder(path)]


def _others(originals: Originals) -> list[str]:
    others = originals.files.keys() - set(originals.images)
    return sorted(path for path in others if PurePosixPath(path).name not in _TABLES)


def _judged(
    source: Source,
    photographs: Sequence[RawPhotograph],
    looks: Sequence[Look],
    copies: Copies,
    unread: Sequence[tuple[str, str]],
    others: Sequence[str],
    seed: int,
) -> Evidence:
    # Shortcuts and labels are judged on photographs of one label, one of each exact copy; copies stay together.
    tied = {place: f"copies {number}" for number, group in enumerate(copies.groups) for place in group}
    extra = {place for group in copies.exact for place in group[1:]}
    places = [i for i, one in enumerate(photographs) if len(one.labels) == 1 and i not in extra]
    chosen = [looks[place] for place in places]
    labels = [photographs[place].labels[0] for place in places]
    groups = [
        photographs[place].section
        if source.sections_known and photographs[place].section
        else tied.get(place, photographs[place].field or photographs[place].path)
        for place in places
    ]
    return Evidence(
        layout=source.layout,
        photographs=photographs,
        looks=looks,
        copies=copies,
        shortcuts=find_shortcuts(chosen, labels, groups, seed=seed),
        noise=find_label_noise(chosen, labels, groups, seed=seed),
        unread=unread,
        others=others,
        notes=source.notes,
    )


def _write_summary(out: Path, seen: Evidence, findings: Sequence[Finding], recipe: AuditRecipe) -> None:
    told: dict[str, Any] = {
        "format": 1,
        "geocamnet": __version__,
        "recipe": {
            "layout": recipe.layout,
            "manifest": recipe.manifest,
            "section_regex": recipe.section_regex,
            "seed": recipe.seed,
        },
        "photographs": len(seen.photographs),
        "unreadable": len(seen.unread),
        "findings": [
            {
                "kind": one.kind,
                "severity": one.severity,
                "title": one.title,
                "lines": len(one.lines),
                "figures": dict(one.figures),
            }
            for one in findings
        ],
    }
    with written_aside(out / SUMMARY) as aside:
        aside.write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n", "utf-8")
