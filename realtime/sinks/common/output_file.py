"""Files that grow for a long time, and appear under their names when they are complete.

Unlike what `engines.files` writes, a part has a fixed name and stays after a crash: what was recorded is not lost.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path

from realtime.errors import SinkError


def part_path(path: Path) -> Path:
    """The file that becomes `path`: in the same folder, so that a rename completes it; with its suffix, so that it plays."""
    return path.with_name(f".{path.stem}.part{path.suffix}")


def check_writable(path: Path, suffixes: Sequence[str], source: Path | None = None) -> None:
    """Make sure that `path` can become an output. Makes missing parent folders; leaves no file.

    An older file may exist: it is replaced when the new one is complete. Raises SinkError when the suffix is not one of
    `suffixes`, when the path is a folder, a device or `source` itself, or when its folder cannot be written to.
    """
    if path.suffix.lower() not in suffixes:
        raise SinkError(f'{path}: cannot write "{path.suffix}" files', f"End the name in {' or '.join(suffixes)}")
    if path.is_dir():
        raise SinkError(f"{path}: is a folder", f"Name a file, such as {path / ('out' + suffixes[0])}")
    if path.exists() and not path.is_file():
        raise SinkError(f"{path}: is not a regular file", "Name another one")
    if source is not None and source.resolve() == path.resolve():
        raise SinkError(f"{path}: is the input", "Name another file for the output")
    if path.exists() and not os.access(path, os.W_OK):
        raise SinkError(f"{path}: exists and is write-protected", "Name another file")
    probe = part_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not probe.exists():  # an existing part was left by a killed run, or belongs to another program: it stays
            probe.touch()
            probe.unlink()
    except OSError as error:
        cause = error.strerror or error
        raise SinkError(f"{path}: cannot be written ({cause})", "Name a file in a folder you may write to") from error


class Part:
    """An unfinished output at `growing`, which later becomes `path`. Used on one thread."""

    def __init__(self, path: Path) -> None:
        self.path, self.growing = path, part_path(path)
        self.is_broken = False

    @contextmanager
    def step(self, *errors: type[Exception]) -> Iterator[None]:
        """A step of writing. OSError and `errors` become one SinkError; after that the output is broken, and more are ignored."""
        failures: tuple[type[Exception], ...] = (OSError, *errors)
        try:
            yield
        except failures as error:
            if not self.is_broken:
                self.is_broken = True
                raise self._failed(error) from error

    def finish(self, close: Callable[[], None], *errors: type[Exception]) -> None:
        """Close the part and, unless it is broken, rename it: readers see the old file or the whole new one. Raises SinkError."""
        with self.step(*errors):
            close()
        if not self.is_broken:
            with self.step():
                self.growing.replace(self.path)

    def _failed(self, error: Exception) -> SinkError:
        """The error for a failed write: its cause, and the file with what was written before."""
        left = ""
        if self.growing.exists():
            if self.growing.stat().st_size:
                left = f"; what was written before is in {self.growing}"
            else:
                self.growing.unlink()
        cause = (isinstance(error, OSError) and error.strerror) or error
        return SinkError(f"{self.path}: writing failed ({cause}){left}", "Free some space or name another file")


class LineFile:
    """A text file written line by line: after the program was killed it has whole lines. Used on one thread."""

    def __init__(self, path: Path) -> None:
        self._part = Part(path)
        self._file: BufferedWriter | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written yet, so that there is no file."""
        return self._file is None

    def write(self, lines: bytes) -> None:
        """Append whole lines and flush them. Raises SinkError once, when that fails; after that writes nothing."""
        if self._part.is_broken:
            return
        with self._part.step():
            if self._file is None:
                self._file = self._part.growing.open("wb")
            self._file.write(lines)
            self._file.flush()

    def close(self) -> None:
        """Give the file its name. A broken one keeps its part name; without lines there is no file. Raises SinkError."""
        if self._file is not None:
            self._part.finish(self._file.close)  # its buffer may still have lines
