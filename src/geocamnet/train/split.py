"""Thin sections dealt to train, val and test, and to cross-validation folds, each class in its share.

The unit is the section and never the photograph: two photographs of one slide look alike, and a network that
has seen the one has all but seen the other.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass

from geocamnet.errors import DataError, unknown_name
from geocamnet.train.index import SPLITS

# Sections without a label are dealt in the same shares as a class is, but nothing is promised to them.
_NO_LABEL = ""


@dataclass(frozen=True)
class Split:
    """Which section went where.

    Attributes:
        split_of: section → ``train``, ``val`` or ``test``.
        notes: what the user should know, such as classes with too few sections.
    """

    split_of: dict[str, str]
    notes: tuple[str, ...]


def split_sections(
    labels_of: Mapping[str, Collection[str]],
    *,
    val_share: float,
    test_share: float,
    seed: int,
    kept: Mapping[str, str] | None = None,
) -> Split:
    """Deal thin sections to train, val and test, stratified by class, whatever the order they come in.

    Every class of three sections or more gets one at least in each split; with several labels a section
    this can be impossible, and is then said in the notes.

    Args:
        labels_of: section → the class names met in it; empty where unlabelled.
        val_share: share of the sections to validate on, 0 or more; a split of share 0 stays empty.
        test_share: share of the sections to test on; both together are below 1.
        seed: the same seed deals the same sections alike.
        kept: sections whose split RAW fixes. A val or test split that RAW has is left exactly as it is; one
            that RAW lacks is drawn from its train sections.

    Raises:
        DataError: impossible shares, or an unknown split among ``kept``.
    """
    if not (val_share >= 0 and test_share >= 0 and val_share + test_share < 1):
        raise DataError(
            "--val-share and --test-share must be 0 or more and together below 1, so that something is left "
            f"to train on; received {val_share} and {test_share}."
        )
    kept = {section: split for section, split in (kept or {}).items() if section in labels_of}
    for split in kept.values():
        if split not in SPLITS:
            raise DataError(unknown_name("split", split, SPLITS))
    shares = {"train": 1 - val_share - test_share, "val": val_share, "test": test_share}
    asked = [name for name in SPLITS if shares[name] > 0]
    drawn = [name for name in asked if name == "train" or name not in kept.values()]
    fixed = {section: split for section, split in kept.items() if split != "train" or drawn == ["train"]}
    free = {section: names for section, names in labels_of.items() if section not in fixed}
    part_of = stratify(free, [shares[name] for name in drawn], seed=seed)
    split_of = dict(sorted({**fixed, **{name: drawn[part] for name, part in part_of.items()}}.items()))
    notes = []
    if kept and drawn != ["train"]:
        notes.append(f"RAW names no {' and no '.join(drawn[1:])} photographs: drawn from the rest by section.")
    return Split(split_of, (*notes, *_notes_on_gaps(labels_of, split_of, asked, bool(kept))))


def fold_sections(labels_of: Mapping[str, Collection[str]], *, folds: int, seed: int) -> dict[str, int]:
    """Deal thin sections to ``folds`` cross-validation folds of equal size, stratified by class.

    Returns:
        section → fold, 0 to ``folds - 1``.

    Raises:
        DataError: fewer than 3 folds (one tests, one validates, the rest trains), or more than sections.
    """
    if folds < 3:
        raise DataError(f"--folds must be 3 or more (one tests, one validates, the rest trains); received {folds}.")
    if folds > len(labels_of):
        raise DataError(f"{folds} folds need {folds} sections or more; there are {len(labels_of)}.")
    return stratify(labels_of, [1 / folds] * folds, seed=seed)


def stratify(labels_of: Mapping[str, Collection[str]], shares: Sequence[float], *, seed: int) -> dict[str, int]:
    """Deal sections into parts so that every label is spread as the shares say: iterative stratification.

    Sechidis, Tsoumakas & Vlahavas (2011), doi 10.1007/978-3-642-23808-6_10. For part j of share r_j and
    label i of n_i sections (n in all), c_j = n r_j and c_ij = n_i r_j sections are wanted. Again and again
    the label with the fewest undealt sections is taken, and each of its sections goes where that label is
    wanted most (largest c_ij, then largest c_j), which lowers both. Two things are added: c_ij is raised to
    1 where n_i suffices for all parts, and a last pass moves sections to parts that a label has missed.

    Args:
        labels_of: section → class names; sections without any are spread in the same shares.
        shares: above 0, one a part, in any unit.
        seed: decides between equals.

    Returns:
        section → part, 0 to ``len(shares) - 1``, in sorted order of the sections.
    """
    labels = {section: sorted(set(names)) or [_NO_LABEL] for section, names in labels_of.items()}
    members = Counter(label for names in labels.values() for label in names)
    parts = range(len(shares))
    share_of = [share / sum(shares) for share in shares]
    room = [len(labels) * share for share in share_of]  # c_j
    wanted = {label: _wanted(count, share_of) for label, count in members.items()}  # c_ij
    undealt = dict.fromkeys(sorted(labels, key=lambda section: _draw(seed, section)))
    part_of: dict[str, int] = {}
    while undealt:
        left = Counter(label for section in undealt for label in labels[section])
        rarest = min(left, key=lambda label: (left[label], label))
        for section in [section for section in undealt if rarest in labels[section]]:
            part = max(parts, key=lambda part: (wanted[rarest][part], room[part], -part))
            part_of[section] = part
            del undealt[section]
            room[part] -= 1
            for label in labels[section]:
                wanted[label][part] -= 1
    _fill_gaps(part_of, labels, len(shares), seed)
    return dict(sorted(part_of.items()))


def join_sections(sections: Sequence[str], ties: Sequence[Collection[Hashable]]) -> list[str]:
    """Return a section for each photograph, joining sections that share a photograph or a view.

    Args:
        sections: (N,) the section of each photograph.
        ties: (N,) whatever ties a photograph to others: the field it shows, the sha256 of its file. Sections
            with a tie in common become one, named as the first of them in sorted order.
    """
    parent: dict[Hashable, Hashable] = {}

    def root(node: Hashable) -> Hashable:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for section, tied in zip(sections, ties, strict=True):
        for tie in tied:
            parent[root(("tie", tie))] = root(("section", section))
    name_of: dict[Hashable, str] = {}
    for section in sorted(set(sections), reverse=True):
        name_of[root(("section", section))] = section  # the last written is the first in order
    return [name_of[root(("section", section))] for section in sections]


def _wanted(count: int, shares: Sequence[float]) -> list[float]:
    # c_ij = n_i r_j; parts below one section are pinned to 1 and the others share what is left.
    wanted = [count * share for share in shares]
    if count < len(shares):
        return wanted
    pinned: set[int] = set()
    while short := {part for part in range(len(shares)) if part not in pinned and wanted[part] < 1}:
        pinned |= short
        open_share = sum(share for part, share in enumerate(shares) if part not in pinned)
        for part, share in enumerate(shares):
            wanted[part] = 1.0 if part in pinned else (count - len(pinned)) * share / open_share
    return wanted


def _fill_gaps(part_of: dict[str, int], labels: Mapping[str, Sequence[str]], part_count: int, seed: int) -> None:
    # With several labels a section the greedy deal can leave a part without a label. Move a section there if
    # no label that could be in every part loses its last section of the giving part: so gaps only ever close.
    members = Counter(label for names in labels.values() for label in names)
    promised = {label for label, count in members.items() if label != _NO_LABEL and count >= part_count}
    held = Counter((label, part) for section, part in part_of.items() for label in labels[section])
    order = sorted(part_of, key=lambda section: _draw(seed, section))
    for label, part in [(label, part) for label in sorted(promised) for part in range(part_count)]:
        for section in order:
            if held[label, part]:
                break
            giver = part_of[section]
            owned = [other for other in labels[section] if other in promised]
            if label in owned and all(held[other, giver] > 1 for other in owned):
                held.subtract((other, giver) for other in owned)
                held.update((other, part) for other in owned)
                part_of[section] = part


def _notes_on_gaps(
    labels_of: Mapping[str, Collection[str]], split_of: Mapping[str, str], asked: Sequence[str], kept: bool
) -> list[str]:
    held: dict[str, Counter[str]] = {}
    for section, names in labels_of.items():
        for label in set(names):
            held.setdefault(label, Counter())[split_of[section]] += 1
    notes = []
    for label in sorted(held):
        missed = [name for name in asked if not held[label][name]]
        if missed:
            count = held[label].total()
            why = "too few" if count < len(asked) else "as RAW splits them" if kept else "each with other classes"
            notes.append(
                f"Class '{label}' has {count} section(s), {why}: none in {' and none in '.join(missed)}. "
                "Photograph more thin sections of it."
            )
    empty = [name for name in asked if name not in split_of.values()]
    if empty:
        notes.append(f"Too few sections ({len(split_of)}): {' and '.join(empty)} stay empty.")
    return notes


def _draw(seed: int, section: str) -> str:
    # A hash orders sections at random, but does not depend on file order, on platform or on other sections.
    return hashlib.sha256(f"{seed}|{section}".encode("utf-8", "surrogatepass")).hexdigest()
