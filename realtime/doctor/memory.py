"""Memory: what is free, swap, and the limit of a container."""

import re
from collections.abc import Iterator

from realtime.doctor.common.finding import Finding, absent, ok, problem, warning
from realtime.doctor.common.machine import Machine

RANK = 190

TOO_LITTLE_BYTES, LITTLE_BYTES = 500 * 2**20, 3 * 2**29
"""A run with `road` on the CPU took 450 to 630 MB (benchmarks/results/bench-road-ort.json); a build needs more."""

SMALL_BOARD_BYTES = 10 * 2**30
"""Boards with 8 GB or less, which GPU and programs share."""

CLOSE = "ps aux --sort=-rss | head  # lists what takes it: close what you do not need"
NO_DESKTOP = "sudo systemctl isolate multi-user.target  # closes the desktop until the next start"
ADD_SWAP = "sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && sudo swapon /swapfile"


def check(machine: Machine) -> Iterator[Finding]:
    facts = _meminfo(machine)
    if "MemTotal" not in facts:
        yield absent("memory", "unknown on this system")
        return
    total, available = facts["MemTotal"], facts.get("MemAvailable", facts.get("MemFree", 0))
    limit = _limit(machine)
    if limit is not None and limit < total:
        left = max(0, limit - _used(machine))
        total, available = limit, min(available, left)
    text = f"{_gib(available)} of {_gib(total)} free" + (", as this container may use" if total == limit else "")
    cure = NO_DESKTOP if machine.is_jetson else CLOSE
    if available < TOO_LITTLE_BYTES:
        yield problem("memory", f"{text}: too little for a model", cure)
    elif available < LITTLE_BYTES:
        yield warning("memory", f"{text}: little for a model, too little for a build", cure)
    else:
        yield ok("memory", text)
    yield from _swap(machine, facts)


def _swap(machine: Machine, facts: dict[str, int]) -> Iterator[Finding]:
    swap = facts.get("SwapTotal", 0)
    if machine.is_jetson and facts["MemTotal"] < SMALL_BOARD_BYTES and swap < 2 * 2**30:
        found = f"{_gib(swap)}: on this board the system may kill a build for lack of memory"
        yield warning("swap", found, ADD_SWAP)
    elif swap:
        yield ok("swap", _gib(swap))


def _meminfo(machine: Machine) -> dict[str, int]:
    """Bytes by name, as in "MemAvailable"."""
    pairs = re.findall(r"^(\w+):\s+(\d+) kB", machine.read("/proc/meminfo"), re.MULTILINE)
    return {name: int(kilobytes) * 1024 for name, kilobytes in pairs}


def _limit(machine: Machine) -> int | None:
    """Of this container or service; None for none. Source: the kernel's cgroup-v2.rst, and memory.rst of version 1."""
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = machine.read(file)
        if text.isdigit():
            return int(text)
    return None


def _used(machine: Machine) -> int:
    for file in ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes"):
        text = machine.read(file)
        if text.isdigit():
            return int(text)
    return 0


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
