"""Memory that one training step frees is kept for the next."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Of glibc's malloc.h: parameter, value while memory is kept, value it has otherwise.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = (-1, 2**31 - 1, 128 * 1024), (-2, 256 * 1024**2, 128 * 1024), (-4, 0, 65536)


@contextmanager
def kept_memory() -> Iterator[None]:
    """Let glibc keep what is freed inside of the block; at its end all of it goes back to the system.

    On a processor every step of a training allocates what the step before has freed. Handed back in between, each page
    is cleared and mapped anew: a fifth of the time of a student's step. On a GPU, and without glibc (Windows, macOS),
    nothing happens.
    """
    if torch.cuda.is_available() or platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    for parameter, kept, _ in (_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX):
        libc.mallopt(parameter, kept)
    try:
        yield
    finally:
        for parameter, _, usual in (_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX):
            libc.mallopt(parameter, usual)
        libc.malloc_trim(0)
