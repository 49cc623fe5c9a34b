"""The picture of a live view: the rock is where it was, the heat on it, the panel beside it."""

import numpy as np
import pytest

from geocamnet.runtime.live.live import Analysis, Wishes, analyse
from geocamnet.runtime.live.screen import LEAST_HEIGHT_PX, MOST_HEIGHT_PX, PANEL_PX, Screen, View, display_factor
from geocamnet.runtime.live.source import Frame
from geocamnet.runtime.render import overlay


@pytest.fixture
def seen(paint, student):
    image = paint((600, 800), "oolite")
    return analyse(Frame(0, 0.0, image), student.predict(image), Wishes())


def test_a_frame_without_a_prediction_shows_as_it_is(seen):
    image = seen.frame.image
    for analysis in (None, Analysis(seen.frame, note="the stage moves")):
        picture = Screen().draw(image, analysis, View())
        assert picture.shape == (600, 800 + PANEL_PX, 3)
        np.testing.assert_array_equal(picture[:, :800], image)
        assert picture[:, 800:].any()


def test_the_heat_is_the_overlay_of_the_heatmap(seen):
    for view in (View(), View(opacity=0.9), View(inverse=True)):
        picture = Screen().draw(seen.frame.image, seen, view)
        expected = overlay(seen.frame.image, seen.heatmap, opacity=view.opacity, inverse=view.inverse)
        np.testing.assert_array_equal(picture[:, :800], expected)


def test_the_frame_itself_is_never_painted_on(seen):
    image = seen.frame.image.copy()
    view = View(help=True, um_per_px=2.0, line=((10, 10), (300, 40)))
    for analysis in (seen, None):
        Screen().draw(seen.frame.image, analysis, view)
        np.testing.assert_array_equal(seen.frame.image, image)


@pytest.mark.parametrize(
    ("height", "shown"), [(100, LEAST_HEIGHT_PX), (600, 600), (3000, MOST_HEIGHT_PX), (1, LEAST_HEIGHT_PX)]
)
def test_small_frames_are_enlarged_and_large_ones_reduced(height, shown, paint):
    picture = Screen().draw(paint((height, 2 * height), "vug"), None, View())
    assert picture.shape[0] == shown
    assert picture.shape[1] == 2 * shown + PANEL_PX
    assert display_factor((height,)) * height == pytest.approx(shown)


def test_a_heatmap_of_the_size_before_is_laid_on_all_the_same(seen, paint):
    picture = Screen().draw(paint((560, 700), "oolite"), seen, View())
    assert picture.shape == (560, 700 + PANEL_PX, 3)


def test_the_scale_bar_is_there_where_a_scale_is_known_and_only_in_its_corner(seen):
    screen, image = Screen(), seen.frame.image
    plain = screen.draw(image, None, View())
    for _ in range(2):  # the second is laid on from what was kept
        barred = screen.draw(image, None, View(um_per_px=2.0))
        changed = (barred[:, :800] != plain[:, :800]).any(axis=2)
        assert changed.any()
        assert not changed[:300].any()
        assert not changed[:, :400].any()
    other = screen.draw(image, None, View(um_per_px=0.7))[:, :800]
    assert (other != barred[:, :800]).any()  # another scale, another bar


def test_a_bar_keeps_its_length_in_micrometres_when_the_frame_is_enlarged(paint):
    for height in (260, 520, 1040):
        image = np.full((height, height, 3), 60, np.uint8)
        picture = Screen().draw(image, None, View(um_per_px=1.0 * 520 / height))[:, : display_width(height)]
        white = (picture > 235).all(axis=2)
        longest = max(longest_run(row) for row in white)
        on_display = display_factor((height,)) * height
        assert longest / on_display == pytest.approx(100 / 520, abs=0.01)  # 100 µm of 520


def display_width(height):
    return round(height * display_factor((height,)))


def longest_run(row):
    best = now = 0
    for one in row:
        now = now + 1 if one else 0
        best = max(best, now)
    return best


def test_letters_are_drawn_again_only_now_and_then_unless_asked(seen, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("geocamnet.runtime.live.screen.time.monotonic", lambda: clock[0])
    screen = Screen()

    def panel(status, **options):
        return screen.draw(seen.frame.image, seen, View(), status=[status], **options)[:, 800:].copy()

    first = panel("one")
    np.testing.assert_array_equal(panel("two"), first)
    assert (panel("two", at_once=True) != first).any()
    clock[0] = 1.0
    assert (panel("one") == first).all()


def test_what_the_panel_says_depends_on_what_was_said(seen, paint, student):
    image = paint((600, 800), "vug")
    other = analyse(Frame(0, 0.0, image), student.predict(image), Wishes(texture=True))
    panels = [Screen().draw(one.frame.image, one, View())[:, 800:] for one in (seen, other)]
    assert (panels[0] != panels[1]).any()


def test_a_camera_that_changes_its_size_loses_its_scale_and_a_folder_does_not():
    view = View(um_per_px=2.0)
    assert not view.forget_scale_if_resized((10, 20, 3), is_live=True)
    assert not view.forget_scale_if_resized((10, 20, 3), is_live=True)
    assert view.forget_scale_if_resized((20, 40, 3), is_live=True)
    assert view.um_per_px is None
    assert not view.forget_scale_if_resized((10, 20, 3), is_live=True)  # it is told once
    view = View(um_per_px=2.0)
    for shape in ((10, 20, 3), (20, 40, 3)):
        assert not view.forget_scale_if_resized(shape, is_live=False)
    assert view.um_per_px == 2.0
