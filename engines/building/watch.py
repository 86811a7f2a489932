"""Watch: one thread's look at one child process: what it says, the limits it keeps, and how it ends, in words."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from engines.errors import BuildCancelledError, BuildError

TICK_S = 0.1
"""How often limits are looked at, and so the most that a cancel waits to be passed on."""

ASKED_GRACE_S, TERMINATED_GRACE_S = 2.0, 1.0
"""From asking the child to stop to SIGTERM, and from that to SIGKILL."""

EXIT_GRACE_S = 5.0
"""From the child's last line to its end."""

STDERR_TAIL_BYTES = 4096
LAST_WORDS = 200
"""Characters of the child's last line that an error quotes."""

SMALLER = "close other programs, or export the model with a smaller --size"


@dataclass(frozen=True, slots=True)
class Limits:
    """timeout_s: of the whole build. memory_bytes: resident memory of the child, None for no limit."""

    timeout_s: float
    memory_bytes: int | None


@dataclass(slots=True)
class Cancel:
    """When the child was asked to stop (monotonic seconds), and how long it may take over it. Set by other threads."""

    asked_s: float | None = None
    grace_s: float = ASKED_GRACE_S


class Watch:
    """From a child's first line to its end. Leaves no process and no open pipe."""

    def __init__(
        self, process: subprocess.Popen[bytes], limits: Limits, cancel: Cancel, tell: Callable[[str, float | None], None]
    ) -> None:
        """process: leads its own session, speaks the lines of `engines.building.child`. tell: called with phase, fraction."""
        self._process, self._limits, self._cancel, self._tell = process, limits, cancel, tell
        self._started_s = time.monotonic()
        self._unfinished = b""
        self._stderr_tail = b""
        self._last: dict[str, Any] | None = None
        self._last_s = 0.0
        self._was_asked = False
        self._ended_for: BuildError | None = None

    def run(self, options: bytes) -> dict[str, Any]:
        """Give the child its line of options, stay until its end. Returns its result or raises BuildError."""
        with self._process:  # closes the pipes and waits
            try:
                self._send(options)
                self._follow()
                self._process.wait(EXIT_GRACE_S)
            except subprocess.TimeoutExpired:
                pass  # it has said all it had to say, and hangs
            finally:
                self._signal(signal.SIGKILL)
                self._process.wait()
                self._drain_stderr()
        return self._outcome()

    def _follow(self) -> None:
        """Read what the child says until it closes its end, which only its own end does."""
        stdout, stderr = _pipe(self._process.stdout), _pipe(self._process.stderr)
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ, self._hear)
            selector.register(stderr, selectors.EVENT_READ, self._overhear)
            while stdout in selector.get_map():
                for key, _ in selector.select(TICK_S):
                    data = os.read(key.fd, 65536)
                    if data:
                        key.data(data)
                    else:
                        selector.unregister(key.fd)
                self._keep_limits()

    def _hear(self, data: bytes) -> None:
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "phase" in message:
                self._tell(message["phase"], message["fraction"])
            else:
                self._last, self._last_s = message, time.monotonic()

    def _overhear(self, data: bytes) -> None:
        self._stderr_tail = (self._stderr_tail + data)[-STDERR_TAIL_BYTES:]

    def _drain_stderr(self) -> None:
        """What is left of it; without waiting for others who may hold its other end."""
        stderr = _pipe(self._process.stderr)
        os.set_blocking(stderr, False)
        with contextlib.suppress(BlockingIOError):
            while data := os.read(stderr, 65536):
                self._overhear(data)

    def _keep_limits(self) -> None:
        now_s = time.monotonic()
        if self._last is not None:
            if now_s - self._last_s > EXIT_GRACE_S:
                self._signal(signal.SIGKILL)
        elif self._cancel.asked_s is not None:
            self._press(now_s - self._cancel.asked_s)
        elif now_s - self._started_s > self._limits.timeout_s:
            self._end(f"the build took longer than {_duration(self._limits.timeout_s)}: give it more with --timeout")
        elif self._limits.memory_bytes is not None and resident_bytes(self._process.pid) > self._limits.memory_bytes:
            self._end(f"the build needed more than {self._limits.memory_bytes / 2**30:.1f} GiB; raise --memory, or {SMALLER}")

    def _press(self, asked_for_s: float) -> None:
        """First the child is asked, then told, then ended."""
        if not self._was_asked:
            self._send(b"cancel\n")
            self._was_asked = True
        if asked_for_s > self._cancel.grace_s + TERMINATED_GRACE_S:
            self._signal(signal.SIGKILL)
        elif asked_for_s > self._cancel.grace_s:
            self._signal(signal.SIGTERM)

    def _end(self, why: str) -> None:
        if self._ended_for is None:
            self._ended_for = BuildError(why)
            self._signal(signal.SIGKILL)

    def _send(self, line: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # its end is told by its code
            os.write(_pipe(self._process.stdin), line)

    def _signal(self, number: signal.Signals) -> None:
        """To the child and to whatever it started."""
        if self._process.returncode is None:  # not reaped, so the id is still its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _outcome(self) -> dict[str, Any]:
        if self._last is not None and "result" in self._last:
            result: dict[str, Any] = self._last["result"]
            return result
        if self._ended_for is not None:
            raise self._ended_for
        if self._was_asked:
            raise BuildCancelledError("the build was cancelled")
        if self._last is not None:
            kind = BuildCancelledError if self._last["cancelled"] else BuildError
            raise kind(self._last["error"])
        raise BuildError(self._obituary())

    def _obituary(self) -> str:
        code = self._process.returncode
        if code == -signal.SIGKILL:
            return f"the system ended the build (SIGKILL), most likely because the memory ran out: {SMALLER}"
        lines = [" ".join(line.split()) for line in self._stderr_tail.decode(errors="replace").splitlines()]
        spoken = [line for line in lines if line]
        quote = f', last words "{spoken[-1][:LAST_WORDS]}"' if spoken else ""
        if code < 0:
            name = signal.Signals(-code).name
            return f"the build crashed ({name}){quote}: try --precision fp32, or another version of TensorRT"
        return f"the build ended with code {code} and no result{quote}: try again, and report it if it stays"


def resident_bytes(pid: int) -> int:
    """Memory that a process has in RAM; 0 once it is gone, and where there is no /proc."""
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
