"""2x2 mosaics of photographs of different classes: exact masks for free, where nobody drew any."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.errors import DataError
from geocamnet.train.localise import Sample

log = logging.getLogger(__name__)

GREY_MEAN, GREY_STD = 128.0, 32.0

RgbImage = NDArray[np.uint8]


def mosaics(
    images_by_class: Mapping[int, Sequence[RgbImage | Callable[[], RgbImage]]],
    *,
    cell_px: int,
    n: int,
    seed: int,
    equalise: bool = True,
) -> Iterator[Sample]:
    """Yield ``n`` mosaics of 2x2 photographs with the exact mask, made one after another.

    Every mosaic shows as many different classes as there are, four at most, and every class comes equally often.
    A cell is a random square cut of a photograph at its own scale, enlarged only if the photograph is smaller.

    Args:
        images_by_class: class position to photographs held out from training, or functions that read
            one when it is needed.
        cell_px: side of a cell; the mosaic is twice as wide.
        n: number of mosaics.
        seed: fixes them.
        equalise: give every cell the same grey mean and deviation, so that brightness can't tell them apart.

    Yields:
        `Sample` of (2 cell_px, 2 cell_px).

    Raises:
        DataError: fewer than two classes have a photograph, or none of a class can be read.
    """
    photographs = {c: list(images) for c, images in images_by_class.items()}
    classes = sorted(c for c, images in photographs.items() if images)
    if len(classes) < 2:
        raise DataError(f"Mosaics need photographs of two classes or more; received {len(classes)}.")
    rng = np.random.default_rng(seed)
    class_deck: list[int] = []
    image_decks: dict[int, list[int]] = {c: [] for c in classes}
    for _ in range(n):
        chosen = _different_classes(classes, class_deck, rng)
        order = rng.permutation(4)
        image = np.empty((2 * cell_px, 2 * cell_px, 3), np.uint8)
        mask = np.empty(image.shape[:2], np.uint8)
        for place, c in zip(order, chosen, strict=True):
            cell = _cut(_draw(photographs[c], image_decks[c], rng), cell_px, rng)
            top, left = int(place) // 2 * cell_px, int(place) % 2 * cell_px
            image[top : top + cell_px, left : left + cell_px] = equalised(cell) if equalise else cell
            mask[top : top + cell_px, left : left + cell_px] = c + 1
        yield Sample(image, mask, tuple(sorted(set(chosen))))


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


def _different_classes(classes: list[int], deck: list[int], rng: np.random.Generator) -> list[int]:
    """Return four classes off a shuffled deck, a class twice only once every class is there."""
    chosen: list[int] = []
    while len(chosen) < 4:
        fresh = deck if len(chosen) >= len(classes) else [c for c in deck if c not in chosen]
        if fresh:
            chosen.append(fresh[0])
            deck.remove(fresh[0])
        else:
            deck.extend(int(c) for c in rng.permutation(classes))
    return chosen


def _cut(image: RgbImage, cell_px: int, rng: np.random.Generator) -> RgbImage:
    height, width = image.shape[:2]
    if min(height, width) < cell_px:
        scale = cell_px / min(height, width)
        width, height = max(cell_px, round(width * scale)), max(cell_px, round(height * scale))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    top, left = int(rng.integers(height - cell_px + 1)), int(rng.integers(width - cell_px + 1))
    return image[top : top + cell_px, left : left + cell_px]
