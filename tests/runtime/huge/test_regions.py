"""Regions are the mask: painted back they give it again, their areas add up, and no ring touches itself."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geocamnet.runtime.huge.regions import regions_of, write_geojson

masks = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def painted(regions, shape_hw):
    """Return how many rings, holes taken off, hold each pixel's centre, by counting borders to its left."""
    found = np.zeros(shape_hw, int)
    for region in regions:
        inside = np.zeros(shape_hw, int)
        for ring in (region.outer, *region.holes):
            for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
                if x0 == x1:
                    inside[min(y0, y1) : max(y0, y1), x0:] += 1
        found += inside % 2
    return found


@given(masks)
def test_regions_painted_back_are_the_mask(mask):
    np.testing.assert_array_equal(painted(regions_of(mask), mask.shape), mask)


@given(masks)
def test_areas_add_up(mask):
    assert sum(region.area for region in regions_of(mask)) == mask.sum()


@given(masks)
def test_no_ring_meets_itself_and_every_corner_turns(mask):
    for region in regions_of(mask):
        for ring in (region.outer, *region.holes):
            assert len({tuple(corner) for corner in ring.tolist()}) == len(ring)
            ways = np.sign(np.roll(ring, -1, axis=0) - ring)
            assert (np.abs(ways).sum(axis=1) == 1).all()
            assert ((ways * np.roll(ways, 1, axis=0)).sum(axis=1) == 0).all()


def test_pixels_that_meet_at_a_corner_are_two_regions():
    assert len(regions_of(np.eye(2, dtype=bool))) == 2
    ring = ~np.eye(4, dtype=bool)[1:3, :]  # nothing to see but that it is one call
    assert sum(region.area for region in regions_of(ring)) == ring.sum()


def test_a_frame_has_a_hole():
    mask = np.ones((5, 6), bool)
    mask[2, 2:4] = False
    (region,) = regions_of(mask)
    assert region.area == 28
    assert len(region.holes) == 1


def test_an_empty_mask_has_no_region():
    assert regions_of(np.zeros((4, 4), bool)) == []


def test_geojson_is_in_pixels_of_the_photograph(tmp_path, tiny_card):
    mask = np.zeros((4, 5), np.uint8)
    mask[1:3, 1:3] = 1
    mask[:, 4] = 3
    file = tmp_path / "classes.geojson"
    count = write_geojson(file, mask, tiny_card, step_px=8.0, shape_hw=(32, 38), um_per_px=0.5)
    told = json.loads(file.read_text(encoding="utf-8"))
    assert (told["type"], len(told["features"]), count) == ("FeatureCollection", 2, 2)
    oolite, vug = told["features"]
    assert oolite["properties"]["classification"] == {"name": "oolite", "color": [255, 0, 0]}
    assert oolite["properties"]["objectType"] == "annotation"
    (ring,) = oolite["geometry"]["coordinates"]
    assert ring[0] == ring[-1]
    assert sorted(map(tuple, ring[:-1])) == [(8, 8), (8, 24), (24, 8), (24, 24)]
    assert oolite["properties"]["measurements"]["area_um2"] == pytest.approx(16 * 16 * 0.25)
    # The last column of the mask reaches out of the photograph: 6 of its 8 px are there.
    assert vug["properties"]["measurements"]["area_um2"] == pytest.approx(32 * 6 * 0.25)
    assert max(x for x, _ in vug["geometry"]["coordinates"][0]) == 38


def test_geojson_without_regions_is_still_geojson(tmp_path, tiny_card):
    file = tmp_path / "classes.geojson"
    assert write_geojson(file, np.zeros((3, 3), np.uint8), tiny_card, step_px=1, shape_hw=(3, 3), um_per_px=None) == 0
    assert json.loads(file.read_text(encoding="utf-8"))["features"] == []


def test_a_torn_mask_takes_little_memory(tmp_path, tiny_card):
    mask = np.random.default_rng(0).integers(0, 3, (400, 400)).astype(np.uint8)
    tracemalloc.start()
    try:
        write_geojson(tmp_path / "r.json", mask, tiny_card, step_px=8, shape_hw=(3200, 3200), um_per_px=None)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 120 * mask.size  # bytes: of lists of whole numbers it would be twice as much
