"""Heatmaps: class maps scaled to [0, 1], brought to the photograph's size, refined by texture, cut to a mask."""

from math import log1p

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.card import ModelCard, TextureCard
from geocamnet.errors import DataError, ModelError
from geocamnet.images import scaled_size_hw
from geocamnet.runtime.texture import texture_maps

Heatmap = NDArray[np.float32]

GUIDE_FEATURES: tuple[str, ...] = ("contrast", "homogeneity", "variance")
REGULARISATION = 1e-3  # of the guide's variance: texture that differs by less than 0.03 of full scale is noise
_STRIP_PIXELS = 1 << 15  # a strip's arrays stay in a core's cache
_STRIP_PRODUCTS = 1 << 17  # multiplications; OpenBLAS takes one thread up to 1 << 18


def scale_maps(class_maps: NDArray[np.float32], card: ModelCard) -> NDArray[np.float32]:
    """Scale class maps M (raw evidence) to heat in [0, 1] with the model's own constants.

    heat_c = clip(e_c / map_scale_c, 0, 1), where the evidence e_c is M_c for a model with several labels, and
    M_c - mean over classes of M for a model with one: its softmax ignores what all classes have in common,
    and so must the heat. Nothing is taken from the photograph itself, so no evidence stays no heat.

    Args:
        class_maps: float32 (C, h, w), without the bias.
        card: of the model that made them.

    Returns:
        float32 (C, h, w) in [0, 1].

    Raises:
        ModelError: not (C, h, w) with the card's C, or values that are not finite.
    """
    if class_maps.ndim != 3 or class_maps.shape[0] != len(card.classes):
        raise ModelError(
            f"Class maps must have the shape ({len(card.classes)}, h, w) of card '{card.name}'; "
            f"received {class_maps.shape}."
        )
    if not np.isfinite(class_maps).all():
        raise ModelError(
            f"Model '{card.name}' returned class maps that are not finite (NaN or infinite). "
            "Check the file with: geocamnet doctor"
        )
    evidence = class_maps.astype(np.float32)
    if card.labels == "single":
        evidence -= evidence.mean(axis=0, keepdims=True)
    scale = np.asarray(card.map_scale, np.float32)[:, None, None]
    return np.clip(evidence / scale, 0, 1)


def resize_heatmap(
    heatmap: Heatmap, shape_hw: tuple[int, ...], card: ModelCard, *, covered_hw: tuple[float, float] | None = None
) -> Heatmap:
    """Bring a heatmap (h, w) to a photograph's (H, W), every cell where the network looked (see `place_maps`).

    Args:
        heatmap: float (h, w) in [0, 1].
        shape_hw: of the photograph.
        card: of the model, for its scale and stride.
        covered_hw: cells that the photograph spans, fractions included; None takes `cells_covered`.

    Raises:
        DataError: not a float heatmap (h, w) in [0, 1], or a size without pixels.
    """
    if min(shape_hw[:2]) < 1:
        raise DataError(f"shape_hw must be at least (1, 1); received {shape_hw}.")
    placed = place_maps(_checked(heatmap), shape_hw, card, covered_hw=covered_hw)
    return np.clip(placed, 0, 1, out=placed)


def place_maps(
    maps: NDArray[np.float32],
    shape_hw: tuple[int, ...],
    card: ModelCard,
    *,
    covered_hw: tuple[float, float] | None = None,
    rows: slice = slice(None),
) -> NDArray[np.float32]:
    """Bring maps (..., h, w) to a photograph's (..., H, W) bilinearly, every cell where the network looked.

    A network of padded convolutions centres cell i on pixel ``stride * i`` of its input, so a pixel x of the
    photograph lies at ``q = (x + 1/2) n / W - 1 / (2 stride)`` of the cells, n being how many of them the photograph
    spans; beyond the outermost centres the edge value holds. (Spreading w cells evenly over W pixels, as is usual,
    moves a map by half a cell: 8 or 16 pixels of the network's input.)

    Args:
        maps: float (..., h, w), of any values.
        shape_hw, card, covered_hw: as for `resize_heatmap`.
        rows: only these of the photograph's rows, for one that is large.
    """
    covered_hw = covered_hw or cells_covered(shape_hw, card)
    across_y, across_x = (
        _looked_up(cells, size, covered, card.map_stride)
        for cells, size, covered in zip(maps.shape[-2:], shape_hw[:2], covered_hw, strict=True)
    )
    return _product(across_y[rows], _product(np.asarray(maps, np.float32), across_x.T))


def cells_covered(shape_hw: tuple[int, ...], card: ModelCard) -> tuple[float, float]:
    """Return how many cells of a class map a photograph (H, W) spans, fractions included."""
    height, width = shape_hw[:2]
    if card.long_side_px is not None:
        height, width = scaled_size_hw((height, width), card.long_side_px)
    return height / card.map_stride, width / card.map_stride


def _looked_up(cells: int, size: int, covered: float, stride: int) -> NDArray[np.float32]:
    """Return (size, cells) weights of the bilinear look-up along one axis (see `place_maps`)."""
    places = np.clip((np.arange(size) + 0.5) * covered / size - 0.5 / stride, 0, cells - 1)[:, None]
    return np.maximum(0, 1 - np.abs(places - np.arange(cells))).astype(np.float32)


def _product(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``left @ right``, float32 (..., M, N), worked out a strip of rows at a time.

    So small a strip is worked out by one thread. BLAS gives a larger product to a thread per core, which wait for each
    other: where anything else runs, a frame then takes twenty times as long (measured).
    """
    height, inner, width = left.shape[-2], left.shape[-1], right.shape[-1]
    found = np.empty((*np.broadcast_shapes(left.shape[:-2], right.shape[:-2]), height, width), np.float32)
    rows = max(1, _STRIP_PRODUCTS // (inner * width))
    for top in range(0, height, rows):
        strip = slice(top, top + rows)
        np.matmul(left[..., strip, :], right, out=found[..., strip, :])
    return found


def enhance(
    heatmap: Heatmap,
    image: NDArray[np.uint8],
    *,
    texture: TextureCard | None = None,
    radius_px: int | None = None,
    strength: float = 1.0,
) -> Heatmap:
    """Refine a heatmap so that it follows the boundaries of texture in the photograph.

    A guided filter (He, Sun and Tang 2013, DOI 10.1109/TPAMI.2012.213) whose guide is not the photograph but
    the vector of its GLCM texture maps g (H, W, 3): in every window of ``radius_px`` the heat p is fitted as
    an affine function of the texture,

        a = (Sigma + eps I)^-1 cov(g, p),   b = mean(p) - a . mean(g),   q = mean(a) . g + mean(b),

    with mean, covariance and Sigma = cov(g, g) over the window, and the last two means over the windows that
    hold the pixel (photograph and heat mirrored at their edges). Heat ends where texture changes, as far as it
    did so roughly in the coarse map; where texture is even a is 0, and the heat is only smoothed, which lowers
    its peaks. The guide knows differences of neighbouring pixels, never brightness: an
    even change of brightness that moves no difference of levels changes nothing. See `texture_guide` for g.
    Statistics are taken on a grid of a third of the texture window (He and Sun 2015, "Fast guided filter",
    arXiv 1505.00996); the texture maps are that smooth.

    Args:
        heatmap: float (H, W) in [0, 1], of the image's size (see `resize_heatmap`).
        image: RGB uint8 (H, W, 3) or grey uint8 (H, W).
        texture: how texture is measured, from the model's card; None takes `TextureCard`'s defaults.
        radius_px: of the windows of the fit; should span a cell of the class map and some texture on both sides of
            a border. None takes an eighth of the long side, whose mean IoU was best on validation (`make
            refinements`), at least the texture window.
        strength: 0 returns the heatmap, 1 the refined one, between them a blend.

    Returns:
        float32 (H, W) in [0, 1]. No heat stays no heat; even heat stays even.

    Raises:
        DataError: sizes that differ, values outside their ranges, or an image that is not uint8.
    """
    heat = _checked(heatmap)
    if heat.shape != image.shape[:2]:
        raise DataError(
            f"Heatmap {heat.shape} and photograph {image.shape[:2]} must have one size (H, W). "
            "Use resize_heatmap first."
        )
    if not 0 <= strength <= 1:
        raise DataError(f"strength must be 0 to 1; received {strength}.")
    texture = texture or TextureCard()
    refined = guided_filter(heat, texture_guide(image, texture), window_px=texture.window_px, radius_px=radius_px)
    return np.clip(heat + np.float32(strength) * (refined - heat), 0, 1)


def texture_guide(image: NDArray[np.uint8], texture: TextureCard) -> NDArray[np.float32]:
    """Return the texture of every pixel as a vector (H, W, 3) in [0, 1], scaled by constants of the levels.

    ln(1 + contrast) / ln(1 + (levels - 1)^2), homogeneity, and ln(1 + variance) / ln(1 + (levels - 1)^2 / 4):
    how much neighbours differ, how often they don't, and how much the window varies. The logarithm spreads
    the faint textures, where carbonates live, over the scale.
    """
    maps = texture_maps(
        image,
        features=GUIDE_FEATURES,
        window_px=texture.window_px,
        levels=texture.levels,
        low=texture.low,
        high=texture.high,
    )
    top = (texture.levels - 1) ** 2
    channels = (
        np.log1p(maps["contrast"]) / np.float32(log1p(top)),
        maps["homogeneity"],
        np.log1p(maps["variance"]) / np.float32(log1p(top / 4)),
    )
    return np.asarray(cv2.merge(channels), np.float32)


def guided_filter(
    heatmap: Heatmap, guide: NDArray[np.float32], *, window_px: int, radius_px: int | None = None
) -> NDArray[np.float32]:
    """Return q of `enhance` for any guide.

    Args:
        heatmap: float (H, W) in [0, 1].
        guide: float32 (H, W, K) in [0, 1]. One that is even everywhere knows nothing, and only smooths.
        window_px: of the texture; statistics are taken on a grid of a third of it.
        radius_px: as for `enhance`.

    Returns:
        float32 (H, W), which may overshoot 0 to 1.

    Raises:
        DataError: values outside their ranges.
    """
    heat = _checked(heatmap)
    radius = max(window_px, round(max(heat.shape) / 8)) if radius_px is None else radius_px
    if radius < 1:
        raise DataError(f"radius_px must be at least 1; received {radius}.")
    step = max(1, min(window_px, radius) // 3)
    height, width = heat.shape
    small_wh = (max(1, round(width / step)), max(1, round(height / step)))
    small = cv2.resize(heat, small_wh, interpolation=cv2.INTER_AREA)
    small_guide = cv2.resize(guide, small_wh, interpolation=cv2.INTER_AREA).reshape(*small.shape, -1)
    floor, centre = heat.min(), small_guide.mean(axis=(0, 1))  # taken off for the precision of the products
    small, small_guide = small - floor, small_guide - centre
    side = 2 * max(1, round(radius / step)) + 1

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT)

    count = guide.shape[2]
    guides = np.ascontiguousarray(np.moveaxis(small_guide, -1, 0))  # (K, h, w), as all that follows
    mean_guides, mean_heat = [mean(one) for one in guides], mean(small)
    equations = np.empty((count, count + 1, *small.shape), np.float32)  # Sigma + eps I, then cov(g, p)
    for i in range(count):
        for j in range(i, count):
            equations[i, j] = equations[j, i] = mean(guides[i] * guides[j]) - mean_guides[i] * mean_guides[j]
        equations[i, i] += np.float32(REGULARISATION)
        equations[i, count] = mean(guides[i] * small) - mean_guides[i] * mean_heat
    slopes = _solved(equations)  # a
    offset = mean_heat + floor  # b, with what was taken off
    for k in range(count):
        offset -= slopes[k] * (mean_guides[k] + centre[k])
    size_wh = (width, height)
    refined = cv2.resize(mean(offset), size_wh, interpolation=cv2.INTER_LINEAR)
    slope = cv2.merge([mean(one) for one in slopes])
    slope = cv2.resize(slope, size_wh, interpolation=cv2.INTER_LINEAR).reshape(guide.shape)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = slice(top, top + rows)
        products = slope[strip] * guide[strip]
        for k in range(count):
            refined[strip] += products[..., k]
    return refined


def _solved(equations: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return x (K, h, w) of ``A x = b``, (K, K + 1, h, w) holding A, symmetric and positive definite, and b.

    Gauss's elimination, which needs no pivots for such an A, on all pixels at once; ``equations`` is overwritten.
    """
    count = len(equations)
    for k in range(count):
        equations[k, k + 1 :] /= equations[k, k]
        for other in range(k + 1, count):
            equations[other, k + 1 :] -= equations[other, k] * equations[k, k + 1 :]
    found = equations[:, count]
    for k in reversed(range(count)):
        for other in range(k):
            found[other] -= equations[other, k] * found[k]
    return found


def threshold(heatmap: Heatmap, value: float = 0.5) -> NDArray[np.bool_]:
    """Return where a heatmap reaches ``value``, bool (H, W).

    Args:
        heatmap: float (H, W) in [0, 1].
        value: above 0 (no evidence is never in the mask), to 1.

    Raises:
        DataError: a heatmap or value outside its range.
    """
    if not 0 < value <= 1:
        raise DataError(f"A threshold must be above 0 and at most 1; received {value}.")
    return _checked(heatmap) >= np.float32(value)


def _checked(heatmap: NDArray[np.floating]) -> Heatmap:
    if heatmap.ndim != 2 or heatmap.size == 0 or not np.issubdtype(heatmap.dtype, np.floating):
        raise DataError(
            f"A heatmap must be a float array of shape (H, W); received {heatmap.dtype} of shape {heatmap.shape}."
        )
    lowest, highest = float(heatmap.min()), float(heatmap.max())
    if not (lowest >= 0 and highest <= 1):  # also where either is NaN
        raise DataError(f"A heatmap must lie in 0 to 1; received {lowest:g} to {highest:g}. Use scale_maps first.")
    return np.ascontiguousarray(heatmap, dtype=np.float32)
