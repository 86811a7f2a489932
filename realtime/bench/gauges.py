"""Gauges of Linux: this process's memory, and what the whole machine computes. Elsewhere they read None."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

BUSY_COLUMNS = (0, 1, 2, 5, 6, 7)
"""Of a line of /proc/stat: user, nice, system, irq, softirq, steal. Source: proc_stat(5)."""

SLOPE_LOOKS = 200


def rss_mb() -> float | None:
    """Resident memory of this process in megabytes."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, ValueError, IndexError):
        return None


def usable_cores() -> frozenset[int]:
    """The numbers of those that this process may use: a container or `taskset` may leave it fewer than the machine has."""
    return frozenset(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def machine_cpu_s(stat: Path = Path("/proc/stat")) -> float | None:
    """CPU seconds of all programs on the `usable_cores` since the machine started, in steps of a hundredth."""
    names = {f"cpu{number}" for number in usable_cores()}
    try:
        lines = [line.split() for line in stat.read_text(encoding="ascii").splitlines() if line.startswith("cpu")]
        ticks = [[int(words[column + 1]) for column in BUSY_COLUMNS] for words in lines if words[0] in names]
        return sum(map(sum, ticks)) / os.sysconf("SC_CLK_TCK") if ticks else None
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
