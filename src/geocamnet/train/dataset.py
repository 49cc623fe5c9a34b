"""From the index to batches: photographs, labels and stored teacher maps, the same for the same seed."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler, get_worker_info

from geocamnet.images import read_written
from geocamnet.train import augment
from geocamnet.train.index import IndexRow
from geocamnet.train.recipes import AugmentRecipe


class MapSource(Protocol):
    """Where a teacher's stored logits and class maps come from (see `cam.StoredMaps`).

    Attributes:
        image_px: long side of the photographs as the teacher saw them, 0 as stored.
        stride: pixels of those per cell of its maps.
    """

    image_px: int
    stride: int

    def logits(self, image: str) -> NDArray[np.floating[Any]]:
        """Return (C,) logits of a photograph."""
        ...

    def class_maps(self, image: str) -> NDArray[np.floating[Any]]:
        """Return (C, h, w) class maps of a photograph."""
        ...


class PhotographDataset(Dataset):
    """Photographs of an index, as float RGB in [0, 1].

    An item's key is ``epoch * len(rows) + row``: augmentation is drawn from (seed, epoch, row) alone, so a
    run that was stopped and resumed, or loaded by other workers, sees the very same crops.

    Args:
        data: the data set folder.
        rows: photographs of it.
        classes: names, in the order of the network's outputs; other labels count as unknown.
        image_px: long side at which the network sees a photograph; 0 as it is stored.
        crop_px: side of the random square crop, None for the whole photograph.
        recipe: how crops are varied; not used for whole photographs.
        seed: of the augmentation.
        maps: the teacher's stored maps, cropped with the photograph.
        map_stride: pixels per cell of the student's class maps, onto whose raster the teacher's are cut.
        cache_mb: decoded photographs kept in memory.
    """

    def __init__(
        self,
        data: Path,
        rows: Sequence[IndexRow],
        *,
        classes: Sequence[str],
        image_px: int,
        crop_px: int | None = None,
        recipe: AugmentRecipe | None = None,
        seed: int = 0,
        maps: MapSource | None = None,
        map_stride: int = 16,
        cache_mb: int = 0,
    ) -> None:
        self.data, self.rows, self.classes = data, tuple(rows), tuple(classes)
        self.image_px, self.crop_px, self.recipe, self.seed = image_px, crop_px, recipe, seed
        self.maps, self.map_stride = maps, map_stride
        self._cache: dict[int, NDArray[np.uint8]] = {}
        self._cache_left = cache_mb * 2**20

    def __len__(self) -> int:
        return len(self.rows)

    def target(self, number: int) -> NDArray[np.float32]:
        """Return the (C,) 0/1 labels of a row; all 0 where none is known."""
        labels = self.rows[number].labels
        return np.array([name in labels for name in self.classes], dtype=np.float32)

    def known(self, number: int) -> bool:
        """Return whether a row has a label and the network every one of its labels."""
        labels = self.rows[number].labels
        return bool(labels) and all(label in self.classes for label in labels)

    def __getitem__(self, key: int) -> dict[str, Tensor]:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[int]) -> list[dict[str, Tensor]]:
        """Return the items of a batch; a training process without loading processes makes them by several threads."""
        if get_worker_info() is not None:
            return self._items(keys, map)
        threads = torch.get_num_threads()
        try:
            # Reading ignores Pillow's warnings for a moment; of several threads the last might leave it so.
            # PyTorch takes four times as long to scale one photograph by two threads of its own.
            with (
                warnings.catch_warnings(),
                ThreadPoolExecutor(threads, "loading", initializer=torch.set_num_threads, initargs=(1,)) as loading,
            ):
                return self._items(keys, loading.map)
        finally:
            torch.set_num_threads(threads)

    def _items(self, keys: Sequence[int], apply: Callable[..., Iterable[Any]]) -> list[dict[str, Tensor]]:
        numbers = [int(key) % len(self.rows) for key in keys]
        unread = [number for number in dict.fromkeys(numbers) if number not in self._cache]
        images = dict(zip(unread, apply(self._read, unread), strict=True))
        for number, image in images.items():
            if image.nbytes <= self._cache_left:
                self._cache[number] = image
                self._cache_left -= image.nbytes
        images |= {number: self._cache[number] for number in numbers if number not in images}
        return list(apply(self._item, keys, [images[number] for number in numbers]))

    def _item(self, key: int, image: NDArray[np.uint8]) -> dict[str, Tensor]:
        epoch, number = divmod(int(key), len(self.rows))
        item = {
            "row": torch.tensor(number),
            "target": torch.from_numpy(self.target(number)),  # (C,)
            "known": torch.tensor(self.known(number)),
        }
        if (side := self.crop_px) is not None:
            rng = np.random.default_rng((self.seed, epoch, number))
            recipe = self.recipe or AugmentRecipe()
            if not self.image_px:  # a photograph smaller than the crop is not enlarged: its scale is what is known
                image = augment.mirrored(image, math.ceil(side * recipe.scale))
            geometry = augment.draw_geometry(image.shape[:2], side, recipe, rng)
            image = augment.change_light(augment.crop_image(image, geometry, side), recipe, rng)
            if self.maps is not None:
                name = self.rows[number].image
                stored = torch.from_numpy(self.maps.class_maps(name).astype(np.float32))
                row = self.rows[number]
                seen_hw = augment.seen_size_hw((row.height_px, row.width_px), self.maps.image_px)
                taken, wanted = augment.Raster(self.maps.stride, seen_hw), augment.Raster(self.map_stride, (side, side))
                item["teacher_maps"] = augment.crop_maps(stored, geometry, taken, wanted)  # (T, n, n)
                item["teacher_logits"] = torch.from_numpy(self.maps.logits(name).astype(np.float32))  # (T,)
        item["image"] = torch.from_numpy(image).permute(2, 0, 1).float().div(255)  # (3, H, W)
        return item

    def _read(self, number: int) -> NDArray[np.uint8]:
        return augment.scale_pixels(read_written(self.data / self.rows[number].image), self.image_px)


class TrainingSampler(Sampler[int]):
    """Keys of one epoch's training items, shuffled or balanced, cut into equal parts for several processes.

    Args:
        count: photographs.
        seed: of the order.
        weights: (count,) how often each is wanted; None shows each once.
        rank, world: this process and how many there are.
    """

    def __init__(
        self, count: int, *, seed: int, weights: NDArray[np.float64] | None = None, rank: int = 0, world: int = 1
    ) -> None:
        self.count, self.seed, self.weights, self.rank, self.world = count, seed, weights, rank, world
        self.epoch = 0
        self.begun = (0, 0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; the trainer calls this."""
        self.epoch = epoch

    def begin_at(self, epoch: int, seen: int) -> None:
        """Take up an epoch of which this process has seen so many items."""
        self.epoch, self.begun = epoch, (epoch, seen)

    def __len__(self) -> int:
        return -(-self.count // self.world)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, 7, self.epoch))
        if self.weights is None:
            order = rng.permutation(self.count)
        else:
            order = rng.choice(self.count, size=self.count, p=self.weights / self.weights.sum())
        order = np.resize(order, len(self) * self.world)  # the last few are shown twice, not left out
        seen = self.begun[1] if self.epoch == self.begun[0] else 0
        return iter((self.epoch * self.count + order[self.rank :: self.world])[seen:].tolist())


class SameSizeBatches(Sampler[list[int]]):
    """Batches of whole photographs of one size, so that nothing is padded or distorted when judged.

    Args:
        sizes_hw: (H, W) of each photograph as the network sees it.
        batch_size: at most so many in a batch.
        rank, world: this process and how many there are.
    """

    def __init__(self, sizes_hw: Sequence[tuple[int, int]], *, batch_size: int, rank: int = 0, world: int = 1) -> None:
        groups: dict[tuple[int, int], list[int]] = {}
        for number in range(rank, len(sizes_hw), world):
            groups.setdefault(sizes_hw[number], []).append(number)
        self.batches = [
            group[start : start + batch_size] for group in groups.values() for start in range(0, len(group), batch_size)
        ]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)


def balanced_weights(targets: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (N,) sampling weights that show every class equally often.

    A photograph of several classes counts for its rarest; one without a known label keeps its fair share.

    Args:
        targets: (N, C) 0/1 labels.
        known: (N,) whether the label is known.
    """
    counts = np.maximum(targets[known].sum(axis=0), 1)  # (C,)
    rarity = (targets / counts).max(axis=1)  # (N,)
    weights = np.ones(len(targets), dtype=np.float64)
    if known.any():
        weights[known] = rarity[known] / rarity[known].mean()
    return weights
