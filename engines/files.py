"""Files that are written whole or not at all: readers see the old file or the complete new one, whatever happens."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

PART = ".part"
"""Ending of files that are being written. One that stays behind was left by a killed process."""


def write_whole(path: Path, data: bytes | str) -> None:
    """Write one file whole; text as UTF-8. Makes missing parent folders. Raises OSError, and then nothing has changed."""
    publish({path: data.encode("utf-8") if isinstance(data, str) else data})


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """For writers that want a path: yields a hidden one beside `path`, with its suffix, which becomes `path` at the end.

    Makes missing parent folders. When the block raises, what was written is removed and `path` stays as it was. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _new_part(path.parent, f".{path.stem}-", f"{PART}{path.suffix}")
    try:
        yield part
        sync_to_disk(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_to_disk(path.parent)


def publish(contents: Mapping[Path, bytes]) -> None:
    """Write each file whole, then move all to their places in the order given. Makes missing parent folders. Raises OSError.

    All are on the disk before the first is moved. After an error everything is as it was, folders included.
    """
    written: list[Path] = []
    folders: list[Path] = []
    try:
        parts: dict[Path, Path] = {}
        for path, data in contents.items():
            folders += reversed([folder for folder in path.parents if not folder.exists()])
            path.parent.mkdir(parents=True, exist_ok=True)
            parts[path] = _new_part(path.parent, f".{path.stem}-", PART)
            written.append(parts[path])
            with parts[path].open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        move_all({part: path for path, part in parts.items()})
    except BaseException:
        for file_path in written:
            file_path.unlink(missing_ok=True)
        for folder in reversed(folders):
            with contextlib.suppress(OSError):  # not made yet, or others have put something there
                folder.rmdir()
        raise
    for folder in {path.parent for path in contents}:
        sync_to_disk(folder)


def move_all(places: Mapping[Path, Path]) -> None:
    """Move written files to their places on the same file system, in the order given. Raises OSError.

    After an error the files that were there before are there again.
    """
    moved: list[Path] = []
    before: dict[Path, Path] = {}
    try:
        for part, place in places.items():
            if place.is_symlink() or place.exists():
                before[place] = part.with_name(f"{part.name[-40:]}.before{PART}")
                _keep_as(place, before[place])
            moved.append(place)
            part.replace(place)
    except BaseException:
        for place in reversed(moved):
            if place in before:
                before[place].replace(place)
            else:
                place.unlink(missing_ok=True)
        raise
    finally:
        for kept in before.values():
            kept.unlink(missing_ok=True)


def _keep_as(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it if the file system has no hard links."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def sha256_of(path: Path) -> str:
    """The hash of a file in hex, without loading the whole file into memory. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def sync_to_disk(path: Path) -> None:
    """Make a file, or the moves in a folder, last through a power cut, where that can be asked for."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _new_part(folder: Path, prefix: str, suffix: str) -> Path:
    """A new empty file with the permissions that any new file gets here: `mkstemp` makes a private one."""
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=prefix, suffix=suffix)
    mask = os.umask(0o077)
    os.umask(mask)
    os.fchmod(descriptor, 0o666 & ~mask)
    os.close(descriptor)
    return Path(name)
