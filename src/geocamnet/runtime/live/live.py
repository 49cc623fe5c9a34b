"""Frames and what the student says of them, as they come: capture and inference each in a thread of its own."""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from geocamnet.errors import DataError, GeocamnetError, SourceError
from geocamnet.runtime.heatmap import Heatmap, enhance
from geocamnet.runtime.live.handover import Handover
from geocamnet.runtime.live.source import Frame, Source
from geocamnet.runtime.live.stillness import Stillness
from geocamnet.runtime.measure import area_percent, texture_entropy
from geocamnet.runtime.model import Model
from geocamnet.runtime.prediction import Prediction

THRESHOLD = 0.5  # heat at or above it counts as covered in the area
RATE_OVER = 30  # the last so many things tell how many there are a second
FIRST_WITHIN_S = 30.0
STOP_WITHIN_S = 3.0  # a camera's driver may sit in a read for longer than anyone wants to wait

_log = logging.getLogger(__name__)


@dataclass
class Wishes:
    """What is to be worked out for each frame; whoever shows it may change it at any time.

    Attributes:
        shown_class: whose heatmap; None is the most probable class of each frame.
        texture: refine the heatmap with texture, and measure the entropy of it.
        when_still: only while the stage stands still.
        um_per_px: micrometres a pixel of the frames, for models that know rock at one scale; None where unknown.
    """

    shown_class: str | None = None
    texture: bool = False
    when_still: bool = False
    um_per_px: float | None = None


@dataclass(frozen=True, eq=False)
class Analysis:
    """What was worked out for one frame.

    Attributes:
        frame: the frame.
        prediction: what the student says; None while the stage moves and that is waited for.
        shown_class: name of the class whose heatmap it is.
        heatmap: float32 (H, W) in [0, 1] of the frame's size.
        area_percent: share of the frame where that is at least 0.5, 0 to 100.
        entropy: of the texture, in nats; None where texture is not wished for.
        note: what is wrong with the picture, such as "black picture"; empty if nothing.
    """

    frame: Frame
    prediction: Prediction | None = None
    shown_class: str = ""
    heatmap: Heatmap | None = None
    area_percent: float = 0.0
    entropy: float | None = None
    note: str = ""


def analyse(frame: Frame, prediction: Prediction, wishes: Wishes, *, note: str = "") -> Analysis:
    """Work out what is wished for from what the student says of a frame.

    Raises:
        ModelError: the model does not know the class wished for.
    """
    shown = wishes.shown_class or prediction.top(1)[0][0]
    heatmap, entropy = prediction.heatmap(shown), None
    if wishes.texture:
        texture = prediction.card.texture
        heatmap = np.asarray(enhance(heatmap, frame.image, texture=texture), np.float32)
        entropy = texture_entropy(frame.image, texture)
    covered = area_percent(heatmap, threshold=THRESHOLD)
    return Analysis(frame, prediction, shown, heatmap, covered, entropy, note)


class Rate:
    """How many things come a second, over the last few."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=RATE_OVER)

    def count(self) -> None:
        """Count one thing, now."""
        self._times.append(time.monotonic())

    @property
    def per_s(self) -> float:
        """The rate; 0 before two have come, and falling while none come."""
        if len(self._times) < 2:
            return 0.0
        return (len(self._times) - 1) / max(1e-6, max(time.monotonic(), self._times[-1]) - self._times[0])


class Live:
    """A source that is captured in one thread and analysed in another; use it in a ``with``.

    Live, the network gets the newest frame there is, and frames that came while it worked are dropped and counted: a
    slow network never makes the picture lag. With ``lossless`` every frame is analysed, at the network's pace.

    Attributes:
        wishes: what is worked out.
        newest: the newest frame captured; None before the first.
        captured, analysed: frames so far.
        unreadable: photographs of a folder that could not be read, or not be shown to the model.
        rate: of analyses.
        error: what ended it before its time.

    Args:
        source: open; let go at the end.
        model: the student.
        wishes: what is worked out.
        lossless: analyse every frame, each in turn, instead of the newest.
        frames_per_s: show a file or a folder at this rate; None as fast as it can be read.
        held: analyse nothing before `begin`, so that the first frame may still decide what is wished for.
    """

    def __init__(
        self,
        source: Source,
        model: Model,
        wishes: Wishes | None = None,
        *,
        lossless: bool = False,
        frames_per_s: float | None = None,
        held: bool = False,
    ) -> None:
        self.source, self.model, self.wishes = source, model, wishes or Wishes()
        self.newest: Frame | None = None
        self.captured = self.analysed = self.unreadable = 0
        self.rate = Rate()
        self.error: Exception | None = None
        self._newest_at = time.monotonic()
        self._pause_s = 0.0 if source.is_live or not frames_per_s else 1 / frames_per_s
        self._frames: Handover[Frame] = Handover(lossless=lossless)
        self._analyses: Handover[Analysis] = Handover(lossless=lossless)
        self._stop, self._begun = threading.Event(), threading.Event()
        if not held:
            self._begun.set()
        self._counting = threading.Lock()
        self._threads = [
            threading.Thread(target=self._guard, args=(work, into), name=work.__name__.strip("_"), daemon=True)
            for work, into in ((self._capture, self._frames), (self._analyse, self._analyses))
        ]

    def __enter__(self) -> "Live":
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for one in self._threads:
            one.join(STOP_WITHIN_S)
        if not self._threads[0].is_alive():  # to let a camera go in the middle of a read crashes some drivers
            self.source.close()

    def begin(self) -> None:
        """Analyse what comes, where it was `held` until now."""
        self._begun.set()

    def stop(self) -> None:
        """Capture no more; what is analysed may still be taken."""
        self._stop.set()
        self._begun.set()
        self._frames.close()
        self._analyses.close()

    @property
    def dropped(self) -> int:
        """Frames that were captured and not analysed because a newer one was there."""
        return self._frames.dropped

    @property
    def silent_s(self) -> float:
        """Seconds since the newest frame came, or since the beginning."""
        return time.monotonic() - self._newest_at

    @property
    def is_over(self) -> bool:
        """Whether the source has ended (or failed, see ``error``) and every analysis has been taken."""
        return self._analyses.is_over

    def take(self, timeout_s: float | None = None) -> Analysis | None:
        """Return the newest analysis not taken yet (with ``lossless`` the next one), waiting for it.

        Returns:
            None after the timeout, or where it is over.

        Raises:
            GeocamnetError: what ended it before its time; once, after everything analysed has been taken.
        """
        analysis = self._analyses.take(timeout_s)
        if analysis is None and self.is_over and self.error is not None:
            error, self.error = self.error, None
            raise error
        return analysis

    def first_frame(self) -> Frame:
        """Wait for the first frame and return the newest there is then.

        Raises:
            GeocamnetError: what kept it from coming.
            SourceError: none came within ``FIRST_WITHIN_S``, or the source ended without one.
        """
        until = time.monotonic() + FIRST_WITHIN_S
        while self.newest is None and time.monotonic() < until and not self._frames.is_over:
            time.sleep(0.005)
        if self.newest is not None:
            return self.newest
        if self.error is not None:
            raise self.error
        raise SourceError(f"{self.source.name}: no frame came within {FIRST_WITHIN_S:.0f} s.")

    def _guard(self, work, into: Handover) -> None:  # type: ignore[no-untyped-def, type-arg]
        try:
            work()
        except GeocamnetError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 (a thread that dies silently would leave a picture that stands)
            self.error = error
        finally:
            into.close()

    def _capture(self) -> None:
        due = time.monotonic()
        for frame in self.source.frames(on_bad=self._tell_bad):
            if self._pause_s:
                due = max(due + self._pause_s, time.monotonic() - self._pause_s)
                self._stop.wait(max(0.0, due - self._pause_s - time.monotonic()))
            if self._stop.is_set():
                return
            self.newest, self._newest_at = frame, time.monotonic()
            self.captured += 1
            if not self._frames.put(frame):
                return

    def _analyse(self) -> None:
        stillness = Stillness()
        self._begun.wait()
        try:
            while (frame := self._frames.take()) is not None:
                stillness.look(frame.image, frame.time_s, live=self.source.is_live)
                try:
                    analysis = self._analysis_of(frame, stillness)
                except DataError as error:
                    if not frame.path:  # frames of a camera or a video are alike: none can be shown to the model
                        raise
                    self._tell_bad(DataError(f"{frame.path}: {error}"))
                    continue
                self.analysed += 1
                self.rate.count()
                if not self._analyses.put(analysis):
                    return
        finally:
            self._stop.set()  # nobody is left to capture for
            self._frames.close()

    def _analysis_of(self, frame: Frame, stillness: Stillness) -> Analysis:
        wishes = self.wishes
        if wishes.when_still and not stillness.is_still:
            return Analysis(frame, note=stillness.note or "the stage moves")
        prediction = self.model.predict(frame.image, um_per_px=wishes.um_per_px, quick=True)
        return analyse(frame, prediction, wishes, note=stillness.note)

    def _tell_bad(self, error: DataError) -> None:
        with self._counting:  # both threads may
            self.unreadable += 1
        _log.warning("passed over: %s", error)
