"""A live source gives frames and predictions, and is let go whatever happens."""

from itertools import islice

import cv2
import numpy as np
import pytest

from geocamnet.errors import DataError, SourceError
from geocamnet.images import write_image
from geocamnet.runtime.live import source
from geocamnet.runtime.live.camera import watch

CLASSES = ["oolite", "foam", "vug"]


@pytest.fixture
def video(tmp_path, paint):
    """A video of six frames: red, green, blue, twice."""
    path = tmp_path / "section.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5.0, (64, 48))
    assert writer.isOpened()
    for i in range(6):
        writer.write(np.ascontiguousarray(paint((48, 64), CLASSES[i % 3])[..., ::-1]))
    writer.release()
    return path


class FakeCamera:
    """Stands in for cv2.VideoCapture: gives the frames planned for each opening, then fails."""

    def __init__(self, openings, *, opens=True):
        self.openings = iter(openings)
        self.opens = opens
        self.opened = self.released = self.reads = 0
        self.frames = iter(())

    def __call__(self, where, backend):
        frames = next(self.openings, None)
        self.is_open = self.opens and frames is not None
        self.opened += self.is_open
        self.frames = iter(frames or ())
        return self

    def isOpened(self):
        return self.is_open

    def read(self):
        self.reads += 1
        frame = next(self.frames, None)
        return frame is not None, frame

    def grab(self):
        return next(self.frames, None) is not None

    def get(self, what):
        return -1.0

    def set(self, what, value):
        return True

    def release(self):
        self.released += self.is_open
        self.is_open = False


@pytest.fixture
def plug(monkeypatch):
    """Return a function that plugs in a fake camera."""
    monkeypatch.setattr(source, "READ_PAUSE_S", 0)
    monkeypatch.setattr(source, "RECONNECT_PAUSE_S", 0)

    def plug_in(openings, **options):
        fake = FakeCamera(openings, **options)
        monkeypatch.setattr(source.cv2, "VideoCapture", fake)
        return fake

    return plug_in


def bgr(colour_rgb, shape_hw=(20, 30)):
    return np.full((*shape_hw, 3), colour_rgb[::-1], np.uint8)


def test_a_videos_frames_come_in_order_as_rgb_and_its_end_ends(video, student):
    seen = list(watch(video, student))
    assert [prediction.label for _, prediction in seen] == CLASSES * 2
    frame = seen[0][0]
    assert frame.shape == (48, 64, 3)
    assert frame.dtype == np.uint8
    assert frame[..., 0].mean() > frame[..., 2].mean() + 50  # red first: RGB, not BGR
    assert seen[0][1].shape_hw == (48, 64)


def test_a_video_that_is_cut_short_is_warned_of_and_a_whole_one_is_not(tmp_path, paint, student, caplog):
    whole, cut = tmp_path / "whole.avi", tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (64, 48))
    for _ in range(30):
        writer.write(np.ascontiguousarray(paint((48, 64), "oolite")[..., ::-1]))
    writer.release()
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    assert len(list(watch(whole, student, every=4))) == 8
    assert not caplog.text
    seen = len(list(watch(cut, student)))
    assert 0 < seen < 28
    assert f"cut.avi ends after {seen} of the 30 frames it states" in caplog.text


def test_every_other_frame_and_no_more_than_asked(video, student):
    assert [p.label for _, p in watch(str(video), student, every=2)] == ["oolite", "vug", "foam"]
    assert [p.label for _, p in watch(str(video), student, max_frames=2)] == ["oolite", "foam"]
    assert [p.label for _, p in watch(str(video), student, every=4)] == ["oolite", "foam"]
    assert list(watch(str(video), student, max_frames=0)) == []


def test_a_folder_of_photographs_is_a_source(tmp_path, paint, student):
    for i, name in enumerate(CLASSES):
        write_image(tmp_path / "frames" / f"{i}.png", paint((20 + 10 * i, 40), name))
    seen = list(watch(tmp_path / "frames", student))
    assert [p.label for _, p in seen] == CLASSES
    assert [frame.shape[0] for frame, _ in seen] == [20, 30, 40]  # sizes may change
    assert [p.label for _, p in watch(tmp_path / "frames", student, every=2)] == ["oolite", "vug"]
    assert [p.label for _, p in watch(tmp_path / "frames" / "1.png", student)] == ["foam"]


def test_a_damaged_photograph_of_a_folder_is_told(tmp_path, student):
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"bad\.png"):
        next(watch(tmp_path, student))


def test_black_frames_and_changing_sizes_are_fine(plug, student):
    plug([[bgr((0, 0, 0)), bgr((255, 0, 0), (40, 10)), bgr((0, 0, 255), (7, 99))]])
    seen = list(islice(watch(0, student), 3))
    assert [p.label for _, p in seen] == [None, "oolite", "vug"]
    assert [p.shape_hw for _, p in seen] == [(20, 30), (40, 10), (7, 99)]


def test_grey_and_transparent_frames_become_rgb(plug, student):
    red = np.dstack([bgr((255, 0, 0)), np.full((20, 30), 9, np.uint8)])
    plug([[np.full((20, 30), 7, np.uint8), np.full((20, 30, 1), 7, np.uint8), red]])
    frames = [frame for frame, _ in islice(watch(0, student), 3)]
    assert [frame.shape for frame in frames] == [(20, 30, 3)] * 3
    assert tuple(frames[0][0, 0]) == (7, 7, 7)
    assert tuple(frames[2][0, 0]) == (255, 0, 0)


def test_frames_of_another_kind_are_told(plug, student):
    plug([[np.zeros((20, 30), np.uint16)]])
    with pytest.raises(SourceError, match="uint16"):
        next(watch(0, student))


def test_a_dropped_frame_does_not_end_a_camera(plug, student):
    class Hiccup(FakeCamera):
        def read(self):
            self.reads += 1
            return (False, None) if self.reads % 2 else super().read()

    fake = plug([[]])
    hiccup = Hiccup([[bgr((255, 0, 0))] * 3])
    source.cv2.VideoCapture = hiccup
    assert len(list(islice(watch(0, student), 1))) == 1
    assert hiccup.opened == 1
    assert fake.opened == 0


def test_a_camera_that_comes_back_goes_on(plug, student):
    fake = plug([[bgr((255, 0, 0))], [bgr((0, 0, 255))] * 2])
    seen = list(islice(watch(0, student), 3))
    assert [p.label for _, p in seen] == ["oolite", "vug", "vug"]
    assert fake.opened == 2


def test_a_camera_that_has_gone_away_is_told_after_some_attempts(plug, student):
    fake = plug([[bgr((255, 0, 0))] * 2])
    frames = watch(0, student)
    assert [p.label for _, p in islice(frames, 2)] == ["oolite", "oolite"]
    with pytest.raises(SourceError, match=r"Camera 0 has gone away after 2 frames.*cable"):
        next(frames)
    assert fake.reads == 2 + source.FAILED_READS  # what can't be opened again is not read from
    assert fake.released == fake.opened == 1


def test_a_camera_that_opens_but_never_gives_a_frame_is_told(plug, student):
    fake = plug([[]] * 10)
    with pytest.raises(SourceError, match="after 0 frames"):
        next(watch(0, student))
    assert fake.opened == fake.released == 1 + source.RECONNECTS


def test_a_camera_that_can_not_be_opened_lists_what_was_tried(plug, student):
    plug([[]], opens=False)
    with pytest.raises(SourceError, match=r"Camera 3 can't be opened\. Tried: OpenCV's own choice"):
        next(watch(3, student))


def test_a_streams_password_is_not_told(plug, student, caplog):
    plug([[]], opens=False)
    with pytest.raises(SourceError, match=r"^rtsp://microscope/live: can't be opened"):
        next(watch("rtsp://user:secret@microscope/live", student))
    plug([[bgr((255, 0, 0))]])
    frames = watch("rtsp://user:secret@microscope/live", student)
    next(frames)
    with pytest.raises(SourceError, match=r"^rtsp://microscope/live has gone away"):
        next(frames)
    assert "microscope" in caplog.text
    assert "secret" not in caplog.text


def test_opencvs_own_messages_are_as_loud_afterwards(plug, student):
    before = cv2.utils.logging.getLogLevel()
    plug([[]], opens=False)
    with pytest.raises(SourceError):
        next(watch(0, student))
    assert cv2.utils.logging.getLogLevel() == before


def test_a_number_in_text_is_a_cameras_number(plug, student):
    plug([[]], opens=False)
    with pytest.raises(SourceError, match="Camera 12 can't"):
        next(watch("12", student))


def test_a_stream_that_ends_is_opened_again_but_a_file_behind_a_url_is_not(plug, student, monkeypatch):
    fake = plug([[bgr((255, 0, 0))], [bgr((0, 0, 255))]])
    assert len(list(islice(watch("rtsp://microscope/live", student), 2))) == 2
    assert fake.opened == 2
    fake = plug([[bgr((255, 0, 0))], [bgr((0, 0, 255))]])
    monkeypatch.setattr(fake, "get", lambda what: 1.0)
    assert len(list(watch("http://microscope/film.mp4", student))) == 1
    assert fake.opened == fake.released == 1


def test_closing_releases_the_camera(plug, student):
    fake = plug([[bgr((255, 0, 0))] * 9])
    frames = watch(0, student)
    next(frames)
    assert fake.released == 0
    frames.close()
    assert fake.released == fake.opened == 1


def test_max_frames_releases_the_camera(plug, student):
    fake = plug([[bgr((255, 0, 0))] * 9])
    assert len(list(watch(0, student, max_frames=3))) == 3
    assert fake.released == 1


def test_an_error_while_predicting_releases_the_camera(plug, student, monkeypatch):
    fake = plug([[bgr((255, 0, 0))] * 9])

    class Broken:
        def predict(self, image, **options):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        next(watch(0, Broken()))
    assert fake.released == 1


def test_an_error_in_the_callers_loop_releases_the_camera(plug, student):
    fake = plug([[bgr((255, 0, 0))] * 9])
    frames = watch(0, student)
    next(frames)
    with pytest.raises(KeyboardInterrupt):
        frames.throw(KeyboardInterrupt)
    assert fake.released == 1


def test_what_is_no_source_is_told(tmp_path, student):
    with pytest.raises(SourceError, match="is no source"):
        next(watch(tmp_path / "absent.mp4", student))
    with pytest.raises(SourceError, match="0 or more"):
        next(watch(-1, student))


def test_a_file_that_is_no_video_is_told(tmp_path, student):
    (tmp_path / "film.mp4").write_bytes(b"this is not a film" * 50)
    with pytest.raises(SourceError, match=r"film\.mp4.*can't be opened as a video"):
        next(watch(tmp_path / "film.mp4", student))


@pytest.mark.parametrize("options", [{"every": 0}, {"max_frames": -1}])
def test_numbers_out_of_range_are_refused(video, student, options):
    with pytest.raises(SourceError, match="received"):
        next(watch(video, student, **options))
