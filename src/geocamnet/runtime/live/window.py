"""A live view in a window, or without one into a recording."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2

from geocamnet.errors import GeocamnetError, SourceError
from geocamnet.runtime.live.controls import BACKSPACE, ENTER, ESCAPE, Controls, new_recording
from geocamnet.runtime.live.live import Live
from geocamnet.runtime.live.recording import Recording
from geocamnet.runtime.live.screen import Screen, View

_log = logging.getLogger(__name__)

TITLE = "GeoCAMNet"
WAIT_S = 0.01  # for an analysis, before the picture is drawn with the one before

_KEYS = {10: ENTER, 13: ENTER, 27: ESCAPE, 8: BACKSPACE, 127: BACKSPACE}


@dataclass(frozen=True)
class Outcome:
    """What a live view did.

    Attributes:
        captured, analysed, dropped, unreadable: frames.
        recorded: frames of the recording; 0 without one.
        video, table: its files.
        seconds: that it took.
    """

    captured: int
    analysed: int
    dropped: int
    unreadable: int
    recorded: int
    video: Path | None
    table: Path | None
    seconds: float


def show(
    live: Live, view: View, *, out: Path, objective: str | None = None, stop: threading.Event | None = None
) -> Outcome:
    """Show a live view in a window, until it is closed or ``q`` is pressed.

    Args:
        live: started.
        view: how it is shown at the beginning.
        out: folder for recordings and snapshots.
        objective: name under which a measured scale is kept.
        stop: ends it as ``q`` does.

    Raises:
        SourceError: there is no screen, or the source failed; a recording is completed first.
    """
    _open_window()
    stop = stop or threading.Event()
    began = time.monotonic()
    with Controls(live, view, out=out, objective=objective) as controls:
        mouse = _Mouse(controls)
        cv2.setMouseCallback(TITLE, mouse)
        sized = False
        try:
            while not (controls.has_quit or stop.is_set()):
                controls.analysis = live.take(WAIT_S) or controls.analysis
                live.wishes.um_per_px = view.um_per_px  # may have been measured, or forgotten
                picture = controls.picture()
                if picture is not None:
                    if not sized:  # a window of the picture's own size; afterwards it is the user's
                        cv2.resizeWindow(TITLE, picture.shape[1], picture.shape[0])
                        sized = True
                    cv2.imshow(TITLE, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
                elif live.is_over:
                    raise SourceError(f"{live.source.name}: ended without a frame.")
                pressed = cv2.pollKey() if not live.is_over else cv2.waitKey(20)
                if pressed >= 0:
                    code = pressed & 0xFF
                    controls.press(_KEYS.get(code, chr(code)))
                if sized and cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1:
                    break
        finally:
            cv2.destroyAllWindows()
            cv2.waitKey(1)
    return _outcome(live, None, began)


def record(
    live: Live,
    view: View,
    *,
    out: Path,
    max_frames: int | None = None,
    seconds: float | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Outcome:
    """Record a live view without a window, until the source ends or as long as asked.

    Args:
        live: started; lossless gives every frame of a file once, otherwise the recording keeps the clock's time.
        view: how it is shown.
        out: folder for the recording.
        max_frames: of the recording.
        seconds: by the clock.
        stop: ends it between two frames.
        on_progress: called with the number of frames recorded so far.

    Raises:
        SourceError: the source failed, nothing can be written or the disk is nearly full: what was recorded is
            completed first; or no frame came that could be recorded.
    """
    stop = stop or threading.Event()
    began, screen = time.monotonic(), Screen()
    recording: Recording | None = None
    since = 0.0
    by_clock = live.source.is_live
    try:
        while not (live.is_over and live.error is None) and not stop.is_set():
            if seconds is not None and time.monotonic() - began >= seconds:
                break
            analysis = live.take(0.2)
            if analysis is None:
                continue
            view.forget_scale_if_resized(analysis.frame.image.shape, is_live=live.source.is_live)
            live.wishes.um_per_px = view.um_per_px
            status = [f"{view.um_per_px:.3g} µm a pixel"] if view.um_per_px is not None else []
            status.append(f"frame {analysis.frame.number}, {analysis.frame.time_s:.2f} s")
            picture = screen.draw(analysis.frame.image, analysis, view, status=status, at_once=not by_clock)
            if recording is None:
                since = time.monotonic()
                recording = new_recording(live, picture, out=out, by_clock=by_clock)
            at_s = time.monotonic() - since if by_clock else None
            recording.add(picture, analysis, um_per_px=view.um_per_px, at_s=at_s)
            if on_progress is not None:
                on_progress(recording.frames)
            if max_frames is not None and recording.frames >= max_frames:
                break
    except GeocamnetError:
        if recording is not None:
            _log.info("%s: complete up to there, %d frames", recording.video, recording.frames)
        raise
    finally:
        if recording is not None:
            recording.close()
    if recording is None:
        raise SourceError(
            f"{live.source.name}: no frame was recorded in {time.monotonic() - began:.1f} s ({live.captured} captured, "
            f"{live.unreadable} unreadable). Check what the source shows, or let it run for longer."
        )
    return _outcome(live, recording, began)


class _Mouse:
    """Turns presses and moves of the left button into a line."""

    def __init__(self, controls: Controls) -> None:
        self.controls = controls
        self.start: tuple[int, int] | None = None

    def __call__(self, event: int, x: int, y: int, *_: object) -> None:
        if event == cv2.EVENT_LBUTTONDOWN:
            self.start = (x, y)
        elif self.start is not None and event in (cv2.EVENT_MOUSEMOVE, cv2.EVENT_LBUTTONUP):
            self.controls.drag(self.start, (x, y))
            if event == cv2.EVENT_LBUTTONUP:
                self.start = None


def _outcome(live: Live, recording: Recording | None, began: float) -> Outcome:
    return Outcome(
        captured=live.captured,
        analysed=live.analysed,
        dropped=live.dropped,
        unreadable=live.unreadable,
        recorded=recording.frames if recording is not None else 0,
        video=recording.video if recording is not None else None,
        table=recording.table if recording is not None else None,
        seconds=time.monotonic() - began,
    )


def _open_window() -> None:
    # Without a screen the window's library ends the whole process: that is asked before.
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise SourceError(
            "There is no screen to open a window on (neither DISPLAY nor WAYLAND_DISPLAY is set). Record without one "
            "with --headless, or start it on the machine's own desktop."
        )
    os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")  # it misses fonts that are not needed
    try:
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
    except cv2.error as error:
        raise SourceError(
            "This OpenCV has no windows (opencv-python-headless is installed in place of opencv-python). Record "
            "without one with --headless, or install opencv-python."
        ) from error
