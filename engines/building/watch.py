"""Watch: follows a child process: its messages, its limits, and how it ends."""

import contextlib
import json
import logging
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from engines.building.child import SMALLER
from engines.errors import BuildCancelledError, BuildError

log = logging.getLogger(__name__)

TICK_S = 0.1
"""Interval between checks of the limits, and so the longest delay of a cancel."""

CANCEL_GRACE_S, TERMINATE_GRACE_S = 2.0, 1.0
"""From a cancel to SIGTERM, and from that to SIGKILL."""

EXIT_GRACE_S = 5.0
"""Time for the child to exit after its last line."""

STDERR_TAIL_BYTES = 4096
QUOTED_CHARACTERS = 200
"""Of the child's last line of stderr, in an error."""


@dataclass(slots=True)
class Cancel:
    """When the child was asked to stop (monotonic seconds), and the time it has for that. Set by other threads."""

    asked_s: float | None = None
    grace_s: float = CANCEL_GRACE_S


class Watch:
    """Follows a child from its first line to its end. Leaves no process and no open pipe."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        timeout_s: float,
        memory_bytes: int | None,
        cancel: Cancel,
        on_phase: Callable[[str, float | None], None],
    ) -> None:
        """process: leader of its own session, with the protocol of `engines.building.child`. on_phase: gets phase, fraction."""
        self._process, self._cancel, self._on_phase = process, cancel, on_phase
        self._timeout_s, self._memory_bytes = timeout_s, memory_bytes
        self._started_s = time.monotonic()
        self._unfinished = b""
        self._stderr_tail = b""
        self._last: dict[str, Any] | None = None
        self._last_s = 0.0
        self._is_cancelled = False
        self._exceeded: BuildError | None = None

    def run(self, options: bytes) -> dict[str, Any]:
        """Send the child its options and wait for its end. Returns its result or raises BuildError."""
        with self._process:  # closes the pipes and waits
            try:
                self._send(options)
                self._follow()
                self._process.wait(EXIT_GRACE_S)
            except subprocess.TimeoutExpired:
                pass  # it has sent its last line but hangs
            finally:
                self._signal(signal.SIGKILL)
                self._process.wait()
                self._drain_stderr()
        return self._outcome()

    def kill(self) -> None:
        """End the child and all that it started, at once."""
        self._signal(signal.SIGKILL)

    def _follow(self) -> None:
        """Read the child's output until it closes stdout, which it does only when it ends."""
        stdout, stderr = _pipe(self._process.stdout), _pipe(self._process.stderr)
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ, self._read_messages)
            selector.register(stderr, selectors.EVENT_READ, self._read_stderr)
            while stdout in selector.get_map():
                for key, _ in selector.select(TICK_S):
                    data = os.read(key.fd, 65536)
                    if data:
                        key.data(data)
                    else:
                        selector.unregister(key.fd)
                self._keep_limits()

    def _read_messages(self, data: bytes) -> None:
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "phase" in message:
                self._on_phase(message["phase"], message["fraction"])
            else:
                self._last, self._last_s = message, time.monotonic()

    def _read_stderr(self, data: bytes) -> None:
        log.debug("%s", data.decode(errors="replace").rstrip())
        self._stderr_tail = (self._stderr_tail + data)[-STDERR_TAIL_BYTES:]

    def _drain_stderr(self) -> None:
        """Read the rest of stderr, without waiting for other processes that may have it open."""
        stderr = _pipe(self._process.stderr)
        os.set_blocking(stderr, False)
        with contextlib.suppress(BlockingIOError):
            while data := os.read(stderr, 65536):
                self._read_stderr(data)

    def _keep_limits(self) -> None:
        now_s = time.monotonic()
        if self._last is not None:
            if now_s - self._last_s > EXIT_GRACE_S:
                self._signal(signal.SIGKILL)
        elif self._cancel.asked_s is not None:
            self._enforce_cancel(now_s - self._cancel.asked_s)
        elif now_s - self._started_s > self._timeout_s:
            what = f"the build took longer than {_duration(self._timeout_s)}"
            self._end(BuildError(what, "Allow more with --timeout"))
        elif self._memory_bytes is not None and resident_bytes(self._process.pid) > self._memory_bytes:
            what = f"the build needed more than {self._memory_bytes / 2**30:.1f} GiB"
            self._end(BuildError(what, f"Raise --memory. {SMALLER}"))

    def _enforce_cancel(self, since_s: float) -> None:
        """Ask the child to stop, then terminate it, then kill it. since_s: seconds since the cancel."""
        if not self._is_cancelled:
            self._send(b"cancel\n")
            self._is_cancelled = True
        if since_s > self._cancel.grace_s + TERMINATE_GRACE_S:
            self._signal(signal.SIGKILL)
        elif since_s > self._cancel.grace_s:
            self._signal(signal.SIGTERM)

    def _end(self, error: BuildError) -> None:
        if self._exceeded is None:
            self._exceeded = error
            self._signal(signal.SIGKILL)

    def _send(self, line: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended: its exit code is reported
            os.write(_pipe(self._process.stdin), line)

    def _signal(self, number: signal.Signals) -> None:
        """Signal the child and all processes that it started."""
        if self._process.returncode is None:  # not reaped yet, so the id is still valid
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _outcome(self) -> dict[str, Any]:
        if self._last is not None and "result" in self._last:
            result: dict[str, Any] = self._last["result"]
            return result
        if self._exceeded is not None:
            raise self._exceeded
        if self._is_cancelled:
            raise BuildCancelledError("the build was cancelled")
        if self._last is not None:
            kind = BuildCancelledError if self._last["cancelled"] else BuildError
            raise kind(self._last["what"], self._last["cure"])
        raise self._error_of_exit()

    def _error_of_exit(self) -> BuildError:
        """The error for a child that ended without a last line."""
        code = self._process.returncode
        if code == -signal.SIGKILL:
            return BuildError("the system killed the build (SIGKILL), probably for lack of memory", SMALLER)
        lines = [" ".join(line.split()) for line in self._stderr_tail.decode(errors="replace").splitlines()]
        lines = [line for line in lines if line]
        quote = f', last line "{lines[-1][:QUOTED_CHARACTERS]}"' if lines else ""
        if code < 0:
            what = f"the build crashed ({signal.Signals(-code).name}){quote}"
            return BuildError(what, "Try --precision fp32, or another version of TensorRT")
        what = f"the build ended with code {code} and no result{quote}"
        return BuildError(what, "Try again, and report it if it happens again")


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 once it has ended, and on systems without /proc."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _pipe(stream: IO[bytes] | None) -> int:
    assert stream is not None, "started with pipes"
    return stream.fileno()


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:g} s"
