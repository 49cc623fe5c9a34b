"""Shapes without a mineral: noise, mosaics of cells, packed discs, outlines; all lengths in pixels here.

Everything returns arrays of the square field (H, W) with H = W = ``size``; x runs right, y runs down.
"""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]  # (H, W)
Where = NDArray[np.bool_]  # (H, W)
Labels = NDArray[np.int32]  # (H, W), 0 to n - 1
Rng = np.random.Generator


@lru_cache(maxsize=4)
def coordinates(size: int) -> tuple[Map, Map]:
    """Return x and y of every pixel, float32 (H, W) each, in pixels; read-only."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    x.flags.writeable = False
    y.flags.writeable = False
    return x, y


def rotated(size: int, angle: float) -> tuple[Map, Map]:
    """Return coordinates along and across a direction ``angle`` (radian), the middle of the field being 0."""
    x, y = coordinates(size)
    cos, sin, mid = np.float32(np.cos(angle)), np.float32(np.sin(angle)), np.float32(size / 2)
    along = (x - mid) * cos + (y - mid) * sin
    across = (y - mid) * cos - (x - mid) * sin
    return along, across


def noise(
    rng: Rng, size: int, scale_px: float, *, octaves: int = 1, stretch: float = 1.0, angle: float | None = None
) -> Map:
    """Return smooth random values of mean 0 and standard deviation near 1.

    A coarse grid of normal values, enlarged with cubic interpolation (value noise); every further octave has
    half the scale and 0.6 of the height.

    Args:
        rng: where the values come from.
        size: side of the field in pixels.
        scale_px: distance over which the values change.
        octaves: sum of that many scales.
        stretch: longer by this factor along ``angle`` than across.
        angle: radian; None turns every octave at random, which hides the grid.
    """
    total = np.zeros((size, size), np.float32)
    weight, power = 1.0, 0.0
    for _ in range(octaves):
        scale = max(scale_px, 0.75)
        reach = 1.5 * size + 4 * scale
        columns, rows = int(reach / (scale * stretch)) + 5, int(reach / scale) + 5
        grid = rng.standard_normal((rows, columns), dtype=np.float32)
        turned = rng.uniform(0, np.pi) if angle is None else angle
        cos, sin = np.cos(turned), np.sin(turned)
        # pixel -> grid: turn about the middle of the field, then divide by the scales
        turn = np.array([[cos / (scale * stretch), sin / (scale * stretch), 0.0], [-sin / scale, cos / scale, 0.0]])
        middle = np.array([size / 2, size / 2])
        turn[:, 2] = np.array([columns / 2, rows / 2]) - turn[:, :2] @ middle + rng.uniform(-0.5, 0.5, 2)
        layer = cv2.warpAffine(
            grid, turn, (size, size), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT
        )
        total += np.float32(weight) * layer
        power += weight * weight
        weight *= 0.6
        scale_px /= 2
    # cubic interpolation of unit normals has a mean variance near 0.68 in the plane
    return total * np.float32(1 / np.sqrt(0.68 * power))


def scattered(rng: Rng, size: int, spacing_px: float, *, order: float = 0.6) -> NDArray[np.float32]:
    """Return points (n, 2) as x, y: one a square of side ``spacing_px``; order 0 is Poisson, 1 a lattice."""
    per_side = max(int(np.ceil(size / max(spacing_px, 1.0))), 1)
    step = size / per_side
    cell_y, cell_x = np.mgrid[:per_side, :per_side]
    # alternate rows are shifted by half a cell, so that an ordered mosaic is hexagonal and not square
    lattice = np.stack([cell_x + 0.5 + 0.25 * (-1) ** cell_y, cell_y + 0.5], axis=-1).reshape(-1, 2) * step
    free = rng.uniform(0, size, lattice.shape)
    jitter = rng.uniform(-0.5, 0.5, lattice.shape) * step
    loose = rng.random(len(lattice)) > order
    points = np.where(loose[:, None], free, lattice + jitter)
    return np.clip(points, 0, size - 1).astype(np.float32)


def cells(size: int, points: NDArray[np.float32]) -> tuple[Labels, NDArray[np.float32], Map]:
    """Return the Voronoi mosaic of points: labels, the points in label order (n, 2), distance to them."""
    seeds = np.full((size, size), 255, np.uint8)
    whole = np.clip(np.rint(points), 0, size - 1).astype(np.int32)
    seeds[whole[:, 1], whole[:, 0]] = 0
    return cells_of_mask(seeds)


def cells_of_mask(seeds: NDArray[np.uint8]) -> tuple[Labels, NDArray[np.float32], Map]:
    """As `cells`, for seeds given as the zero pixels of a uint8 (H, W) image (one at least)."""
    distance, labels = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    rows, columns = np.nonzero(seeds == 0)
    ordered = np.zeros((len(rows), 2), np.float32)
    at = labels[rows, columns] - 1
    ordered[at, 0], ordered[at, 1] = columns, rows
    return labels - 1, ordered, distance


def pick(values: NDArray[Any], labels: NDArray[Any]) -> Any:
    """Return ``values[labels]``: one value a cell spread over its pixels."""
    return np.take(values, labels, mode="clip")


def seams(labels: NDArray[Any]) -> Map:
    """Return 1 on pixels whose right or lower neighbour has another label, 0 elsewhere."""
    edge = np.zeros(labels.shape, np.float32)
    edge[:, :-1] = labels[:, 1:] != labels[:, :-1]
    edge[:-1] = np.maximum(edge[:-1], labels[1:] != labels[:-1])
    return edge


def blurred(values: Map, sigma_px: float) -> Map:
    """Return a Gaussian blur; wide ones are made on a smaller picture."""
    if sigma_px < 0.3:
        return values
    if sigma_px > 6:
        factor = int(sigma_px / 3)
        size = values.shape[0]
        small = cv2.resize(values, (max(size // factor, 2), max(size // factor, 2)), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), sigma_px / factor)
        return cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
    return cv2.GaussianBlur(values, (0, 0), sigma_px)


def bent(labels_or_map: NDArray[Any], rng: Rng, reach_px: float, scale_px: float) -> NDArray[Any]:
    """Return the picture with every pixel moved by smooth noise of about ``reach_px``: no line stays straight."""
    size = labels_or_map.shape[0]
    x, y = coordinates(size)
    across = x + np.float32(reach_px) * noise(rng, size, scale_px)
    down = y + np.float32(reach_px) * noise(rng, size, scale_px)
    whole = np.issubdtype(labels_or_map.dtype, np.integer)
    how = cv2.INTER_NEAREST if whole else cv2.INTER_LINEAR
    moved = cv2.remap(labels_or_map.astype(np.float32), across, down, how, borderMode=cv2.BORDER_REFLECT_101)
    return moved.astype(labels_or_map.dtype) if whole else moved


def packed(rng: Rng, size: int, radii: NDArray[np.float32], *, rounds: int = 22) -> NDArray[np.float32]:
    """Return centres (n, 2) of discs that were pushed apart until few overlap.

    The discs lie in a square wider than the field by the largest radius, so that some are cut by the edge.
    """
    margin = float(radii.max()) if len(radii) else 0.0
    low, high = -margin, size + margin
    centres = rng.uniform(low, high, (len(radii), 2)).astype(np.float32)
    reach = radii[:, None] + radii[None, :]
    for _ in range(rounds):
        apart = centres[:, None, :] - centres[None, :, :]  # (n, n, 2)
        gap = np.sqrt((apart * apart).sum(axis=-1)) + np.float32(1e-3)
        push = np.maximum(reach - gap, 0)
        np.fill_diagonal(push, 0)
        centres += 0.45 * ((push / gap)[..., None] * apart).sum(axis=1)
        np.clip(centres, low, high, out=centres)
    return centres


def how_many(size: int, radius_px: float, share: float, *, most: int = 260) -> int:
    """Return how many discs of that mean radius fill ``share`` of the widened field."""
    area = (size + 2 * radius_px) ** 2
    return int(np.clip(share * area / (np.pi * radius_px**2), 1, most))


def ridged(values: Map) -> Map:
    """Return 0 to 1, highest where noise crosses zero: veins, wisps, wrinkles."""
    return np.exp(-np.square(values * np.float32(6)))


def line_noise(rng: Rng, length: int, scale_px: float, *, octaves: int = 1, fall: float = 0.5) -> NDArray[np.float32]:
    """Return one-dimensional value noise (length,) of standard deviation near 1."""
    total, power, weight = np.zeros(length, np.float32), 0.0, 1.0
    for _ in range(octaves):
        scale = max(scale_px, 1.0)
        knots = rng.standard_normal(int(length / scale) + 4)
        at = np.arange(length) / scale + rng.random()
        low = at.astype(int)
        part = at - low
        part = part * part * (3 - 2 * part)
        total += (weight * (knots[low] * (1 - part) + knots[low + 1] * part)).astype(np.float32)
        power += weight * weight
        weight *= fall
        scale_px /= 2
    return total * np.float32(1 / np.sqrt(0.74 * power))
