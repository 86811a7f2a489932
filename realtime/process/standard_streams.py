"""Standard input, output and error, whatever the program was started with: closed, a pipe that nobody reads, any encoding."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, TextIO

from engines.errors import cure_of


def prepare() -> None:
    """Make the three streams usable. Once, before anything is opened or printed.

    A closed descriptor becomes the null device: otherwise the next file that is opened would have its number, and what libraries
    print would be written into it. A letter that the encoding lacks is replaced. When nobody reads the output any more, as after
    `| head`, the rest of it is dropped and the work goes on.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
            if number:
                os.set_inheritable(number, True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115  # a descriptor, for the whole process
    sys.stdout, sys.stderr = _lasting(sys.stdout, 1), _lasting(sys.stderr, 2)


def checked(code: int) -> int:
    """`code`, or 2 and a line on standard error if the output lacks something for a reason other than that nobody reads it."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    error = raw.error if isinstance(raw, _Lasting) else None
    if error is None or error.errno == errno.EPIPE:
        return code
    print(f"error: the output cannot be written ({error.strerror}). {cure_of(error, 'send it elsewhere')}", file=sys.stderr)
    return code or 2


class _Lasting(io.FileIO):
    """The descriptor under an output stream. After a failed write it takes everything, and writes nothing."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int | None:  # type: ignore[override]  # None: it would block
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return len(data)


class _Unbuffered(io.BufferedWriter):
    """Writes at once."""

    def write(self, data: Any, /) -> int:
        count = super().write(data)
        self.flush()
        return count


def _lasting(stream: TextIO | None, descriptor: int) -> TextIO:
    """A text stream like `stream` (None: closed at the start) that raises neither for a letter nor for a failed write."""
    is_unbuffered = bool(getattr(stream, "write_through", False))  # `python -u`
    buffer = _Unbuffered if is_unbuffered else io.BufferedWriter
    return io.TextIOWrapper(
        buffer(_Lasting(descriptor, "w", closefd=False)),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors="replace",
        line_buffering=descriptor == 2 or (stream is not None and stream.isatty()),
        write_through=is_unbuffered,
    )
