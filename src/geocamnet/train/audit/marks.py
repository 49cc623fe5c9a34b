"""What is burnt into a photograph that is no rock: frame lines, annotation strips, scale bars, smeared edges."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

MOST_EDGE = 0.25  # of a side; more is a picture with much black in it, not a frame
STRIP_FROM = 0.03  # of a side; thinner is a frame line
_NEAR = 16  # grey levels around an edge's own colour: JPEG moves a plain colour by about ten
_WORK_PX = 1600  # marks are searched at this long side at most

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Marks:
    """Marks of one photograph, in pixels of the upright photograph.

    Attributes:
        edges_ltrb: plain rows or columns at the left, top, right and bottom edge; 0 where there are none.
        smeared_ltrb: rows or columns that only repeat the next one, as augmentation by shifting leaves them.
        bars: scale bars and the plates they stand on, each (left, top, width, height).
    """

    edges_ltrb: tuple[int, int, int, int] = (0, 0, 0, 0)
    smeared_ltrb: tuple[int, int, int, int] = (0, 0, 0, 0)
    bars: tuple[tuple[int, int, int, int], ...] = ()


def find_marks(grey: Grey) -> Marks:
    """Find frame lines, strips, smeared edges and scale bars.

    A frame or strip is a run of rows (columns) from the edge of which most pixels have one colour, and which ends
    at once: rock fades into rock, a frame does not. A scale bar is a solid, straight, saturated bar, 5 to 60 % of
    the width long, alone in its surroundings.

    Args:
        grey: uint8 (H, W), upright.
    """
    height, width = grey.shape
    if min(height, width) < 16:
        return Marks()
    step = max(1.0, max(height, width) / _WORK_PX)
    work = grey if step == 1 else cv2.resize(grey, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA)
    views = {"left": work.T, "top": work, "right": work[:, ::-1].T, "bottom": work[::-1]}
    edges = {side: _plain_rows(view) for side, view in views.items()}
    smeared = {side: 0 if edges[side] else _smeared_rows(view) for side, view in views.items()}
    inside = work[edges["top"] : work.shape[0] - edges["bottom"], edges["left"] : work.shape[1] - edges["right"]]
    bars = []
    for turned in (False, True):
        for x, y, w, h in _bars(inside.T if turned else inside):
            left, top, wide, high = (y, x, h, w) if turned else (x, y, w, h)
            bars.append((left + edges["left"], top + edges["top"], wide, high))
    bars += [(x + edges["left"], y + edges["top"], w, h) for x, y, w, h in _plates(inside)]
    # Ticks are found by themselves and joined to their bar; what stays short is a grain burnt out, not a bar.
    bars = _joined(bars, reach=max(8, round(0.03 * max(work.shape))))
    bars = [bar for bar in bars if max(bar[2:]) >= max(16, 0.1 * max(work.shape))]

    def scaled(values: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(int(np.ceil(one * step)) for one in values)

    return Marks(
        scaled(tuple(edges.values())),  # type: ignore[arg-type]
        scaled(tuple(smeared.values())),  # type: ignore[arg-type]
        tuple(scaled(bar) for bar in bars),  # type: ignore[misc]
    )


def _plain_rows(view: Grey) -> int:
    # How many rows from the top are a frame or strip. The outermost row tells the colour.
    most = max(2, int(view.shape[0] * MOST_EDGE))
    colour = float(np.median(view[0]))
    if 60 < colour < 200:
        return 0  # frames and strips are black or white; a plain grey row may be rock
    share = (np.abs(view[: most + 4].astype(np.int16) - colour) <= _NEAR).mean(axis=1)
    if share[0] < 0.85:
        return 0
    ends = np.flatnonzero(share < 0.55)
    end = int(ends[0]) if len(ends) else len(share)
    if end > most:
        return 0
    after = share[end : end + 4].min(initial=1.0)
    # JPEG and a lens soften the line over two rows: they are cut with it.
    soft = next((k for k in range(3) if end + k >= len(share) or share[end + k] < 0.3), 3)
    return end + soft if share[:end].mean() >= 0.7 and share[:end].mean() - after >= 0.4 else 0


def _smeared_rows(view: Grey) -> int:
    # Rows that repeat: next to no change from row to row, where the photograph's rows do change.
    part = view[: max(8, view.shape[0] // 3)].astype(np.int16)
    change = np.abs(np.diff(part, axis=0)).mean(axis=1)
    usual = float(np.median(np.abs(np.diff(view.astype(np.int16), axis=0)).mean(axis=1)))
    if usual < 2 or np.std(view[0]) < 4:
        return 0
    moves = np.flatnonzero(change > 0.3 * usual)
    rows = int(moves[0]) if len(moves) else 0
    return rows if rows >= 4 else 0


def _bars(view: Grey) -> list[tuple[int, int, int, int]]:
    height, width = view.shape
    least, thickest = max(12, round(0.05 * width)), max(4, round(0.05 * height))
    if height < 16 or width < 2 * least:
        return []
    found = []
    for mask in (view >= 248, view <= 6):
        if mask.mean() > 0.5:
            continue  # the whole photograph is as bright (or dark) as a bar would be
        if not mask.any():
            continue
        runs = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((1, least), np.uint8))
        if not runs.any():
            continue
        _, _, stats, _ = cv2.connectedComponentsWithStats(runs, connectivity=8)
        for x, y, w, h, area in stats[1:].tolist():
            solid = area >= 0.9 * w * h
            if x < 3 or y < 3 or x + w > width - 3 or y + h > height - 3:
                continue  # what touches the edge is the rest of a frame, or a grain cut off
            if not (solid and 2 <= h <= thickest and w >= 4 * h and w <= 0.6 * width):
                continue
            if _stands_alone(mask, x, y, w, h):
                found.append((x, y, w, h))
    return found


def _stands_alone(mask: NDArray[np.bool_], x: int, y: int, w: int, h: int) -> bool:
    # A saturated grain goes on above and below its longest run; a drawn bar does not.
    gap = 2
    above = mask[max(0, y - gap - 2) : max(0, y - gap + 1), x : x + w]
    below = mask[y + h + gap - 1 : y + h + gap + 2, x : x + w]
    return all(side.size > 0 and side.mean() < 0.25 for side in (above, below))


def _plates(view: Grey) -> list[tuple[int, int, int, int]]:
    # White rectangles with straight sides, on which bars and texts are printed.
    height, width = view.shape
    mask = view >= 240
    if not mask.any():
        return []
    found = []
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    large = (stats[:, 2] >= max(12, 0.06 * width)) & (stats[:, 3] >= max(6, 0.04 * height))
    large &= (stats[:, 2] * stats[:, 3] <= 0.25 * view.size) & (stats[:, 4] >= 0.4 * stats[:, 2] * stats[:, 3])
    for x, y, w, h, _ in stats[1:][large[1:]].tolist():
        box = mask[y : y + h, x : x + w]
        sides = [float(side.mean()) for side in (box[0], box[-1], box[:, 0], box[:, -1])]
        around = mask[max(0, y - 3) : y + h + 3, max(0, x - 3) : x + w + 3]
        outside = (around.sum() - box.sum()) / max(1, around.size - box.size)
        # Two whole sides and a third mostly: a black bar may stand on the plate's lower one.
        if sum(side >= 0.9 for side in sides) >= 2 and sum(side >= 0.6 for side in sides) >= 3 and outside < 0.2:
            found.append((x, y, w, h))
    return found


def without_marks(grey: Grey, marks: Marks) -> Grey:
    """Return the photograph within its edges, bars painted over with the median around them: uint8 (H', W')."""
    left, top, right, bottom = marks.edges_ltrb
    rock = grey
    for x, y, w, h in marks.bars:
        if rock is grey:
            rock = grey.copy()
        reach = max(4, h // 2)
        box = np.s_[max(0, y - reach) : y + h + reach, max(0, x - reach) : x + w + reach]
        # Text stands above or below a bar and belongs to it: saturated pixels around go too.
        part = rock[box]
        text = (part >= 240) | (part <= 8)
        text[y - max(0, y - reach) : y - max(0, y - reach) + h, x - max(0, x - reach) : x - max(0, x - reach) + w] = (
            True
        )
        part[text] = np.median(part[~text]) if (~text).any() else np.median(rock)
    return rock[top : grey.shape[0] - bottom, left : grey.shape[1] - right]


def _joined(boxes: list[tuple[int, int, int, int]], *, reach: int) -> list[tuple[int, int, int, int]]:
    # A bar and the ticks at its ends are one mark.
    joined: list[tuple[int, int, int, int]] = []
    for x, y, w, h in sorted(boxes, key=lambda box: -box[2] * box[3]):
        for place, (left, top, wide, high) in enumerate(joined):
            if x <= left + wide + reach and left <= x + w + reach and y <= top + high + reach and top <= y + h + reach:
                corner = min(x, left), min(y, top)
                far = max(x + w, left + wide), max(y + h, top + high)
                joined[place] = (*corner, far[0] - corner[0], far[1] - corner[1])
                break
        else:
            joined.append((x, y, w, h))
    return joined
