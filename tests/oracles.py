"""Slow obvious twins of the fast code: what a reader would write first, trusted by reading alone."""

import numpy as np
from numpy.typing import NDArray
from skimage.feature import graycomatrix, graycoprops


def window_around(image: NDArray, row: int, column: int, window_px: int) -> NDArray:
    """The part of the square window around a pixel that lies inside the image."""
    radius = window_px // 2
    return image[max(0, row - radius) : row + radius + 1, max(0, column - radius) : column + radius + 1]


def glcm_features(
    crop: NDArray[np.uint8], *, levels: int, angles_deg: tuple[int, ...] = (0, 45, 90, 135), distance_px: int = 1
) -> dict[str, float]:
    """scikit-image's co-occurrence features of one quantised crop, averaged over the angles."""
    turns = [np.deg2rad(angle) for angle in angles_deg]
    matrix = graycomatrix(crop, [distance_px], turns, levels, symmetric=True, normed=True)
    names = ("contrast", "dissimilarity", "homogeneity", "mean", "variance", "correlation", "energy", "entropy")
    return {name: float(graycoprops(matrix, name).mean()) for name in names}


def bilinear(heatmap: NDArray, shape_hw: tuple[int, int], stride: int, seen_hw: tuple[int, int]) -> NDArray:
    """A heatmap (h, w), cell i centred on pixel stride * i of seen_hw, looked up at every pixel of (H, W)."""
    resized = np.zeros(shape_hw)
    for row, column in np.ndindex(*shape_hw):
        y, x = (
            np.clip(((at + 0.5) / size * seen - 0.5) / stride, 0, cells - 1)
            for at, size, seen, cells in zip((row, column), shape_hw, seen_hw, heatmap.shape, strict=True)
        )
        top, left = int(y), int(x)
        bottom, right = min(top + 1, heatmap.shape[0] - 1), min(left + 1, heatmap.shape[1] - 1)
        above = heatmap[top, left] * (1 - (x - left)) + heatmap[top, right] * (x - left)
        below = heatmap[bottom, left] * (1 - (x - left)) + heatmap[bottom, right] * (x - left)
        resized[row, column] = above * (1 - (y - top)) + below * (y - top)
    return resized


def guided_filter_at(
    heat: NDArray, guide: NDArray, row: int, column: int, *, radius_px: int, regularisation: float
) -> float:
    """Guided filter at one pixel: the fits of all windows that hold it, each solved on its own, in float64."""
    reach = 2 * radius_px
    heat = np.pad(heat.astype(np.float64), reach, mode="symmetric")
    guide = np.pad(guide.astype(np.float64), [(reach, reach), (reach, reach), (0, 0)], mode="symmetric")
    here = guide[row + reach, column + reach]
    slopes, offsets = [], []
    for y in range(row - radius_px, row + radius_px + 1):
        for x in range(column - radius_px, column + radius_px + 1):
            y_in, x_in = (
                -1 - at if at < 0 else 2 * size - 1 - at if at >= size else at  # windows beyond the edge are mirrored
                for at, size in ((y, heat.shape[0] - 2 * reach), (x, heat.shape[1] - 2 * reach))
            )
            rows = slice(y_in + reach - radius_px, y_in + reach + radius_px + 1)
            columns = slice(x_in + reach - radius_px, x_in + reach + radius_px + 1)
            g = guide[rows, columns].reshape(-1, guide.shape[2])
            p = heat[rows, columns].ravel()
            sigma = np.atleast_2d(np.cov(g.T, bias=True)) + regularisation * np.eye(g.shape[1])
            slope = np.linalg.solve(sigma, ((g - g.mean(0)) * (p - p.mean())[:, None]).mean(0))
            slopes.append(slope)
            offsets.append(p.mean() - slope @ g.mean(0))
    return float(np.mean(slopes, axis=0) @ here + np.mean(offsets))


def intersection_over_union(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Pixels in both over pixels in either."""
    return float((mask & truth).sum() / (mask | truth).sum())


def where_a_cell_looks(network, cell: int, side: int) -> tuple[float, float]:
    """The (x, y) centre of the pixels that cell (cell, cell) of the class maps depends on, by their gradient."""
    import torch

    images = torch.rand(8, 3, side, side, generator=torch.Generator().manual_seed(0)).requires_grad_()
    network.eval()(images).class_maps[:, :, cell, cell].sum().backward()
    strength = images.grad.square().sum((0, 1)).numpy()
    strength = np.maximum(0, strength - np.median(strength))  # what squeeze-and-excite takes from everywhere
    at = np.arange(side)
    return float(strength.sum(0) @ at / strength.sum()), float(strength.sum(1) @ at / strength.sum())
