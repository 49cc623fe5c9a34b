"""Crops, zooms and slanted copies: photographs that share many local features, verified by laying one on the other.

Local features are sorted into words (Sivic and Zisserman 2003, doi:10.1109/ICCV.2003.1238663); photographs that share
more words than chance gives are candidates, and only those are decoded again: their features are matched, a similarity
is fitted (RANSAC), and the overlap must correlate.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import MiniBatchKMeans

from geocamnet.errors import DataError
from geocamnet.train.originals import RawFile, read_original

LEAST_SHARED = 5  # words two photographs must share to be looked at
MOST_PER_PHOTOGRAPH = 6  # candidates of each photograph that are looked at
LEAST_BUDGET, BUDGET = 3000, 0.2  # candidates looked at in all: so many, or as a share of the photographs
MOST_HOLDERS = 0.02  # a word in more of the photographs than this tells nothing
LEAST_INLIERS = 12
LEAST_OVERLAP = 0.3  # of the smaller photograph
LEAST_CORRELATION = 0.8
VERIFY_PX = 400
_log = logging.getLogger(__name__)
_SAMPLE = 60_000
_ROWS_AT_A_TIME = 1000
_POINTS_AT_A_TIME = 200_000

Pairs = NDArray[np.int64]


@dataclass(frozen=True)
class PartJob:
    """Two photographs to lay on each other: RAW, and the two files in it."""

    raw: str
    first: RawFile
    second: RawFile
    pair: tuple[int, int]


@dataclass(frozen=True)
class Part:
    """What came of laying one photograph on another.

    Attributes:
        pair: as in the job.
        correlation: of the overlap, 0 where none was found.
        overlap: share of the smaller photograph that the other shows too.
        mirrored: one is the mirror image of the other.
    """

    pair: tuple[int, int]
    correlation: float = 0.0
    overlap: float = 0.0
    mirrored: bool = False


def propose_parts(points: list[NDArray[np.int8]], *, seed: int) -> Pairs:
    """Return (P, 2) positions, i < j, of photographs that share many words.

    Args:
        points: per photograph int8 (K, 32), see `look.local_points`.
        seed: of the words.
    """
    counts = np.array([len(one) for one in points])
    if counts.sum() < 200 or len(points) < 2:
        return np.empty((0, 2), np.int64)
    every = np.concatenate(points)
    owner = np.repeat(np.arange(len(points)), counts)
    words = _words(every, seed)
    table = sparse.csr_matrix((np.ones(len(words), np.float32), (owner, words)), (len(points), int(words.max()) + 1))
    table.data[:] = 1  # said twice is said once
    holders = np.asarray((table > 0).sum(axis=0)).ravel()
    rare = (holders > 1) & (holders <= max(6, MOST_HOLDERS * len(points)))
    table = table[:, rare].tocsr()
    shared_by: dict[tuple[int, int], float] = {}
    turned = table.T.tocsr()
    for start in range(0, len(points), _ROWS_AT_A_TIME):
        shared = (table[start : start + _ROWS_AT_A_TIME] @ turned).tocsr()
        for row in range(shared.shape[0]):
            at = slice(shared.indptr[row], shared.indptr[row + 1])
            others, common = shared.indices[at], shared.data[at]
            likely = np.flatnonzero((common >= LEAST_SHARED) & (others != start + row))
            for place in likely[np.argsort(-common[likely], kind="stable")][:MOST_PER_PHOTOGRAPH]:
                other = int(others[place])
                shared_by[min(start + row, other), max(start + row, other)] = float(common[place])
    # Among very many photographs chance alone makes candidates: those that share most are looked at.
    budget = max(LEAST_BUDGET, int(BUDGET * len(points)))
    if len(shared_by) > budget:
        _log.info("%d pairs share local features; the %d that share most are compared", len(shared_by), budget)
    likeliest = sorted(shared_by, key=lambda pair: (-shared_by[pair], pair))[:budget]
    return np.array(sorted(likeliest), np.int64).reshape(-1, 2)


def lay_on_each_other(jobs: tuple[PartJob, ...]) -> list[Part]:
    """Verify pairs of photographs by their pixels; what can't be read any more shows nothing."""
    return [_laid(job) for job in jobs]


def _words(points: NDArray[np.int8], seed: int) -> NDArray[np.int64]:
    # Two halves, each sorted into its own words: their pairs are many words for the price of few centres. As numbers
    # with a point they would fill the memory where there are millions, so only some are, at a time.
    centres = int(np.clip(np.sqrt(len(points) / 4), 8, 192))
    sample = np.random.default_rng(seed).permutation(len(points))[:_SAMPLE]
    half = points.shape[1] // 2
    words = np.zeros(len(points), np.int64)
    for side in (points[:, :half], points[:, half:]):
        means = MiniBatchKMeans(centres, random_state=seed, n_init=1, batch_size=2048, max_iter=20)
        means.fit(side[sample].astype(np.float32))
        for start in range(0, len(side), _POINTS_AT_A_TIME):
            some = slice(start, start + _POINTS_AT_A_TIME)
            words[some] = words[some] * centres + means.predict(side[some].astype(np.float32))
    return words


def _laid(job: PartJob) -> Part:
    try:
        first, second = (_grey(Path(job.raw), file) for file in (job.first, job.second))
    except DataError:
        return Part(job.pair)
    best = Part(job.pair)
    for mirrored in (False, True):
        one = _fit(np.ascontiguousarray(first[:, ::-1]) if mirrored else first, second)
        if one and one[0] > best.correlation:
            best = Part(job.pair, one[0], one[1], mirrored)
    return best


def _grey(raw: Path, file: RawFile) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(read_original(raw, file), cv2.COLOR_RGB2GRAY)
    scale = min(1.0, VERIFY_PX / max(grey.shape))
    return np.asarray(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _fit(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[float, float] | None:
    # Correlation and overlap of the first photograph laid on the second, None where nothing fits.
    sift = cv2.SIFT_create(nfeatures=400, contrastThreshold=0.02)  # type: ignore[attr-defined]
    (points_1, found_1), (points_2, found_2) = (sift.detectAndCompute(one, None) for one in (first, second))
    if found_1 is None or found_2 is None or min(len(found_1), len(found_2)) < LEAST_INLIERS:
        return None
    matches = cv2.BFMatcher().knnMatch(found_1, found_2, k=2)
    good = [pair[0] for pair in matches if len(pair) == 2 and pair[0].distance < 0.8 * pair[1].distance]
    if len(good) < LEAST_INLIERS:
        return None
    source = np.array([points_1[one.queryIdx].pt for one in good], np.float32)
    target = np.array([points_2[one.trainIdx].pt for one in good], np.float32)
    cv2.setRNGSeed(0)  # the same pair gives the same answer
    how, inliers = cv2.estimateAffinePartial2D(source, target, method=cv2.RANSAC, ransacReprojThreshold=3)
    if how is None or inliers.sum() < LEAST_INLIERS or not 0.2 < np.hypot(how[0, 0], how[1, 0]) < 5:
        return None
    size_wh = second.shape[1], second.shape[0]
    laid = cv2.warpAffine(first, how, size_wh, flags=cv2.INTER_AREA)
    inside = cv2.warpAffine(np.full(first.shape, 255, np.uint8), how, size_wh) > 250
    scale2 = float(np.hypot(how[0, 0], how[1, 0]) ** 2)
    overlap = float(inside.sum() / min(second.size, first.size * scale2))
    if overlap < LEAST_OVERLAP or inside.sum() < 400:
        return None
    pair = [cv2.GaussianBlur(one, (0, 0), 1.5)[inside].astype(np.float64) for one in (laid, second)]
    if min(one.std() for one in pair) < 1.5:
        return None
    return float(np.corrcoef(*pair)[0, 1]), min(1.0, overlap)
