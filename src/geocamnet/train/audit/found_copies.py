"""Findings on photographs that show the same: conflicts, leaks, copies, augmentation left among originals."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from geocamnet.train.audit.duplicates import Pair
from geocamnet.train.audit.evidence import Evidence, Finding, labels_of, line_of
from geocamnet.train.sources import RawPhotograph

AUGMENTED_FROM = 0.1  # of a class's photographs have turned copies or smeared edges: that is no accident
UNEVEN = 3  # times as many in one class as in another
_RANK = {"test": 0, "val": 1, "train": 2, "": 3}


def copy_findings(seen: Evidence) -> Iterator[Finding]:
    """Yield what is to be said of photographs that show the same."""
    same = [Pair(group[0], i, "exact", 1.0) for group in seen.copies.exact for i in group[1:]]
    alike = [pair for pair in seen.copies.near if pair.kind != "part"]
    components = _joined(len(seen.photographs), [*same, *alike])
    # Whatever is exactly or nearly the same has all the labels of all of it.
    union_of = {
        i: "|".join(sorted({label for j in group for label in seen.photographs[j].labels}))
        for group in components
        for i in group
    }
    yield from _conflicts(seen, alike, components, union_of)
    yield from _across_splits(seen)
    yield from _exact(seen, union_of)
    yield from _near(seen)
    yield from _augmented(seen)


def keeper(photographs: Sequence[RawPhotograph], group: Sequence[int]) -> int:
    """Return which of exact copies is kept: one in a test split before others, a labelled one, the first path."""
    return min(group, key=lambda i: (_RANK[photographs[i].split], not photographs[i].labels, photographs[i].path))


def _shown(seen: Evidence, group: Sequence[int], most: int = 4) -> list[tuple[str, str]]:
    def caption(one: RawPhotograph) -> str:
        return ", ".join(filter(None, (labels_of(one) or "no label", one.split)))

    # One of each label first, so that the contradiction is in the picture.
    first = {labels_of(seen.photographs[i]): i for i in reversed(group)}
    order = [*sorted(first.values()), *(i for i in group if i not in first.values())]
    return [(seen.photographs[i].path, caption(seen.photographs[i])) for i in order[:most]]


def _conflicts(
    seen: Evidence, alike: Sequence[Pair], components: Sequence[Sequence[int]], union_of: Mapping[int, str]
) -> Iterator[Finding]:
    photographs, lines, groups, involved = seen.photographs, [], [], 0
    dropped: set[int] = set()
    for group in seen.copies.exact:
        dropped |= set(group) - {keeper(photographs, group)}
    for group in seen.copies.exact:
        labelled = {photographs[i].labels for i in group if photographs[i].labels}
        if len(labelled) < 2:
            continue
        kept = keeper(photographs, group)
        involved += len(group)
        groups.append(_shown(seen, group))
        lines.append(
            line_of(
                photographs[kept], "conflicting-labels", "error", action="merge", value=union_of[kept], detail="kept"
            )
        )
    if groups:
        yield Finding(
            "conflicting-labels",
            "error",
            f"{len(groups)} photograph(s) are filed under several labels ({involved} files)",
            "The same picture is called one rock in one place and another rock elsewhere. A network "
            "that must choose one "
            "name is marked wrong whatever it says, and accuracy can't rise above what the contradictions leave.",
            "If the field shows both fabrics, the merged labels are right: prepare --audit keeps one copy with all its "
            "labels. If one label is a slip, delete the line in audit.csv and move the file.",
            lines,
            sorted(groups, key=len, reverse=True),
            {"photographs": len(groups), "files": involved},
        )
    given = {line.image for line in lines}
    lines, groups = [], []
    nearly = {place for pair in alike for place in (pair.first, pair.second)}
    for near in components:
        of_each = {photographs[i].labels for i in near if i in nearly and photographs[i].labels}
        if len(of_each) < 2:
            continue
        groups.append(_shown(seen, [i for i in near if i in nearly]))
        for i in near:
            if i not in dropped and photographs[i].path not in given:
                one = photographs[i]
                lines.append(
                    line_of(one, "near-conflicts", "error", action="merge", value=union_of[i], detail="near copy")
                )
    if groups:
        yield Finding(
            "near-conflicts",
            "error",
            f"{len(groups)} photograph(s) have turned, scaled or re-compressed copies under other labels",
            "A turned or re-saved picture is still the same field of the same rock, and it has two names.",
            "Look at the pairs. prepare --audit gives every copy all the labels; delete the lines where one is a slip.",
            lines,
            groups,
            {"photographs": len(groups), "files": len(lines)},
        )


def _joined(count: int, pairs: Sequence[Pair]) -> list[list[int]]:
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for pair in pairs:
        parent[root(pair.second)] = root(pair.first)
    members: dict[int, list[int]] = defaultdict(list)
    for node in sorted({place for pair in pairs for place in (pair.first, pair.second)}):
        members[root(node)].append(node)
    return list(members.values())


def _across_splits(seen: Evidence) -> Iterator[Finding]:
    photographs, lines, groups = seen.photographs, [], []
    for group in seen.copies.groups:
        splits = {photographs[i].split for i in group} - {""}
        if len(splits) < 2:
            continue
        one_each = {photographs[i].split: i for i in reversed(group) if photographs[i].split}
        groups.append(_shown(seen, sorted(one_each.values())))
        told = "the same picture is in " + " and ".join(sorted(splits))
        lines += [line_of(photographs[i], "across-splits", "error", detail=told) for i in group]
    if groups:
        yield Finding(
            "across-splits",
            "error",
            f"{len(groups)} picture(s) lie in several of train, val and test ({len(lines)} files)",
            "What is asked in the test was shown in training. Every figure made with these splits is too high.",
            "prepare --audit drops exact copies and keeps near ones in one split. Publish no figure of the splits as "
            "they are.",
            lines,
            groups,
            {"pictures": len(groups), "files": len(lines)},
        )
    held: dict[str, set[str]] = defaultdict(set)
    for one in photographs:
        if one.section and one.split:
            held[one.section].add(one.split)
    torn = sorted(section for section, splits in held.items() if len(splits) > 1)
    if torn:
        yield Finding(
            "sections-across-splits",
            "error",
            f"{len(torn)} thin section(s) lie in several of train, val and test",
            "Two photographs of one slide look alike: a network that has seen the one has all but seen the other.",
            "Let prepare draw the splits anew (without --keep-splits), or with it: a torn section "
            "then goes to the test.",
            [
                line_of(one, "sections-across-splits", "error", detail=f"section {one.section}")
                for one in photographs
                if one.section in set(torn)
            ],
            figures={"sections": len(torn)},
            listed=[("thin section", "splits"), *((name, ", ".join(sorted(held[name]))) for name in torn[:20])],
        )


def _exact(seen: Evidence, union_of: Mapping[int, str]) -> Iterator[Finding]:
    photographs, lines, groups, named = seen.photographs, [], [], []
    for group in seen.copies.exact:
        kept = keeper(photographs, group)
        # Several labels have their line among the conflicts. The value is the one a near conflict would give it, for
        # two lines on one photograph must not contradict each other.
        if not photographs[kept].labels and len({photographs[i].labels for i in group} - {()}) == 1:
            named.append(
                line_of(
                    photographs[kept],
                    "exact-copies",
                    "warning",
                    action="merge",
                    value=union_of[kept],
                    detail="kept; it has no label of its own",
                )
            )
        groups.append(_shown(seen, group, most=3))
        for i in group:
            if i != kept:
                lines.append(
                    line_of(
                        photographs[i],
                        "exact-copies",
                        "warning",
                        action="drop",
                        value=photographs[kept].path,
                        detail=f"the same pixels as {photographs[kept].path}",
                    )
                )
    if lines:
        files = sum(len(group) - len({seen.looks[i].sha256 for i in group}) for group in seen.copies.exact)
        yield Finding(
            "exact-copies",
            "warning",
            f"{len(lines)} of {len(photographs)} photographs are exact copies of others",
            f"{files} of them are the same file, the others the same pixels in another wrapping. "
            "Copies count one field "
            "several times, and if a split tears them apart, the test asks what training has shown.",
            "prepare --audit keeps one of each, with the labels of all.",
            [*lines, *named],
            groups,
            {"photographs": len(photographs), "copies": len(lines), "same_file": files},
        )


def _near(seen: Evidence) -> Iterator[Finding]:
    if not seen.copies.near:
        return
    photographs, lines = seen.photographs, []
    kinds = Counter(pair.kind for pair in seen.copies.near)
    best: dict[int, Pair] = {}
    for pair in sorted(seen.copies.near, key=lambda pair: pair.correlation):
        best[pair.first] = best[pair.second] = pair
    group_of = {i: f"copies-{number + 1}" for number, group in enumerate(seen.copies.groups) for i in group}
    told = {
        "copy": "scaled or compressed anew",
        "turned": "turned or mirrored",
        "part": "shows a part of it, or overlaps",
    }
    exact = {i for group in seen.copies.exact for i in group}
    for i in sorted({*best, *(i for i in exact if group_of.get(i) in {group_of[place] for place in best})}):
        other = best.get(i)
        detail = "an exact copy of one of them"
        if other:
            partner = photographs[other.second if other.first == i else other.first].path
            detail = f"{told[other.kind]}: {partner} (correlation {other.correlation:.2f})"
        lines.append(
            line_of(photographs[i], "near-copies", "warning", action="group", value=group_of[i], detail=detail)
        )
    order = {"part": 0, "turned": 1, "copy": 2}
    chosen: list[Pair] = []
    for kind in sorted(kinds, key=lambda kind: order[kind]):
        chosen += [pair for pair in seen.copies.near if pair.kind == kind][:4]
    words = ", ".join(f"{count} {told[kind]}" for kind, count in sorted(kinds.items()))
    yield Finding(
        "near-copies",
        "warning",
        f"{len(best)} photographs are near copies of others",
        f"Pairs: {words}. They show the same field, though no file is the same. Torn apart by a split, "
        "they are questions whose answers were learnt.",
        "prepare --audit keeps each group in one split, as if it were one thin section.",
        lines,
        [
            [
                (photographs[pair.first].path, labels_of(photographs[pair.first])),
                (photographs[pair.second].path, f"{labels_of(photographs[pair.second])} ({told[pair.kind]})"),
            ]
            for pair in chosen
        ],
        {"photographs": len(best), "pairs": dict(sorted(kinds.items()))},
    )


def _augmented(seen: Evidence) -> Iterator[Finding]:
    marked = {place for pair in seen.copies.near if pair.kind == "turned" for place in (pair.first, pair.second)}
    marked |= {place for place, look in enumerate(seen.looks) if any(look.smeared_ltrb)}
    of_class: Counter[str] = Counter()
    augmented: Counter[str] = Counter()
    for place, one in enumerate(seen.photographs):
        for label in one.labels or ("(no label)",):
            of_class[label] += 1
            augmented[label] += place in marked
    share = {label: augmented[label] / count for label, count in of_class.items()}
    with_copies = sorted(label for label in share if share[label] >= AUGMENTED_FROM and augmented[label] >= 3)
    if not with_copies:
        return
    without = sorted(label for label in share if share[label] * UNEVEN < max(share.values()))
    uneven = bool(without) and len(share) > 1
    title = f"Augmented copies lie among the originals of {', '.join(with_copies)}"
    yield Finding(
        "augmented-copies",
        "error" if uneven else "warning",
        title + (f", but not of {', '.join(without)}" if uneven else ""),
        "Turned, mirrored or edge-smeared copies were stored as if they were photographs. They make "
        "a set look larger than "
        "it is"
        + (
            ", and here only some classes have them: smeared edges and turned scale bars then give the class away."
            if uneven
            else "."
        ),
        "Train on the originals alone: training turns and mirrors by itself. prepare --audit keeps "
        "copies together; put "
        "drop into the column action to leave them out.",
        [
            line_of(seen.photographs[i], "augmented-copies", "warning", detail="turned copy or smeared edges")
            for i in sorted(marked)
        ],
        [],
        {"share_of_class": {label: round(value, 4) for label, value in sorted(share.items())}},
        [
            ("class", "photographs", "with turned copies or smeared edges"),
            *((label, str(of_class[label]), f"{100 * share[label]:.0f} %") for label in sorted(share)),
        ],
    )
