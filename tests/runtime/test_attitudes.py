"""Eight attitudes of a photograph, one evidence."""

from dataclasses import replace

import numpy as np
import pytest

from geocamnet.runtime.attitudes import attitudes, in_all_attitudes
from geocamnet.runtime.model import load


def turned(array, attitude):
    """Turn (N, H, W, ...) as the doc of `attitudes` says."""
    transposed, upside_down, mirrored = attitude
    array = array[:, ::-1] if upside_down else array
    array = array[:, :, ::-1] if mirrored else array
    return array.swapaxes(1, 2) if transposed else array


def turned_back(maps, attitude):
    """Turn (N, C, h, w) back."""
    transposed, upside_down, mirrored = attitude
    maps = maps.swapaxes(2, 3) if transposed else maps
    maps = maps[:, :, ::-1] if upside_down else maps
    return maps[..., ::-1] if mirrored else maps


def biased(images):
    """Class maps of stride 16 that a place in the photograph matters to, as it does to a real network."""
    cells = images[:, ::16, ::16].astype(np.float32).transpose(0, 3, 1, 2) / 255
    rows, columns = (np.linspace(0, 1, size, dtype=np.float32) for size in cells.shape[2:])
    return cells + rows[:, None] + 0.5 * columns


@pytest.fixture
def card(tiny_card):
    return replace(tiny_card, map_stride=16, long_side_px=None)


def photographs(height, width, count=2):
    return np.random.default_rng(height + width).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_there_are_eight_and_each_is_another():
    image = photographs(33, 33, count=1)
    assert len({turned(image, one).tobytes() for one in attitudes()}) == 8
    assert next(attitudes()) == (False, False, False)


@pytest.mark.parametrize("shape_hw", [(33, 65), (65, 65), (1, 17), (1, 1)])
def test_where_cells_meet_it_is_the_mean_of_the_maps_turned_back(card, shape_hw):
    images = photographs(*shape_hw)  # the last cell lies on the last pixel
    expected = np.mean([turned_back(biased(turned(images, one)), one) for one in attitudes()], axis=0)
    np.testing.assert_allclose(in_all_attitudes(biased, images, card), expected, atol=1e-5)


def test_the_evidence_turns_with_the_photograph(card):
    images = photographs(65, 65)
    still = in_all_attitudes(biased, images, card)
    for one in attitudes():
        moved = in_all_attitudes(biased, turned(images, one), card)
        np.testing.assert_allclose(turned_back(moved, one), still, atol=1e-5)


@pytest.mark.parametrize("shape_hw", [(33, 65), (40, 71), (16, 50), (1, 1), (3, 200)])
def test_the_logits_are_the_mean_of_eight_whatever_the_size(card, shape_hw):
    images = photographs(*shape_hw)
    expected = np.mean([biased(turned(images, one)).mean(axis=(2, 3)) for one in attitudes()], axis=0)
    maps = in_all_attitudes(biased, images, card)
    assert maps.shape == biased(images).shape
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps.mean(axis=(2, 3)), expected, atol=1e-5)


def test_maps_stay_where_they_are_on_a_photograph_whose_cells_do_not_meet(card):
    at = np.linspace(0, 255, 160)  # from 0 to 159 px; cells at 0, 16, ... 144, counted from either edge
    image = np.repeat(at[None, :, None], 160, axis=0).repeat(3, axis=2).round().astype(np.uint8)[None]

    def plain(images):
        return images[:, ::16, ::16].astype(np.float32).transpose(0, 3, 1, 2) / 255

    maps = in_all_attitudes(plain, image, card)
    inner = slice(1, -1)  # beyond the outermost cells the edge value holds
    error = maps[:, :, inner, inner] - plain(image)[:, :, inner, inner]
    assert np.ptp(error) < 0.01  # a cell is 0.1 wide here: none moved
    assert abs(error).max() < 0.06  # a constant: from the far edge, other cells are seen, and their mean counts


def test_a_student_in_all_attitudes_keeps_its_contract(student_file, student, paint):
    photograph = paint((48, 64), "oolite", "vug")
    patient = load(student_file, threads=1, all_attitudes=True)
    one, other = student.predict(photograph), patient.predict(photograph)
    assert patient.all_attitudes
    assert not student.all_attitudes
    assert other.class_maps.shape == one.class_maps.shape
    # Its filters know no up: the very same answer, eight times.
    np.testing.assert_allclose(other.probabilities, one.probabilities, atol=1e-5)
    assert np.corrcoef(other.class_maps.ravel(), one.class_maps.ravel())[0, 1] > 0.98
    assert other.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert patient.predict_batch(np.stack([photograph] * 3))[2].label == other.label


def test_a_real_size_is_turned_at_the_networks_scale(tiny_card):
    card = replace(tiny_card, map_stride=16, long_side_px=64)
    seen = []

    def shrunk(images):
        seen.append(images.shape[1:3])
        return biased(images[:, ::2, ::2])

    maps = in_all_attitudes(shrunk, photographs(96, 128), card)
    assert set(seen) == {(96, 128), (128, 96)}
    assert maps.shape == (2, 3, 3, 4)
