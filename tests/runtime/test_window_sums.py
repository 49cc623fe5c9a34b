import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocamnet.runtime.window_sums import Workspace, narrowest, strips, window_sum


def sums_by_loops(image, height, width):
    rows, columns = (size - box + 1 for size, box in zip(image.shape, (height, width), strict=True))
    found = np.zeros((rows, columns))
    for row, column in np.ndindex(rows, columns):
        found[row, column] = image[row : row + height, column : column + width].sum(dtype=np.float64)
    return found


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    most=st.sampled_from([1, 5, 63, 255, 1000, 65535, None]),
    seed=st.integers(0, 9),
)
def test_sums_equal_those_of_loops(rows, columns, height, width, most, seed):
    shape = rows + height - 1, columns + width - 1
    rng = np.random.default_rng(seed)
    if most is None:
        image = rng.random(shape, dtype=np.float32)
    else:  # full boxes of the largest value are where a type could be too narrow
        image = np.where(rng.random(shape) < 0.5, most, 0).astype(narrowest(most))
        image[:height, :width] = most
    work = Workspace()
    values = work.take(image.dtype, image.size)
    values[:] = image.ravel()
    found = window_sum(work, values, most, (height, width), shape[1])
    whole = np.zeros(rows * shape[1], found.dtype)
    whole[: found.size] = found
    expected = sums_by_loops(image, height, width)
    np.testing.assert_allclose(whole.reshape(rows, -1)[:, :columns], expected, rtol=1e-6, atol=0)
    if most is not None:
        assert found.dtype == max(image.dtype, narrowest(most * height * width), key=lambda dtype: dtype.itemsize)


def test_all_that_was_lent_comes_back_but_the_result():
    work = Workspace()
    values = work.take(np.dtype(np.uint8), 400)
    values[:] = 3
    total = window_sum(work, values, 3, (15, 14), 20)
    work.give(total)
    waiting = [id(one) for free in work._free.values() for one in free]
    assert len(waiting) == len(set(waiting))
    lent = work.nbytes()
    again = work.take(np.dtype(np.uint8), 400)
    again[:] = 3
    work.give(window_sum(work, again, 3, (15, 14), 20))
    assert work.nbytes() == lent  # the second time nothing new was needed


@pytest.mark.parametrize(
    ("most", "dtype"),
    [(255, "u1"), (256, "u2"), (65535, "u2"), (65536, "u4"), ((1 << 32) - 1, "u4"), (1 << 32, "u8"), (1 << 64, "f8")],
)
def test_the_narrowest_type_that_holds_a_number(most, dtype):
    assert narrowest(most) == np.dtype(dtype)


@pytest.mark.parametrize(("height", "width", "window_px"), [(1, 1, 3), (700, 900, 15), (3000, 200, 31), (5, 9, 101)])
def test_strips_cover_every_row_once_with_what_their_windows_reach(height, width, window_px):
    image = np.random.default_rng(0).integers(1, 256, (height, width), dtype=np.uint8)
    next_row = 0
    for strip in strips(image, window_px):
        assert strip.top == next_row
        next_row += strip.rows
        reach_y, reach_x = strip.radius_hw
        assert (reach_y, reach_x) == (min(window_px // 2, height - 1), min(window_px // 2, width - 1))
        for row in range(strip.padded.shape[0] - 1):
            at = strip.top - reach_y + row
            expected = np.pad(image[at], reach_x) if 0 <= at < height else 0
            np.testing.assert_array_equal(strip.padded[row], expected)
    assert next_row == height
