"""What the keys and the mouse do to a live view."""

import time
from dataclasses import asdict, replace
from pathlib import Path

from geocamnet.errors import DataError, GeocamnetError
from geocamnet.images import RgbImage
from geocamnet.runtime.live.live import Analysis, Live, analyse
from geocamnet.runtime.live.objectives import Objective, keep_objective, scale_from_line
from geocamnet.runtime.live.recording import Recording, save_snapshot
from geocamnet.runtime.live.screen import BEHIND_FROM_S, Screen, View, display_factor
from geocamnet.runtime.live.source import Frame

OPACITY_STEP = 0.1
MESSAGE_S = 5.0
SILENT_FROM_S = 1.5  # then it is said that the picture stands
USUAL_FRAMES_PER_S = 25.0  # of a recording, where the source does not say its own
MOST_FRAMES_PER_S = 30.0
ESCAPE, ENTER, BACKSPACE = "\x1b", "\r", "\b"


class Controls:
    """A live view that is steered by keys; use it in a ``with``, which completes a recording.

    Attributes:
        view: how it is shown.
        frozen: the frame that is held, with its analysis; None where the picture runs.
        recording: what is being written; None where nothing is.
        has_quit: whether ``q`` was pressed.

    Args:
        live: what is shown.
        view: how it is shown at the beginning.
        out: folder for recordings and snapshots.
        objective: name under which a measured scale is kept; None keeps it for this view only.
    """

    def __init__(self, live: Live, view: View, *, out: Path, objective: str | None = None) -> None:
        self.live, self.view, self.out, self.objective = live, view, out, objective
        self.frozen: tuple[Frame, Analysis | None] | None = None
        self.recording: Recording | None = None
        self.has_quit = False
        self.analysis: Analysis | None = None
        self._screen = Screen()
        self._picture: RgbImage | None = None
        self._typed: str | None = None  # a measurement is going on
        self._message, self._message_until = "", 0.0
        self._recording_since = 0.0
        self._at_once = False

    def __enter__(self) -> "Controls":
        return self

    def __exit__(self, *_: object) -> None:
        self._end_recording()

    def say(self, message: str) -> None:
        """Show a message for a few seconds."""
        self._message, self._message_until = message, time.monotonic() + MESSAGE_S
        self._at_once = True

    def picture(self) -> RgbImage | None:
        """Return what is to be seen now, RGB uint8 (H, W, 3), and record it; None before the first frame."""
        frame, analysis = self.frozen or (self.live.newest, self.analysis)
        if frame is None:
            return None
        if self.view.forget_scale_if_resized(frame.image.shape, is_live=self.live.source.is_live):
            self.say("!the camera changed its size: the scale is unknown now")
        status = self._status(frame, analysis)
        picture = self._screen.draw(frame.image, analysis, self.view, status=status, at_once=self._at_once)
        self._picture, self._at_once = picture, False
        if self.recording is not None:
            try:
                self.recording.add(
                    picture, analysis, um_per_px=self.view.um_per_px, at_s=time.monotonic() - self._recording_since
                )
            except GeocamnetError as error:  # the disk is nearly full: what is recorded is completed
                self._end_recording()
                self.say(f"!{error}")
        return picture

    def press(self, key: str) -> None:
        """Do what a key says; unknown keys do nothing."""
        self._at_once = True
        if self._typed is not None:
            self._type(key)
            return
        actions = {
            "h": self._toggle_help, "c": lambda: self._step_class(1), "x": lambda: self._step_class(-1),
            "0": lambda: self._show_class(None), "+": lambda: self._fade(1), "=": lambda: self._fade(1),
            "-": lambda: self._fade(-1), "t": self._toggle_texture, "i": self._toggle_inverse, " ": self._freeze,
            "s": self._snapshot, "r": self._record, "m": self._measure, "q": self._quit, ESCAPE: self._quit,
        }  # fmt: skip
        try:
            actions.get(key, lambda: None)()
        except GeocamnetError as error:
            self.say(f"!{error}")

    def drag(self, start_xy: tuple[float, float], end_xy: tuple[float, float]) -> None:
        """Draw the line of a measurement; in pixels of the picture, ignored where nothing is measured."""
        if self._typed is None or self.frozen is None:
            return
        image = self.frozen[0].image
        factor = display_factor(image.shape)
        height, width = image.shape[:2]
        ends = [(min(max(x / factor, 0), width), min(max(y / factor, 0), height)) for x, y in (start_xy, end_xy)]
        self.view.line = (ends[0], ends[1])
        self._at_once = True

    def _status(self, frame: Frame, analysis: Analysis | None) -> list[str]:
        live, lines = self.live, []
        if self._typed is not None:
            lines += [
                "!drag a line along the micrometer,",
                f"!type its length in µm: {self._typed}_",
                "!Enter; Esc ends",
            ]
        if self._message and time.monotonic() < self._message_until:
            lines += _folded(self._message)
        if self.recording is not None:
            spent = time.monotonic() - self._recording_since
            lines.append(f"!recording {int(spent) // 60}:{int(spent) % 60:02d}, {self.recording.frames} frames")
        if self.frozen is not None and self._typed is None:
            lines.append("!frozen; space goes on")
        elif live.is_over and self._typed is None:
            lines.append("!the source has ended; q quits")
        elif live.source.is_live and live.silent_s > SILENT_FROM_S:
            lines.append(f"!no new frame for {live.silent_s:.0f} s")
        elif analysis is not None and live.source.is_live and analysis.frame is not frame:
            behind = frame.time_s - analysis.frame.time_s
            if behind > BEHIND_FROM_S:
                lines.append(f"!the map is {behind:.1f} s behind the picture")
        scale = f"{self.view.um_per_px:.3g} µm a pixel" if self.view.um_per_px is not None else "scale unknown (m)"
        lines.append(f"{self.objective}: {scale}" if self.objective else scale)
        rate = "" if live.is_over else f"{live.rate.per_s:.0f} frames/s, "
        lines.append(f"{rate}{live.dropped} of {live.captured} passed over")
        wishes = live.wishes
        lines.append(
            f"texture {'on' if wishes.texture else 'off'}{', when still' if wishes.when_still else ''};  h: keys"
        )
        return lines

    def _toggle_help(self) -> None:
        self.view.help = not self.view.help

    def _toggle_inverse(self) -> None:
        self.view.inverse = not self.view.inverse

    def _toggle_texture(self) -> None:
        self.live.wishes.texture = not self.live.wishes.texture
        self._again()

    def _fade(self, direction: int) -> None:
        self.view.opacity = round(min(1.0, max(0.0, self.view.opacity + direction * OPACITY_STEP)), 2)

    def _step_class(self, step: int) -> None:
        names = (None, *self.live.model.card.class_names)
        at = names.index(self.live.wishes.shown_class)
        self._show_class(names[(at + step) % len(names)])

    def _show_class(self, name: str | None) -> None:
        self.live.wishes.shown_class = name
        self._again()
        titles = {one.name: one.title for one in self.live.model.card.classes}
        self.say(f"map of {titles[name] if name else 'the most probable class'}")

    def _again(self) -> None:
        """Work a frozen frame out anew; a running picture follows by itself."""
        analysis = self.frozen[1] if self.frozen is not None else self.analysis
        if analysis is None or analysis.prediction is None or not (self.frozen or self.live.is_over):
            return
        anew = analyse(analysis.frame, analysis.prediction, self.live.wishes, note=analysis.note)
        if self.frozen is not None:
            self.frozen = (self.frozen[0], anew)
        else:
            self.analysis = anew

    def _freeze(self) -> None:
        """Hold the frame that was analysed last, so that map and photograph belong together."""
        if self.frozen is not None:
            self.frozen = None
        elif self.analysis is not None:
            self.frozen = (self.analysis.frame, self.analysis)

    def _snapshot(self) -> None:
        analysis = self.frozen[1] if self.frozen is not None else self.analysis
        if analysis is None:
            self.say("!nothing to keep yet")
            return
        shown = self._screen.draw(analysis.frame.image, analysis, replace(self.view, help=False), at_once=True)
        stem = self.out / time.strftime("snapshot-%Y%m%d-%H%M%S")
        settings = {**asdict(self.live.wishes), "opacity": self.view.opacity, "inverse": self.view.inverse}
        scale = self.view.um_per_px
        file = save_snapshot(stem, analysis, shown, self.live.model, um_per_px=scale, settings=settings)
        self.say(f"kept: {file.name}")

    def _record(self) -> None:
        if self.recording is not None:
            self._end_recording()
            return
        if self._picture is None:
            self.say("!nothing to record yet")
            return
        self.recording = new_recording(self.live, self._picture, out=self.out, by_clock=True)
        self._recording_since = time.monotonic()

    def _end_recording(self) -> None:
        if self.recording is not None:
            self.recording.close()
            self.say(f"recorded: {self.recording.video.name}, {self.recording.frames} frames")
            self.recording = None

    def _measure(self) -> None:
        frame = self.frozen[0] if self.frozen is not None else self.live.newest
        if frame is None:
            return
        self.frozen = self.frozen or (frame, None)
        self._typed, self.view.line = "", None

    def _type(self, key: str) -> None:
        assert self._typed is not None
        if key.isdecimal() or key == ".":
            self._typed += key
        elif key == BACKSPACE:
            self._typed = self._typed[:-1]
        elif key == ESCAPE:
            self._end_measuring()
        elif key == ENTER:
            try:
                self._take_measure()
            except GeocamnetError as error:
                self.say(f"!{error}")

    def _take_measure(self) -> None:
        if self.view.line is None or self.frozen is None:
            raise DataError("Drag a line along the micrometer first.")
        try:
            length_um = float(self._typed or "")
        except ValueError:
            raise DataError(f"'{self._typed}' is no length in µm.") from None
        um_per_px = scale_from_line(*self.view.line, length_um)
        self.view.um_per_px = um_per_px
        height, width = self.frozen[0].image.shape[:2]
        self._end_measuring()
        if self.objective:
            keep_objective(self.objective, Objective(um_per_px, width, height))
            self.say(f"{um_per_px:.4g} µm a pixel, kept for {self.objective}")
        else:
            self.say(f"{um_per_px:.4g} µm a pixel, until the window closes (--objective NAME keeps it)")

    def _end_measuring(self) -> None:
        self._typed, self.view.line, self.frozen = None, None, None

    def _quit(self) -> None:
        self.has_quit = True


def new_recording(live: Live, picture: RgbImage, *, out: Path, by_clock: bool) -> Recording:
    """Begin a recording of pictures of one size, named after the time.

    Args:
        live: what is recorded.
        picture: RGB uint8 (H, W, 3), the first.
        out: folder of the recording.
        by_clock: it keeps the clock's time, and need not have more frames a second than an eye can tell.

    Raises:
        SourceError: no file can be written there, or the disk is nearly full.
    """
    rate = live.source.frames_per_s or USUAL_FRAMES_PER_S
    return Recording(
        out / time.strftime("recording-%Y%m%d-%H%M%S"),
        (picture.shape[1], picture.shape[0]),
        frames_per_s=min(rate, MOST_FRAMES_PER_S) if by_clock else rate,
        class_names=live.model.card.class_names,
    )


def _folded(message: str, letters: int = 44) -> list[str]:
    """Return a message as lines of the panel; a warning stays one on each."""
    mark = "!" if message.startswith("!") else ""
    lines, line = [], ""
    for word in message.lstrip("!").split():
        if line and len(line) + 1 + len(word) > letters:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
        while len(line) > letters:
            lines.append(line[:letters])
            line = line[letters:]
    return [mark + one for one in (*lines, line)]
