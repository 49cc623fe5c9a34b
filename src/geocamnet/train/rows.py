"""Stored photographs become rows of the index: joined to sections, dealt to splits and folds."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from geocamnet.train.audit.table import Actions
from geocamnet.train.index import IndexRow, labels_kind
from geocamnet.train.readings import RawPhotograph
from geocamnet.train.recipes import PrepareRecipe
from geocamnet.train.split import fold_sections, join_sections, split_sections
from geocamnet.train.store import Stored

_NO_ACTIONS = Actions()


def index_rows(
    pairs: Sequence[tuple[RawPhotograph, Stored]], recipe: PrepareRecipe, actions: Actions = _NO_ACTIONS
) -> tuple[list[IndexRow], list[str]]:
    """Return a row of the index for every stored photograph, and what to know about sections and splits.

    Copies of one file, photographs of one view and groups of an audit go wherever their section goes, so sections that
    share one are joined.
    """
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
    notes = duplicate_notes(pairs)
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


def duplicate_notes(pairs: Sequence[tuple[RawPhotograph, Stored]]) -> list[str]:
    """Say how many photographs are copies of others, and whether copies are filed under different labels."""
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


def class_notes(rows: Sequence[IndexRow]) -> list[str]:
    """Say what is wrong with the classes of a data set, if anything is."""
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
