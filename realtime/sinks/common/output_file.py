"""Files that appear under their names only when they are complete."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BufferedWriter
from pathlib import Path

from realtime.errors import SinkError


def part_path(path: Path) -> Path:
    """Where the output `path` grows: beside it, so that the last step is a rename; hidden; its suffix kept, so that it plays."""
    return path.with_name(f".{path.stem}.part{path.suffix}")


def check_writable(path: Path, suffixes: Sequence[str], source: Path | None = None) -> None:
    """Make sure that `path` can become an output. Makes missing parent folders; leaves no file.

    An older file there is no obstacle: it is replaced when the new one is complete. Raises SinkError when the suffix is none of
    `suffixes`, the path is a folder, a device or the `source` itself, or the place takes no files.
    """
    if path.suffix.lower() not in suffixes:
        raise SinkError(f'{path}: cannot write "{path.suffix}" files; end the name in {" or ".join(suffixes)}')
    if path.is_dir():
        raise SinkError(f"{path}: is a folder; name a file, such as {path / ('out' + suffixes[0])}")
    if path.exists() and not path.is_file():
        raise SinkError(f"{path}: is not a regular file; name another one")
    if source is not None and source.resolve() == path.resolve():
        raise SinkError(f"{path}: is the input; an output must be another file")
    if path.exists() and not os.access(path, os.W_OK):
        raise SinkError(f"{path}: exists and is write-protected; name another file")
    probe = part_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not probe.exists():  # one that is there was left by a killed run, or grows in another program: no business of a check
            probe.touch()
            probe.unlink()
    except OSError as error:
        cause = error.strerror or error
        raise SinkError(f"{path}: cannot be written ({cause}); name a file in a folder you may write to") from error


class Part:
    """An output on its way: it grows at `growing`, then either becomes `path` or is given up. Used on one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.growing = part_path(path)

    def finish(self) -> None:
        """Give the file its name, in one step: readers see the old file or the complete new one. Raises SinkError."""
        try:
            self.growing.replace(self.path)
        except OSError as error:
            raise self.failed(error) from error

    def failed(self, error: OSError) -> SinkError:
        """What to tell people when writing broke off: the cause, and where everything up to there lies."""
        left = ""
        if self.growing.exists():
            if self.growing.stat().st_size:
                left = f"; what was written before is in {self.growing}"
            else:
                self.growing.unlink()
        return SinkError(f"{self.path}: writing failed ({error.strerror or error}){left}. Free some space or name another place")


class LineFile:
    """A text file written line by line; whoever kills the program finds whole lines. Used on one thread."""

    def __init__(self, path: Path) -> None:
        self._part = Part(path)
        self._file: BufferedWriter | None = None
        self._is_broken = False

    @property
    def is_empty(self) -> bool:
        """Nothing was written yet, so there is no file yet."""
        return self._file is None

    def write(self, lines: bytes) -> None:
        """Append whole lines and hand them to the system. Raises SinkError once; after it nothing is written any more."""
        if self._is_broken:
            return
        try:
            if self._file is None:
                self._file = self._part.growing.open("wb")
            self._file.write(lines)
            self._file.flush()
        except OSError as error:
            self._is_broken = True
            raise self._part.failed(error) from error

    def close(self) -> None:
        """Give the file its name; one that broke stays a part, and of nothing comes nothing. Raises SinkError."""
        if self._file is None:
            return
        try:
            self._file.close()
        except OSError as error:  # the buffer still holds what could not be written
            if not self._is_broken:
                raise self._part.failed(error) from error
        if not self._is_broken:
            self._part.finish()
