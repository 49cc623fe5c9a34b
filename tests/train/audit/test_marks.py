"""Marks drawn into a photograph are found to the pixel, and rock without marks has none."""

import numpy as np
import pytest

from drawn import jpeg, rock
from geocamnet.train.audit.marks import Marks, find_marks, without_marks


def grey(seed, size_wh=(320, 240)):
    return np.ascontiguousarray(rock(seed, size_wh)[..., 1])


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("lamp", [0.5, 1.0, 1.5])
def test_rock_without_marks_has_none(seed, lamp):
    image = np.ascontiguousarray(rock(seed, (320, 240), lamp=lamp)[..., 1])
    assert find_marks(image) == Marks()


@pytest.mark.parametrize("colour", [0, 255])
def test_frame_lines_are_found_on_the_edges_that_have_them(colour):
    image = grey(0)
    image[:, :3], image[:2], image[-5:] = colour, colour, colour
    left, top, right, bottom = find_marks(image).edges_ltrb
    assert (3 <= left <= 5, 2 <= top <= 4, right, 5 <= bottom <= 7) == (True, True, 0, True)


def test_a_strip_with_text_is_found_whole_after_compression():
    image = rock(1, (320, 240))
    image[-30:] = 255
    image[-22:-10, 40:180:3] = 0  # strokes of letters
    _, _, _, bottom = find_marks(np.ascontiguousarray(jpeg(image, 70)[..., 1])).edges_ltrb
    assert 30 <= bottom <= 33


@pytest.mark.parametrize("colour", [0, 255])
@pytest.mark.parametrize("upright", [False, True])
def test_a_scale_bar_is_found_where_it_is(colour, upright):
    image = grey(2).clip(20, 235)
    image[200:206, 180:280] = colour
    expected = (180, 200, 100, 6)
    if upright:
        image, expected = np.ascontiguousarray(image.T), (200, 180, 6, 100)
    (found,) = find_marks(image).bars
    assert np.abs(np.subtract(found, expected)).max() <= 1


def test_a_plate_with_a_bar_on_it_is_one_mark_and_can_be_painted_over():
    image = grey(3).clip(20, 235)
    image[180:230, 150:300] = 255
    image[210:222, 160:290] = 0
    marks = find_marks(image)
    (found,) = marks.bars
    assert np.abs(np.subtract(found, (150, 180, 150, 50))).max() <= 2
    assert without_marks(image, marks)[180:230, 150:300].std() < 10


def test_smeared_edges_are_found_where_rows_repeat():
    image = grey(4)
    image[:12] = image[12]
    assert find_marks(image).smeared_ltrb[1] in (11, 12)
    assert find_marks(image).edges_ltrb == (0, 0, 0, 0)


def test_pictures_too_small_to_be_marked_have_no_marks():
    assert find_marks(np.zeros((1, 1), np.uint8)) == Marks()
    assert find_marks(np.full((200, 200), 128, np.uint8)) == Marks()
