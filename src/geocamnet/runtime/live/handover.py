"""How one thread gives to the next: the newest thing only, or each thing in turn."""

import threading
import time
from typing import Generic, TypeVar

T = TypeVar("T")


class Handover(Generic[T]):
    """One place between two threads that holds one thing.

    Without ``lossless`` what is put replaces what was not taken: who takes is never behind. With it ``put`` waits
    until the place is free: nothing is lost, and who puts goes at the pace of who takes.

    Attributes:
        dropped: things that were replaced before anyone took them.
    """

    def __init__(self, *, lossless: bool = False) -> None:
        self.lossless = lossless
        self.dropped = 0
        self._held: list[T] = []
        self._closed = False
        self._changed = threading.Condition()

    def put(self, thing: T) -> bool:
        """Put a thing into the place; False where it is closed, and the thing was not taken up."""
        with self._changed:
            while self.lossless and self._held and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self.dropped += len(self._held)
            self._held = [thing]
            self._changed.notify_all()
            return True

    def take(self, timeout_s: float | None = None) -> T | None:
        """Take what lies there, waiting for it; None after the timeout, or when it is closed and empty."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while not self._held and not self._closed:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)
            if not self._held:
                return None
            self._changed.notify_all()
            return self._held.pop()

    def close(self) -> None:
        """Let nothing more in; what lies there may still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def is_over(self) -> bool:
        """Whether nothing lies there and nothing will."""
        with self._changed:
            return self._closed and not self._held
