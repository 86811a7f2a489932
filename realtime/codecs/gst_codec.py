"""A GStreamer child that decodes or encodes: buffers go in through one pipe and come out of another, each with its time."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections import deque

from engines.errors import SegmentationError
from engines.system.unfinished import unfinished
from realtime.codecs.gdp import Buffer, Reader, header, opening
from realtime.codecs.gst_errors import first_error, shortened
from realtime.codecs.presence import LAUNCH

_PIPE_BYTES = 1 << 20  # the most that Linux gives every user
_START_S = 10.0  # a first start may scan all plugins
_STUCK_S = 3.0
_KEPT_LINES = 50


class ChildError(SegmentationError):
    """The child does not start, ends too early, or gives nothing."""


class GstCodec:
    """One running child. One thread uses it.

    sent, received: how many buffers went in and came out.
    """

    def __init__(self, caps: str, elements: str, most_inside: int) -> None:
        """caps: of what is put in. elements: between the pipes. most_inside: so many buffers the child may hold, pipes included.

        Raises ChildError.
        """
        self.sent = self.received = 0
        self._most_inside = most_inside
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._partial = b""
        self._reader = Reader()
        self._ready: list[Buffer] = []
        self._has_ended = self._is_closed = False
        child_in, self._into = os.pipe()
        self._out_of, child_out = os.pipe()
        self._said, child_said = os.pipe()
        words = (
            f"-q fdsrc fd={child_in} ! gdpdepay ! {elements} ! gdppay ! fdsink name=frames_out fd={child_out} sync=false".split()
        )
        try:
            self._process = subprocess.Popen(
                [LAUNCH, *words],
                stdin=subprocess.DEVNULL,
                stdout=child_said,
                stderr=child_said,
                pass_fds=(child_in, child_out),
                start_new_session=True,  # Ctrl-C in the terminal is for this program to handle
                env={**os.environ, "LC_ALL": "C.UTF-8"},
            )
        except OSError as error:
            for handle in (self._into, self._out_of, self._said):
                os.close(handle)
            raise ChildError(f"{LAUNCH} does not start: {error.strerror}") from None
        finally:
            for handle in (child_in, child_out, child_said):
                os.close(handle)
        self._at_once = contextlib.ExitStack()
        self._at_once.enter_context(unfinished(lambda: self._signal(signal.SIGKILL)))
        self._selector = selectors.DefaultSelector()
        for handle in (self._into, self._out_of, self._said):
            os.set_blocking(handle, False)
            _enlarge(handle)
        for handle in (self._out_of, self._said):
            self._selector.register(handle, selectors.EVENT_READ)
        try:
            self._write([memoryview(opening(caps))])
        except BaseException:
            self.close()
            raise

    @property
    def inside(self) -> int:
        """How many buffers went in and have not come out."""
        return self.sent - self.received

    def put(self, data: memoryview, pts_ns: int, *, is_key: bool = True) -> None:
        """Put a buffer in; it waits while too many are inside. data: bytes, contiguous. Raises ChildError."""
        self._write([memoryview(header(data.nbytes, pts_ns, is_key=is_key)), data.cast("B")])
        self.sent += 1
        due_s = time.monotonic() + self._patience_s
        while self.inside > self._most_inside:
            if self._has_ended or time.monotonic() > due_s:
                raise ChildError(self._reason("it has ended" if self._has_ended else "it gives nothing"))
            self._turn(0.1)

    def taken(self, most_inside: int | None = None, within_s: float = 0.0) -> list[Buffer]:
        """What has come out. It waits up to `within_s` until at most `most_inside` are inside. Raises ChildError."""
        self._turn(0.0)
        due_s = time.monotonic() + within_s
        while most_inside is not None and self.inside > most_inside and not self._has_ended:
            if (left_s := due_s - time.monotonic()) <= 0:
                break
            self._turn(left_s)
        if self._has_ended and not self._ready and self.inside:
            raise ChildError(self._reason("it has ended"))
        return self.left()

    def finish(self, timeout_s: float) -> list[Buffer]:
        """Nothing more comes. Returns what is left. Raises ChildError where it does not end within `timeout_s`, or has failed."""
        if self._into >= 0:
            os.close(self._into)
            self._into = -1
        due_s = time.monotonic() + timeout_s
        while not self._has_ended:
            if time.monotonic() > due_s:
                raise ChildError(self._reason("it does not end"))
            self._turn(0.1)
        try:
            is_fine = self._process.wait(_STUCK_S) == 0
        except subprocess.TimeoutExpired:
            is_fine = False
        if not (is_fine and self._reader.is_between):
            raise ChildError(self._reason("it failed"))
        return self.left()

    def close(self) -> None:
        """End the child, also in the middle. May be called more than once."""
        if self._is_closed:
            return
        self._is_closed = True
        self._signal(signal.SIGKILL)  # it holds no file: its pictures are in pipes
        self._process.wait()
        self._at_once.close()
        self._selector.close()
        for handle in (self._into, self._out_of, self._said):
            if handle >= 0:
                os.close(handle)

    @property
    def _patience_s(self) -> float:
        return _STUCK_S if self.received else _START_S

    def left(self) -> list[Buffer]:
        """What has been read and not been taken."""
        ready, self._ready = self._ready, []
        return ready

    def _write(self, parts: list[memoryview]) -> None:
        """Write all of it; meanwhile what comes out is read, or both would wait for each other."""
        self._selector.register(self._into, selectors.EVENT_WRITE)
        due_s = time.monotonic() + self._patience_s
        try:
            while parts:
                if self._has_ended or time.monotonic() > due_s:
                    raise ChildError(self._reason("it has ended" if self._has_ended else "it takes nothing more"))
                if self._turn(0.1):
                    count = os.writev(self._into, parts)
                    while parts and count >= len(parts[0]):
                        count -= len(parts.pop(0))
                    if parts:
                        parts[0] = parts[0][count:]
        except BrokenPipeError:
            raise ChildError(self._reason("it has ended")) from None
        finally:
            self._selector.unregister(self._into)

    def _turn(self, timeout_s: float) -> bool:
        """Read what has come, waiting for it if there is nothing. Returns whether more can be written."""
        ready = {key.fd for key, _ in self._selector.select(timeout_s)}
        if self._said in ready:
            self._listen()
        if self._out_of in ready:
            self._read()
        return self._into in ready

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                count = os.readv(self._out_of, [self._reader.room])
                if not count:
                    self._has_ended = True
                    self._selector.unregister(self._out_of)
                    return
                try:
                    buffer = self._reader.filled(count)
                except ValueError as error:
                    raise ChildError(self._reason(str(error))) from None
                if buffer is not None:
                    self.received += 1
                    self._ready.append(buffer)

    def _listen(self) -> None:
        data = os.read(self._said, 1 << 16)
        if not data:
            self._selector.unregister(self._said)
        *lines, self._partial = (self._partial + (data or b"\n")).split(b"\n")
        self._lines.extend(text for line in lines if (text := line.decode("utf-8", "replace").strip()))

    def _reason(self, fact: str) -> str:
        """GStreamer's first error, else `fact` and the last line that the child has said."""
        with contextlib.suppress(Exception):
            while self._said in self._selector.get_map() and self._selector.select(0.2):
                before = len(self._lines), self._partial
                self._listen()
                if (len(self._lines), self._partial) == before:
                    break
        said = f"{fact}: {self._lines[-1]}" if self._lines else fact
        return shortened(first_error(self._lines) or said)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _enlarge(pipe: int) -> None:
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import fcntl  # not on Windows, where nothing of this runs, and the module is imported

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
