"""A live view in a real window, steered by real keys; and without one, into a recording."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from geocamnet.errors import SourceError
from geocamnet.images import list_images, write_image
from geocamnet.runtime.live import window
from geocamnet.runtime.live.live import Live, Wishes
from geocamnet.runtime.live.screen import View
from geocamnet.runtime.live.source import Frame, Source
from geocamnet.runtime.live.window import record, show
from geocamnet.runtime.model import load

CLASSES = ["oolite", "foam", "vug"]


@pytest.fixture
def video(tmp_path, paint):
    """A video of thirty frames, a class each in turn."""
    path = tmp_path / "section.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for number in range(30):
        writer.write(np.ascontiguousarray(paint((48, 64), CLASSES[number % 3])[..., ::-1]))
    writer.release()
    return path


class Camera:
    """A live source of so many frames, which then fails or is interrupted."""

    is_live, frames_per_s, count, name = True, 20.0, None, "Camera 0"

    def __init__(self, images, error=None, pause_s=0.01):
        self.images, self.error, self.pause_s, self.closed = images, error, pause_s, False

    def frames(self, **_):
        for number, image in enumerate(self.images):
            time.sleep(self.pause_s)
            yield Frame(number, number * self.pause_s, image)
        if self.error:
            raise self.error

    def close(self):
        self.closed = True


def lines_of(table):
    with table.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def count_frames(video):
    capture, count = cv2.VideoCapture(str(video)), 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def camera_command(*words, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "geocamnet", "camera", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "TERM": "dumb"} | environment,
    )  # fmt: skip


def test_without_a_window_every_frame_of_a_film_is_in_recording_and_table(video, tmp_path, student):
    with Source(video) as source, Live(source, student, lossless=True) as live:
        outcome = record(live, View(), out=tmp_path / "out")
    lines = lines_of(outcome.table)
    assert [int(line["source_frame"]) for line in lines] == list(range(30))
    assert [line["label"] for line in lines] == CLASSES * 10
    assert count_frames(outcome.video) == outcome.recorded == outcome.analysed == outcome.captured == 30
    assert outcome.dropped == 0


def test_it_ends_after_as_many_frames_as_asked(video, tmp_path, student):
    with Source(video) as source, Live(source, student, lossless=True) as live:
        outcome = record(live, View(), out=tmp_path / "out", max_frames=7)
    assert len(lines_of(outcome.table)) == count_frames(outcome.video) == 7


def test_it_ends_after_as_many_seconds_as_asked(paint, tmp_path, student):
    with Live(Camera([paint((48, 64), "oolite")] * 10_000), student) as live:
        outcome = record(live, View(), out=tmp_path / "out", seconds=0.6)
    assert 0.6 <= outcome.seconds < 5
    assert count_frames(outcome.video) == len(lines_of(outcome.table)) > 2


def test_a_camera_that_is_pulled_out_leaves_a_complete_recording(paint, tmp_path, student, caplog):
    caplog.set_level("INFO")
    source = Camera([paint((48, 64), "oolite")] * 20, SourceError("Camera 0 has gone away after 20 frames"))
    with Live(source, student) as live, pytest.raises(SourceError, match="gone away"):
        record(live, View(), out=tmp_path / "out")
    (video,), (table,) = (tmp_path / "out").glob("*.mp4"), (tmp_path / "out").glob("*.csv")
    assert count_frames(video) == len(lines_of(table)) > 0
    assert "complete up to there" in caplog.text
    assert source.closed


def test_it_ends_when_it_is_told_to(paint, tmp_path, student):
    stop = threading.Event()

    def tell(done):
        if done >= 5:
            stop.set()

    with Live(Camera([paint((48, 64), "oolite")] * 10_000), student) as live:
        outcome = record(live, View(), out=tmp_path / "out", on_progress=tell, stop=stop)
    assert count_frames(outcome.video) == len(lines_of(outcome.table)) >= 5


def test_a_source_without_frames_makes_no_files_and_is_told(tmp_path, student):
    with Live(Camera([]), student) as live, pytest.raises(SourceError, match="Camera 0: no frame was recorded"):
        record(live, View(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_table_forgets_the_scale_of_a_camera_that_changes_its_size(paint, tmp_path, student):
    images = [*[paint((48, 64), "oolite")] * 3, *[paint((96, 128), "foam")] * 3]
    with Live(Camera(images, pause_s=0.2), student) as live:
        outcome = record(live, View(um_per_px=1.6), out=tmp_path / "out")
    lines = lines_of(outcome.table)
    assert {(line["label"], line["um_per_px"]) for line in lines} == {("oolite", "1.6"), ("foam", "")}


def test_black_frames_and_changing_sizes_go_through(paint, tmp_path, student):
    images = [np.zeros((48, 64, 3), np.uint8), paint((96, 128), "foam"), paint((7, 99), "vug")]
    with Live(Camera(images, pause_s=0.3), student) as live:
        live.wishes = Wishes(texture=True)
        outcome = record(live, View(um_per_px=2.0), out=tmp_path / "out")
    lines = lines_of(outcome.table)
    assert "black picture" in {line["note"] for line in lines}
    assert {line["label"] for line in lines} >= {"vug"}
    assert (lines[0]["um_per_px"], lines[-1]["um_per_px"]) == ("2.0", "")


def test_memory_and_open_files_do_not_grow(paint, tmp_path, student):
    psutil = pytest.importorskip("psutil", reason="the memory of this process is read with psutil: pip install psutil")
    me, images = psutil.Process(), [paint((160, 160), name) for name in CLASSES]

    class Film(Camera):
        is_live = False

        def frames(self, **_):
            for number in range(300):
                yield Frame(number, number / 20, images[number % 3])

    seen = []

    def look(done):
        if done % 50 == 0:
            seen.append((me.memory_info().rss, me.num_fds() if hasattr(me, "num_fds") else 0))

    with Live(Film([]), student, Wishes(texture=True), lossless=True) as live:
        outcome = record(live, View(um_per_px=1.0), out=tmp_path / "out", on_progress=look)
    assert outcome.recorded == 300
    assert seen[-1][0] - seen[1][0] < 20e6
    assert seen[-1][1] == seen[1][1]


@pytest.mark.skipif(sys.platform != "linux", reason="only there a missing screen shows in the environment")
def test_without_a_screen_that_is_told_before_the_windows_library_ends_the_process(
    paint, student, tmp_path, monkeypatch
):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with Live(Camera([paint((8, 8), "oolite")]), student) as live, pytest.raises(SourceError, match="--headless"):
        show(live, View(), out=tmp_path)


def test_an_opencv_without_windows_is_told(paint, student, tmp_path, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":9")
    monkeypatch.setattr(window.cv2, "namedWindow", lambda *_: (_ for _ in ()).throw(cv2.error("no GUI")))
    with Live(Camera([paint((8, 8), "oolite")]), student) as live, pytest.raises(SourceError, match="opencv-python"):
        show(live, View(), out=tmp_path)


def test_the_verb_records_without_a_window(video, tmp_path, student):
    out = tmp_path / "录像"
    done = camera_command(video, "--model", student.path, "--headless", "--out", out, "--um-per-px", "1.5")
    _, said = done.communicate(timeout=120)
    assert done.returncode == 0, said
    (table,) = out.glob("*.csv")
    assert len(lines_of(table)) == 30
    assert "30 frames captured, 30 analysed" in said


@pytest.mark.parametrize(("words", "told"), [
    (["--opacity", "2"], "0 to 1"), (["--um-per-px", "-1"], "above 0"), (["--seconds", "3"], "--headless"),
    (["--show-class", "oolit"], "oolite"), (["--um-per-px", "1", "--objective", "4x"], "one of them"),
    (["--headless", "--objective", "4x"], "micrometer"), (["--headless", "--max-frames", "0"], "received 0"),
    (["--headless", "--max-frames", "-3"], "received -3"), (["--headless", "--seconds", "0"], "received 0"),
    (["--headless", "--seconds", "-1"], "received -1"), (["--frames-per-s", "-5"], "received -5"),
    (["--size-px", "640", "0"], "--size-px must be above 0"),
    (["--headless", "--seconds", "nan"], "received nan"),
])  # fmt: skip
def test_the_verb_says_what_does_not_go_together(words, told, video, tmp_path, student, capsys, monkeypatch):
    from geocamnet.cli import main

    monkeypatch.setenv("GEOCAMNET_OBJECTIVES", str(tmp_path / "objectives.json"))
    with pytest.raises(SystemExit):
        main(["camera", str(video), "--model", str(student.path), "--out", str(tmp_path / "out"), *words])
    assert told in capsys.readouterr().err


def test_the_first_frame_too_is_analysed_at_the_objectives_scale(tmp_path, make_student, tiny_card, paint, monkeypatch):
    from geocamnet.cli import main
    from geocamnet.runtime.live import objectives

    def slow_scale(name, shape_hw):
        time.sleep(0.5)
        return 4.0

    monkeypatch.setattr(objectives, "scale_of", slow_scale)
    card = replace(tiny_card, um_per_px=2.0, long_side_px=None)
    model = make_student(tmp_path / "scaled.onnx", card)
    for number in range(3):  # an odd size, whose border weighs less once it is enlarged
        write_image(tmp_path / "photographs" / f"{number}.png", paint((9, 13), "oolite"))
    out = tmp_path / "out"
    main(["camera", str(tmp_path / "photographs"), "--model", str(model), "--headless", "--objective", "10x",
          "--out", str(out)])  # fmt: skip
    wanted = load(model).predict(paint((9, 13), "oolite"), um_per_px=4.0, quick=True).probabilities[0]
    lines = lines_of(next(out.glob("*.csv")))
    assert [line["um_per_px"] for line in lines] == ["4.0"] * 3
    assert [float(line["p_oolite"]) for line in lines] == pytest.approx([float(wanted)] * 3, abs=1e-4)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal to send")
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
def test_ctrl_c_and_a_service_that_is_stopped_complete_the_recording(how, tmp_path, paint, student):
    path = tmp_path / "long.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (160, 120))
    for number in range(400):
        writer.write(np.ascontiguousarray(paint((120, 160), CLASSES[number % 3])[..., ::-1]))
    writer.release()
    out = tmp_path / "out"
    running = camera_command(path, "--model", student.path, "--headless", "--out", out, "--texture")
    until = time.monotonic() + 60
    while not list(out.glob("*.csv")) and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.3)
    running.send_signal(getattr(signal, how))
    _, said = running.communicate(timeout=60)
    assert running.returncode == 0, said
    (video,), (table,) = out.glob("*.mp4"), out.glob("*.csv")
    assert 0 < count_frames(video) == len(lines_of(table)) < 400


@pytest.fixture
def screen():
    """An X server of this test's own; its keyboard is ours."""
    for tool in ("Xvfb", "xdotool"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}, to press the keys of a real window: apt install xvfb xdotool")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1400x900x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=(write,), stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as stream:
        number = stream.readline().strip()
    yield {"DISPLAY": f":{number}"}
    server.terminate()
    server.wait(10)


def press(screen, *words):
    subprocess.run(["xdotool", *words], env=os.environ | screen, check=True, capture_output=True)


def wait_for(what, *, seconds=30):
    until = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def test_a_real_window_obeys_real_keys(screen, video, tmp_path, student):
    out, kept = tmp_path / "out", tmp_path / "objectives.json"
    running = camera_command(
        video, "--model", student.path, "--out", out, "--objective", "10x", **screen, GEOCAMNET_OBJECTIVES=str(kept)
    )
    try:
        look = ["xdotool", "search", "--onlyvisible", "--name", "^GeoCAMNet$"]
        found = wait_for(lambda: subprocess.run(look, env=os.environ | screen, capture_output=True, check=False).stdout)
        assert found, running.stderr
        number = found.decode().split()[0]
        press(screen, "windowfocus", number)
        wait_for(lambda: press(screen, "key", "s") or list(out.glob("snapshot*.json")))
        press(screen, "key", "r")
        assert wait_for(lambda: list(out.glob("recording*.csv")))
        time.sleep(0.5)
        press(screen, "key", "r")
        press(screen, "key", "m")
        time.sleep(0.3)
        press(screen, "mousemove", "--window", number, "100", "60", "mousedown", "1")
        press(screen, "mousemove", "--window", number, "300", "60")
        press(screen, "mousemove", "--window", number, "400", "60", "mouseup", "1")
        for key in ("5", "0", "0", "Return"):
            time.sleep(0.1)
            press(screen, "key", key)
        assert wait_for(kept.exists)
        press(screen, "key", "q")
        _, said = running.communicate(timeout=30)
    finally:
        running.kill()
    assert running.returncode == 0, said
    assert "frames captured" in said
    (film,), (table,) = out.glob("recording*.mp4"), out.glob("recording*.csv")
    assert count_frames(film) == len(lines_of(table)) > 0
    assert len(list_images(out)) % 2 == 0  # of each snapshot the frame, and the picture as shown
    # 300 px of a picture that shows 48 rows on 520: 27.7 px of the frame are 500 µm.
    assert '"um_per_px": 18.' in Path(kept).read_text(encoding="utf-8")


class Desktop:
    """Stands in for OpenCV's windows: plays keys, then the window is closed."""

    def __init__(self, monkeypatch, keys=(), closed_after=5):
        self.keys, self.closed_after, self.shown, self.open = list(keys), closed_after, [], False
        for name in ("imshow", "pollKey", "waitKey", "getWindowProperty", "namedWindow", "destroyAllWindows"):
            monkeypatch.setattr(window.cv2, name, getattr(self, name))
        for name in ("resizeWindow", "setMouseCallback"):
            monkeypatch.setattr(window.cv2, name, lambda *_: None)
        monkeypatch.setenv("DISPLAY", ":none")

    def namedWindow(self, *_):
        self.open = True

    def destroyAllWindows(self):
        self.open = False

    def imshow(self, _, picture):
        self.shown.append(picture)

    def pollKey(self):
        return ord(self.keys.pop(0)) if self.keys and self.shown else -1

    def waitKey(self, _):
        return self.pollKey()

    def getWindowProperty(self, *_):
        return 0.0 if len(self.shown) >= self.closed_after else 1.0


def test_a_window_that_is_closed_ends_the_view_and_completes_the_recording(paint, student, tmp_path, monkeypatch):
    desktop = Desktop(monkeypatch, keys="r", closed_after=8)
    with Live(Camera([paint((48, 64), "oolite")] * 1000), student) as live:
        outcome = show(live, View(), out=tmp_path)
    assert len(desktop.shown) == 8
    assert not desktop.open
    assert outcome.captured > 0
    (video,), (table,) = tmp_path.glob("*.mp4"), tmp_path.glob("*.csv")
    assert count_frames(video) == len(lines_of(table)) > 0


def test_at_its_end_a_film_stays_to_be_looked_at_and_obeys(video, student, tmp_path, monkeypatch):
    desktop = Desktop(monkeypatch, closed_after=10**9)
    with Source(video) as source, Live(source, student) as live:
        monkeypatch.setattr(desktop, "pollKey", lambda: -1 if not live.is_over else ord(next(keys)))
        monkeypatch.setattr(window.cv2, "pollKey", desktop.pollKey)
        keys = iter("cctsq" + " " * 9)
        show(live, View(), out=tmp_path)
    assert live.wishes.shown_class == "foam"
    assert len(list_images(tmp_path)) == 2


@pytest.mark.parametrize("frames", [0, 3])
def test_a_camera_that_is_pulled_out_closes_the_window_and_tells(frames, paint, student, tmp_path, monkeypatch):
    desktop = Desktop(monkeypatch, closed_after=10**9)
    source = Camera([paint((48, 64), "oolite")] * frames, SourceError("Camera 0 has gone away"))
    with Live(source, student) as live, pytest.raises(SourceError, match="gone away"):
        show(live, View(), out=tmp_path)
    assert not desktop.open


def test_a_source_that_ends_without_a_frame_is_told(student, tmp_path, monkeypatch):
    Desktop(monkeypatch, closed_after=10**9)
    with Live(Camera([]), student) as live, pytest.raises(SourceError, match="without a frame"):
        show(live, View(), out=tmp_path)
