"""What killed runs left: parts that no process writes. Each becomes a complete file of its own; nothing is lost or replaced."""

import contextlib
import os
from collections.abc import Callable, Collection
from pathlib import Path

from engines.files import move_new, numbered, sync_to_disk
from realtime.errors import SinkError
from realtime.sinks.common.output_file import left_part, part_path

Mend = Callable[[Path, Path], str]
"""Makes a complete file of a part: (part, whole) -> how much it is, "" for nothing. May raise anything: then nothing is lost."""

PART = ".part"


def left_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The outputs of which this folder has a part that no process writes, sorted. suffixes: of outputs. Raises SinkError."""
    found = []
    try:
        for part in sorted(folder.glob(f".*{PART}.*")):
            path = part.with_name(f"{part.stem.removesuffix(PART)[1:]}{part.suffix}")
            if part.suffix.lower() in suffixes and part == part_path(path) and _is_left(path):
                found.append(path)
    except OSError as error:
        raise SinkError(f"{folder}: cannot be read ({error.strerror or error})") from error
    return found


def _is_left(path: Path) -> bool:
    try:
        descriptor = left_part(path)
    except (SinkError, OSError):  # being written, a link, or not readable
        return False
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is not None


def finish_left(path: Path, mend: Mend | None) -> str:
    """Finish what a killed run left of the output `path`, as NAME-recovered.SUFFIX. Returns a line for people; "" without any.

    A part that `mend` cannot read is kept under that name as it is; one that holds nothing is removed. Raises SinkError when
    another process writes the file, or when the recovered one cannot be written.
    """
    part = part_path(path)
    try:
        descriptor = left_part(path)
        if descriptor is None:
            return ""
        with contextlib.closing(os.fdopen(descriptor)):  # locked until it has its name
            return _finish(path, part, mend)
    except OSError as error:
        what = f"{path}: what a killed run left in {part} cannot be finished ({error.strerror or error})"
        raise SinkError(what, f"Move {part} away, free some space, or name another file") from error


def _finish(path: Path, part: Path, mend: Mend | None) -> str:
    whole = path.with_name(f".{path.stem}.recovering{path.suffix}")
    amount, is_whole = "", False
    whole.unlink(missing_ok=True)
    if mend is not None and part.stat().st_size:
        os.close(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
        try:
            amount = mend(part, whole)
            sync_to_disk(whole)
            is_whole = True
        except OSError:
            whole.unlink(missing_ok=True)
            raise
        except Exception as error:  # of a library that cannot read it
            whole.unlink(missing_ok=True)
            amount = f"{part.stat().st_size / 1e6:.1f} MB, not checked ({error})"
    if not part.stat().st_size or (is_whole and not amount):
        whole.unlink(missing_ok=True)
        part.unlink()
        return f"{path}: a run was killed before it had written anything of it"
    for free in numbered(path.with_name(f"{path.stem}-recovered{path.suffix}")):
        with contextlib.suppress(FileExistsError):
            move_new(whole if is_whole else part, free)
            break
    sync_to_disk(path.parent)  # before the part goes
    part.unlink(missing_ok=True)
    return f"{path}: a run was killed while it wrote this file; what it had written ({amount or 'not checked'}) is now {free}"
