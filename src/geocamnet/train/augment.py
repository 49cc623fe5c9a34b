"""One geometry for image and class maps together, and the lamp, lens and burnt-in marks for the image alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from geocamnet.images import scaled_size_hw
from geocamnet.train.recipes import AugmentRecipe

BAND_PX = 16  # scaled rows or columns that are worked out at a time
EDGE_PX = 2  # outermost scaled pixels under whose triangle the edge may lie, on each side
EDGE_BAND_PX = 64  # the same as BAND_PX along an edge, where calls cost more than what they compute
Bands = Sequence[tuple[slice, Tensor]]  # old rows or columns, and their weights in some new ones


@dataclass(frozen=True)
class Geometry:
    """A square crop, then a flip, then quarter turns; lengths as shares of the image, so that it fits any raster.

    Attributes:
        top, left, height, width: of the crop, 0 to 1.
        flip: mirror left to right, before turning.
        turns: quarter turns counter-clockwise, 0 to 3.
    """

    top: float = 0.0
    left: float = 0.0
    height: float = 1.0
    width: float = 1.0
    flip: bool = False
    turns: int = 0


@dataclass(frozen=True)
class Raster:
    """Where the cells of a class map lie: cell i is centred on pixel ``stride * i`` of what the network saw.

    Attributes:
        stride: pixels per cell.
        size_hw: (H, W) in pixels of the image as the network saw it.
    """

    stride: int
    size_hw: tuple[int, int]

    @property
    def cells_hw(self) -> tuple[int, int]:
        """Cells of the raster: every padded convolution of stride 2 rounds half up."""
        return -(-self.size_hw[0] // self.stride), -(-self.size_hw[1] // self.stride)


def draw_geometry(shape_hw: tuple[int, int], crop_px: int, recipe: AugmentRecipe, rng: np.random.Generator) -> Geometry:
    """Draw a random crop of about ``crop_px`` inside an image, never beyond it, and one of its eight attitudes."""
    height, width = shape_hw
    scale = float(np.exp(rng.uniform(-1, 1) * np.log(recipe.scale)))
    side = min(crop_px / scale, height, width)
    top, left = rng.uniform(0, height - side), rng.uniform(0, width - side)
    attitude = int(rng.integers(8)) if recipe.turns else 0
    return Geometry(top / height, left / width, side / height, side / width, attitude >= 4, attitude % 4)


def crop_image(image: NDArray[np.uint8], geometry: Geometry, size_px: int) -> NDArray[np.uint8]:
    """Cut the crop out of an RGB uint8 (H, W, 3) image and bring it to (size_px, size_px, 3)."""
    height, width = image.shape[:2]
    top, left = round(geometry.top * height), round(geometry.left * width)
    bottom = max(top + 1, round((geometry.top + geometry.height) * height))
    right = max(left + 1, round((geometry.left + geometry.width) * width))
    piece = image[top:bottom, left:right]
    shrinks = piece.shape[0] > size_px
    piece = cv2.resize(piece, (size_px, size_px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if geometry.flip:
        piece = piece[:, ::-1]
    return np.ascontiguousarray(np.rot90(piece, geometry.turns))


def crop_maps(maps: Tensor, geometry: Geometry, taken: Raster, wanted: Raster) -> Tensor:
    """Cut the same crop out of class maps, onto the raster of a network that looks at the crop.

    Args:
        maps: float (C, h, w) of the whole image.
        geometry: the one the image was cropped with.
        taken: raster of ``maps``: its stride, and the image's size in pixels as that network saw it.
        wanted: raster of the result: the other network's stride, and the crop's size.

    Returns:
        float (C, n, n), bilinear between the cells' centres: cell i of a raster lies on pixel ``stride * i``.
    """
    steps = (torch.arange(wanted.cells_hw[0], device=maps.device) * wanted.stride + 0.5) / wanted.size_hw[0]
    ys, xs = torch.meshgrid(steps, steps, indexing="ij")  # shares of the finished crop
    for _ in range(geometry.turns):
        ys, xs = xs, 1 - ys  # where a quarter turn counter-clockwise took its pixels from
    if geometry.flip:
        xs = 1 - xs
    ys = (geometry.top + geometry.height * ys) * taken.size_hw[0]
    xs = (geometry.left + geometry.width * xs) * taken.size_hw[1]
    return look_up(maps[None], ys, xs, taken.stride)[0]


def bring_maps(maps: Tensor, taken: Raster, wanted: Raster) -> Tensor:
    """Bring class maps (B, C, h, w) from one network's raster to another's, both looking at the same image."""
    if taken.stride == wanted.stride and taken.size_hw == wanted.size_hw:
        return maps
    ys, xs = (
        (torch.arange(cells, device=maps.device) * wanted.stride + 0.5) * size / seen
        for cells, size, seen in zip(wanted.cells_hw, taken.size_hw, wanted.size_hw, strict=True)
    )
    ys, xs = torch.meshgrid(ys, xs, indexing="ij")
    return look_up(maps, ys, xs, taken.stride)


def look_up(maps: Tensor, ys: Tensor, xs: Tensor, stride: int) -> Tensor:
    """Return maps (B, C, h, w) at the positions ys, xs (n, m), in pixels from the image's corner; (B, C, n, m).

    Maps in half precision come back in single: a position in bf16 may be a pixel or two beside the right one.
    """
    height, width = maps.shape[-2:]
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    # grid_sample counts from -1 at the outer edge of the first cell to 1 at that of the last.
    cells = [((at - 0.5) / stride * 2 + 1) / size - 1 for at, size in ((xs, width), (ys, height))]
    grid = torch.stack(cells, dim=-1).to(maps).expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)


def change_light(image: NDArray[np.uint8], recipe: AugmentRecipe, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change lamp, stain, focus, noise and burnt-in marks of an RGB uint8 (H, W, 3) image; its shape stays."""
    values = np.arange(256, dtype=np.float32) / 255
    gamma = np.exp(rng.normal(0, 0.5 * recipe.light))
    contrast, brightness = np.exp(rng.normal(0, 0.5 * recipe.light)), rng.normal(0, 0.3 * recipe.light)
    curve = np.clip((values**gamma - 0.5) * contrast + 0.5 + brightness, 0, 1)
    cast = np.exp(rng.normal(0, 0.3 * recipe.stain, size=3))
    table = _to_uint8(curve[:, None] * cast * 255)  # (256, 3)
    image = cv2.LUT(image, table[None])
    if recipe.stain:
        colour = float(np.clip(1 + rng.normal(0, recipe.stain), 0, 2))
        mixed = np.eye(3) * colour + (1 - colour) / 3  # towards the grey of the pixel, or away from it
        image = _to_uint8(cv2.transform(image.astype(np.float32), mixed))
    if rng.random() < recipe.focus:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.6)))
    if rng.random() < recipe.noise:
        grain = rng.normal(0, rng.uniform(2, 12), size=image.shape)
        image = _to_uint8(image + grain)
    if rng.random() < recipe.burn_in:
        image, _ = burn_in(image, rng)
    return np.ascontiguousarray(image)


def _to_uint8(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Round, for cutting off would darken every photograph by half a level."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def burn_in(image: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw a frame line or a scale bar, black or white: the marks that real photographs carry.

    Args:
        image: RGB uint8 (H, W, 3); left as it is.
        rng: decides the mark, its ink, size and place.

    Returns:
        The marked copy, and bool (H, W): the pixels painted over.
    """
    height, width = image.shape[:2]
    painted = np.zeros((height, width), np.bool_)
    ink = int(rng.choice([0, 255]))
    if rng.random() < 0.5:
        depth = int(rng.integers(1, max(2, height // 20)))
        np.rot90(painted, int(rng.integers(4)))[:depth] = True  # any of the four edges, drawn through the view
    else:
        length, depth = max(1, int(width * rng.uniform(0.1, 0.4))), max(1, int(height * rng.uniform(0.01, 0.04)))
        top, left = int(rng.integers(0, height - depth)), int(rng.integers(0, max(1, width - length)))
        painted[top : top + depth, left : left + length] = True
    marked = image.copy()
    marked[painted] = ink
    return marked, painted


def seen_size_hw(shape_hw: tuple[int, ...], image_px: int) -> tuple[int, int]:
    """Return the (H, W) at which a network sees a photograph: its long side in ``image_px``, or as stored with 0."""
    return scaled_size_hw(shape_hw, image_px) if image_px else (shape_hw[0], shape_hw[1])


def mirrored(image: NDArray[np.uint8], least_px: int) -> NDArray[np.uint8]:
    """Return an RGB uint8 (H, W, 3) image whose sides have ``least_px`` at least, continued by its mirror image."""
    missing = [max(0, least_px - side) for side in image.shape[:2]]
    if not any(missing):
        return image
    around = [(one // 2, one - one // 2) for one in missing]
    return np.pad(image, [*around, (0, 0)], mode="symmetric")


def scale_long_side(image: Tensor, long_side_px: int) -> Tensor:
    """Scale a (B, 3, H, W) image, float or uint8, so that its long side has ``long_side_px``, as the model file does.

    A triangle filter as wide as the shrinking, edge pixels repeated beyond the edge: the ``Resize`` of ONNX
    with ``antialias=1`` and ``not_larger``. (PyTorch's own antialiasing leaves pixels beyond the edge out, and so
    differs along the border.) Both axes shrink by the same factor; sides are rounded half up, never below 1.
    """
    height, width = image.shape[-2:]
    size_hw = scaled_size_hw((height, width), long_side_px)
    if size_hw == (height, width):
        return image
    step = max(height, width) / long_side_px
    low = _scale_rows(image, _bands(height, size_hw[0], step))
    return _scale_columns(low, _bands(width, size_hw[1], step))  # (B, 3, h, w)


def scale_pixels(image: NDArray[np.uint8], image_px: int) -> NDArray[np.uint8]:
    """Scale an RGB uint8 (H, W, 3) image as `scale_long_side` does, rounded; shrinking takes a third of the time.

    With ``image_px`` 0 it stays as it is.

    PyTorch shrinks bytes by weights of 16 bits and rounds after each axis, so pixels may be one level off. It leaves
    out what lies beyond the edge: the outermost pixels are worked out by themselves.
    """
    height, width = image.shape[:2]
    size_hw = seen_size_hw((height, width), image_px)
    if size_hw == (height, width):
        return image
    planes = torch.from_numpy(image).permute(2, 0, 1)[None]
    step = max(height, width) / image_px
    if step < 1 or min(size_hw) <= 2 * EDGE_PX:  # not by the height: enlarged, it may be rounded to what it was
        return _to_levels(scale_long_side(planes, image_px))
    scaled = np.empty((*size_hw, 3), np.uint8)
    inner = F.interpolate(planes, scale_factor=1 / step, mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    rows, columns = (min(sides) for sides in zip(inner.shape, size_hw, strict=False))  # it rounds sides down
    scaled[:rows, :columns] = inner[:rows, :columns]
    outermost = [*range(EDGE_PX), *range(-EDGE_PX, 0)]
    above, below = _edges(height, size_hw[0], step)
    low = torch.cat([_scale_rows(planes, [above]), _scale_rows(planes, [below])], dim=2)
    scaled[outermost] = _to_levels(_scale_columns(low, _bands(width, size_hw[1], step, EDGE_BAND_PX)))
    bands = _bands(height, size_hw[0], step, EDGE_BAND_PX)
    ends = [
        _scale_columns(_scale_rows(planes[..., places], bands), [(slice(None), weights)])
        for places, weights in _edges(width, size_hw[1], step)
    ]
    scaled[:, outermost] = _to_levels(torch.cat(ends, dim=3))
    return scaled


def _to_levels(image: Tensor) -> NDArray[np.uint8]:
    return _to_uint8(image[0].permute(1, 2, 0).numpy())


def _scale_rows(image: Tensor, bands: Bands) -> Tensor:
    # Rows of pixels side by side, as photographs lie in memory: only the band at hand is made floats.
    kind = image.dtype if image.is_floating_point() else torch.float32
    lines = image.permute(0, 2, 3, 1).flatten(2)  # (B, H, W * 3)
    rows = [weights.to(image.device, kind) @ lines[:, places].to(kind) for places, weights in bands]
    return torch.cat(rows, dim=1).unflatten(2, (image.shape[3], -1)).permute(0, 3, 1, 2).contiguous()  # (B, 3, h, W)


def _scale_columns(image: Tensor, bands: Bands) -> Tensor:
    return torch.cat([image[..., places] @ weights.to(image).T for places, weights in bands], dim=3)  # (B, 3, h, w)


def _bands(old: int, new: int, step: float, size: int = BAND_PX) -> Bands:
    """Return the weights of some new pixels at a time, and where the old ones lie that have any in them."""
    return [(places, torch.from_numpy(weights)) for places, weights in _kept_bands(old, new, step, size)]


@lru_cache(maxsize=64)
def _kept_bands(old: int, new: int, step: float, size: int) -> tuple[tuple[slice, NDArray[np.float64]], ...]:
    return tuple(_without_zeros(part) for part in _triangle_weights(old, new, step).split(size))


def _edges(old: int, new: int, step: float) -> Bands:
    """Return the same of the first and the last new pixels."""
    return [(places, torch.from_numpy(weights)) for places, weights in _kept_edges(old, new, step)]


@lru_cache(maxsize=64)
def _kept_edges(old: int, new: int, step: float) -> tuple[tuple[slice, NDArray[np.float64]], ...]:
    weights = _triangle_weights(old, new, step)
    return _without_zeros(weights[:EDGE_PX]), _without_zeros(weights[-EDGE_PX:])


def _without_zeros(weights: Tensor) -> tuple[slice, NDArray[np.float64]]:
    met = weights.any(dim=0).nonzero()
    places = slice(int(met[0]), int(met[-1]) + 1)
    return places, weights[:, places].contiguous().numpy()


def _triangle_weights(old: int, new: int, step: float) -> Tensor:
    """Return (new, old) weights: each new pixel is a weighted mean of the old ones under its triangle."""
    reach = max(step, 1.0)
    centres = (torch.arange(new, dtype=torch.float64) + 0.5) * step - 0.5  # (new,)
    margin = int(reach) + 2
    places = torch.arange(-margin, old + margin)
    weights = (1 - (places[None] - centres[:, None]).abs() / reach).clamp_min(0)  # (new, old + 2 margin)
    weights = weights / weights.sum(dim=1, keepdim=True)
    inside = places.clamp(0, old - 1).expand(new, -1)
    return torch.zeros(new, old, dtype=torch.float64).scatter_add_(1, inside, weights)
