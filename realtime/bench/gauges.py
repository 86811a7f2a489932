"""Gauges of Linux: this process's memory, and what the whole machine computes. Elsewhere they read None."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

BUSY_COLUMNS = (0, 1, 2, 5, 6, 7)
"""Of /proc/stat's first line: user, nice, system, irq, softirq, steal. Source: proc_stat(5)."""

SLOPE_LOOKS = 200


def rss_mb() -> float | None:
    """Resident memory of this process in megabytes."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, ValueError, IndexError):
        return None


def machine_cpu_s() -> float | None:
    """CPU seconds of all programs since the machine started, in steps of a hundredth."""
    try:
        ticks = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
        return sum(int(ticks[column]) for column in BUSY_COLUMNS) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def slope_per_minute(times_s: Sequence[float], values: Sequence[float]) -> float | None:
    """By how much values rise in a minute: the median slope over all pairs of looks; None for less than 3.

    Memory rises in steps, when a pool or a cache grows: one step tilts a least-squares line, but not this one. Of many looks
    `SLOPE_LOOKS` are taken, evenly spread. Source: Theil (1950), Sen (1968).
    """
    if len(times_s) < 3 or times_s[-1] <= times_s[0]:
        return None
    taken = np.unique(np.linspace(0, len(times_s) - 1, SLOPE_LOOKS).astype(int))
    at_s, seen = np.asarray(times_s)[taken], np.asarray(values)[taken]
    first, second = np.triu_indices(len(taken), 1)
    passed_s = at_s[second] - at_s[first]
    differs = passed_s > 0
    return float(np.median((seen[second] - seen[first])[differs] / passed_s[differs]) * 60)
