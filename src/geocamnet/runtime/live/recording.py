"""What is kept of a stream: a video with a table beside it, and snapshots with what was said of them."""

import csv
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import cv2
import numpy as np

from geocamnet import __version__
from geocamnet.errors import SourceError
from geocamnet.images import RgbImage, write_image, written_aside
from geocamnet.runtime.live.live import Analysis
from geocamnet.runtime.model import Model

# The first that this installation of OpenCV can write; MPEG-4 plays everywhere, Motion JPEG is always there.
ENCODINGS = (("mp4v", ".mp4"), ("MJPG", ".avi"))
LEAST_FREE_BYTES = 200_000_000
LOOK_AT_DISK_EVERY = 50  # frames
MOST_REPEATS = 250  # frames written for one picture where nothing new came: a gap is shown, not filled for hours

FIXED_COLUMNS = (
    "frame", "time_s", "source_frame", "source_time_s", "label", "most_probable", "shown_class", "area_percent",
    "texture_entropy", "um_per_px", "note",
)  # fmt: skip

_log = logging.getLogger(__name__)


class _Shown(NamedTuple):
    picture: RgbImage
    analysis: Analysis | None
    um_per_px: float | None


class Recording:
    """A video and, beside it, a CSV with one line for each of its frames; use it in a ``with``.

    Both are complete whenever it is closed, whatever ended it. Frames of another size than the first are fitted into
    it with black borders, for a video has one size.

    Attributes:
        video, table: the files.
        frames: written so far.

    Args:
        stem: path of both files without their suffix; a number is added where there is one already.
        size_wh: of the first frame.
        frames_per_s: of the video.
        class_names: a column of probabilities each.

    Raises:
        SourceError: no file can be written there, or the disk is nearly full.
    """

    def __init__(
        self, stem: Path, size_wh: tuple[int, int], *, frames_per_s: float, class_names: Sequence[str]
    ) -> None:
        stem = _free_stem(stem, (".mp4", ".avi", ".csv"))
        _check_disk(stem.parent)
        self.frames, self.frames_per_s = 0, frames_per_s
        self.size_wh = (size_wh[0] + size_wh[0] % 2, size_wh[1] + size_wh[1] % 2)  # encoders want even sides
        self._class_names = tuple(class_names)
        self._latest: _Shown | None = None  # given by the clock, written or not
        self._left_out = 0  # places of the clock that the video leaves out
        self.video, self._writer = _open_writer(stem, self.size_wh, frames_per_s)
        self.table = stem.with_name(stem.name + ".csv")
        # Line by line to the disk: a killed process leaves a table of all it did.
        try:
            self._stream: TextIO = self.table.open("w", encoding="utf-8-sig", newline="", buffering=1)
        except OSError as error:
            self._writer.release()
            raise SourceError(_cannot_write(self.table, error)) from error
        self._csv = csv.writer(self._stream, lineterminator="\n")
        self._csv.writerow([*FIXED_COLUMNS, *(f"p_{name}" for name in class_names)])

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(
        self, picture: RgbImage, analysis: Analysis | None, *, um_per_px: float | None = None, at_s: float | None = None
    ) -> None:
        """Write one frame, or with ``at_s`` as many as the video's own time asks for.

        Args:
            picture: RGB uint8 (H, W, 3), what was shown; it is kept until the next one, and must not change.
            analysis: what was said of it.
            um_per_px: of the analysed frame, for the table; None where unknown.
            at_s: seconds since the recording began. The picture before is then repeated up to there, with its line, or
                this one left out, so that the video runs as fast as what was recorded. The video begins with the
                first picture, and leaves out what of a gap is longer than ``MOST_REPEATS`` frames. None writes the
                picture once.

        Raises:
            SourceError: the disk is nearly full.
        """
        shown = _Shown(picture, analysis, um_per_px)
        if at_s is None:
            self._write(shown, 1)
            return
        place = int(at_s * self.frames_per_s) - self._left_out
        before, self._latest = self._latest, shown
        most = self.frames + (MOST_REPEATS - 1 if before is not None else 0)
        if place > most:  # or every later picture would be repeated to catch up with the clock
            self._left_out += place - most
            place = most
        if before is not None and place > self.frames:
            self._write(before, place - self.frames)
        if place == self.frames:
            self._write(shown, 1)

    def _write(self, shown: _Shown, count: int) -> None:
        fitted = np.ascontiguousarray(cv2.cvtColor(_fitted(shown.picture, self.size_wh), cv2.COLOR_RGB2BGR))
        for _ in range(count):
            if self.frames % LOOK_AT_DISK_EVERY == 0:
                _check_disk(self.video.parent)
            self._writer.write(fitted)
            self._csv.writerow(self._line(shown))
            self.frames += 1

    def close(self) -> None:
        """Complete both files; may be called twice."""
        self._writer.release()
        self._stream.close()

    def _line(self, shown: _Shown) -> list[object]:
        at = round(self.frames / self.frames_per_s, 4)
        if shown.analysis is None:
            return [self.frames, at, *([""] * (len(FIXED_COLUMNS) - 2 + len(self._class_names)))]
        told = describe(shown.analysis, um_per_px=shown.um_per_px)
        probabilities = told.pop("probabilities")
        line = {"frame": self.frames, "time_s": at, **told}
        cells = [line[name] for name in FIXED_COLUMNS]
        shares = [probabilities.get(name) for name in self._class_names]
        return ["" if one is None else one for one in (*cells, *shares)]


def describe(analysis: Analysis, *, um_per_px: float | None) -> dict[str, Any]:
    """Return what was said of a frame, by the names of the table's columns, with ``probabilities`` per class."""
    prediction = analysis.prediction
    return {
        "source_frame": analysis.frame.number,
        "source_time_s": round(analysis.frame.time_s, 4),
        "label": prediction.verdict if prediction else None,
        "most_probable": prediction.top(1)[0][0] if prediction else None,
        "shown_class": analysis.shown_class or None,
        "area_percent": round(analysis.area_percent, 2) if prediction else None,
        "texture_entropy": None if analysis.entropy is None else round(analysis.entropy, 4),
        "um_per_px": um_per_px,
        "note": analysis.note,
        "probabilities": {name: round(p, 4) for name, p in prediction.top(k=0)} if prediction else {},
    }


def save_snapshot(
    stem: Path,
    analysis: Analysis,
    shown: RgbImage,
    model: Model,
    *,
    um_per_px: float | None,
    settings: Mapping[str, Any],
) -> Path:
    """Write the frame as it came, without loss, the picture as shown, and what was said of it as JSON.

    Args:
        stem: path without a suffix; a number is added where there is one already.
        analysis: of the frame.
        shown: RGB uint8 picture of the screen.
        model: that said it.
        um_per_px: of the frame; None where unknown.
        settings: how it was shown, for the JSON.

    Returns:
        The frame's file; ``_shown.png`` and ``.json`` lie beside it.

    Raises:
        SourceError: the folder can't be made or written to, or the disk is nearly full.
        DataError: the files can't be written.
    """
    stem = _free_stem(stem, (".png", ".json", "_shown.png"))
    _check_disk(stem.parent)
    frame = stem.with_name(stem.name + ".png")
    write_image(frame, analysis.frame.image)
    write_image(stem.with_name(stem.name + "_shown.png"), shown)
    told = {
        "model": {"name": model.card.name, "file": model.path.name, "sha256": model.sha256},
        **describe(analysis, um_per_px=um_per_px),
        "shown": dict(settings),
        "version": __version__,
    }
    with written_aside(stem.with_name(stem.name + ".json")) as aside:
        aside.write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return frame


def _free_stem(stem: Path, suffixes: Sequence[str]) -> Path:
    """Return the stem, or with the first number added that no file has: nothing is ever overwritten."""
    number, free = 1, stem
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        while any(free.with_name(free.name + suffix).exists() for suffix in suffixes):
            number += 1
            free = stem.with_name(f"{stem.name}-{number}")
    except OSError as error:
        raise SourceError(_cannot_write(stem.parent, error)) from error
    return free


def _check_disk(folder: Path) -> None:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise SourceError(_cannot_write(folder, error)) from error
    if free < LEAST_FREE_BYTES:
        raise SourceError(
            f"{folder}: only {free // 1_000_000} MB are free on this disk, and a recording needs "
            f"{LEAST_FREE_BYTES // 1_000_000} MB to be completed safely. Make room, or name another folder with --out."
        )


def _cannot_write(path: Path, error: OSError) -> str:
    return f"{path}: can't be written ({error.strerror or error}). Check its rights, or name another folder with --out."


def _open_writer(stem: Path, size_wh: tuple[int, int], frames_per_s: float) -> tuple[Path, cv2.VideoWriter]:
    tried = []
    for code, suffix in ENCODINGS:
        video = stem.with_name(stem.name + suffix)
        writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*code), frames_per_s, size_wh)
        if writer.isOpened():
            return video, writer
        tried.append(f"{video.name} ({code})")
    raise SourceError(
        f"{stem.parent}: no video of {size_wh[0]} x {size_wh[1]} px can be written there. Tried: {', '.join(tried)}. "
        "Check that the folder can be written to, or name another with --out."
    )


def _fitted(picture: RgbImage, size_wh: tuple[int, int]) -> RgbImage:
    """Return the picture within a size, scaled down or up as little as that needs, black around."""
    height, width = picture.shape[:2]
    if (width, height) == size_wh:
        return picture
    scale = min(size_wh[0] / width, size_wh[1] / height)
    if abs(scale - 1) > 0.01:
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = cv2.resize(picture, small, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    height, width = (min(a, b) for a, b in zip(picture.shape[:2], size_wh[::-1], strict=True))
    fitted = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    top, left = (size_wh[1] - height) // 2, (size_wh[0] - width) // 2
    fitted[top : top + height, left : left + width] = picture[:height, :width]
    return fitted
