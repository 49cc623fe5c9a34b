"""A lesson in *holding still*: the class maps of a turned photograph are the turned class maps."""

import numpy as np
import torch
from torch import Tensor

from geocamnet.train.augment import Geometry, Raster, crop_maps
from geocamnet.train.distil import map_loss

ATTITUDES = 8  # four quarter turns, each as it is and mirrored


def draw_attitude(rng: np.random.Generator) -> Geometry:
    """Draw one of the seven attitudes of a whole photograph that are not its own."""
    attitude = int(rng.integers(1, ATTITUDES))
    return Geometry(flip=attitude >= 4, turns=attitude % 4)


def turn(images: Tensor, attitude: Geometry) -> Tensor:
    """Return square images (B, 3, S, S) in another attitude."""
    return torch.rot90(images.flip(3) if attitude.flip else images, attitude.turns, dims=(2, 3))


def equivariance_loss(
    class_maps: Tensor, of_turned: Tensor, attitude: Geometry, *, stride: int, side_px: int
) -> Tensor:
    """Return the distance between the maps of turned photographs and the turned maps of the same photographs.

    Wang et al. (2020, arXiv 2004.04581) ask it of affine transforms, ``|F(A(I)) - A(F(I))|``. Here the transform is a
    turn or a mirror image, for a thin section has no up, and maps are compared as those of a teacher are (`map_loss`):
    their pattern, not their strength. Both sides learn.

    **Heat in the middle, whatever is there, costs nothing**: turns and mirror images leave it where it is. Teachers
    trained with a weight of 1 came to that (`places`), so mind what `evaluate` says of places. The paper's transforms,
    which also shift and scale, do not have this hole.

    Args:
        class_maps: (B, C, h, w) of the photographs.
        of_turned: (B, C, h, w) of the same photographs in that attitude.
        attitude: whose crop is the whole photograph.
        stride: pixels per cell; cell i is centred on pixel ``stride * i``, so that turned cells are looked up between.
        side_px: S of the photographs, (B, 3, S, S).
    """
    raster = Raster(stride, (side_px, side_px))
    turned = crop_maps(class_maps.flatten(0, 1), attitude, raster, raster).view_as(of_turned)
    return map_loss(of_turned, turned)
