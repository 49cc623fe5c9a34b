"""What the keys do, without a window."""

import csv
import json

import cv2
import numpy as np
import pytest

from geocamnet.images import list_images, read_image
from geocamnet.runtime.live import recording as recording_module
from geocamnet.runtime.live.controls import BACKSPACE, ENTER, ESCAPE, Controls, _folded
from geocamnet.runtime.live.live import Live, Wishes, analyse
from geocamnet.runtime.live.objectives import scale_of
from geocamnet.runtime.live.screen import PANEL_PX, View
from geocamnet.runtime.live.source import Frame


class Standing:
    """A source that gives a frame when it is asked for one by `step`."""

    name, is_live, frames_per_s, count = "Camera 0", True, None, None

    def frames(self, **_):
        return iter(())

    def close(self):
        pass


@pytest.fixture
def controls(tmp_path, monkeypatch, student):
    monkeypatch.setenv("GEOCAMNET_OBJECTIVES", str(tmp_path / "objectives.json"))
    live = Live(Standing(), student, Wishes())
    with Controls(live, View(), out=tmp_path / "out", objective="10x") as made:
        yield made


@pytest.fixture
def step(controls, paint):
    """Return a function that lets the next frame come and be analysed."""
    count = iter(range(1000))

    def come(name="oolite", shape_hw=(520, 640)):
        number = next(count)
        frame = Frame(number, number * 0.1, paint(shape_hw, name))
        controls.live.newest = frame
        controls.analysis = analyse(frame, controls.live.model.predict(frame.image), controls.live.wishes)
        return controls.picture()

    return come


def press(controls, keys):
    for key in keys:
        controls.press(key)


def test_before_the_first_frame_there_is_no_picture_and_no_key_fails(controls):
    assert controls.picture() is None
    press(controls, "hcx0+-ti srm?")
    assert controls.recording is None
    assert not controls.has_quit


def test_classes_are_gone_through_both_ways_and_round(controls, step):
    step()
    seen = []
    for key in "cccc":
        controls.press(key)
        seen.append(controls.live.wishes.shown_class)
    assert seen == ["oolite", "foam", "vug", None]
    controls.press("x")
    assert controls.live.wishes.shown_class == "vug"
    controls.press("0")
    assert controls.live.wishes.shown_class is None


def test_opacity_stays_between_none_and_full(controls):
    press(controls, "+" * 12)
    assert controls.view.opacity == 1
    press(controls, "-" * 12)
    assert controls.view.opacity == 0
    press(controls, "+")
    assert controls.view.opacity == 0.1


def test_texture_inverse_and_help_are_turned_on_and_off(controls):
    press(controls, "tih")
    assert (controls.live.wishes.texture, controls.view.inverse, controls.view.help) == (True, True, True)
    press(controls, "tih")
    assert (controls.live.wishes.texture, controls.view.inverse, controls.view.help) == (False, False, False)


def test_a_frozen_picture_stays_and_follows_the_keys(controls, step):
    first = step("oolite")
    controls.press(" ")
    later = step("vug")
    np.testing.assert_array_equal(later[:, :-PANEL_PX], first[:, :-PANEL_PX])
    press(controls, "ccc")  # the map of vug, of which there is none
    np.testing.assert_array_equal(controls.picture()[:, :-PANEL_PX], controls.frozen[0].image)
    controls.press(" ")
    assert (step("vug")[:, :-PANEL_PX] != first[:, :-PANEL_PX]).any()


def test_a_snapshot_is_of_the_frame_that_was_analysed(controls, step, tmp_path):
    step("foam")
    controls.press("s")
    frame, shown = sorted(list_images(tmp_path / "out"))
    np.testing.assert_array_equal(read_image(frame), controls.analysis.frame.image)
    assert read_image(shown).shape == (520, 640 + PANEL_PX, 3)
    told = json.loads(frame.with_suffix(".json").read_text(encoding="utf-8"))
    assert told["most_probable"] == "foam"
    assert told["shown"]["opacity"] == 0.5


def test_recording_starts_stops_and_is_complete_when_the_view_ends(controls, step, tmp_path):
    step()
    controls.press("r")
    step()
    first = controls.recording
    controls.press("r")
    assert controls.recording is None
    controls.press("r")
    step("vug")
    second = controls.recording
    controls.__exit__()
    for recording in (first, second):
        capture = cv2.VideoCapture(str(recording.video))
        assert capture.read()[0]
        capture.release()
    assert first.video != second.video


def test_a_full_disk_ends_the_recording_and_not_the_view(controls, step, monkeypatch):
    step()
    monkeypatch.setattr(recording_module, "LEAST_FREE_BYTES", 10**18)
    controls.press("r")
    assert controls.recording is None
    controls.press("s")
    assert step() is not None
    monkeypatch.setattr(recording_module, "LEAST_FREE_BYTES", 1)
    controls.press("r")
    monkeypatch.setattr(recording_module, "LEAST_FREE_BYTES", 10**18)
    monkeypatch.setattr(recording_module, "LOOK_AT_DISK_EVERY", 1)
    assert step() is not None
    assert controls.recording is None


def test_a_folder_that_cannot_be_made_is_said_and_the_view_goes_on(controls, step, tmp_path):
    controls.out = tmp_path / "a file" / "below"
    controls.out.parent.write_bytes(b"")
    step()
    for key in "sr":
        controls.say("")
        controls.press(key)
        assert "can't be written" in controls._message
    assert controls.recording is None
    assert step() is not None


def test_the_table_has_the_scale_measured_or_forgotten_while_it_is_written(controls, step, monkeypatch):
    clock = iter(range(1000))  # a second later whenever it is asked
    monkeypatch.setattr("geocamnet.runtime.live.controls.time.monotonic", lambda: float(next(clock)))
    step()
    controls.press("r")
    step()
    controls.view.um_per_px = 2.0
    step()
    step(shape_hw=(600, 800))
    table = controls.recording.table
    controls.press("r")
    with table.open(encoding="utf-8-sig", newline="") as stream:
        scales = {line["source_frame"]: line["um_per_px"] for line in csv.DictReader(stream)}
    assert scales == {"1": "", "2": "2.0", "3": ""}


def test_a_scale_is_measured_with_mouse_and_keys_and_kept(controls, step):
    step(shape_hw=(260, 320))  # shown at twice its size
    controls.press("m")
    controls.drag((100, 40), (500, 40))  # 200 px of the frame
    press(controls, ["1", "0", "0", "9", BACKSPACE, "0", ENTER])
    assert controls.view.um_per_px == pytest.approx(5.0)
    assert scale_of("10x", (260, 320)) == pytest.approx(5.0)
    assert controls.view.line is None
    assert controls.frozen is None


def test_a_measurement_can_be_left_and_says_what_is_missing(controls, step):
    step()
    controls.press("m")
    press(controls, ["5", ENTER])
    assert controls.view.um_per_px is None  # no line yet
    controls.drag((0, 0), (5, 0))
    press(controls, [ENTER])
    assert controls.view.um_per_px is None  # too short
    controls.drag((0, 0), (300, 0))
    press(controls, [".", ".", ENTER])
    assert controls.view.um_per_px is None  # "5.." is no number
    press(controls, ["q"])
    assert not controls.has_quit  # letters do nothing while a length is typed
    controls.press(ESCAPE)
    assert controls.view.line is None
    controls.press("q")
    assert controls.has_quit


def test_the_mouse_does_nothing_while_nothing_is_measured_and_stays_in_the_frame(controls, step):
    step()
    controls.drag((0, 0), (100, 100))
    assert controls.view.line is None
    controls.press("m")
    controls.drag((-50, 20), (5000, 20))
    assert controls.view.line == ((0, 20), (640, 20))


def test_a_scale_is_forgotten_when_the_camera_changes_its_size(controls, step):
    controls.view.um_per_px = 2.0
    step()
    step(shape_hw=(600, 800))
    assert controls.view.um_per_px is None


@pytest.mark.parametrize("message", ["short", "!" + "word " * 40, "!" + "x" * 100, ""])
def test_long_messages_become_lines_that_keep_their_mark_and_every_letter(message):
    lines = _folded(message)
    assert all(len(line) <= 45 for line in lines)
    assert all(line.startswith("!") == message.startswith("!") for line in lines)
    assert "".join(line.lstrip("!") for line in lines).replace(" ", "") == message.lstrip("!").replace(" ", "")
