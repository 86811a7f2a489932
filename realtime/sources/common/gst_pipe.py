"""GStreamer without OpenCV: a gst-launch-1.0 child writes raw pictures into a pipe that is read here."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from engines.errors import PictureError
from engines.pictures.reading import check_size
from engines.system.unfinished import unfinished
from engines.types import Size
from realtime.errors import SourceLostError, SourceOpenError
from realtime.process.redact import has_secret
from realtime.sources.common.base import Picture, described, now_ns
from realtime.sources.common.feed import READ_TIMEOUT_S, HopelessError
from realtime.sources.common.gst_text import Caps, Pipeline, explain, is_wrong, known_problem, read_caps
from realtime.sources.common.live import LiveSource

PROGRAM = "gst-launch-1.0"
FIRST_FRAME_TIMEOUT_S = 10.0  # a first start may scan all plugins, and a CSI camera takes seconds
_GRACE_S = 1.0  # for the child to release the camera; then it is killed, and closing stays under 2 s
_LAST_LINES_S = 0.3
_PIPE_BYTES = 1 << 20  # the most that Linux gives every user: fewer wake-ups per picture
_KEPT_LINES = 200


_CHILD = Path(__file__).with_name("gst_child.py")


def _started(words: list[str], output: int, frames: int) -> subprocess.Popen[bytes]:
    """gst-launch-1.0; or, for a pipeline with a password, a child of our own that reads it from its standard input.

    Every user may read the arguments of a process. Raises OSError.
    """
    is_secret = has_secret(" ".join(words))
    process = subprocess.Popen(
        [sys.executable, "-I", str(_CHILD)] if is_secret else [PROGRAM, "-v", *words],
        stdin=subprocess.PIPE if is_secret else subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=(frames,),
        start_new_session=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},  # its messages are parsed
    )
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(json.dumps(words).encode())
    return process


class PipeSource(LiveSource):
    """A GStreamer pipeline as a live source. Closing it ends the child, even one that is still starting."""

    def __init__(
        self, name: str, pipeline: Pipeline, first_frame_timeout_s: float = FIRST_FRAME_TIMEOUT_S, *, waits: bool = False
    ) -> None:
        """Raises SourceOpenError where gst-launch-1.0 is not installed. A wrong pipeline raises when iterated."""
        super().__init__(name, self._start, waits=waits)
        if shutil.which(PROGRAM) is None:
            raise SourceOpenError(
                f"{name}: {PROGRAM} is not installed, and this OpenCV has no GStreamer",
                "Install it: sudo apt install gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good",
            )
        self._pipeline = pipeline
        self._timeout_s = first_frame_timeout_s
        self._starting: PipeFeed | None = None

    def _start(self) -> PipeFeed:
        """A child that has delivered its first picture. Runs on the thread of an `Attempt`."""
        feed = self._starting = PipeFeed(self.name, self._pipeline)
        if self._closed.is_set():  # closed while the child was started: nothing else would end it
            feed.interrupt()
        try:
            feed.wait_for_first(self._timeout_s)
        except BaseException:
            feed.close()
            raise
        finally:
            self._starting = None
        return feed

    def _interrupt(self) -> None:
        super()._interrupt()
        if (starting := self._starting) is not None:
            starting.interrupt()

    def _release(self) -> None:
        super()._release()
        # Without this wait, a program that ends now would leave the child running, and the camera in use.
        if (starting := self._starting) is not None:
            starting.ended.wait(2 * _GRACE_S)


class PipeFeed:
    """One running gst-launch-1.0, read as whole pictures. See `realtime.sources.common.live.Feed`."""

    decoder = ""

    def __init__(self, name: str, pipeline: Pipeline) -> None:
        """Start the child, in its own process group: Ctrl-C in the terminal is for this program to handle."""
        self.description = "GStreamer"
        self.fps: float | None = None
        self.sound = ""
        self.ended = threading.Event()
        self._name, self._pipeline = name, pipeline
        self._caps: Caps | None = None
        self._first: Picture | None = None
        self._is_open = False
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._partial = b""
        self._lock = threading.Lock()
        self._allow(FIRST_FRAME_TIMEOUT_S)
        self._frames, frames_in = os.pipe()
        self._output, output_in = os.pipe()
        self._woken, self._wake = os.pipe()
        try:
            self._process = _started(pipeline.arguments(frames_in), output_in, frames_in)
        except OSError as error:
            self._close_pipes()
            raise SourceOpenError(f"{name}: {PROGRAM} does not start: {error.strerror}") from None
        finally:
            os.close(frames_in)
            os.close(output_in)
        self._at_once = contextlib.ExitStack()
        self._at_once.enter_context(unfinished(lambda: self._signal(signal.SIGKILL)))
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(self._frames, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._selector = selectors.DefaultSelector()
        for handle in (self._output, self._woken):
            self._selector.register(handle, selectors.EVENT_READ)

    def wait_for_first(self, timeout_s: float) -> None:
        """Wait for the negotiated size and one picture. Raises SourceOpenError, with the cure where it is known."""
        self._allow(timeout_s)
        try:
            caps = self._negotiated_caps()
            check_size(Size(caps.width, caps.height), f"{self._name}: the pipeline ")
            self._selector.register(self._frames, selectors.EVENT_READ)
            self._first = self._read_picture(caps)
        except PictureError as error:
            raise HopelessError(error.what, error.cure) from None
        except SourceLostError as error:
            raise (HopelessError if is_wrong(self._lines) else SourceOpenError)(error.what, error.cure) from None
        if self._first is None:
            raise SourceOpenError(f"{self._name}: closed before its first picture")
        self.fps, self._is_open = caps.fps, True
        self.description = described(caps.width, caps.height, "GStreamer", caps.fps)

    def pictures(self) -> Iterator[Picture]:
        caps = self._negotiated_caps()
        picture, self._first = self._first, None
        while picture is not None:
            yield picture
            self._allow(max(READ_TIMEOUT_S, 3 / caps.fps if caps.fps else 0.0))
            picture = self._read_picture(caps)

    def interrupt(self) -> None:
        with self._lock:
            if not self.ended.is_set():
                os.write(self._wake, b"!")

    def close(self) -> None:
        """Ask the child to stop, kill its group after a second, and free the pipes. On the thread that reads."""
        if self.ended.is_set():
            return
        self._signal(signal.SIGINT)
        due_s = time.monotonic() + _GRACE_S
        while self._exit_state() is None and time.monotonic() < due_s:
            time.sleep(0.005)
        self._signal(signal.SIGKILL)  # with its own children; the group's number is ours until the child is reaped
        self._process.wait()
        self._at_once.close()
        with self._lock:
            self._selector.close()
            self._close_pipes()
            self.ended.set()

    def _allow(self, timeout_s: float) -> None:
        """Everything waited for from now on must arrive within `timeout_s`."""
        self._timeout_s, self._due_s = timeout_s, time.monotonic() + timeout_s

    def _negotiated_caps(self) -> Caps:
        while self._caps is None:
            if not self._wait():
                raise SourceLostError(f"{self._name}: closed before its first picture")
            if self._output not in self._selector.get_map():
                raise SourceLostError(*explain(self._name, self._lines, self._pipeline))
        return self._caps

    def _read_picture(self, caps: Caps) -> Picture | None:
        """The next whole picture; None when the stream has ended or `interrupt` was called."""
        data = np.empty(sum(rows * stride_bytes for rows, stride_bytes in caps.rows), np.uint8)
        view, filled = memoryview(data.data), 0
        while filled < data.nbytes:
            ready = self._wait()
            if not ready:
                return None
            if self._caps != caps:
                raise SourceLostError(f"{self._name}: the size or rate of its pictures has changed")
            if self._frames not in ready:
                continue
            count = os.readv(self._frames, [view[filled:]])
            if count == 0:
                self._check_end(is_whole=filled == 0 and self._is_open)
                return None
            filled += count
        return Picture(caps.picture(data), None, now_ns())

    def _wait(self) -> set[int]:
        """Wait for data, and read the child's messages. Returns the readable handles; none when it was interrupted.

        Raises SourceLostError when the allowed time has passed.
        """
        ready = {key.fd for key, _ in self._selector.select(max(0.0, self._due_s - time.monotonic()))}
        if not ready:
            silence = f"no picture for {self._timeout_s:.3g} s"
            raise SourceLostError(*explain(self._name, self._lines, self._pipeline, silence))
        if self._woken in ready:
            return set()
        if self._output in ready:
            self._read_output()
        return ready

    def _read_output(self) -> None:
        data = os.read(self._output, 1 << 16)
        if not data:
            self._selector.unregister(self._output)
        *lines, self._partial = (self._partial + (data or b"\n")).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "replace").strip()
            if text:
                self._lines.append(text)
                self._caps = read_caps(text) or self._caps

    def _check_end(self, *, is_whole: bool) -> None:
        """The pipe has ended. Raises SourceLostError, with the child's last messages, unless the stream itself has ended."""
        self._selector.unregister(self._frames)
        self._allow(_LAST_LINES_S)
        with contextlib.suppress(SourceLostError):
            while self._output in self._selector.get_map() and self._wait():
                pass
        while (state := self._exit_state()) is None and time.monotonic() < self._due_s:
            time.sleep(0.005)
        is_fine = state is not None and (state.si_code, state.si_status) == (os.CLD_EXITED, 0)
        # A CSI camera that fails ends its stream without an error, so the messages count as well.
        if not (is_fine and is_whole) or known_problem(self._lines):
            raise SourceLostError(*explain(self._name, self._lines, self._pipeline))

    def _exit_state(self) -> os.waitid_result | None:
        """How the child ended; None while it runs. It is not reaped."""
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _close_pipes(self) -> None:
        for handle in (self._frames, self._output, self._woken, self._wake):
            os.close(handle)
