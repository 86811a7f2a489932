"""Files that grow for a long time, and appear under their names when they are complete.

Unlike what `engines.files` writes, a part has a fixed name and stays after a crash: what was recorded is not lost, and the next
run finishes it (`leftovers`). A part is created exclusively, no link is followed, and it is locked while a process writes it: the
kernel lets go of the lock when the process ends, however it ends.
"""

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path

from engines.files import move_new, numbered
from realtime.errors import SinkError

LOOK_EVERY_S = 1.0
"""How often a part looks whether it is still in its folder."""

UNLOCKABLE_IN_USE_S = 30.0
"""On a file system without locks, a part that changed within this time is taken for one that is being written."""

CURES = {
    errno.EEXIST: "Name another file: another run writes this one, or was killed while it did",
    errno.ENOMEM: "Close other programs to free memory",
    errno.ENOENT: "Leave the folder in its place while it is written to",
    errno.ESTALE: "Leave the folder in its place while it is written to",
    errno.EACCES: "Name a file in a folder you may write to",
    errno.EPERM: "Name a file in a folder you may write to",
    errno.EROFS: "Name a file in a folder you may write to",
    errno.EIO: "The disk fails: name a file on another one",
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Free some space or name another file"),
}
"""What to do about an error of the system."""


def part_path(path: Path) -> Path:
    """The file that becomes `path`: in the same folder, so that a rename completes it; with its suffix, so that it plays."""
    return path.with_name(f".{path.stem}.part{path.suffix}")


def check_writable(path: Path, suffixes: Sequence[str], source: Path | None = None, *, replaces: bool = False) -> None:
    """Make sure that `path` can become an output. Makes missing parent folders; leaves no file.

    replaces: an older file may exist, and is replaced when the new one is complete. Raises SinkError when the suffix is not one
    of `suffixes`; when the path exists otherwise, is a folder, a device or `source` itself; when another process writes it; or
    when its folder cannot be written to.
    """
    if path.suffix.lower() not in suffixes:
        raise SinkError(f'{path}: cannot write "{path.suffix}" files', f"End the name in {' or '.join(suffixes)}")
    try:
        _check_place(path, suffixes, source)
        if os.path.lexists(path) and not replaces:
            raise SinkError(f"{path}: exists", "Name another file, or replace it with --force")
        if os.path.lexists(path) and not path.is_symlink() and not os.access(path, os.W_OK):
            raise SinkError(f"{path}: exists and is write-protected", "Name another file")
        path.parent.mkdir(parents=True, exist_ok=True)
        if (left := left_part(path)) is not None:  # a killed run's stays where it is
            os.close(left)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        cause = error.strerror or error
        raise SinkError(f"{path}: cannot be written ({cause})", "Name a file in a folder you may write to") from error


def _check_place(path: Path, suffixes: Sequence[str], source: Path | None) -> None:
    if path.is_dir():
        raise SinkError(f"{path}: is a folder", f"Name a file, such as {path / ('out' + suffixes[0])}")
    if path.exists() and not path.is_file():
        raise SinkError(f"{path}: is not a regular file", "Name another one")
    if source is not None and (source.resolve() == path.resolve() or (path.exists() and path.samefile(source))):
        raise SinkError(f"{path}: is the input", "Name another file for the output")


def left_part(path: Path) -> int | None:
    """Lock the part of `path` that a killed run left. Returns its descriptor; None where there is none.

    Raises SinkError when another process writes it, or when what has its name is no file of ours. Raises OSError.
    """
    part = part_path(path)
    try:
        mode = part.lstat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a link" if stat.S_ISLNK(mode) else "no regular file"
            raise SinkError(f"{path}: {part} is in its way, and is {kind}", f"Remove {part}")
        descriptor = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        _lock(descriptor, path)
        if not is_same(descriptor, part):  # finished in this moment
            os.close(descriptor)
            return None
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(descriptor)
        raise
    return descriptor


def _lock(descriptor: int, path: Path) -> None:
    """Lock a part for this process. Raises SinkError when another one has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        in_use = True
    except OSError:  # no locks here
        facts = os.fstat(descriptor)
        in_use = facts.st_size > 0 and time.time() - facts.st_mtime < UNLOCKABLE_IN_USE_S
    else:
        in_use = False
    if in_use:
        raise SinkError(f"{path}: another run is writing it", "Name another file, or wait until that run has ended")


def is_same(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


class Part:
    """An unfinished output at `growing`, which later becomes `path`. Used on one thread."""

    def __init__(self, path: Path) -> None:
        self.path, self.growing = path, part_path(path)
        self.is_broken = False
        self._replaces = os.path.lexists(path)  # checked: it may be replaced
        self._lock: int | None = None
        self._looked_s = 0.0

    def open(self) -> int:
        """Create it, locked. Returns a descriptor that the caller closes. Raises FileExistsError, SinkError and OSError."""
        try:
            descriptor = os.open(self.growing, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            if (left := left_part(self.path)) is not None:  # it came since the outputs were checked, and its run was killed
                os.close(left)
            raise
        try:
            _lock(descriptor, self.path)
            self._lock = os.dup(descriptor)  # until it has its name: closing the other does not unlock it
        except BaseException:
            os.close(descriptor)
            raise
        self._looked_s = time.monotonic()
        return descriptor

    @contextmanager
    def step(self, *errors: type[Exception]) -> Iterator[None]:
        """A step of writing. OSError and `errors` become one SinkError; after that the output is broken, and more are ignored."""
        failures: tuple[type[Exception], ...] = (OSError, MemoryError, *errors)
        try:
            yield
            self._look()
        except SinkError:
            self.is_broken = True
            raise
        except failures as error:
            if not self.is_broken:
                self.is_broken = True
                raise self._failed(error) from error

    def finish(self, close: Callable[[], None], *errors: type[Exception]) -> None:
        """Close the part and, unless it is broken, rename it: readers see the old file or the whole new one. Raises SinkError."""
        try:
            with self.step(*errors):
                close()
            if not self.is_broken:
                with self.step():
                    self._name()
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _name(self) -> None:
        if self._replaces:
            self.growing.replace(self.path)
            return
        for free in numbered(self.path):
            with contextlib.suppress(FileExistsError):
                move_new(self.growing, free)
                break
        if free != self.path:
            raise SinkError(f"{self.path}: another program has written it meanwhile; what this run wrote is {free}")

    def _look(self) -> None:
        """Fail soon, not at the end of a long recording, when the part was taken from its folder."""
        now_s = time.monotonic()
        if self._lock is not None and not self.is_broken and now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            if not is_same(self._lock, self.growing):
                raise OSError(errno.ENOENT, "it is no longer in its folder")

    def _failed(self, error: Exception) -> SinkError:
        """The error for a failed write: its cause, and the file with what was written before."""
        left = ""
        with contextlib.suppress(OSError):
            if self._lock is not None and is_same(self._lock, self.growing):
                if self.growing.stat().st_size:
                    left = f"; what was written before is in {self.growing}"
                else:
                    self.growing.unlink()
        cause = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
        cure = CURES.get(number or 0, "Name another file; --verbose says more")
        return SinkError(f"{self.path}: writing failed ({cause}){left}", cure)


class LineFile:
    """A text file written line by line: after the program was killed it has whole lines. Used on one thread."""

    def __init__(self, path: Path) -> None:
        self._part = Part(path)
        self._file: BufferedWriter | None = None

    def write(self, lines: bytes) -> None:
        """Append whole lines and flush them. Raises SinkError once, when that fails; after that writes nothing."""
        if self._part.is_broken:
            return
        with self._part.step():
            if self._file is None:
                self._file = os.fdopen(self._part.open(), "wb")
            self._file.write(lines)
            self._file.flush()

    def close(self) -> None:
        """Give the file its name. A broken one keeps its part name; without lines there is no file. Raises SinkError."""
        if self._file is not None:
            self._part.finish(self._file.close)  # its buffer may still have lines


def mend_lines(part: Path, whole: Path) -> str:
    """Copy the whole lines of a killed run's part. Returns how many there are, as text; "" without any. Raises OSError."""
    count = 0
    with part.open("rb") as lines, whole.open("wb") as copy:
        for line in lines:
            if line.endswith(b"\n"):
                copy.write(line)
                count += 1
    return f"{count} lines" if count else ""
