"""Watch a live source: a camera, a video file, a stream or a folder of photographs gives frames and predictions."""

import logging
import os
import re
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.errors import SourceError
from geocamnet.images import IMAGE_SUFFIXES, RgbImage, list_images, read_image
from geocamnet.runtime.model import Model
from geocamnet.runtime.prediction import Prediction

# A USB camera drops a frame now and then; a pulled plug fails for good. Failed reads in a row, then reconnects.
FAILED_READS = 10
READ_PAUSE_S = 0.05
RECONNECTS = 3
RECONNECT_PAUSE_S = 1.0

_log = logging.getLogger(__name__)


def watch(
    source: int | str | os.PathLike[str], model: Model, *, max_frames: int | None = None, every: int = 1
) -> Iterator[tuple[RgbImage, Prediction]]:
    """Yield frames of a source with their predictions, until it ends or the caller stops.

    The source is opened at the first frame asked for, and let go when the iterator is used up, closed or
    fails. Frames may change their size.

    Args:
        source: a camera's number (0 is the first), the path of a video, a URL (``rtsp://``, ``http://``), a folder
            of photographs, or one photograph.
        model: the student.
        max_frames: stop after so many; None never stops by itself.
        every: predict and yield every n-th frame only, at least 1; the others are passed over.

    Yields:
        The frame, RGB uint8 (H, W, 3), and its `Prediction`.

    Raises:
        SourceError: the source can't be opened (the text lists what was tried), holds no frame, or has gone away
            and did not come back; ``every`` or ``max_frames`` is out of range.
        DataError: a photograph of the folder can't be read.
    """
    if every < 1 or (max_frames is not None and max_frames < 0):
        raise SourceError(f"every must be at least 1 and max_frames 0 or more; received {every} and {max_frames}.")
    if max_frames == 0:
        return
    given = 0
    with closing(_frames(source, every)) as frames:
        for frame in frames:
            yield frame, model.predict(frame)
            given += 1
            if max_frames is not None and given >= max_frames:
                return


def _frames(source: int | str | os.PathLike[str], every: int) -> Generator[RgbImage, None, None]:
    where = _locate(source)
    if isinstance(where, list):
        for path in where[::every]:
            yield read_image(path)
        return
    capture, tried = _open(where)
    if capture is None:
        raise SourceError(_cannot_open(where, tried))
    try:
        live = _is_live(where, capture)
        if live:
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not one that waited in a queue
        failed, reconnects, position = 0, 0, 0
        while True:
            wanted = position % every == 0
            got, frame = capture.read() if wanted else (capture.grab(), None)
            if got and (frame is not None or not wanted):
                failed, reconnects = 0, 0
                position += 1
                if frame is not None:
                    yield _to_rgb(frame, where)
                continue
            if not live:
                if position == 0:
                    raise SourceError(f"{_name(where)}: opens, but holds no frame that can be decoded.")
                return
            failed += 1
            if failed < FAILED_READS:
                time.sleep(READ_PAUSE_S)
                continue
            capture.release()
            reopened = None
            while reopened is None:
                reconnects += 1
                if reconnects > RECONNECTS:
                    raise SourceError(
                        f"{_name(where)} has gone away after {position} frames: {FAILED_READS} reads in a row failed, "
                        f"and it did not come back in {RECONNECTS} attempts. Check the cable and that no other "
                        "program uses it."
                    )
                _log.warning("%s gives no frame; opening it again (%d of %d)", _name(where), reconnects, RECONNECTS)
                time.sleep(RECONNECT_PAUSE_S)
                reopened, _ = _open(where)
            capture, failed = reopened, 0
    finally:
        capture.release()


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
