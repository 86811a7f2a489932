"""Files that are written whole or not at all: readers see the old file or the complete new one, whatever happens.

New files are created exclusively, under names that nobody can foresee, and no link is followed: a link of the file's name is
replaced. What is replaced keeps its permissions. Devices, pipes and names of open descriptors such as /dev/stdout are written to,
not replaced.
"""

import contextlib
import hashlib
import itertools
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from engines.system.unfinished import settling, temporary_folder, unfinished

PART = ".part"
"""Ending of files that are being written. One that stays behind was left by a killed process."""


def write_whole(path: Path, data: bytes | str) -> None:
    """Write one file whole; text as UTF-8. Makes missing parent folders. Raises OSError, and then nothing has changed."""
    publish({path: data.encode("utf-8") if isinstance(data, str) else data})


@contextlib.contextmanager
def whole_file(path: Path, *, replaces: bool = True) -> Iterator[Path]:
    """For writers that want a path: yields a hidden one beside `path`, with its suffix, which becomes `path` at the end.

    Makes missing parent folders. When the block raises, what was written is removed and `path` stays as it was. replaces: an
    existing file; otherwise that is a FileExistsError, at the end. Raises OSError.
    """
    if is_stream(path):
        with temporary_folder() as folder:
            written = folder / path.name
            yield written
            _write_through(path, written.read_bytes())
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part: Path | None = None

    def undo() -> None:
        if part is not None:
            part.unlink(missing_ok=True)

    with unfinished(undo):
        try:
            with settling:
                part = _new_part(path, f"{PART}{path.suffix}")
            yield part
            sync_to_disk(part)
            with settling:
                if replaces:
                    _keep_permissions(part, path)
                    part.replace(path)
                else:
                    move_new(part, path)
        except BaseException:
            undo()
            raise
    sync_to_disk(path.parent)


def publish(contents: Mapping[Path, bytes]) -> None:
    """Write each file whole, then move all to their places in the order given. Makes missing parent folders. Raises OSError.

    All are on the disk before the first is moved. After an error everything is as it was, folders included.
    """
    streams = {path: data for path, data in contents.items() if is_stream(path)}
    parts: dict[Path, Path] = {}
    folders: list[Path] = []

    def undo() -> None:
        for part in list(parts.values()):
            part.unlink(missing_ok=True)
        for folder in reversed(folders):
            with contextlib.suppress(OSError):  # not made yet, or others have put something there
                folder.rmdir()

    with unfinished(undo):
        try:
            for path, data in contents.items():
                if path in streams:
                    continue
                folders += reversed([folder for folder in path.parents if not folder.exists()])
                path.parent.mkdir(parents=True, exist_ok=True)
                with settling:
                    parts[path] = _new_part(path, PART)
                with parts[path].open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                _keep_permissions(parts[path], path)
            move_all({part: path for path, part in parts.items()})
        except BaseException:
            undo()
            raise
    for path, data in streams.items():
        _write_through(path, data)
    for folder in {path.parent for path in parts}:
        sync_to_disk(folder)


def move_new(part: Path, path: Path) -> None:
    """Move a written file to a name that is free, on the same file system. Raises FileExistsError if it is not, and OSError."""
    try:
        os.link(part, path, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: reserve the name, then replace what reserves it
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
        try:
            part.replace(path)
        except OSError:
            path.unlink(missing_ok=True)
            raise
    else:
        part.unlink()


def numbered(path: Path) -> Iterator[Path]:
    """`path`, then the same with -2, -3 ... after its stem: names to try until one is free."""
    yield path
    for number in itertools.count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def move_all(places: Mapping[Path, Path]) -> None:
    """Move written files to their places on the same file system, in the order given. Raises OSError.

    After an error the files that were there before are there again.
    """
    with settling:
        _move_all(places)


def _move_all(places: Mapping[Path, Path]) -> None:
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


def is_stream(path: Path) -> bool:
    """Whether `path` is there and no file of its own: a device, a pipe, or the name of an open descriptor."""
    try:
        mode = path.stat().st_mode
        names_descriptor = path.parent.resolve().is_relative_to("/proc") or (
            path.is_symlink() and path.readlink().is_relative_to("/proc")
        )
    except OSError:
        return False
    return names_descriptor or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _write_through(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), "wb") as stream:
        stream.write(data)


def _new_part(path: Path, suffix: str) -> Path:
    """A new empty file beside `path`, with the permissions that any new file gets there: `mkstemp` makes a private one."""
    while True:
        part = path.with_name(f".{path.stem[:50]}-{secrets.token_hex(4)}{suffix}")
        with contextlib.suppress(FileExistsError):
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
            return part


def _keep_permissions(part: Path, path: Path) -> None:
    """Give a written file the owner and the permissions of the one that it will replace, as far as this user may."""
    try:
        old = path.lstat()
    except OSError:
        return
    if stat.S_ISREG(old.st_mode):
        with contextlib.suppress(OSError):
            os.chown(part, old.st_uid, old.st_gid)
        with contextlib.suppress(OSError):
            part.chmod(stat.S_IMODE(old.st_mode) & 0o777)
