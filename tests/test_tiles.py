"""Tiles cover, weights are a partition of unity, and what all tiles agree on stays as it is."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocamnet.errors import DataError
from geocamnet.tiles import Blender, Tile, blend_window, tile_grid

sides = st.integers(1, 24)


@st.composite
def grids(draw):
    shape_hw = (draw(sides), draw(sides))
    tile_px = draw(st.integers(2, 30))
    overlap_px = draw(st.integers(0, tile_px - 1))
    return shape_hw, tile_px, overlap_px


@given(grids())
def test_tiles_cover_the_image_and_stay_inside(grid):
    shape_hw, tile_px, overlap_px = grid
    seen = np.zeros(shape_hw, int)
    for y, x, h, w in tile_grid(shape_hw, tile_px=tile_px, overlap_px=overlap_px):
        assert y >= 0
        assert x >= 0
        assert y + h <= shape_hw[0]
        assert x + w <= shape_hw[1]
        assert (h, w) == (min(tile_px, shape_hw[0]), min(tile_px, shape_hw[1]))
        seen[y : y + h, x : x + w] += 1
    assert seen.min() >= 1


@given(grids())
def test_no_tile_is_there_twice_or_one_too_many(grid):
    shape_hw, tile_px, overlap_px = grid
    tiles = tile_grid(shape_hw, tile_px=tile_px, overlap_px=overlap_px)
    assert len(set(tiles)) == len(tiles)
    step = tile_px - overlap_px
    least = [1 if side <= tile_px else -(-(side - tile_px) // step) + 1 for side in shape_hw]
    assert len(tiles) == least[0] * least[1]


@given(grids())
def test_neighbours_overlap_by_at_least_what_was_asked(grid):
    shape_hw, tile_px, overlap_px = grid
    starts = sorted({tile.x for tile in tile_grid(shape_hw, tile_px=tile_px, overlap_px=overlap_px)})
    assert all(left + tile_px - right >= overlap_px for left, right in pairwise(starts))


@given(grids())
def test_the_normalised_weights_add_up_to_one_everywhere(grid):
    shape_hw, tile_px, overlap_px = grid
    tiles = tile_grid(shape_hw, tile_px=tile_px, overlap_px=overlap_px)
    blender = Blender(len(tiles), shape_hw, overlap=overlap_px)
    for number, tile in enumerate(tiles):  # a channel a tile: the blend of a 1 in one tile alone is its weight
        alone = np.zeros((len(tiles), tile.h, tile.w), np.float32)
        alone[number] = 1
        blender.add(tile, alone)
    weights = blender.blend()
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-5)


@given(grids(), st.floats(-100, 100, width=32))
def test_a_constant_stays_constant(grid, value):
    shape_hw, tile_px, overlap_px = grid
    blender = Blender(2, shape_hw, overlap=overlap_px)
    for tile in tile_grid(shape_hw, tile_px=tile_px, overlap_px=overlap_px):
        blender.add(tile, np.full((2, tile.h, tile.w), value, np.float32))
    np.testing.assert_allclose(blender.blend(), value, rtol=1e-5, atol=1e-6)


@given(grids())
def test_maps_that_agree_are_given_back(grid):
    shape_hw, tile_px, overlap_px = grid
    whole = np.random.default_rng(0).normal(size=(3, *shape_hw)).astype(np.float32)
    blender = Blender(3, shape_hw, overlap=overlap_px)
    for tile in tile_grid(shape_hw, tile_px=tile_px, overlap_px=overlap_px):
        blender.add(tile, whole[:, tile.y : tile.y + tile.h, tile.x : tile.x + tile.w])
    np.testing.assert_allclose(blender.blend(), whole, atol=1e-5)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 30))
def test_a_window_is_positive_at_most_one_and_symmetric(h, w, overlap):
    window = blend_window(h, w, overlap)
    assert window.shape == (h, w)
    assert window.dtype == np.float32
    assert window.min() > 0
    assert window.max() <= 1
    np.testing.assert_array_equal(window, window[::-1, ::-1])


@given(st.integers(0, 12), st.integers(0, 12))
def test_windows_of_two_neighbours_add_up_to_one_without_normalising(overlap, more):
    length = 2 * overlap + 1 + more
    row = blend_window(1, length, overlap)[0] / blend_window(1, length, overlap)[0].max()
    joined = row[length - overlap :] + row[:overlap]
    np.testing.assert_allclose(joined, 1, atol=1e-6)
    np.testing.assert_allclose(row[overlap : length - overlap], 1)


def test_a_blend_falls_linearly_from_one_tile_to_the_next():
    blender = Blender(1, (1, 12), overlap=4)
    blender.add(Tile(0, 0, 1, 8), np.zeros((1, 1, 8), np.float32))
    blender.add(Tile(0, 4, 1, 8), np.ones((1, 1, 8), np.float32))
    expected = [0, 0, 0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1, 1, 1]
    np.testing.assert_allclose(blender.blend()[0, 0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("shape_hw", "tile_px", "overlap_px"), [((0, 5), 4, 0), ((5, 5), 0, 0), ((5, 5), 4, 4), ((5, 5), 4, -1)]
)
def test_sizes_out_of_range_are_refused(shape_hw, tile_px, overlap_px):
    with pytest.raises(DataError, match="received"):
        tile_grid(shape_hw, tile_px=tile_px, overlap_px=overlap_px)


def test_a_cell_no_tile_covered_is_told():
    blender = Blender(1, (4, 4), overlap=0)
    blender.add(Tile(0, 0, 4, 3), np.ones((1, 4, 3), np.float32))
    with pytest.raises(DataError, match="4 of 16 cells"):
        blender.blend()


def test_maps_of_another_shape_and_tiles_outside_are_refused():
    blender = Blender(2, (4, 4), overlap=0)
    with pytest.raises(DataError, match="must be"):
        blender.add(Tile(0, 0, 4, 3), np.ones((2, 4, 4), np.float32))
    with pytest.raises(DataError, match="reaches out"):
        blender.add(Tile(0, 2, 4, 3), np.ones((2, 4, 3), np.float32))
