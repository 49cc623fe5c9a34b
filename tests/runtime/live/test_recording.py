"""A recording is complete whatever ends it: as many frames as lines, and nothing is overwritten."""

import csv
import json
from collections import namedtuple

import cv2
import numpy as np
import pytest

from geocamnet.errors import SourceError
from geocamnet.images import read_image
from geocamnet.runtime.live import recording as module
from geocamnet.runtime.live.live import Analysis, Wishes, analyse
from geocamnet.runtime.live.recording import FIXED_COLUMNS, Recording, save_snapshot
from geocamnet.runtime.live.source import Frame


@pytest.fixture
def seen(paint, student):
    def see(number, name="oolite", **wishes):
        image = paint((48, 64), name)
        return analyse(Frame(number, number / 5, image), student.predict(image), Wishes(**wishes))

    return see


def frames_of(video):
    capture, frames = cv2.VideoCapture(str(video)), []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return frames, rate


def lines_of(table):
    with table.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def make(tmp_path, student, **options):
    options = {"frames_per_s": 5.0, "class_names": student.card.class_names, **options}
    return Recording(tmp_path / "film", (64, 48), **options)


def test_every_frame_has_its_line_and_the_other_way_round(tmp_path, seen, student):
    names = ["oolite", "foam", "vug", "oolite", "vug", "foam"]
    with make(tmp_path, student) as recording:
        for number, name in enumerate(names):
            analysis = seen(number, name)
            recording.add(analysis.frame.image, analysis, um_per_px=1.5)
    frames, rate = frames_of(recording.video)
    lines = lines_of(recording.table)
    assert len(frames) == len(lines) == recording.frames == 6
    assert rate == pytest.approx(5)
    assert [int(line["frame"]) for line in lines] == list(range(6))
    assert [float(line["time_s"]) for line in lines] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert [line["label"] for line in lines] == names
    assert [
        max(student.card.class_names, key=lambda name, line=line: float(line[f"p_{name}"])) for line in lines
    ] == names
    assert {line["um_per_px"] for line in lines} == {"1.5"}
    assert [float(line["area_percent"]) for line in lines] == pytest.approx(
        [seen(i, name).area_percent for i, name in enumerate(names)], abs=0.01
    )
    assert frames[0][..., 0].mean() > frames[0][..., 2].mean() + 40  # red: RGB went in, RGB comes out


def test_by_the_clock_frames_are_repeated_and_left_out(tmp_path, seen, student):
    with make(tmp_path, student) as recording:
        for number, at in enumerate([0.0, 0.05, 0.2, 1.0, 1.01]):  # 5 a second
            recording.add(seen(number).frame.image, seen(number), at_s=at)
    assert [int(line["source_frame"]) for line in lines_of(recording.table)] == [0, 2, 2, 2, 2, 3]
    assert len(frames_of(recording.video)[0]) == 6


def test_no_picture_stands_in_the_video_before_it_was_taken(tmp_path, student, seen):
    names = {0.1: "oolite", 0.5: "foam", 0.55: "vug", 1.7: "oolite", 2.1: "foam"}
    with make(tmp_path, student) as recording:
        for number, (at, name) in enumerate(names.items()):
            recording.add(seen(number, name).frame.image, seen(number, name), um_per_px=number + 1, at_s=at)
    frames, _ = frames_of(recording.video)
    lines = lines_of(recording.table)
    assert [line["label"] for line in lines] == [*["oolite"] * 2, "foam", *["vug"] * 5, *["oolite"] * 2, "foam"]
    assert [line["um_per_px"] for line in lines] == [*"11", "2", *"33333", *"44", "5"]
    shown = [("oolite", "foam", "vug")[int(frame.mean(axis=(0, 1)).argmax())] for frame in frames]
    assert shown == [line["label"] for line in lines]


def test_a_recording_begins_with_its_first_picture_however_late_that_is(tmp_path, seen, student):
    with make(tmp_path, student) as recording:
        for number, at in enumerate([3.0, 3.2, 3.6]):
            recording.add(seen(number).frame.image, seen(number), at_s=at)
    assert [int(line["source_frame"]) for line in lines_of(recording.table)] == [0, 1, 1, 2]


def test_a_long_gap_does_not_fill_the_disk(tmp_path, seen, student, monkeypatch):
    monkeypatch.setattr(module, "MOST_REPEATS", 7)
    with make(tmp_path, student) as recording:
        recording.add(seen(0).frame.image, seen(0), at_s=0)
        recording.add(seen(1).frame.image, seen(1), at_s=3600)
        assert recording.frames == 8
        for number, at in ((2, 3600.2), (3, 3600.4)):  # the clock has moved: nothing is to be caught up with
            recording.add(seen(number).frame.image, seen(number), at_s=at)
    assert [int(line["source_frame"]) for line in lines_of(recording.table)] == [*[0] * 7, 1, 2, 3]


def test_frames_of_another_size_are_fitted_into_the_first(tmp_path, student, paint):
    with make(tmp_path, student) as recording:
        for shape_hw in ((48, 64), (480, 640), (20, 64), (48, 10), (1, 1), (33, 47)):
            recording.add(paint(shape_hw, "oolite"), None)
    frames, _ = frames_of(recording.video)
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 6
    assert frames[2][24].mean() > 40  # the strip lies in the middle
    assert frames[2][2].mean() < 20  # and is black above


def test_odd_sizes_are_recorded(tmp_path, student, paint):
    with Recording(tmp_path / "odd", (33, 21), frames_per_s=5, class_names=student.card.class_names) as recording:
        recording.add(paint((21, 33), "oolite"), None)
    assert len(frames_of(recording.video)[0]) == 1


def test_frames_without_a_prediction_have_a_line_too(tmp_path, student, paint):
    image = paint((48, 64), "oolite")
    with make(tmp_path, student) as recording:
        recording.add(image, None)
        recording.add(image, Analysis(Frame(3, 0.6, image), note="the stage moves"))
    empty, moving = lines_of(recording.table)
    assert set(empty.values()) == {"0", "0.0", ""}
    assert (moving["source_frame"], moving["label"], moving["note"]) == ("3", "", "the stage moves")
    assert tuple(empty)[: len(FIXED_COLUMNS)] == FIXED_COLUMNS


def test_nothing_is_overwritten(tmp_path, seen, student):
    for _ in range(3):
        with make(tmp_path, student) as recording:
            recording.add(seen(0).frame.image, seen(0))
    stems = sorted({path.stem for path in tmp_path.iterdir()})
    assert stems == ["film", "film-2", "film-3"]


def test_a_disk_that_fills_up_ends_a_recording_that_is_complete(tmp_path, seen, student, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(module, "LOOK_AT_DISK_EVERY", 2)
    recording = make(tmp_path, student)
    for number in range(4):
        recording.add(seen(number).frame.image, seen(number))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: usage(150_000_000))
    with pytest.raises(SourceError, match=r"only 150 MB are free.*Make room"):
        recording.add(seen(4).frame.image, seen(4))
    recording.close()
    recording.close()
    assert len(frames_of(recording.video)[0]) == len(lines_of(recording.table)) == 4
    with pytest.raises(SourceError, match="150 MB"):
        make(tmp_path, student)


def test_where_no_video_can_be_written_that_is_told(tmp_path, student, monkeypatch):
    monkeypatch.setattr(module, "ENCODINGS", (("nope", ".mp4"),))
    monkeypatch.setattr(module.cv2.VideoWriter, "isOpened", lambda self: False, raising=False)

    class Closed:
        fourcc = staticmethod(cv2.VideoWriter.fourcc)

        def __init__(self, *_):
            pass

        def isOpened(self):
            return False

    monkeypatch.setattr(module.cv2, "VideoWriter", Closed)
    with pytest.raises(SourceError, match=r"Tried: film\.mp4 \(nope\)"):
        make(tmp_path, student)


@pytest.mark.parametrize("folder", ["a file", "a file/below"])
def test_a_folder_that_cannot_be_made_is_told(folder, tmp_path, student, seen):
    (tmp_path / "a file").write_bytes(b"")
    with pytest.raises(SourceError, match=r"a file.*can't be written.*--out"):
        make(tmp_path / folder, student)
    analysis = seen(0)
    with pytest.raises(SourceError, match=r"a file.*can't be written.*--out"):
        save_snapshot(tmp_path / folder / "one", analysis, analysis.frame.image, student, um_per_px=None, settings={})


def test_a_table_or_a_disk_that_cannot_be_used_is_told(tmp_path, student, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.Path, "open", refuse)
    with pytest.raises(SourceError, match=r"film\.csv: can't be written \(Permission denied\)"):
        make(tmp_path, student)
    monkeypatch.setattr(module.shutil, "disk_usage", refuse)
    with pytest.raises(SourceError, match=r"can't be written \(Permission denied\)"):
        make(tmp_path, student)


def test_a_killed_process_leaves_a_table_of_all_it_did(tmp_path, seen, student):
    recording = make(tmp_path, student)
    for number in range(3):
        recording.add(seen(number).frame.image, seen(number))
    assert [line["source_frame"] for line in lines_of(recording.table)] == ["0", "1", "2"]  # not closed yet
    recording.close()


def test_a_snapshot_keeps_the_frame_to_the_last_bit_and_what_was_said(tmp_path, seen, student):
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    analysis = analyse(Frame(7, 1.4, noise), student.predict(noise), Wishes(texture=True))
    shown = np.zeros((50, 90, 3), np.uint8)
    settings = {"opacity": 0.5}
    files = [
        save_snapshot(tmp_path / "尘 1", analysis, shown, student, um_per_px=2.0, settings=settings) for _ in range(2)
    ]
    assert [file.name for file in files] == ["尘 1.png", "尘 1-2.png"]
    np.testing.assert_array_equal(read_image(files[0]), noise)
    np.testing.assert_array_equal(read_image(tmp_path / "尘 1_shown.png"), shown)
    told = json.loads((tmp_path / "尘 1.json").read_text(encoding="utf-8"))
    assert told["model"] == {"name": "tiny", "file": student.path.name, "sha256": student.sha256}
    assert told["probabilities"] == {name: round(p, 4) for name, p in analysis.prediction.top(0)}
    assert told["area_percent"] == pytest.approx(analysis.area_percent, abs=0.01)
    assert told["texture_entropy"] == pytest.approx(analysis.entropy, abs=1e-4)
    assert told["um_per_px"] == 2.0
    assert told["shown"] == settings
