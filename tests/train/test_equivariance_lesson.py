from dataclasses import replace

import numpy as np
import pytest
import torch

from geocamnet.train.augment import Geometry, crop_image
from geocamnet.train.equivariance_lesson import draw_attitude, equivariance_loss, turn

ATTITUDES = [Geometry(flip=flip, turns=turns) for flip in (False, True) for turns in range(4)]


@pytest.mark.parametrize("attitude", ATTITUDES)
def test_a_batch_is_turned_as_a_training_photograph_is(attitude):
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = torch.from_numpy(crop_image(image, attitude, 40)).permute(2, 0, 1)[None].float()
    torch.testing.assert_close(turn(batch, attitude), expected, rtol=0, atol=0)


@pytest.mark.parametrize("attitude", ATTITUDES)
def test_maps_that_turn_with_the_photograph_cost_nothing(attitude):
    maps = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    # 65 px at stride 16: the first cell lies on the first pixel and the last on the last, so turned cells meet cells.
    loss = equivariance_loss(maps, turn(maps, attitude), attitude, stride=16, side_px=65)
    assert loss.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("attitude", [one for one in ATTITUDES if one != Geometry()])
def test_maps_that_stay_while_the_photograph_turns_cost(attitude):
    maps = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    assert equivariance_loss(maps, maps, attitude, stride=16, side_px=65).item() > 0.5


@pytest.mark.parametrize("attitude", ATTITUDES)
def test_heat_in_the_middle_costs_nothing_whatever_is_there(attitude):
    # The hole in this lesson: why `evaluate` looks at places.
    middle = torch.zeros(2, 3, 5, 5)
    middle[:, 0, 1:4, 1:4] = 1
    assert equivariance_loss(middle, middle, attitude, stride=16, side_px=65).item() == pytest.approx(0, abs=1e-5)


def test_cells_that_do_not_meet_are_looked_up_between():
    # A map that is even at the edges, measured at the cells of a photograph (0, 16, ... 144) and of its mirror image.
    at = torch.arange(10) * 16.0
    of_image, of_mirror = (torch.cos(torch.pi * x / 159).expand(10, 10)[None, None] for x in (at, 159 - at))
    mirror = Geometry(flip=True)
    assert equivariance_loss(of_image, of_mirror, mirror, stride=16, side_px=160).item() < 1e-3
    assert equivariance_loss(of_image, of_image.flip(3), mirror, stride=16, side_px=160).item() > 1e-3


def test_both_sides_learn():
    maps = [torch.randn(1, 2, 5, 5, requires_grad=True) for _ in range(2)]
    equivariance_loss(*maps, Geometry(turns=1), stride=16, side_px=65).backward()
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in maps)


def test_every_attitude_but_its_own_is_drawn():
    rng = np.random.default_rng(2)
    drawn = {draw_attitude(rng) for _ in range(200)}
    assert drawn == {replace(one) for one in ATTITUDES if one != Geometry()}
