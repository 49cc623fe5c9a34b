"""Where frames come from: a camera, a video file, a stream, or a folder of photographs shown one after another."""

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.errors import DataError, SourceError
from geocamnet.images import IMAGE_SUFFIXES, RgbImage, list_images, read_image

# A USB camera drops a frame now and then; a pulled plug fails for good. Failed reads in a row, then reconnects.
FAILED_READS = 10
READ_PAUSE_S = 0.05
RECONNECTS = 3
RECONNECT_PAUSE_S = 1.0
MOST_FRAMES_PER_S = 1000.0  # what a file claims beyond it is no rate
SHORT_BY = 0.05  # of the frames a video states: fewer may be missing, for some containers state an estimate

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a source.

    Attributes:
        number: its place in the source, from 0; frames passed over count.
        time_s: seconds since the first frame; by the clock for a live source, by the file's own rate for a video,
            and ``number`` for a folder.
        image: RGB uint8 (H, W, 3).
        path: of a photograph's file; empty where the frame is a camera's or a video's.
    """

    number: int
    time_s: float
    image: RgbImage
    path: str = ""


class Source:
    """An open source of frames; use it in a ``with``, which lets it go.

    Attributes:
        name: for people; a stream's password is left out.
        is_live: a camera or a stream, which does not wait for whoever reads it; a file or a folder does.
        frames_per_s: of a video file, or as a camera states it; None where unknown.
        count: frames that a folder has or a video file says it has; None where unknown.

    Args:
        source: a camera's number (0 is the first), the path of a video, a URL (``rtsp://``, ``http://``), a folder
            of photographs, or one photograph.
        size_wh: pixels asked of a camera, which may give others; None takes its own choice.

    Raises:
        SourceError: it can't be opened (the text lists what was tried).
        DataError: a folder without photographs.
    """

    def __init__(self, source: int | str | os.PathLike[str], *, size_wh: tuple[int, int] | None = None) -> None:
        self._where = _locate(source)
        self._size_wh = size_wh
        self._capture: cv2.VideoCapture | None = None
        self.is_live = False
        self.frames_per_s: float | None = None
        self.count: int | None = None
        if isinstance(self._where, list):
            self.name, self.count = str(source), len(self._where)
            return
        self.name = _name(self._where)
        self._capture, tried = _open(self._where)
        if self._capture is None:
            raise SourceError(_cannot_open(self._where, tried))
        self.is_live = _is_live(self._where, self._capture)
        self._ask(self._capture)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = int(count) if count > 0 and not self.is_live else None
        self.frames_per_s = rate if 0 < rate <= MOST_FRAMES_PER_S else None

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the source go."""
        if self._capture is not None:
            self._capture.release()

    def frames(
        self, *, every: int = 1, on_bad: Callable[[DataError], None] | None = None
    ) -> Generator[Frame, None, None]:
        """Yield the frames, until the source ends; a video that ends well before it should is warned of in the log.

        Args:
            every: every n-th frame only, at least 1; the others are passed over.
            on_bad: called with the error of a photograph of a folder that can't be read, which is then passed over;
                None raises it.

        Raises:
            SourceError: no frame at all, or a camera that has gone away and did not come back.
            DataError: a photograph that can't be read, without ``on_bad``.
        """
        if isinstance(self._where, list):
            for number, path in list(enumerate(self._where))[::every]:
                try:
                    image = read_image(path)
                except DataError as error:
                    if on_bad is None:
                        raise
                    on_bad(error)
                    continue
                yield Frame(number, float(number), image, str(path))
            return
        yield from self._captured(self._where, every)

    def _captured(self, where: int | str, every: int) -> Generator[Frame, None, None]:
        assert self._capture is not None
        failed, reconnects, position, began = 0, 0, 0, time.monotonic()
        while True:
            wanted = position % every == 0
            got, frame = self._capture.read() if wanted else (self._capture.grab(), None)
            if got and (frame is not None or not wanted):
                if position == 0:
                    began = time.monotonic()
                failed, reconnects = 0, 0
                if frame is not None:
                    by_clock = self.is_live or self.frames_per_s is None
                    at = time.monotonic() - began if by_clock else position / (self.frames_per_s or 1)
                    yield Frame(position, at, _to_rgb(frame, where))
                position += 1
                continue
            if not self.is_live:
                if position == 0:
                    raise SourceError(f"{self.name}: opens, but holds no frame that can be decoded.")
                if self.count is not None and self.count - position > max(1.0, SHORT_BY * self.count):
                    _log.warning(
                        "%s ends after %d of the %d frames it states: the file may be cut short, or damaged there. "
                        "Copy it again from its source.", self.name, position, self.count,
                    )  # fmt: skip
                return
            failed += 1
            if failed < FAILED_READS:
                time.sleep(READ_PAUSE_S)
                continue
            self._capture.release()
            reopened = None
            while reopened is None:
                reconnects += 1
                if reconnects > RECONNECTS:
                    raise SourceError(
                        f"{self.name} has gone away after {position} frames: {FAILED_READS} reads in a row failed, "
                        f"and it did not come back in {RECONNECTS} attempts. Check the cable and that no other "
                        "program uses it."
                    )
                _log.warning("%s gives no frame; opening it again (%d of %d)", self.name, reconnects, RECONNECTS)
                time.sleep(RECONNECT_PAUSE_S)
                reopened, _ = _open(where)
            self._ask(reopened)
            self._capture, failed = reopened, 0

    def _ask(self, capture: cv2.VideoCapture) -> None:
        """Ask a camera for its newest frame, not one that waited in a queue, and for the size wanted."""
        if not self.is_live:
            return
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if self._size_wh is not None:
            # Uncompressed, USB carries large frames only a few times a second.
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._size_wh[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._size_wh[1])


def _locate(source: int | str | os.PathLike[str]) -> int | str | list[Path]:
    """Return a camera's number, what OpenCV opens as a video or stream, or the photographs to show."""
    if isinstance(source, int):
        if source < 0:
            raise SourceError(f"A camera's number is 0 or more; received {source}.")
        return source
    text = os.fspath(source)
    path = Path(text)
    if path.is_dir():
        return list_images(path)
    if path.is_file():
        return [path] if path.suffix.lower() in IMAGE_SUFFIXES else text
    if text.isdecimal():
        return int(text)
    if "://" in text or text.startswith("/dev/"):
        return text
    raise SourceError(
        f"'{text}' is no source: not a file, not a folder. Give a camera's number (0 is the first), a video file, a "
        "folder of photographs, or a URL with rtsp:// or http://."
    )


def _open(where: int | str) -> tuple[cv2.VideoCapture | None, list[str]]:
    """Return an open capture or None, and the names of what was tried."""
    tried: list[str] = []
    for name, backend in _backends(where):
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our own words say it once
        try:
            capture = cv2.VideoCapture(where, backend)
        finally:
            cv2.utils.logging.setLogLevel(level)
        if capture.isOpened():
            return capture, tried
        capture.release()
        tried.append(name)
    return None, tried


def _backends(where: int | str) -> list[tuple[str, int]]:
    chosen = [("OpenCV's own choice", cv2.CAP_ANY)]
    if isinstance(where, int):
        native = {
            "linux": ("Video4Linux", cv2.CAP_V4L2),
            "win32": ("DirectShow", cv2.CAP_DSHOW),
            "darwin": ("AVFoundation", cv2.CAP_AVFOUNDATION),
        }
        chosen += [native[sys.platform]] if sys.platform in native else []
    return chosen


def _is_live(where: int | str, capture: cv2.VideoCapture) -> bool:
    if isinstance(where, int) or where.startswith("/dev/"):
        return True
    # A file states how many frames it has, wherever it lies; a stream does not.
    return "://" in where and not capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0


def _cannot_open(where: int | str, tried: list[str]) -> str:
    attempts = ", ".join(tried)
    if isinstance(where, int):
        devices = sorted(path.name for path in Path("/dev").glob("video*")) if sys.platform == "linux" else []
        seen = f" The system lists {', '.join('/dev/' + name for name in devices)}." if devices else ""
        none = " The system lists no camera (/dev/video*)." if sys.platform == "linux" and not devices else ""
        return (
            f"Camera {where} can't be opened. Tried: {attempts}.{seen}{none} Check that it is plugged in, that no "
            "other program uses it, and that this user may use cameras; or name another number."
        )
    if "://" in where or where.startswith("/dev/"):
        return (
            f"{_name(where)}: can't be opened. Tried: {attempts}. Check that it is plugged in or running, that this "
            "machine reaches it, and that it shows in another program."
        )
    return (
        f"{where}: can't be opened as a video. Tried: {attempts}. If another program plays it, convert it with: "
        "ffmpeg -i VIDEO out.mp4"
    )


def _name(where: int | str) -> str:
    if isinstance(where, int):
        return f"Camera {where}"
    return re.sub(r"(?<=://)[^/@]*@", "", where)  # a stream's user and password belong in no message


def _to_rgb(frame: NDArray[np.uint8], where: int | str) -> RgbImage:
    if frame.dtype != np.uint8:
        raise SourceError(f"{_name(where)} gives {frame.dtype} pixels; set it to 8 bits a channel.")
    channels = 1 if frame.ndim == 2 else frame.shape[2]
    codes = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
    if channels not in codes:
        raise SourceError(f"{_name(where)} gives frames of shape {frame.shape}; grey or colour is needed.")
    return np.asarray(cv2.cvtColor(frame, codes[channels]), dtype=np.uint8)
