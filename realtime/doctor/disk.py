"""Disk: whether the folders of models, engines and recordings can be written, and have room."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from realtime.doctor.common.finding import Finding, ok, problem, warning
from realtime.doctor.common.machine import Machine

RANK = 200

LITTLE_BYTES, TOO_LITTLE_BYTES = 2 * 2**30, 200 * 2**20
"""A build writes the model twice and the engine once; a recording of 720p takes about 15 kB a frame, 1.6 GB an hour."""

KINDS = {
    "cache": ("engines", "XDG_CACHE_HOME"),
    "data": ("models", "XDG_DATA_HOME"),
    "state": ("key of engines", "XDG_STATE_HOME"),
}
"""Kind of folder -> what is kept there, and the variable that moves it."""


def check(machine: Machine) -> Iterator[Finding]:
    from engines.errors import NoHomeError
    from engines.system.places import user_folder

    fine: dict[str, Path] = {}
    for kind, (what, variable) in KINDS.items():
        try:
            folder = user_folder(kind)  # type: ignore[arg-type]  # the keys are the kinds
        except NoHomeError as error:
            yield problem(what, error.what, f"export HOME=/path/to/a/folder  # or {variable}")
            continue
        if (fault := _not_writable(folder)) is not None:
            yield problem(what, f"{folder}: {fault}", f"export {variable}=/path/to/a/folder  # or make this one writable")
        else:
            fine[what] = folder
    temporary = Path(machine.environ.get("TMPDIR") or "/tmp")
    if (fault := _not_writable(temporary)) is not None:
        yield problem("temporary files", f"{temporary}: {fault}", "export TMPDIR=/path/to/a/folder")
    here = _here()
    if here is None:
        yield problem("this folder", "it was deleted: nothing can be written into it", "cd ~")
    elif (fault := _not_writable(here)) is not None:
        yield warning(
            "this folder", f"{here}: {fault}: pictures, recordings and reports go to its out/", "cd ~  # or name other outputs"
        )
    else:
        fine["this folder"] = here
    yield from _room(fine)


def _here() -> Path | None:
    try:
        return Path.cwd()
    except OSError:
        return None


def _not_writable(folder: Path) -> str | None:
    """Why nothing can be written there; None where it can. The folder need not exist yet. Creates nothing."""
    try:
        place = next(path for path in (folder, *folder.parents) if path.exists())
    except OSError as error:
        return f"cannot be reached ({error.strerror})"
    if not place.is_dir():
        return f"cannot be made: {place} is a file"
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return "the file system is read-only"
    if not os.access(place, os.W_OK | os.X_OK):
        return "is not writable" if place == folder else f"cannot be made: {place} is not writable"
    return None


def _room(places: dict[str, Path]) -> Iterator[Finding]:
    """One line for each file system."""
    by_device: dict[int, tuple[list[str], Path]] = {}
    for what, folder in places.items():
        place = next(path for path in (folder, *folder.parents) if path.exists())
        names, _ = by_device.setdefault(place.stat().st_dev, ([], place))
        names.append(what)
    for names, place in by_device.values():
        yield _judged(", ".join(names), place)


def _judged(what: str, place: Path) -> Finding:
    free_bytes = shutil.disk_usage(place).free
    text = f"{free_bytes / 2**30:.1f} GiB free for {what} ({place})"
    cure = f"du -xh --max-depth=2 {place} | sort -h | tail  # shows what takes the room"
    if free_bytes < TOO_LITTLE_BYTES:
        return problem("disk", text, cure)
    return warning("disk", text, cure) if free_bytes < LITTLE_BYTES else ok("disk", text)
