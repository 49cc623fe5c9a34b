import numpy as np
import pytest
import torch

from geocamnet.train.augment import Geometry, crop_image
from geocamnet.train.equivariance_lesson import PIECE, cut, draw_piece, equivariance_loss

ATTITUDES = [Geometry(flip=flip, turns=turns) for flip in (False, True) for turns in range(4)]
# Of 128 px at stride 16: 80 px from pixel 32 and 16 on.
PIECES = [Geometry(0.25, 0.125, PIECE, PIECE, one.flip, one.turns) for one in ATTITUDES]


@pytest.mark.parametrize("piece", [*ATTITUDES, *PIECES])
def test_a_batch_is_cut_as_a_training_photograph_is(piece):
    image = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = torch.from_numpy(crop_image(image, piece, round(128 * piece.height))).permute(2, 0, 1)[None].float()
    torch.testing.assert_close(cut(batch, piece), expected, rtol=0, atol=0)


@pytest.mark.parametrize("attitude", ATTITUDES)
def test_maps_that_turn_with_the_photograph_cost_nothing(attitude):
    maps = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    # 65 px at stride 16: the first cell lies on the first pixel and the last on the last, so turned cells meet cells.
    loss = equivariance_loss(maps, cut(maps, attitude), attitude, stride=16, side_px=65)
    assert loss.item() == pytest.approx(0, abs=1e-5)


def test_maps_that_shift_with_the_photograph_cost_nothing():
    maps = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    loss = equivariance_loss(maps, maps[:, :, 2:7, 1:6], PIECES[0], stride=16, side_px=128)
    assert loss.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("attitude", [one for one in ATTITUDES if one != Geometry()])
def test_maps_that_stay_while_the_photograph_turns_cost(attitude):
    maps = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    assert equivariance_loss(maps, maps, attitude, stride=16, side_px=65).item() > 0.5


@pytest.mark.parametrize("piece", PIECES)
def test_heat_that_always_lies_in_the_middle_costs(piece):
    # A turn alone leaves the middle where it is; a shift does not.
    of_photographs, of_pieces = torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 5, 5)
    of_photographs[:, 0, 3:5, 3:5] = 1
    of_pieces[:, 0, 2, 2] = 1
    assert equivariance_loss(of_photographs, of_pieces, piece, stride=16, side_px=128).item() > 0.1


def test_even_heat_costs_nothing_wherever_the_piece_lies():
    rng = np.random.default_rng(3)
    for _ in range(20):
        even, of_piece = torch.ones(2, 3, 8, 8), torch.ones(2, 3, 5, 5)
        piece = draw_piece(128, rng)
        assert equivariance_loss(even, of_piece, piece, stride=16, side_px=128).item() == pytest.approx(0, abs=1e-6)


def test_cells_that_do_not_meet_are_looked_up_between():
    # A map that is even at the edges, measured at the cells of a photograph (0, 16, ... 144) and of its mirror image.
    at = torch.arange(10) * 16.0
    of_image, of_mirror = (torch.cos(torch.pi * x / 159).expand(10, 10)[None, None] for x in (at, 159 - at))
    mirror = Geometry(flip=True)
    assert equivariance_loss(of_image, of_mirror, mirror, stride=16, side_px=160).item() < 1e-3
    assert equivariance_loss(of_image, of_image.flip(3), mirror, stride=16, side_px=160).item() > 1e-3


def test_both_sides_learn():
    maps = [torch.randn(1, 2, cells, cells, requires_grad=True) for cells in (8, 5)]
    equivariance_loss(*maps, PIECES[1], stride=16, side_px=128).backward()
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in maps)


@pytest.mark.parametrize("side_px", [33, 128, 168])
def test_every_attitude_and_every_place_is_drawn_and_none_leaves_the_photograph(side_px):
    rng = np.random.default_rng(2)
    drawn = [draw_piece(side_px, rng) for _ in range(400)]
    assert {(one.flip, one.turns) for one in drawn} == {(one.flip, one.turns) for one in ATTITUDES}
    tops = {round(one.top * side_px) for one in drawn}
    assert {0, side_px - round(PIECE * side_px)} <= tops
    batch = torch.zeros(1, 3, side_px, side_px)
    assert {tuple(cut(batch, one).shape[2:]) for one in drawn} == {(round(PIECE * side_px),) * 2}
