"""Near duplicates proposed by a hash in all eight attitudes, and verified by correlation: never all pairs.

The hash is the signs of the 16 x 16 lowest frequencies (DCT) of a thumbnail, 256 bits: a perceptual hash after
Zauner (2010). Flipping a photograph changes known signs and turning it swaps rows with columns, so that one DCT
gives the hash of all eight attitudes. Photographs are compared where one of sixteen 16-bit pieces agrees (multi-
index hashing: Norouzi, Punjani and Fleet 2012, arXiv 1307.2982): of two hashes that differ in fewer than 16 bits
one piece must.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

# (transpose first, then turn upside down, then left to right)
ATTITUDES = tuple(product((False, True), repeat=3))
PIECES = 16
MOST_BITS = 76  # of 256 may differ; two unlike photographs differ in 128 with a deviation of 8
MOST_IN_A_BUCKET = 2000  # photographs compared with one that share a piece with it
LEAST_CORRELATION = 0.9
LEAST_CONTRAST = 1.5  # grey levels of a thumbnail without its lighting; below, there is nothing to recognise
_PAIRS_AT_A_TIME = 2_000_000

Pairs = NDArray[np.int64]


def propose(thumbs: NDArray[np.uint8]) -> tuple[Pairs, NDArray[np.int64]]:
    """Return the pairs whose hashes agree in some attitude: (P, 2) with i < j, and the attitude of i that fits j.

    Args:
        thumbs: uint8 (N, S, S).
    """
    frequencies = _frequencies(thumbs)
    order = np.argsort(np.add.outer(np.arange(16) ** 2, np.arange(16) ** 2).ravel(), kind="stable")
    base = _packed(frequencies.reshape(-1, 256)[:, order])
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for place, (transpose, flip_rows, flip_columns) in enumerate(ATTITUDES):
        turned = frequencies.transpose(0, 2, 1) if transpose else frequencies
        signs = np.where(np.arange(16) % 2, -1, 1)
        turned = turned * (signs[:, None] if flip_rows else 1) * (signs[None, :] if flip_columns else 1)
        asked = _packed(turned.reshape(-1, 256)[:, order])
        for first, second in _sharing_a_piece(asked, base):
            bits = _differing_bits(asked[first], base[second])
            close = np.flatnonzero(bits <= MOST_BITS)
            for i, j, count in zip(first[close].tolist(), second[close].tolist(), bits[close].tolist(), strict=True):
                if count < best.get((i, j), (257, 0))[0]:
                    best[i, j] = count, place
    found = sorted(best)
    return (np.array(found, np.int64).reshape(-1, 2), np.array([best[pair][1] for pair in found], np.int64))


def correlate(thumbs: NDArray[np.uint8], pairs: Pairs, attitudes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (P,) correlations, -1 to 1, of each pair's thumbnails without their lighting, the first one turned.

    Args:
        thumbs: uint8 (N, S, S).
        pairs: (P, 2) positions.
        attitudes: (P,) positions in `ATTITUDES`.
    """
    flat = without_lighting(thumbs)
    flat /= np.maximum(np.linalg.norm(flat, axis=(1, 2), keepdims=True), 1e-6)
    found = np.empty(len(pairs))
    for place in range(len(ATTITUDES)):
        chosen = np.flatnonzero(attitudes == place)
        for start in range(0, len(chosen), 20_000):
            some = chosen[start : start + 20_000]
            first, second = turned(flat[pairs[some, 0]], place), flat[pairs[some, 1]]
            found[some] = np.einsum("nij,nij->n", first, second)
    return found


def turned(images: NDArray, attitude: int) -> NDArray:
    """Return images (N, H, W) in one of the eight `ATTITUDES`."""
    transpose, flip_rows, flip_columns = ATTITUDES[attitude]
    images = images.transpose(0, 2, 1) if transpose else images
    images = images[:, ::-1] if flip_rows else images
    return images[:, :, ::-1] if flip_columns else images


def without_lighting(thumbs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return float32 (N, S, S): thumbnails less the parabolic surface that fits them best.

    A lamp's spot and a slope of brightness are such surfaces: left in, they would make unlike photographs alike.
    """
    side = thumbs.shape[1]
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    surfaces = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    basis = np.linalg.qr(surfaces)[0].astype(np.float32)
    flat = thumbs.reshape(len(thumbs), side * side).astype(np.float32)
    flat -= (flat @ basis) @ basis.T
    return flat.reshape(thumbs.shape)


def recognisable(thumbs: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return (N,) whether a thumbnail shows anything by which its photograph could be known again."""
    return without_lighting(thumbs).std(axis=(1, 2)) >= LEAST_CONTRAST


def _frequencies(thumbs: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(dctn(without_lighting(thumbs), axes=(1, 2), norm="ortho")[:, :16, :16], np.float32)


def _packed(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.packbits(values > 0, axis=1))  # (N, 32) bytes


def _sharing_a_piece(asked: NDArray[np.uint8], base: NDArray[np.uint8]) -> Iterator[tuple[Pairs, Pairs]]:
    # Pairs i < j whose hashes agree in one 16-bit piece; a pair may come again for another piece.
    asked_pieces, base_pieces = asked.view(np.uint16), base.view(np.uint16)
    for piece in range(PIECES):
        order = np.argsort(base_pieces[:, piece], kind="stable")
        keys = base_pieces[order, piece]
        start = np.searchsorted(keys, asked_pieces[:, piece], "left")
        stop = np.searchsorted(keys, asked_pieces[:, piece], "right")
        counts = np.minimum(stop - start, MOST_IN_A_BUCKET)
        ends = np.cumsum(counts)
        begin = 0
        while begin < len(counts):
            before = ends[begin - 1] if begin else 0
            end = max(begin + 1, int(np.searchsorted(ends, before + _PAIRS_AT_A_TIME)))
            some = counts[begin:end]
            first = np.repeat(np.arange(begin, end), some)
            within = np.arange(some.sum()) - np.repeat(np.cumsum(some) - some, some)
            second = order[np.repeat(start[begin:end], some) + within]
            upper = first < second
            yield first[upper], second[upper]
            begin = end


def _differing_bits(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.int64]:
    return _BITS[first ^ second].sum(axis=1, dtype=np.int64)


_BITS = np.array([bin(value).count("1") for value in range(256)], np.uint8)
