"""A photograph looked at in all eight attitudes, its evidence averaged: a thin section has no up."""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from geocamnet.card import ModelCard
from geocamnet.images import scaled_size_hw

ATTITUDES = 8

Photographs = NDArray[np.uint8]
Floats = NDArray[np.float32]


def in_all_attitudes(class_maps_of: Callable[[Photographs], Floats], images: Photographs, card: ModelCard) -> Floats:
    """Return the class maps of photographs, averaged over the four quarter turns of each and of its mirror image.

    ``M_c = 1/8 sum_g g^-1 M_c(g x)``. A network that has learnt from turned photographs still answers each attitude a
    little differently; the mean has less of that chance, and turns with the photograph as rock does. Turned maps are
    looked up where the cells of the photograph lie, for cell i is centred on pixel ``stride * i`` from whichever edge
    the network began; then each map is moved by a constant: ``mean(M_c) + b_c`` is the mean of the eight logits.

    Args:
        class_maps_of: (N, H, W, 3) photographs to float (N, C, h, w) class maps, without the bias.
        images: RGB uint8 (N, H, W, 3).
        card: of the network, for its scale and stride.

    Returns:
        float32 (N, C, h, w).
    """
    size_hw = images.shape[1:3]
    if card.long_side_px is not None:
        size_hw = scaled_size_hw(size_hw, card.long_side_px)
    total, means = None, 0.0
    for transposed, upside_down, mirrored in attitudes():
        seen = images[:, :: -1 if upside_down else 1, :: -1 if mirrored else 1]
        maps = class_maps_of(seen.swapaxes(1, 2) if transposed else seen)
        means = means + maps.mean(axis=(2, 3), keepdims=True, dtype=np.float64) / ATTITUDES
        maps = maps.swapaxes(2, 3) if transposed else maps
        if upside_down:
            maps = _reversed(maps.shape[2], size_hw[0], card.map_stride) @ maps
        if mirrored:
            maps = maps @ _reversed(maps.shape[3], size_hw[1], card.map_stride).T
        total = maps / ATTITUDES if total is None else total + maps / ATTITUDES
    assert total is not None
    return np.asarray(total + (means - total.mean(axis=(2, 3), keepdims=True)), np.float32)


def attitudes() -> Iterator[tuple[bool, bool, bool]]:
    """Yield (transposed, upside down, mirrored): a photograph is turned upside down and mirrored, then transposed."""
    yield from product((False, True), repeat=3)


def _reversed(cells: int, size_px: int, stride: int) -> Floats:
    """Return (cells, cells) weights that bring cells counted from the far edge to those counted from the near one."""
    places = np.clip((size_px - 1) / stride - np.arange(cells), 0, cells - 1)[:, None]
    return np.maximum(0, 1 - np.abs(places - np.arange(cells))).astype(np.float32)
