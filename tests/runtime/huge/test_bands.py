"""Bands are the mosaic, row after row; taken up in the middle they are the same to the last bit."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocamnet.errors import DataError
from geocamnet.runtime.huge.bands import plan_tiles, predict_bands
from geocamnet.runtime.huge.predict import predict_huge


def reader(image):
    return lambda top, left, height, width: image[top : top + height, left : left + width]


@given(height=st.integers(60, 300), width=st.integers(1, 150), overlap_px=st.integers(0, 60), first=st.integers(0, 20))
def test_taken_up_at_any_row_the_rest_is_the_same(student, paint, height, width, overlap_px, first):
    image = paint((height, width), "oolite", "vug")
    tiling = plan_tiles((height, width), student.card, overlap_px=overlap_px)
    whole = list(predict_bands(reader(image), student, tiling))
    assert [band.top for band in whole] == [row[0].y for row in tiling.rows()]
    first = min(first, len(whole) - 1)
    rest = list(predict_bands(reader(image), student, tiling, first_row=first))
    assert len(rest) == len(whole) - first
    for one, other in zip(rest, whole[first:], strict=True):
        assert one.top == other.top
        np.testing.assert_array_equal(one.class_maps, other.class_maps)


def test_bands_put_together_are_the_mosaic(student, paint):
    image = paint((200, 150), "oolite", "vug")
    tiling = plan_tiles((200, 150), student.card)
    maps = np.concatenate([band.class_maps for band in predict_bands(reader(image), student, tiling)], axis=1)
    np.testing.assert_array_equal(maps, predict_huge(image, student).class_maps)


def test_tiles_of_a_known_scale_are_brought_to_the_models(student, paint):
    image = paint((300, 500), "oolite", "vug")
    card = replace(student.card, um_per_px=2.0)
    tiling = plan_tiles((300, 500), card, um_per_px=1.5)
    assert tiling.cell_px == pytest.approx(4 * 2.0 / 1.5)
    maps = np.concatenate([band.class_maps for band in predict_bands(reader(image), student, tiling)], axis=1)
    assert maps.shape[1:] == tiling.cells_hw == (57, 94)
    # Red lies left of the middle, blue right of it, at the finer scale as at the coarser one.
    assert (maps[0] - maps[2])[:, :45].min() > 3
    assert (maps[2] - maps[0])[:, 49:].min() > 3


def test_every_pixel_is_read_and_none_outside(student):
    seen = np.zeros((190, 130), int)

    def read(top, left, height, width):
        assert top >= 0
        assert left >= 0
        assert top + height <= 190
        assert left + width <= 130
        seen[top : top + height, left : left + width] += 1
        return np.zeros((height, width, 3), np.uint8)

    list(predict_bands(read, student, plan_tiles((190, 130), student.card, overlap_px=0)))
    assert seen.min() >= 1


def test_what_can_not_be_read_is_told_and_what_was_finished_is_had(student):
    def read(top, left, height, width):
        if top > 100:
            raise DataError("torn off")
        return np.zeros((height, width, 3), np.uint8)

    bands = predict_bands(read, student, plan_tiles((400, 64), student.card))
    assert next(bands).top == 0
    with pytest.raises(DataError, match="torn off"):
        list(bands)


@pytest.mark.parametrize("um_per_px", [0.0, -1.0, float("nan"), float("inf"), 1000.0])
def test_a_scale_that_can_not_be_is_refused(student, um_per_px):
    with pytest.raises(DataError, match="um"):
        plan_tiles((100, 100), replace(student.card, um_per_px=1.0), um_per_px=um_per_px)
