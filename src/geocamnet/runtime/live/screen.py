"""The picture of a live view: the frame with its heatmap, beside it a panel of what is said of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.images import RgbImage
from geocamnet.runtime.heatmap import Heatmap
from geocamnet.runtime.live.live import Analysis
from geocamnet.runtime.render import draw_scale_bar, overlay

PANEL_PX = 330
LEAST_HEIGHT_PX, MOST_HEIGHT_PX = 520, 1080  # of what is shown; a small frame is enlarged, a large one reduced
PANEL_PER_S = 8  # letters are drawn slowly, and nobody reads faster
MOST_WORDS = 500  # kept as drawn
BEHIND_FROM_S = 0.3  # a heatmap older than that is said to be

_BACK, _PAPER, _DIM, _ACCENT, _WARN = (24, 26, 30), (240, 240, 236), (150, 154, 160), (250, 200, 90), (255, 120, 90)

KEYS = (
    ("h", "these keys"),
    ("c  x", "next class, class before"),
    ("0", "the most probable class"),
    ("+  -", "more, less colour"),
    ("t", "refine with texture"),
    ("i", "darken what has no heat"),
    ("space", "freeze, go on"),
    ("s", "snapshot"),
    ("r", "record, stop recording"),
    ("m", "measure the scale"),
    ("q", "quit"),
)


@dataclass
class View:
    """How it is shown.

    Attributes:
        opacity: of the heat's colour, 0 to 1.
        inverse: darken what has no heat, instead.
        help: show the keys.
        um_per_px: of the frames; None where unknown.
        line: of a measurement in progress, two points (x, y) in the frame's pixels.
    """

    opacity: float = 0.5
    inverse: bool = False
    help: bool = False
    um_per_px: float | None = None
    line: tuple[tuple[float, float], tuple[float, float]] | None = None
    _shape_hw: tuple[int, ...] | None = None

    def forget_scale_if_resized(self, shape_hw: tuple[int, ...], *, is_live: bool) -> bool:
        """Forget the scale where a camera's frames change their size; return whether there was one to forget.

        A camera that bins and one that crops give frames of the same size with scales of their own. Photographs of a
        folder may differ in size and have one scale.
        """
        changed = is_live and self._shape_hw is not None and self._shape_hw != shape_hw[:2]
        self._shape_hw = shape_hw[:2]
        if not changed or self.um_per_px is None:
            return False
        self.um_per_px = None
        return True


class Screen:
    """Draws the picture; keeps what need not be drawn again for every frame."""

    def __init__(self) -> None:
        self._panel: RgbImage | None = None
        self._panel_key: tuple[object, ...] = ()
        self._drawn_at = -1.0
        self._bar: tuple[tuple[object, ...], RgbImage, NDArray[np.bool_]] | None = None
        self._words: dict[tuple[object, ...], RgbImage] = {}
        self._letters = cv2.FontFace("sans")  # comes with OpenCV, and has Chinese letters too

    def draw(
        self,
        frame: RgbImage,
        analysis: Analysis | None,
        view: View,
        *,
        status: Sequence[str] = (),
        at_once: bool = False,
    ) -> RgbImage:
        """Return the picture.

        Args:
            frame: RGB uint8 (H, W, 3) to show.
            analysis: the newest there is, of this frame or one before; None before the first.
            view: how it is shown.
            status: lines for the foot of the panel, the most important first; one that starts with ``!`` stands out.
            at_once: draw the panel anew even if that was just done.

        Returns:
            RGB uint8 picture: the frame scaled to a height of 520 to 1080 pixels, the panel at its right.
        """
        factor = display_factor(frame.shape)
        shown = frame
        if analysis is not None and analysis.heatmap is not None:
            heat = _at_size(analysis.heatmap, frame.shape)
            shown = overlay(frame, heat, opacity=view.opacity, inverse=view.inverse)
        if factor != 1:
            size_wh = (round(frame.shape[1] * factor), round(frame.shape[0] * factor))
            shown = cv2.resize(shown, size_wh, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
        elif shown is frame:
            shown = frame.copy()
        if view.um_per_px is not None:
            self._draw_bar(shown, view.um_per_px / factor)
        if view.line is not None:
            start, end = ((round(x * factor), round(y * factor)) for x, y in view.line)
            cv2.line(shown, start, end, (0, 0, 0), 4, cv2.LINE_AA)
            cv2.line(shown, start, end, _ACCENT, 2, cv2.LINE_AA)
        if view.help:
            self._draw_keys(shown)
        return np.hstack([shown, self._draw_panel(shown.shape[0], analysis, view, status, at_once=at_once)])

    def _draw_panel(
        self, height: int, analysis: Analysis | None, view: View, status: Sequence[str], *, at_once: bool
    ) -> RgbImage:
        now = time.monotonic()
        old = self._panel is None or self._panel.shape[0] != height or now - self._drawn_at >= 1 / PANEL_PER_S
        if not (old or at_once) and self._panel is not None:
            return self._panel
        self._drawn_at = now
        panel = np.full((height, PANEL_PX, 3), _BACK, np.uint8)
        self._panel = panel
        prediction = analysis.prediction if analysis is not None else None
        if analysis is None or prediction is None:
            words = "no map of this frame" if analysis is None else analysis.note
            self._write(panel, words, 16, 40, 18, _DIM)
        else:
            titles = {one.name: one.title for one in prediction.card.classes}
            named = prediction.labels
            verdict = " + ".join(titles[name] for name in named) or prediction.verdict.capitalize()
            y = 16
            for line in _lines(verdict, 22)[:3]:
                y += 30
                self._write(panel, line, 16, y, 24, _ACCENT if named else _WARN)
            y += 16
            for name, probability in prediction.top(3):
                y += 26
                self._write(panel, titles[name], 16, y, 15, _PAPER)
                self._write(panel, f"{probability:.0%}", PANEL_PX - 58, y, 15, _PAPER)
                cv2.rectangle(panel, (16, y + 6), (PANEL_PX - 16, y + 9), (60, 64, 70), -1)
                cv2.rectangle(panel, (16, y + 6), (16 + round((PANEL_PX - 32) * probability), y + 9), _ACCENT, -1)
                y += 12
            y += 40
            self._write(panel, f"map of: {titles[analysis.shown_class]}", 16, y, 15, _PAPER)
            self._write(panel, f"{analysis.area_percent:.0f} % of the field", 16, y + 24, 15, _PAPER)
            if analysis.entropy is not None:
                self._write(panel, f"texture entropy {analysis.entropy:.2f}", 16, y + 48, 15, _PAPER)
            y += 64
            ramp = np.tile(np.linspace(0, 1, PANEL_PX - 32, dtype=np.float32), (10, 1))
            mid_grey = np.full((*ramp.shape, 3), 128, np.uint8)
            panel[y : y + 10, 16 : PANEL_PX - 16] = overlay(
                mid_grey, ramp, opacity=view.opacity, inverse=view.inverse
            )  # as it looks on mid-grey
            self._write(panel, "no evidence", 16, y + 26, 12, _DIM)
            self._write(panel, "full", PANEL_PX - 42, y + 26, 12, _DIM)
            if analysis.note:
                self._write(panel, analysis.note, 16, y + 54, 15, _WARN)
        y = height - 16 - 22 * (len(status) - 1)
        for line in status:
            self._write(panel, line.lstrip("!"), 16, y, 13, _WARN if line.startswith("!") else _DIM)
            y += 22
        return panel

    def _draw_bar(self, shown: RgbImage, um_per_px: float) -> None:
        """Draw the scale bar; it is made once for a size and scale, on grey, and laid on every frame."""
        key = (shown.shape, um_per_px)
        if self._bar is None or self._bar[0] != key:
            # The bar's own backing lets a part of the photograph through; on a live picture it may be solid.
            grey = np.full(shown.shape, 90, np.uint8)
            drawn = draw_scale_bar(grey, um_per_px)
            self._bar = (key, drawn, (drawn != grey).any(axis=2))
        _, drawn, where = self._bar
        rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
        if len(rows):
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            shown[box] = drawn[box]

    def _draw_keys(self, shown: RgbImage) -> None:
        step = 26
        height, width = min(shown.shape[0], step * len(KEYS) + 28), min(shown.shape[1], 340)
        shown[:height, :width] //= 5
        for row, (key, meaning) in enumerate(KEYS):
            self._draw_text(shown, key, 16, 32 + step * row, 16, _ACCENT)
            self._draw_text(shown, meaning, 100, 32 + step * row, 16, _PAPER)

    def _write(self, panel: RgbImage, text: str, x: int, y: int, size_px: int, colour: tuple[int, int, int]) -> None:
        """Write on the panel; its words come again and again, and to copy one takes a hundredth of drawing it."""
        key = (text, size_px, colour)
        rise = round(1.4 * size_px)  # of the drawing's upper edge above the line written on
        word = self._words.pop(key, None)
        if word is None:
            word = np.full((2 * size_px, PANEL_PX, 3), _BACK, np.uint8)
            self._draw_text(word, text, 0, rise, size_px, colour)
            inked = np.flatnonzero((word != np.array(_BACK, np.uint8)).any(axis=(0, 2)))
            word = word[:, : inked[-1] + 1 if len(inked) else 0].copy()
        self._words[key] = word  # the newest last
        if len(self._words) > MOST_WORDS:
            del self._words[next(iter(self._words))]
        top, left = max(0, y - rise), max(0, x)
        height, width = min(word.shape[0], panel.shape[0] - top), min(word.shape[1], panel.shape[1] - left)
        if height > 0 and width > 0:
            # Letters are lighter than the panel in every channel: what lies below their empty corners stays.
            place = panel[top : top + height, left : left + width]
            np.maximum(place, word[:height, :width], out=place)

    def _draw_text(self, on: RgbImage, text: str, x: int, y: int, size_px: int, colour: tuple[int, int, int]) -> None:
        cv2.putText(on, text, (x, y), colour, self._letters, size_px, 400)


def display_factor(shape_hw: tuple[int, ...]) -> float:
    """Return by how much a frame (H, W) is enlarged or reduced to be shown."""
    height = shape_hw[0]
    return min(MOST_HEIGHT_PX, max(LEAST_HEIGHT_PX, height)) / height


def _at_size(heatmap: Heatmap, shape: tuple[int, ...]) -> Heatmap:
    """Return a heatmap at a frame's size; they differ for a moment where a camera changes its own."""
    if heatmap.shape == shape[:2]:
        return heatmap
    return np.clip(cv2.resize(heatmap, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), 0, 1)


def _lines(text: str, letters: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > letters:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
