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


def bilinear(heatmap: NDArray, shape_hw: tuple[int, int]) -> NDArray:
    """A heatmap (h, w) looked up at every pixel of (H, W), cell centre on cell centre, edge values held."""
    resized = np.zeros(shape_hw)
    for row, column in np.ndindex(*shape_hw):
        y = np.clip((row + 0.5) * heatmap.shape[0] / shape_hw[0] - 0.5, 0, heatmap.shape[0] - 1)
        x = np.clip((column + 0.5) * heatmap.shape[1] / shape_hw[1] - 0.5, 0, heatmap.shape[1] - 1)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, heatmap.shape[0] - 1), min(left + 1, heatmap.shape[1] - 1)
        above = heatmap[top, left] * (1 - (x - left)) + heatmap[top, right] * (x - left)
        below = heatmap[bottom, left] * (1 - (x - left)) + heatmap[bottom, right] * (x - left)
        resized[row, column] = above * (1 - (y - top)) + below * (y - top)
    return resized


def intersection_over_union(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Pixels in both over pixels in either."""
    return float((mask & truth).sum() / (mask | truth).sum())
