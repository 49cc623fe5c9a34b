"""Co-occurrence features of one strip of an image: from sums over pairs of pixels, or from counts of their levels."""

from collections.abc import Sequence, Set
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.runtime.window_sums import Strip, Workspace, add, narrowest, window_sum

_COUNTED = ("energy", "entropy")  # these need the matrix itself
_MOMENTS = frozenset({"variance", "correlation"})  # made of sums that are multiplied with one another
_TINY = np.float32(1e-30)

_Array = NDArray[Any]
_Floats = NDArray[np.float32]
_Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]
_U8, _U16, _F32 = (np.dtype(kind) for kind in (np.uint8, np.uint16, np.float32))


def measure_strip(
    work: Workspace, strip: Strip, levels: int, offsets: Sequence[tuple[int, int]], maps: dict[str, _Floats]
) -> None:
    """Write features of every pixel of a strip, averaged over the offsets.

    Args:
        work: arrays to compute in.
        strip: of the quantised image, 0 to levels - 1.
        levels: 2 to 256.
        offsets: (row >= 0, column) from a pixel to its neighbour, none twice.
        maps: the strip's rows, float32 (rows, W) and contiguous, of the map of each feature that is wanted; written.
    """
    linear = maps.keys() - set(_COUNTED)
    summed, counted = [], []  # (windows, pairs) of what is added to the maps at once
    # Offsets that reach equally far down and across, 45 and 135 degrees, have the same windows: add up first, sum once.
    for reach in dict.fromkeys((down, abs(across)) for down, across in offsets):
        if any(away >= size for away, size in zip(reach, strip.image_hw, strict=True)):
            continue  # the image holds no such pair
        windows = _Windows(work, strip, reach)
        pairs = [windows.pairs(offset) for offset in offsets if (offset[0], abs(offset[1])) == reach]
        counted += [(windows, [pair]) for pair in pairs]
        summed += [(windows, [pair]) for pair in pairs] if _MOMENTS & linear else [(windows, pairs)]
    for values in maps.values():
        values.fill(0)
    for done, (windows, pairs) in enumerate(summed, 1):
        mean = _Mean(maps, windows, [one.most for one, _ in summed[done:]], len(offsets))
        _add_linear(mean, windows, pairs, levels - 1, linear)
    wanted = tuple(name for name in _COUNTED if name in maps)
    for done, (windows, (pair,)) in enumerate(counted, 1) if wanted else ():
        mean = _Mean(maps, windows, [one.most for one, _ in counted[done:]], len(offsets))
        _add_counted(mean, windows, pair, levels, wanted)
    if "correlation" in maps:
        np.subtract(1, maps["correlation"], out=maps["correlation"])


class _Windows:
    """The windows around the pixels of a strip, for pairs whose two pixels are ``reach`` = (down, across) apart.

    A value per pair is kept as one long row, each at the upper left corner of the box that the pair spans.

    Attributes:
        most: pairs in a whole window.
        down, across: (rows,) and (stride,) int64; a window holds n = down * across pairs, none beyond the image.
        inverse: (rows,) and (stride,) float32, whose product is 1 / n, or 0 where n is 0.
        whole: the rows and columns of the windows that hold ``most``.
    """

    def __init__(self, work: Workspace, strip: Strip, reach: tuple[int, int]) -> None:
        self.work, self._strip = work, strip
        height, width = (2 * radius + 1 - away for radius, away in zip(strip.radius_hw, reach, strict=True))
        self._box_hw, self.most = (height, width), height * width
        # The rows and columns of the strip's padded arrays in which pairs of the image begin, and end.
        first = strip.top - strip.radius_hw[0]
        pairs_hw = [size - away for size, away in zip(strip.image_hw, reach, strict=True)]
        self._rows = max(0, -first), max(0, pairs_hw[0] - first)
        self._columns = strip.radius_hw[1], strip.radius_hw[1] + pairs_hw[1]
        rows = _clipped_counts(strip.rows, strip.rows, height, *self._rows)
        columns = _clipped_counts(strip.image_hw[1], strip.stride, width, *self._columns)
        self.down, self.across = rows[0], columns[0]
        self.inverse = rows[1], columns[1]
        (top, bottom), (left, right) = rows[2], columns[2]
        everywhere, between = slice(None, strip.image_hw[1]), slice(top, bottom)
        self.whole = between, slice(left, right)
        self._clipped = [
            (slice(0, top), everywhere), (slice(bottom, None), everywhere),
            (between, slice(0, left)), (between, slice(right, strip.image_hw[1])),
        ]  # fmt: skip
        self._shares: dict[tuple[float, int], list[tuple[slice, slice, _Floats]]] = {}

    def shares(self, factor: float, power: int) -> list[tuple[slice, slice, _Floats]]:
        """Return rows, columns and factor / n^power, or 0 where n is 0, of the windows that hold less than ``most``."""
        if (factor, power) not in self._shares:
            down, across = (np.where(one > 0, one**power, 0).astype(np.float32) for one in self.inverse)
            down *= np.float32(factor)
            every = [(rows, columns, np.multiply.outer(down[rows], across[columns])) for rows, columns in self._clipped]
            self._shares[factor, power] = [one for one in every if one[2].size]
        return self._shares[factor, power]

    def pairs(self, offset: tuple[int, int]) -> _Pair:
        """Return the levels of the first and of the second pixel of every pair, (N,) each."""
        flat, (down, across) = self._strip.padded.ravel(), offset
        size = flat.size - down * self._strip.stride - abs(across)
        first, second = max(0, -across), down * self._strip.stride + max(0, across)
        return flat[first : first + size], flat[second : second + size]

    def only_pairs(self, values: _Array, nothing: int = 0) -> _Array:
        """Put ``nothing`` in place of values where one of the two pixels lies beyond the image; return the values."""
        rows = self._strip.rows + self._box_hw[0] - 1
        grid = values[: rows * self._strip.stride].reshape(rows, self._strip.stride)
        (top, bottom), (left, right) = self._rows, self._columns
        for beyond in (grid[:top], grid[bottom:], grid[:, :left], grid[:, right:]):
            beyond.fill(nothing)
        return values

    def sum(self, values: list[_Array], most: int | None) -> _Array:
        """Return the sum of values per pair, each at most ``most``, over each window; takes them over.

        Args:
            values: (N,) each, of ``work``; added up first.
            most: of whole numbers; None for floats.

        Returns:
            (rows, stride), of ``work``.
        """
        total = values[0]
        for count, one in enumerate(values[1:], 2):
            more = add(self.work, total, one, None if most is None else most * count)
            self.work.give(total, one)
            total = more
        most = None if most is None else most * len(values)
        return self._strip.by_rows(window_sum(self.work, total, most, self._box_hw, self._strip.stride))

    def product(self, down: _Array, across: _Array, dtype: np.dtype[Any]) -> _Array:
        """Return down (rows,) times across (stride,) as (rows, stride), of ``work``."""
        grid = self._strip.by_rows(self.work.take(dtype, self._strip.rows * self._strip.stride))
        return np.multiply(down[:, None], across, out=grid, dtype=dtype, casting="unsafe")


@lru_cache(maxsize=64)
def _clipped_counts(
    count: int, length: int, size: int, first: int, last: int
) -> tuple[NDArray[np.int64], _Floats, tuple[int, int]]:
    """Return how many of i .. i + size - 1 lie in first .. last - 1, for i = 0 .. count - 1, and 0 up to ``length``.

    Call that n. Also returned are 1 / n, 0 where n is 0, and the span in which n is ``size``, (0, 0) if nowhere.
    """
    start = np.arange(count)
    inside = np.zeros(length, np.int64)
    inside[:count] = np.clip(start + size, first, last) - np.clip(start, first, last)
    whole = np.flatnonzero(inside == size)
    span = (int(whole[0]), int(whole[-1]) + 1) if whole.size else (0, 0)
    return inside, np.where(inside > 0, 1 / np.maximum(inside, 1), 0).astype(np.float32), span


class _Mean:
    """Maps that add up, over the offsets, sums of windows divided by their number of pairs n and of offsets."""

    def __init__(self, maps: dict[str, _Floats], windows: _Windows, later: list[int], offsets: int) -> None:
        self._maps, self._windows, self._later, self._offsets = maps, windows, later, offsets

    def add(self, name: str, values: _Array, factor: float = 1.0, power: int = 1) -> None:
        """Add factor * values / (n^power offsets), 0 where n is 0, to a map.

        Args:
            name: of the map.
            values: (rows, stride).
            factor: 0 to 1.
            power: 0, 1 or 2.
        """
        windows, work, total = self._windows, self._windows.work, self._maps[name]
        taken = None
        if values.dtype not in (_U8, _U16, _F32):
            taken = work.take(_F32, values.size).reshape(values.shape)
            np.copyto(taken, values, casting="unsafe")
            values = taken
        # OpenCV has no total += w * values for whole numbers, but total = (1 - a) total + a values, in one pass. With
        # weights a that make up for how later ones shrink the total, each ends up with its own w.
        factor /= self._offsets
        weight = factor / windows.most**power / (1 - sum(factor / one**power for one in self._later))
        if (inner := total[windows.whole]).size:
            cv2.accumulateWeighted(values[windows.whole], inner, weight)
        for rows, columns, share in windows.shares(factor, power):
            cv2.accumulateProduct(values[rows, columns].astype(np.float32, copy=False), share, total[rows, columns])
        if taken is not None:
            work.give(taken)


def _add_linear(mean: _Mean, windows: _Windows, pairs: list[_Pair], top: int, wanted: Set[str]) -> None:
    """Add those of the six features that are sums over pairs of a function of the pair, or quotients of such."""
    work = windows.work
    differences: list[_Array] = []
    squares = sums = None
    if wanted - {"mean"}:
        for first, second in pairs:
            differences.append(work.take(_U8, first.size))
            # As matrices, for OpenCV takes a one-dimensional array of four values for a colour.
            cv2.absdiff(first[None], second[None], dst=differences[-1][None])
            windows.only_pairs(differences[-1])
    if wanted & {"contrast", *_MOMENTS}:
        squares = windows.sum([_product(work, one, one, top) for one in differences], top**2)
        if "contrast" in wanted:
            mean.add("contrast", squares)
    if "homogeneity" in wanted:
        closeness = [work.take(_F32, one.size) for one in differences]
        for one, close in zip(differences, closeness, strict=True):
            cv2.LUT(one, _closeness(), dst=close)
            windows.only_pairs(close)
        close = windows.sum(closeness, None)
        mean.add("homogeneity", close)
        work.give(close)
    if "dissimilarity" in wanted:
        apart = windows.sum(differences, top)
        mean.add("dissimilarity", apart)
        work.give(apart)
    else:
        work.give(*differences)
    if wanted & {"mean", *_MOMENTS}:
        sums = windows.sum([windows.only_pairs(add(work, *pair, 2 * top)) for pair in pairs], 2 * top)
        if "mean" in wanted:
            mean.add("mean", sums, 0.5)
    if squares is not None and sums is not None and wanted & _MOMENTS:
        products = windows.sum([windows.only_pairs(_product(work, *pair, top)) for pair in pairs], top**2)
        _add_moments(mean, windows, (squares, sums, products), top, wanted)
        work.give(products)
    work.give(*(one for one in (squares, sums) if one is not None))


def _add_moments(mean: _Mean, windows: _Windows, found: Sequence[_Array], top: int, wanted: Set[str]) -> None:
    """Add variance and 1 - correlation, from the sums S over pairs (a, b) of (a - b)^2, a + b and a b.

    P is symmetric, so mu = S(a + b) / 2n, covariance = S(ab) / n - mu^2, variance = covariance + contrast / 2. All is
    kept times 4 n^2: whole numbers, no cancellation. What comes in between may overflow and wrap around, but the
    variance and 2n S((a - b)^2) fit, so they come out right.
    """
    work, shape, size = windows.work, found[0].shape, found[0].size
    dtype = narrowest(2 * (windows.most * top) ** 2)
    apart, sums, variance = (work.take(dtype, size).reshape(shape) for _ in found)
    for into, values in zip((apart, sums, variance), found, strict=True):
        np.copyto(into, values)
    twice = windows.product(2 * windows.down, windows.across, dtype)
    apart *= twice
    variance *= twice
    variance += variance
    variance -= np.multiply(sums, sums, out=sums)
    variance += apart
    work.give(twice, sums)
    if "variance" in wanted:
        mean.add("variance", variance, 0.25, 2)
    if "correlation" in wanted:
        # 1 - correlation = contrast / 2 variance, made 0 where both are 0.
        quotient, divisor = (work.take(_F32, size).reshape(shape) for _ in range(2))
        np.copyto(quotient, apart, casting="unsafe")
        np.copyto(divisor, variance, casting="unsafe")
        divisor += _TINY
        quotient /= divisor
        mean.add("correlation", quotient, power=0)
        work.give(quotient, divisor)
    work.give(apart, variance)


def _add_counted(mean: _Mean, windows: _Windows, pair: _Pair, levels: int, wanted: tuple[str, ...]) -> None:
    """Add energy and entropy, from the counts c of every unordered pair of levels that occurs.

    P is c / n on the diagonal and c / 2n twice off it, hence sum P^2 = (sum_diagonal c^2 + sum_off c^2 / 2) / n^2
    and -sum P ln P = ln n - (sum_diagonal c ln c + sum_off c ln(c / 2)) / n.

    The counts of a window add up to n, so several fit as digits to the base n + 1 into a number of 16 bits. Such
    numbers are summed over the windows like any other, and one look-up gives what all their digits contribute.
    """
    work, base = windows.work, windows.most + 1
    codes = windows.only_pairs(_codes(work, pair, levels), levels)  # the code of (1, 0), which is counted as (0, 1)
    bins = 1 << 8 * codes.itemsize
    present = np.flatnonzero(cv2.calcHist([codes], [0], None, [bins], [0, bins]).ravel())
    present = present[present != levels]
    on_diagonal = present // levels == present % levels
    digits = 1
    while base ** (digits + 1) <= 1 << 16:
        digits += 1
    total = None
    for diagonal, group in ((True, present[on_diagonal]), (False, present[~on_diagonal])):
        table = _contributions(windows.most, digits, diagonal, wanted)
        for start in range(0, group.size, digits):
            some = group[start : start + digits]
            places = np.zeros(bins, _U16)
            places[some] = base ** np.arange(some.size)
            numbers = work.take(_U16, codes.size)
            cv2.LUT(codes, places, dst=numbers)
            counts = windows.sum([numbers], base ** (some.size - 1))
            terms = work.take(table.dtype, counts.size)
            if counts.itemsize == 2:
                cv2.LUT(counts.ravel(), table, dst=terms)
            else:
                np.take(table, counts.ravel(), out=terms)
            work.give(counts)
            if total is None:
                total = terms
            else:
                both = total.view(np.float32)
                both += terms.view(np.float32)
                work.give(terms)
    work.give(codes)
    if total is None:
        return
    parts = total.view(np.float32).reshape(*counts.shape, len(wanted))
    values = work.take(_F32, counts.size).reshape(counts.shape)
    if "energy" in wanted:
        mean.add("energy", np.sqrt(parts[..., 0], out=values))
    if "entropy" in wanted:
        share = windows.product(*windows.inverse, _F32)
        np.multiply(parts[..., -1], share, out=values)
        down, across = (np.log(np.maximum(one, 1)).astype(np.float32) for one in (windows.down, windows.across))
        np.subtract(np.add(down[:, None], across, out=share), values, out=values)
        mean.add("entropy", np.maximum(values, 0, out=values), power=0)
        work.give(share)
    work.give(values, total)


def _codes(work: Workspace, pair: _Pair, levels: int) -> _Array:
    """Return levels * the lower level of a pair + the higher one, of ``work``."""
    dtype = narrowest(levels**2 - 1)
    level = work.take(_U8, pair[0].size)
    codes = work.take(dtype, level.size)
    np.multiply(np.minimum(*pair, out=level), dtype.type(levels), out=codes, dtype=dtype)
    codes += np.maximum(*pair, out=level)
    work.give(level)
    return codes


def _product(work: Workspace, one: _Array, other: _Array, top: int) -> _Array:
    """Return one * other of values up to ``top``, as an array of ``work``."""
    dtype = narrowest(top**2)
    return np.multiply(one, other, out=work.take(dtype, one.size), dtype=dtype)


@lru_cache(maxsize=1)
def _closeness() -> _Floats:
    """Return 1 / (1 + d^2) of the differences d = 0 to 255."""
    return (1 / (1 + np.arange(256.0) ** 2)).astype(np.float32)


@lru_cache(maxsize=8)
def _contributions(most: int, digits: int, diagonal: bool, wanted: tuple[str, ...]) -> _Array:
    """Return what the counts that are the digits of a number contribute to the features, together.

    Args:
        most: the largest count, 1 less than the base of the numbers.
        digits: how many a number has.
        diagonal: whether the counts are of pairs of one level.
        wanted: "energy" for the sum of P^2 times n^2, "entropy" for n times that of P ln(n P), or both, in this order.

    Returns:
        One value per number, at least 2^16 of them: float32, or two of them as the halves of a float64.
    """
    counts = np.arange(most + 1.0)
    halved = 1 if diagonal else 0.5
    terms = {"energy": halved * counts**2, "entropy": counts * np.log(np.maximum(counts, 1) * halved)}
    found = np.zeros((max(1 << 16, most + 1), len(wanted)), np.float32)
    for column, name in enumerate(wanted):
        total = terms[name]
        for _ in range(digits - 1):
            total = np.add.outer(terms[name], total).ravel()
        found[: total.size, column] = total
    return found.view(np.float32 if len(wanted) == 1 else np.float64).ravel()
