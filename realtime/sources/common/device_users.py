"""Which programs have a device open: the usual reason for a camera without a picture."""

import os
from pathlib import Path

PROC = Path("/proc")


def programs_using(device: Path) -> list[str]:
    """Names of other programs that have `device` open, sorted. Linux shows only those that this user may inspect."""
    own, path, names = str(os.getpid()), str(device.resolve()), set()
    for process in PROC.glob("[0-9]*"):
        if process.name != own and _has_open(process, path):
            names.add(_name(process))
    return sorted(names - {""})


def _has_open(process: Path, path: str) -> bool:
    try:
        return any(_target(link) == path for link in (process / "fd").iterdir())
    except OSError:  # it has ended, or is another user's
        return False


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed meanwhile
        return ""


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
