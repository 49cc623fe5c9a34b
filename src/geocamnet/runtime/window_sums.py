"""Sums over the window around every pixel: strip by strip, in the narrowest whole numbers that hold them.

A row of w neighbours is summed by doubling: sums of two from single values, of four from those of two, and so on, with
one more value where w is odd on the way. That takes at most 2 log2 w additions of whole arrays, which a processor does
on 16 to 64 values at once; a running sum needs two additions for any w, but goes value by value. What is worked out in
between stays in a core's cache, for strips are small and their arrays are used again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STRIP_PX = 1 << 18  # a strip's arrays, of 256 kB a byte, stay in cache, and calls cost little beside what they do
_WINDOWS_PER_STRIP = 4  # but a strip is at least so many windows high, for what is around it is summed as well

_Array = NDArray[Any]
_UNSIGNED = tuple((1 << 8 * size, np.dtype(f"u{size}")) for size in (1, 2, 4, 8))


@dataclass(frozen=True)
class Strip:
    """Some rows of an image, with as much around them as their windows reach.

    A value per pixel is kept as one long row of (rows + 2 radius + 1) * stride, so that shifting is taking a part.

    Attributes:
        padded: uint8 (rows + 2 radius + 1, stride), 0 beyond the image; stride is W + 2 radius. The last row is spare,
            for windows at the end of the long row to reach into.
        top: the strip's first row in the image.
        rows: how many it has.
        image_hw: size of the image.
        radius_hw: how far a window reaches down and across.
    """

    padded: NDArray[np.uint8]
    top: int
    rows: int
    image_hw: tuple[int, int]
    radius_hw: tuple[int, int]

    @property
    def stride(self) -> int:
        """Values from one row to the next in a long row."""
        return self.padded.shape[1]

    def by_rows(self, flat: _Array) -> _Array:
        """Return a long row as (rows, stride); the first W in a row belong to the strip's pixels."""
        return flat[: self.rows * self.stride].reshape(self.rows, self.stride)


def strips(image: NDArray[np.uint8], window_px: int) -> Iterator[Strip]:
    """Cut an image (H, W) into strips; a window beyond the image's size is cut to what it can reach."""
    height, width = image.shape
    radius_y, radius_x = (min(window_px // 2, size - 1) for size in (height, width))
    most = max(_WINDOWS_PER_STRIP * (2 * radius_y + 1), _STRIP_PX // (width + 2 * radius_x))
    rows = -(-height // -(-height // most))  # all strips about equally high
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        padded = np.zeros((bottom - top + 2 * radius_y + 1, width + 2 * radius_x), np.uint8)
        part = image[max(0, top - radius_y) : bottom + radius_y]
        above = max(0, radius_y - top)
        padded[above : above + part.shape[0], radius_x : radius_x + width] = part
        yield Strip(padded, top, bottom - top, (height, width), (radius_y, radius_x))


class Workspace:
    """Arrays to compute in, lent and taken back: fresh memory can cost more than what is computed in it."""

    def __init__(self) -> None:
        self._free: dict[np.dtype[Any], list[_Array]] = {}
        self._size = 0  # of the largest array so far; all new ones are that large, and so fit whatever comes

    def take(self, dtype: np.dtype[Any], size: int) -> _Array:
        """Return an array (size,) of any content."""
        free = self._free.get(dtype)
        whole = free.pop() if free else None
        if whole is None or whole.size < size:
            self._size = max(self._size, size)
            whole = np.empty(self._size, dtype)
        return whole[:size]

    def give(self, *arrays: _Array) -> None:
        """Take back arrays of `take`, or views of all of one in its own type, whose values nobody needs any more."""
        for one in arrays:
            whole = one.base if one.base is not None else one
            self._free.setdefault(whole.dtype, []).append(whole)

    def nbytes(self) -> int:
        """Return how much memory waits to be lent."""
        return sum(one.nbytes for free in self._free.values() for one in free)


def add(work: Workspace, one: _Array, other: _Array, most: int | None) -> _Array:
    """Return one + other as an array of ``work``, in a type that holds ``most`` (see `window_sum`)."""
    dtype = _wider(one.dtype if one.itemsize >= other.itemsize else other.dtype, most)
    return np.add(one, other, out=work.take(dtype, one.size), dtype=dtype)


def window_sum(work: Workspace, values: _Array, most: int | None, box_hw: tuple[int, int], stride: int) -> _Array:
    """Sum boxes of an image kept as one long row.

    Args:
        work: what ``values`` were taken from; they are given back to it.
        values: (N,) unsigned whole numbers or float32.
        most: largest of the whole numbers, None for floats.
        box_hw: height and width of the boxes.
        stride: width of the image.

    Returns:
        (N - (height - 1) * stride - (width - 1),), of ``work``: at i the sum over the box whose first value is i, in a
        type that holds a box full of ``most``, at least as wide as that of ``values``; floats stay as they are.
        Boxes across the end of a row are of no use.
    """
    for count, step in zip(box_hw, (stride, 1), strict=True):
        values = _run_sum(work, values, most, count, step)
        most = None if most is None else most * count
    return values


def _run_sum(work: Workspace, values: _Array, most: int | None, count: int, step: int) -> _Array:
    """Return the sums of ``count`` values that lie ``step`` apart; takes ``values`` over."""
    total, run = values, 1  # a sum in `total` has `run` values
    for binary_digit in format(count, "b")[1:]:
        shift, half = run * step, total
        run *= 2
        dtype = _wider(half.dtype, None if most is None else most * run)
        if dtype != half.dtype:  # widened once, not in both places it is read from
            half = work.take(dtype, total.size)
            np.copyto(half, total)
            if total is not values:
                work.give(total)
        total = np.add(half[:-shift], half[shift:], out=work.take(dtype, half.size - shift))
        if half is not values:
            work.give(half)
        if binary_digit == "1":
            shift, even = run * step, total
            run += 1
            later = values[shift:]
            total = add(work, even[: later.size], later, None if most is None else most * run)
            work.give(even)
    if total is not values:
        work.give(values)
    return total


def narrowest(most: int) -> np.dtype[Any]:
    """Return the narrowest unsigned type that holds 0 to ``most``; float64 from 2^64 on, which rounds."""
    return next((dtype for end, dtype in _UNSIGNED if most < end), np.dtype(np.float64))


def _wider(dtype: np.dtype[Any], most: int | None) -> np.dtype[Any]:
    """Return ``dtype``, or a wider one where ``most`` asks for it."""
    if most is None or most < 1 << 8 * dtype.itemsize:
        return dtype
    return narrowest(most)
