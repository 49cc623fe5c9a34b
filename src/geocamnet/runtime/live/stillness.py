"""What can be wrong or moving in a stream: the stage, a black picture, a picture that stands."""

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.images import RgbImage

LOOKED_AT_PX = 64  # the long side of what frames are compared at: noise of single pixels averages out
# Grey levels, mean absolute difference from the frame at the last movement. On photographs of carbonate and sandstone
# 1280 px wide a shift of 4 px makes 3.8 and 4.6 of it (medians), noise of 6 levels a pixel below 1.
MOVED_FROM = 4.0
STILL_AFTER_S = 0.4
BLACK_BELOW = 6.0  # grey levels: lamp off, shutter closed, lens cap
STUCK_AFTER_S = 5.0  # a camera's noise never repeats a frame to the last bit


class Stillness:
    """Tells from frame to frame whether the stage stands still, and whether the picture can be believed.

    The stage has moved when a frame differs from the one it is compared with, on average over a small grey picture,
    by more than ``MOVED_FROM`` grey levels; that frame then becomes the one compared with. It is still when it has not
    moved for ``STILL_AFTER_S``. Comparing with the frame of the last movement, and not with the frame before, also sees
    a slow drift.

    Attributes:
        is_still: the stage stands.
        note: ``""``, ``"black picture"`` or ``"the picture has not changed"`` for ``STUCK_AFTER_S``.
    """

    def __init__(self) -> None:
        self.is_still = False
        self.note = ""
        self._reference: NDArray[np.float32] | None = None
        self._moved_at = self._changed_at = 0.0
        self._last: RgbImage | None = None

    def look(self, image: RgbImage, at_s: float, *, live: bool = True) -> None:
        """Look at the next frame.

        Args:
            image: RGB uint8 (H, W, 3).
            at_s: when it was taken, seconds.
            live: a frame that repeats the one before to the last bit is a fault of the stream.
        """
        height, width = image.shape[:2]
        scale = min(1.0, LOOKED_AT_PX / max(height, width))
        size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
        # Area averaging of the colours first: turning 64 pixels grey costs nothing.
        small = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
        known = self._reference
        if known is None or known.shape != grey.shape or float(np.abs(grey - known).mean()) > MOVED_FROM:
            self._reference, self._moved_at = grey, at_s
        self.is_still = at_s - self._moved_at >= STILL_AFTER_S
        # Only a live stream can be stuck, and to compare every pixel of a large frame takes longer than all the rest.
        same = live and self._last is not None and np.array_equal(self._last, image)
        if live and not same:
            self._changed_at, self._last = at_s, image
        if float(grey.mean()) < BLACK_BELOW:
            self.note = "black picture"
        elif same and at_s - self._changed_at >= STUCK_AFTER_S:
            self.note = "the picture has not changed"
        else:
            self.note = ""
