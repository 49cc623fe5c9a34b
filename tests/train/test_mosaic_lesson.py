"""Mosaics laid in training: every pixel is its photograph's, and every cell is asked for that photograph's label."""

import numpy as np
import pytest
import torch

from geocamnet.train import mosaics
from geocamnet.train.mosaic_lesson import equalised, lay_mosaics, mosaic_loss
from geocamnet.train.recipes import MosaicBorders


def batch(count: int = 9) -> torch.Tensor:
    return torch.rand((count, 3, 48, 32), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("borders", ["straight", "bent"])
def test_every_pixel_is_its_photographs_own_at_the_same_place(borders: MosaicBorders) -> None:
    images = batch()
    laid, whose = lay_mosaics(images, np.random.default_rng(3), borders)
    assert laid.shape == (2, 3, 48, 32)
    assert whose.shape == (2, 48, 32)
    for one, shown in enumerate((equalised(images), images)):  # every second mosaic is equally bright
        for y, x in ((0, 0), (0, 31), (47, 0), (47, 31), (20, 11)):
            assert torch.equal(laid[one, :, y, x], shown[whose[one, y, x], :, y, x])


def test_photographs_are_made_equally_bright_as_those_that_heatmaps_are_judged_on() -> None:
    dark = np.random.default_rng(4).integers(40, 90, (48, 32, 3), dtype=np.uint8)
    expected = torch.from_numpy(mosaics.equalised(dark)).permute(2, 0, 1) / 255
    got = equalised(torch.from_numpy(dark).permute(2, 0, 1) / 255)
    assert float((got - expected).abs().max()) < 2.5 / 255  # rounding, and values cut off move the mean a little


def test_an_even_photograph_becomes_mid_grey() -> None:
    even = torch.full((1, 3, 8, 8), 0.9)
    torch.testing.assert_close(equalised(even), torch.full((1, 3, 8, 8), 0.5))


def test_four_photographs_meet_and_none_is_in_two_mosaics() -> None:
    _, whose = lay_mosaics(batch(8), np.random.default_rng(0))
    first, second = (set(one.unique().tolist()) for one in whose)
    assert len(first) == len(second) == 4
    assert not first & second


def test_every_quarter_has_a_fair_part_of_the_sides() -> None:
    _, whose = lay_mosaics(batch(80), np.random.default_rng(5), "straight")
    for one in whose:
        shares = one.flatten().bincount()[one.unique()] / one.numel()
        assert shares.min() >= 0.3 * 0.3 - 0.05  # whole pixels


@pytest.mark.parametrize(("borders", "rows"), [("straight", True), ("bent", False)])
def test_straight_borders_are_rows_and_columns_and_bent_ones_are_not(borders: MosaicBorders, rows: bool) -> None:
    _, whose = lay_mosaics(batch(80), np.random.default_rng(5), borders)
    for one in whose:
        columns = {tuple(column.tolist()) for column in one.T}
        assert (len(columns) <= 2) is rows


def test_bent_borders_wind_and_part_all_four() -> None:
    images = torch.rand((80, 3, 96, 96), generator=torch.Generator().manual_seed(1))
    _, whose = lay_mosaics(images, np.random.default_rng(5), "bent")
    for one in whose:
        assert len(one.unique()) == 4
        alike = (one[1:] == one[:-1]).float().mean()  # neighbours: borders are lines, not dust
        assert alike > 0.9


def test_fewer_than_four_photographs_make_no_mosaic() -> None:
    laid, whose = lay_mosaics(batch(3), np.random.default_rng(0))
    assert laid.shape == (0, 3, 48, 32)
    assert len(whose) == 0


@pytest.mark.parametrize("labels", ["single", "multi"])
def test_the_loss_is_that_of_each_cell_alone(labels: str) -> None:
    _, whose = lay_mosaics(batch(), np.random.default_rng(3))
    rng = torch.Generator().manual_seed(2)
    maps, bias = torch.randn((2, 5, 3, 2), generator=rng), torch.randn(5, generator=rng)
    targets = torch.eye(5)[torch.randint(0, 5, (9,), generator=rng)]
    known = torch.arange(9) % 3 != 0
    expected = []
    for one in range(2):
        for y in range(3):
            for x in range(2):
                photograph = int(whose[one, 16 * y, 16 * x])
                if known[photograph]:
                    logits = (maps[one, :, y, x] + bias)[None]
                    target = targets[photograph][None]
                    expected.append(
                        torch.nn.functional.cross_entropy(logits, target)
                        if labels == "single"
                        else torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
                    )
    got = mosaic_loss(maps, bias, whose, targets, known, stride=16, labels=labels)
    assert float(got) == pytest.approx(float(torch.stack(expected).mean()), abs=1e-6)


def test_without_a_known_label_there_is_nothing_to_learn() -> None:
    _, whose = lay_mosaics(batch(), np.random.default_rng(3))
    maps = torch.randn(2, 5, 3, 2, requires_grad=True)
    loss = mosaic_loss(
        maps, torch.zeros(5), whose, torch.zeros(9, 5), torch.zeros(9, dtype=torch.bool), stride=16, labels="single"
    )
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert maps.grad is not None
    assert float(maps.grad.abs().sum()) == 0.0
