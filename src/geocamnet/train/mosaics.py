"""Mosaics of photographs of different classes, in a grid or in Voronoi cells: exact masks where nobody drew any."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.errors import DataError, unknown_name
from geocamnet.train.localise import Sample

log = logging.getLogger(__name__)

GREY_MEAN, GREY_STD = 128.0, 32.0
FEWEST_CELLS, MOST_CELLS = 2, 4
SMALLEST_CELL = 0.1  # of the area: a Voronoi cell below it is a sliver, and is drawn again

Borders = Literal["grid", "voronoi"]
BORDERS: tuple[Borders, ...] = get_args(Borders)

RgbImage = NDArray[np.uint8]


def mosaics(
    images_by_class: Mapping[int, Sequence[RgbImage | Callable[[], RgbImage]]],
    *,
    cell_px: int,
    n: int,
    seed: int,
    equalise: bool = True,
    borders: Borders = "grid",
) -> Iterator[Sample]:
    """Yield ``n`` mosaics of photographs with the exact mask, made one after another.

    ``"grid"``: 2x2 squares, whose places and straight borders are always the same. ``"voronoi"``: 2 to 4 cells
    around random points, every pixel belonging to the nearest point, so that size, number and place of the
    cells can't be known beforehand.

    Every mosaic shows as many different classes as it has cells, or as there are, and every class comes equally
    often. A cell is cut at random out of a photograph at its own scale, enlarged only if the photograph is smaller.

    Args:
        images_by_class: class position to photographs held out from training, or functions that read
            one when it is needed.
        cell_px: half the side of a mosaic; the side of a cell of the grid.
        n: number of mosaics.
        seed: fixes them.
        equalise: give every cell the same grey mean and deviation, so that brightness can't tell them apart.
        borders: ``"grid"`` or ``"voronoi"``.

    Yields:
        `Sample` of (2 cell_px, 2 cell_px).

    Raises:
        DataError: unknown borders, fewer than two classes with a photograph, or none of a class can be read.
    """
    if borders not in BORDERS:
        raise DataError(unknown_name("kind of borders", borders, BORDERS))
    photographs = {c: list(images) for c, images in images_by_class.items()}
    classes = sorted(c for c, images in photographs.items() if images)
    if len(classes) < 2:
        raise DataError(f"Mosaics need photographs of two classes or more; received {len(classes)}.")
    rng = np.random.default_rng(seed)
    class_deck: list[int] = []
    image_decks: dict[int, list[int]] = {c: [] for c in classes}
    for _ in range(n):
        cells = _voronoi(2 * cell_px, rng) if borders == "voronoi" else _grid(2 * cell_px)
        chosen = _different_classes(classes, class_deck, rng, count=int(cells.max()) + 1)
        image = np.empty((*cells.shape, 3), np.uint8)
        mask = np.empty(cells.shape, np.uint8)
        for place, c in zip(rng.permutation(len(chosen)), chosen, strict=True):
            inside = cells == place
            ys, xs = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
            box = slice(ys[0], ys[-1] + 1), slice(xs[0], xs[-1] + 1)
            cut = _cut(_draw(photographs[c], image_decks[c], rng), inside[box].shape, rng)[inside[box]]
            image[inside] = equalised(cut[None])[0] if equalise else cut
            mask[inside] = c + 1
        yield Sample(image, mask, tuple(sorted(set(chosen))))


def _grid(side_px: int) -> NDArray[np.int64]:
    """Return (side_px, side_px) numbers of 2x2 squares, row by row."""
    half = np.arange(side_px) * 2 // side_px
    return 2 * half[:, None] + half


def _voronoi(side_px: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return (side_px, side_px) numbers of the nearest of 2 to 4 random points, none with a sliver of a cell."""
    count = int(rng.integers(FEWEST_CELLS, MOST_CELLS + 1))
    at = np.arange(side_px) + 0.5
    while True:
        ys, xs = rng.uniform(0, side_px, (2, count))
        distances = (at[:, None, None] - ys) ** 2 + (at[:, None] - xs) ** 2  # (side_px, side_px, count)
        cells = distances.argmin(axis=2)
        if np.bincount(cells.ravel(), minlength=count).min() >= SMALLEST_CELL * side_px**2:
            return cells


def _draw(photographs: list[RgbImage | Callable[[], RgbImage]], deck: list[int], rng: np.random.Generator) -> RgbImage:
    """Return the next photograph of a shuffled deck; one that can't be read is left out from then on."""
    while True:
        if not deck:
            deck.extend(int(i) for i in rng.permutation(len(photographs)))
        position = deck.pop()
        given = photographs[position]
        if not callable(given):
            return given
        try:
            return given()
        except DataError as error:
            log.warning("Left out of the mosaics: %s", error)
            del photographs[position]
            deck.clear()
            if not photographs:
                raise


def equalised(image: RgbImage) -> RgbImage:
    """Return the photograph with grey mean 128 and deviation 32, the same step for all three channels.

    Repeated four times, since values cut off at 0 and 255 move the mean; a constant photograph becomes mid-grey.
    """
    values = image.astype(np.float32)
    for _ in range(4):
        grey = cv2.cvtColor(values, cv2.COLOR_RGB2GRAY)
        mean, std = float(grey.mean()), float(grey.std())
        values = np.clip((values - mean) * (GREY_STD / max(std, 1e-3)) + GREY_MEAN, 0, 255)
    return np.round(values).astype(np.uint8)


def _different_classes(classes: list[int], deck: list[int], rng: np.random.Generator, *, count: int) -> list[int]:
    """Return ``count`` classes off a shuffled deck, a class twice only once every class is there."""
    chosen: list[int] = []
    while len(chosen) < count:
        fresh = deck if len(chosen) >= len(classes) else [c for c in deck if c not in chosen]
        if fresh:
            chosen.append(fresh[0])
            deck.remove(fresh[0])
        else:
            deck.extend(int(c) for c in rng.permutation(classes))
    return chosen


def _cut(image: RgbImage, shape_hw: tuple[int, ...], rng: np.random.Generator) -> RgbImage:
    height, width = image.shape[:2]
    scale = max(shape_hw[0] / height, shape_hw[1] / width)
    if scale > 1:
        height, width = max(shape_hw[0], round(height * scale)), max(shape_hw[1], round(width * scale))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    top, left = int(rng.integers(height - shape_hw[0] + 1)), int(rng.integers(width - shape_hw[1] + 1))
    return image[top : top + shape_hw[0], left : left + shape_hw[1]]
