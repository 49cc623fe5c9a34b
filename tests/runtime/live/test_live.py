"""Capture and inference in threads: nothing lags, nothing is lost where nothing may be, errors arrive."""

import threading
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest

from geocamnet.errors import DataError, ModelError, SourceError
from geocamnet.images import write_image
from geocamnet.runtime.live.live import Live, Rate, Wishes, analyse
from geocamnet.runtime.live.source import Frame, Source
from geocamnet.runtime.model import load

CLASSES = ["oolite", "foam", "vug"]


class Camera:
    """A source of frames that are made as fast as they are read, or by a clock."""

    def __init__(self, frames, *, is_live=True, pause_s=0.0, error=None):
        self.made, self.is_live, self.pause_s, self.error = frames, is_live, pause_s, error
        self.name, self.frames_per_s, self.count, self.closed = "Camera 0", None, None, False

    def frames(self, *, every=1, on_bad=None):
        for number, image in enumerate(self.made):
            time.sleep(self.pause_s)
            if isinstance(image, Exception):
                on_bad(image)
                continue
            yield Frame(number, number * 0.1, image)
        if self.error is not None:
            raise self.error

    def close(self):
        self.closed = True


class Slow:
    """A student that takes its time."""

    def __init__(self, student, seconds):
        self.student, self.seconds, self.card = student, seconds, student.card

    def predict(self, image, **options):
        time.sleep(self.seconds)
        return self.student.predict(image, **options)


@pytest.fixture
def frames(paint):
    return [paint((24, 32), CLASSES[number % 3]) for number in range(12)]


def drain(live, into=None):
    while True:
        if (analysis := live.take(1)) is not None and into is not None:
            into.append(analysis.frame.number)


def all_of(live):
    taken = []
    while not live.is_over:
        if (analysis := live.take(1)) is not None:
            taken.append(analysis)
    return taken


def test_without_loss_every_frame_is_analysed_in_order(frames, student):
    source = Camera(frames, is_live=False)
    with Live(source, student, lossless=True) as live:
        taken = all_of(live)
    assert [one.frame.number for one in taken] == list(range(12))
    assert [one.prediction.label for one in taken] == CLASSES * 4
    assert all(np.shares_memory(one.frame.image, image) for one, image in zip(taken, frames, strict=True))
    assert (live.captured, live.analysed, live.dropped) == (12, 12, 0)
    assert source.closed


def test_a_slow_network_gets_the_newest_frame_and_what_it_missed_is_counted(frames, student):
    with Live(Camera(frames, pause_s=0.02), Slow(student, 0.07)) as live:
        taken = all_of(live)
        numbers = [one.frame.number for one in taken]
        assert live.captured == 12
        assert live.analysed + live.dropped == 12
    assert live.dropped >= 3
    assert numbers == sorted(numbers)
    assert numbers[-1] == 11  # the last frame is never the one that is lost


def test_the_picture_runs_ahead_of_a_network_that_hangs(frames, student):
    gate = threading.Event()

    class Hanging(Slow):
        def predict(self, image, **options):
            gate.wait(10)
            return self.student.predict(image, **options)

    with Live(Camera(frames, pause_s=0.005), Hanging(student, 0)) as live:
        until = time.monotonic() + 5
        while (live.newest is None or live.newest.number < 11) and time.monotonic() < until:
            time.sleep(0.005)
        assert live.newest.number == 11
        assert live.analysed == 0
        gate.set()


@pytest.mark.parametrize("lossless", [True, False])
def test_an_error_of_the_source_comes_after_what_was_analysed(frames, student, lossless):
    source = Camera(frames[:3], error=SourceError("Camera 0 has gone away"), pause_s=0.02)
    taken = []
    with Live(source, student, lossless=lossless) as live, pytest.raises(SourceError, match="gone away"):
        drain(live, taken)
    assert taken[-1] == 2
    assert source.closed


def test_an_error_of_the_network_arrives_and_ends_the_capture(frames, student):
    class Broken(Slow):
        def predict(self, image, **options):
            raise ModelError("answered with NaN")

    source = Camera(frames * 50, is_live=False)
    with Live(source, Broken(student, 0), lossless=True) as live, pytest.raises(ModelError, match="NaN"):
        drain(live)
    assert live.captured < 600
    assert source.closed


def test_even_an_error_nobody_thought_of_arrives(frames, student):
    with Live(Camera(frames, error=ZeroDivisionError("?")), student) as live, pytest.raises(ZeroDivisionError):
        drain(live)


def test_leaving_stops_both_threads_in_the_middle(frames, student):
    before = threading.active_count()
    with Live(Camera(frames * 1000, is_live=False), student, lossless=True) as live:
        assert live.take(5) is not None
    assert threading.active_count() == before
    assert live.captured < 100


def test_a_photograph_of_a_folder_that_cannot_be_read_is_passed_over_and_counted(tmp_path, paint, student, caplog):
    for number in range(3):
        write_image(tmp_path / f"{number}.png", paint((20, 30), CLASSES[number]))
    (tmp_path / "1.png").write_bytes(b"no picture")
    with Source(tmp_path) as source, Live(source, student, lossless=True) as live:
        assert [one.frame.number for one in all_of(live)] == [0, 2]
    assert live.unreadable == 1
    assert "1.png" in caplog.text


def test_a_photograph_too_narrow_for_the_model_is_passed_over_and_counted(tmp_path, paint, student, caplog):
    for number, shape_hw in enumerate([(20, 30), (1, 900), (24, 32)]):
        write_image(tmp_path / f"{number}.png", paint(shape_hw, CLASSES[number]))
    with Source(tmp_path) as source, Live(source, student, lossless=True) as live:
        assert [one.frame.number for one in all_of(live)] == [0, 2]
    assert (live.captured, live.analysed, live.unreadable) == (3, 2, 1)
    assert "1.png: A photograph 900 px long" in caplog.text


@pytest.mark.parametrize("is_live", [True, False])
def test_a_camera_or_a_film_too_narrow_for_the_model_ends_with_that(paint, student, is_live):
    source = Camera([paint((1, 900), "oolite")] * 9, is_live=is_live)
    with Live(source, student, lossless=not is_live) as live, pytest.raises(DataError, match="900 px long"):
        drain(live)
    assert live.unreadable == 0


def test_a_film_is_shown_at_its_own_rate(frames, student):
    began = time.monotonic()
    with Live(Camera(frames, is_live=False), student, frames_per_s=50) as live:
        all_of(live)
    assert time.monotonic() - began >= 11 / 50 * 0.9


def test_waiting_for_the_stage_asks_the_network_only_when_it_stands(paint, student):
    moving = [paint((24, 32), CLASSES[number % 3]) for number in range(4)]
    with Live(
        Camera([*moving, *([moving[0]] * 8)], is_live=False), student, Wishes(when_still=True), lossless=True
    ) as live:
        taken = all_of(live)
    asked = [one.prediction is not None for one in taken]
    assert asked == [False] * 7 + [True] * 5  # 0.1 s a frame, still after 0.4 s
    assert taken[0].note == "the stage moves"
    assert taken[0].heatmap is None


def test_wishes_may_change_while_it_runs(frames, student):
    wishes = Wishes()
    with Live(Camera(frames, is_live=False), student, wishes, lossless=True) as live:
        first = live.take(5)
        wishes.shown_class, wishes.texture = "vug", True
        rest = all_of(live)
    assert first.shown_class == "oolite"
    assert first.entropy is None
    assert rest[-1].shown_class == "vug"
    assert rest[-1].entropy is not None


def test_frames_are_brought_to_the_scale_that_the_model_knows(frames, make_student, tiny_card, tmp_path):
    card = replace(tiny_card, um_per_px=2.0, long_side_px=None)
    model = load(make_student(tmp_path / "m.onnx", card))
    seen = {}
    for um_per_px in (None, 4.0):
        with Live(Camera(frames[:1], is_live=False), model, Wishes(um_per_px=um_per_px), lossless=True) as live:
            seen[um_per_px] = live.take(5)
    as_it_is, brought = (one.prediction.class_maps for one in seen.values())
    np.testing.assert_array_equal(brought, model.predict(frames[0], um_per_px=4.0).class_maps)
    assert brought.shape[1] >= 2 * as_it_is.shape[1] - 1


def test_what_is_held_analyses_nothing_until_it_is_let_go(frames, make_student, tiny_card, tmp_path):
    card = replace(tiny_card, um_per_px=2.0, long_side_px=None)
    model, wishes = load(make_student(tmp_path / "m.onnx", card)), Wishes()
    with Live(Camera(frames, is_live=False), model, wishes, lossless=True, held=True) as live:
        live.first_frame()
        assert live.take(0.2) is None
        assert live.analysed == 0
        wishes.um_per_px = 4.0
        live.begin()
        first = live.take(5)
    assert first.frame.number == 0
    np.testing.assert_array_equal(
        first.prediction.class_maps, model.predict(frames[0], um_per_px=4.0, quick=True).class_maps
    )


def test_what_is_held_can_be_left(frames, student):
    before = threading.active_count()
    with Live(Camera(frames), student, held=True) as live:
        live.first_frame()
    assert threading.active_count() == before


def test_an_analysis_is_what_the_parts_say(paint, student):
    image = paint((24, 32), "foam")
    prediction = student.predict(image)
    analysis = analyse(Frame(7, 0.7, image), prediction, Wishes())
    np.testing.assert_array_equal(analysis.heatmap, prediction.heatmap("foam"))
    assert analysis.shown_class == "foam"
    assert analysis.area_percent == pytest.approx(100 * (analysis.heatmap >= 0.5).mean())
    none = analyse(Frame(7, 0.7, image), prediction, Wishes(shown_class="vug"))
    assert none.area_percent == 0
    with pytest.raises(ModelError, match="grape"):
        analyse(Frame(7, 0.7, image), prediction, Wishes(shown_class="grape"))


def test_the_first_frame_is_waited_for_or_its_absence_told(frames, student, monkeypatch):
    with Live(Camera(frames, pause_s=0.05), student) as live:
        assert live.first_frame().number == 0
    with Live(Camera([], error=SourceError("no film")), student) as live, pytest.raises(SourceError, match="no film"):
        live.first_frame()
    monkeypatch.setattr("geocamnet.runtime.live.live.FIRST_WITHIN_S", 0.05)
    with Live(Camera(frames, pause_s=0.5), student) as live, pytest.raises(SourceError, match=r"no frame came within"):
        live.first_frame()


def test_the_rate_is_that_of_the_last_things(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("geocamnet.runtime.live.live.time.monotonic", lambda: clock[0])
    rate = Rate()
    assert rate.per_s == 0
    for _ in range(100):
        clock[0] += 0.02
        rate.count()
    assert rate.per_s == pytest.approx(50)
    clock[0] += 10
    assert rate.per_s < 3


def test_a_video_goes_through_whole(tmp_path, paint, student):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (64, 48))
    for number in range(6):
        writer.write(np.ascontiguousarray(paint((48, 64), CLASSES[number % 3])[..., ::-1]))
    writer.release()
    with Source(path) as source, Live(source, student, lossless=True) as live:
        assert source.frames_per_s == 5.0
        assert source.count == 6
        taken = all_of(live)
    assert [one.prediction.label for one in taken] == CLASSES * 2
    assert [one.frame.time_s for one in taken] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])


def test_errors_of_photographs_are_data_errors_unless_passed_over(tmp_path, student):
    (tmp_path / "0.png").write_bytes(b"no picture")
    with Source(tmp_path) as source, pytest.raises(DataError):
        next(source.frames())


def test_frames_do_not_change_under_the_hands_of_the_next_thread(frames, student):
    with Live(Camera(frames, is_live=False), student, lossless=True) as live:
        kept = [(one.frame.image, one.frame.image.copy()) for one in all_of(live)]
    assert all(np.array_equal(image, copy) for image, copy in kept)
