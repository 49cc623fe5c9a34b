"""Photographs that show the same: exact copies, turned, scaled and compressed ones, parts of each other."""

import base64
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geocamnet.sharing import in_processes
from geocamnet.train.audit.hashes import LEAST_CORRELATION, correlate, propose, recognisable
from geocamnet.train.audit.look import POINT_DIMS, THUMB_PX, Look
from geocamnet.train.audit.parts import LEAST_CORRELATION as LEAST_OF_PARTS
from geocamnet.train.audit.parts import PartJob, lay_on_each_other, propose_parts
from geocamnet.train.originals import Originals

Kind = Literal["exact", "copy", "turned", "part"]
_AT_A_TIME = 8


@dataclass(frozen=True)
class Pair:
    """Two photographs that show the same.

    Attributes:
        first, second: positions, first < second.
        kind: ``exact`` (the same pixels), ``copy`` (scaled, compressed anew), ``turned`` (turned or mirrored too), or
            ``part`` (one shows a part of the other, or both overlap).
        correlation: of what both show, to 1.
    """

    first: int
    second: int
    kind: Kind
    correlation: float


@dataclass(frozen=True)
class Copies:
    """All that show the same among the photographs.

    Attributes:
        exact: groups of positions with the same pixels, each sorted, of two at least.
        near: pairs that are alike but not the same.
        groups: everything joined that is tied by either, each sorted, of two at least.
    """

    exact: tuple[tuple[int, ...], ...]
    near: tuple[Pair, ...]
    groups: tuple[tuple[int, ...], ...]


def find_copies(
    originals: Originals,
    looks: Sequence[Look],
    *,
    fields: Sequence[str],
    workers: int,
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Copies:
    """Find photographs that show the same.

    Exact copies by the digest of their pixels; of each one is taken, and near copies among these are proposed by a
    hash and verified by correlation, parts proposed by local features and verified on the pixels. Photographs of one
    field in two lights show the same place and are no copies.

    Args:
        originals: what RAW holds.
        looks: of photographs that can be read.
        fields: (N,) the view each shows.
        workers: processes; 0 means every core.
        seed: of the words that local features are sorted into.
        on_progress: called with (done, total) pairs verified.
    """
    same: dict[str, list[int]] = defaultdict(list)
    for place, look in enumerate(looks):
        same[look.pixels].append(place)
    exact = tuple(sorted(tuple(group) for group in same.values() if len(group) > 1))
    ones = np.array(sorted(group[0] for group in same.values()), np.int64)
    thumbs = thumbs_of([looks[place] for place in ones])
    known = np.flatnonzero(recognisable(thumbs))
    near = _whole(thumbs[known], ones[known]) if len(known) > 1 else []
    near = [pair for pair in near if fields[pair.first] != fields[pair.second]]
    tied = _Ties(len(looks))
    for pair in near:
        tied.join(pair.first, pair.second)
    points = [_points(looks[place]) for place in ones]
    found = [(int(ones[i]), int(ones[j])) for i, j in propose_parts(points, seed=seed)]
    todo = [pair for pair in found if not tied.joined(*pair) and fields[pair[0]] != fields[pair[1]]]
    near += _parts(originals, looks, todo, workers, on_progress)
    for pair in near:
        tied.join(pair.first, pair.second)
    for group in exact:
        for place in group[1:]:
            tied.join(group[0], place)
    return Copies(exact, tuple(sorted(near, key=lambda pair: (pair.first, pair.second))), tied.groups())


def thumbs_of(looks: Sequence[Look]) -> NDArray[np.uint8]:
    """Return the thumbnails as uint8 (N, 32, 32)."""
    flat = np.frombuffer(b"".join(base64.b64decode(look.thumb) for look in looks), np.uint8)
    return flat.reshape(-1, THUMB_PX, THUMB_PX)


def _points(look: Look) -> NDArray[np.int8]:
    return np.frombuffer(base64.b64decode(look.points), np.int8).reshape(-1, POINT_DIMS)


def _whole(thumbs: NDArray[np.uint8], places: NDArray[np.int64]) -> list[Pair]:
    pairs, attitudes = propose(thumbs)
    correlations = correlate(thumbs, pairs, attitudes)
    return [
        Pair(int(places[i]), int(places[j]), "turned" if attitude else "copy", float(value))
        for (i, j), attitude, value in zip(pairs.tolist(), attitudes.tolist(), correlations.tolist(), strict=True)
        if value >= LEAST_CORRELATION
    ]


def _parts(
    originals: Originals,
    looks: Sequence[Look],
    pairs: Sequence[tuple[int, int]],
    workers: int,
    on_progress: Callable[[int, int], None] | None,
) -> list[Pair]:
    files = originals.files
    jobs = [PartJob(str(originals.raw), files[looks[i].path], files[looks[j].path], (i, j)) for i, j in pairs]
    parts = [tuple(jobs[start : start + _AT_A_TIME]) for start in range(0, len(jobs), _AT_A_TIME)]
    found, done = [], 0
    with closing(in_processes(lay_on_each_other, parts, workers=workers, pool_from=4)) as results:
        for laid in results:
            done += len(laid)
            if on_progress:
                on_progress(done, len(jobs))
            found += [Pair(*one.pair, "part", one.correlation) for one in laid if one.correlation >= LEAST_OF_PARTS]
    return found


class _Ties:
    # Union-find with path halving.
    def __init__(self, count: int) -> None:
        self.parent = list(range(count))

    def root(self, node: int) -> int:
        while self.parent[node] != node:
            self.parent[node] = self.parent[self.parent[node]]
            node = self.parent[node]
        return node

    def join(self, first: int, second: int) -> None:
        roots = sorted((self.root(first), self.root(second)))
        self.parent[roots[1]] = roots[0]

    def joined(self, first: int, second: int) -> bool:
        return self.root(first) == self.root(second)

    def groups(self) -> tuple[tuple[int, ...], ...]:
        members: dict[int, list[int]] = defaultdict(list)
        for node in range(len(self.parent)):
            members[self.root(node)].append(node)
        return tuple(tuple(group) for _, group in sorted(members.items()) if len(group) > 1)
