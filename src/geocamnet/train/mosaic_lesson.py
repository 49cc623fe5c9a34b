"""A lesson in *where*: mosaics of the photographs of a batch, named cell by cell."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from geocamnet.train.recipes import MosaicBorders

FEWEST = 4  # photographs in a mosaic
NEAREST_BORDER = 0.3  # of the side: no quarter becomes a sliver
GREY_MEAN, GREY_STD = 0.5, 0.125  # as the mosaics that heatmaps are judged on
LUMA = (0.299, 0.587, 0.114)
BENDS = ((4, 0.06), (12, 0.025))  # random points along a side, and how far they move a border, in sides


def lay_mosaics(images: Tensor, rng: np.random.Generator, borders: MosaicBorders = "bent") -> tuple[Tensor, Tensor]:
    """Lay every four photographs of a batch out as the quarters of one, whose borders cross at a random point.

    ``bent`` borders run in any direction and wind, as where fabrics meet in rock; ``straight`` ones are as a seam in a
    picture, which a network can tell from rock, so that it learns nothing of how rock looks beside other rock.

    A quarter shows what its photograph has in that place, so nothing is scaled or moved. As CutMix (Yun et al. 2019,
    arXiv 1905.04899), but it is for the map: each cell is to name the photograph it lies on. In every second mosaic the
    photographs are equally bright and equally rich in contrast, so that a map can't be had from the grey level alone.

    Args:
        images: (B, 3, H, W), 0 to 1.
        rng: draws who lies with whom, and the borders.
        borders: ``straight`` or ``bent``.

    Returns:
        (B // 4, 3, H, W) mosaics, and (B // 4, H, W) int64: the number of the photograph that each pixel is from.
    """
    count, (height, width) = len(images) // FEWEST, images.shape[-2:]
    four = rng.permutation(len(images))[: count * FEWEST].reshape(count, FEWEST)
    at = rng.uniform(NEAREST_BORDER, 1 - NEAREST_BORDER, (count, 2)) * (height, width)
    if borders == "bent":
        below, right = _bent_borders(at, height, width, rng)
    else:
        below = np.arange(height)[None, :, None] >= at[:, 0, None, None]  # (n, H, 1)
        right = np.arange(width)[None, None] >= at[:, 1, None, None]  # (n, 1, W)
    quarter = 2 * below.astype(np.int64) + right  # (n, H, W)
    chosen = torch.from_numpy(four).to(images.device)
    place = torch.from_numpy(quarter).to(images.device)
    pieces = images[chosen]  # (n, 4, 3, H, W)
    if count:
        pieces[::2] = equalised(pieces[::2])
    laid = pieces.gather(1, place[:, None, None].expand(-1, 1, images.shape[1], -1, -1))[:, 0]
    return laid, chosen.gather(1, place.flatten(1)).view_as(place)


def _bent_borders(
    at: NDArray[np.float64], height: int, width: int, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return on which side of each of two borders the pixels lie, (n, H, W); they cross near ``at`` (n, 2)."""
    n, side = len(at), min(height, width)
    angle = rng.uniform(0, np.pi / 2, (n, 1, 1))
    ys, xs = np.arange(height)[:, None] - at[:, 0, None, None], np.arange(width) - at[:, 1, None, None]
    bends = sum(
        side * share * F.interpolate(
            torch.from_numpy(rng.normal(size=(n, 2, points, points))), size=(height, width), mode="bicubic"
        )
        for points, share in BENDS
    )  # fmt: skip
    bent = np.asarray(bends)
    below = np.cos(angle) * ys + np.sin(angle) * xs + bent[:, 0] >= 0
    right = np.cos(angle) * xs - np.sin(angle) * ys + bent[:, 1] >= 0
    return below, right


def equalised(images: Tensor) -> Tensor:
    """Return images (..., 3, H, W), 0 to 1, of grey mean 0.5 and deviation 0.125, the same step for all channels."""
    grey = (images * images.new_tensor(LUMA)[:, None, None]).sum(dim=-3, keepdim=True)
    std, mean = torch.std_mean(grey, dim=(-2, -1), keepdim=True, correction=0)
    return ((images - mean) * (GREY_STD / std.clamp_min(1e-3)) + GREY_MEAN).clamp(0, 1)


def mosaic_loss(
    class_maps: Tensor, class_bias: Tensor, whose: Tensor, targets: Tensor, known: Tensor, *, stride: int, labels: str
) -> Tensor:
    """Return the mean over cells of the cross-entropy between what a cell is evidence for and its photograph's label.

    A cell's evidence is ``M_c(y, x) + b_c``, whose mean is the logit: what the classifier says of a photograph is asked
    of each cell. Cells of photographs without a known label don't count.

    Args:
        class_maps: (n, C, h, w) of mosaics.
        class_bias: (C,).
        whose: (n, H, W) number of each pixel's photograph.
        targets: (B, C) 0/1 labels of the photographs.
        known: (B,) whether they are known.
        stride: pixels per cell; cell i is centred on pixel ``stride * i``.
        labels: ``single`` or ``multi``.
    """
    cells = whose[:, ::stride, ::stride]  # (n, h, w)
    counted = known[cells]
    if not bool(counted.any()):
        return class_maps.sum() * 0.0
    evidence = (class_maps + class_bias[:, None, None]).movedim(1, -1)[counted]  # (N, C)
    wanted = targets[cells][counted]
    if labels == "single":
        return F.cross_entropy(evidence, wanted.argmax(1))
    return F.binary_cross_entropy_with_logits(evidence, wanted)
