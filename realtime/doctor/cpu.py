"""Processor: the cores that this program may use, how busy they are, and the instructions that networks need."""

import os
from collections.abc import Iterator

from realtime.doctor.common.finding import Finding, ok, warning
from realtime.doctor.common.machine import Machine

RANK = 180

BUSY_LOAD = 1.5
"""Load per core from which frame rates say more about other programs."""


def check(machine: Machine) -> Iterator[Finding]:
    usable, present = _usable(), os.cpu_count() or 1
    share = _share(machine)
    text = f"{usable} of {present} cores" if usable < present else f"{present} cores"
    if share is not None and share < usable:
        found = f"{text}, and a limit of {share:.3g} cores (cgroup)"
        yield warning("cpu", found, "docker run --cpus N IMAGE  # a higher limit, where the limit is a container's")
    elif usable < present:
        yield warning("cpu", f"this program may use {text} only", "taskset -pc $$  # shows the cores of this shell")
    else:
        yield ok("cpu", f"{text}{_vectors(machine)}")
    load = _load(machine)
    if load is not None and load > BUSY_LOAD * usable:
        found = f"load {load:.1f} on {usable} cores: other programs take the time"
        yield warning("load", found, "top -o %CPU  # lists them")


def _usable() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _share(machine: Machine) -> float | None:
    """The cores' worth of time that a container may use; None for no limit."""
    words = machine.read("/sys/fs/cgroup/cpu.max").split()
    if len(words) != 2:
        words = [machine.read(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period")]
    quota, period = words
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _vectors(machine: Machine) -> str:
    flags = next(
        (line.split() for line in machine.read("/proc/cpuinfo").splitlines() if line.startswith(("flags", "Features"))), []
    )
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16") if flag in flags]
    return f", {', '.join(wide)}" if wide else ""


def _load(machine: Machine) -> float | None:
    """Of the last minute."""
    try:
        return float(machine.read("/proc/loadavg").split()[0])
    except (IndexError, ValueError):
        return None
