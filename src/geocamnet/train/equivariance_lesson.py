"""A lesson in *holding still*: the class maps of a piece of a photograph are that piece of its class maps."""

import numpy as np
import torch
from torch import Tensor

from geocamnet.train.augment import Geometry, Raster, crop_maps
from geocamnet.train.distil import map_loss

ATTITUDES = 8  # four quarter turns, each as it is and mirrored
PIECE = 0.625  # of the side: two pieces of a photograph differ in place by up to three eighths of it


def draw_piece(side_px: int, rng: np.random.Generator) -> Geometry:
    """Draw a square piece of square photographs (side ``side_px``), anywhere in them and in any attitude."""
    piece_px = max(1, round(PIECE * side_px))
    top, left = (int(at) for at in rng.integers(0, side_px - piece_px + 1, 2))
    attitude = int(rng.integers(ATTITUDES))
    share = piece_px / side_px
    return Geometry(top / side_px, left / side_px, share, share, flip=attitude >= 4, turns=attitude % 4)


def cut(images: Tensor, piece: Geometry) -> Tensor:
    """Return a piece of square images (B, 3, S, S), pixel for pixel, in its attitude."""
    side_px = images.shape[-1]
    top, left, length = (round(share * side_px) for share in (piece.top, piece.left, piece.height))
    images = images[:, :, top : top + length, left : left + length]
    return torch.rot90(images.flip(3) if piece.flip else images, piece.turns, dims=(2, 3))


def equivariance_loss(class_maps: Tensor, of_piece: Tensor, piece: Geometry, *, stride: int, side_px: int) -> Tensor:
    """Return the distance between the maps of pieces of photographs and the pieces of the photographs' maps.

    Wang et al. (2020, arXiv 2004.04581) ask it of affine transforms, ``|F(A(I)) - A(F(I))|``. Here the transform is a
    turn or a mirror image, for a thin section has no up, and a shift; maps are compared as those of a teacher are
    (`map_loss`): their pattern, not their strength. Both sides learn.

    The shift is what matters. Turns and mirror images leave the middle where it is: asked of them alone, teachers put
    their heat in the middle, whatever is there (`places`). What lies in the middle of a piece lies elsewhere in the
    photograph, so here that costs.

    Args:
        class_maps: (B, C, h, w) of the photographs.
        of_piece: (B, C, n, n) of that piece of the same photographs.
        piece: as `draw_piece`.
        stride: pixels per cell; cell i is centred on pixel ``stride * i``, so that cells are looked up between.
        side_px: S of the photographs, (B, 3, S, S).
    """
    length = round(piece.height * side_px)
    taken, wanted = Raster(stride, (side_px, side_px)), Raster(stride, (length, length))
    return map_loss(of_piece, crop_maps(class_maps.flatten(0, 1), piece, taken, wanted).view_as(of_piece))
