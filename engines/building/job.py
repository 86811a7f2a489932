"""BuildJob: a build in a child process, so that its crash, its memory and its hour are not those of the live view."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.building.watch import ASKED_GRACE_S, SMALLER, Cancel, Limits, Watch
from engines.errors import BuildError

BOOTSTRAP = "import sys; sys.path[:] = sys.argv[2:]; from engines.building.child import main; main(sys.argv[1])"
"""The child finds its modules where this process does. With `-m` it would look into the working folder first."""

CLOSING_GRACE_S = 0.5
"""Time to stop in good order that `close` gives: who leaves the program does not wait for a builder."""


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Where a build is. fraction: of the phase, 0 to 1; None when nobody knows. seconds: since the start."""

    phase: str
    fraction: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a build ended: with a value, or with an error."""

    value: dict[str, Any] | None
    error: BuildError | None


class BuildJob:
    """Calls `module:function` (see `engines.building.child`) in a child process, once.

    Whoever starts it closes it: nothing is left of it then, no process, thread or open file.
    `progress`, `poll` and `cancel` are for any thread, and never wait.
    """

    def __init__(
        self, target: str, options: dict[str, Any], *, timeout_s: float = 3600.0, memory_limit_bytes: int | None = None
    ) -> None:
        """options: what JSON can hold. memory_limit_bytes: of the child's resident memory, where there is a /proc."""
        self._target = target
        self._options = json.dumps(options).encode() + b"\n"
        self._limits = Limits(timeout_s, memory_limit_bytes)
        self._cancel = Cancel()
        self._news = threading.Condition()
        self._phase: tuple[str, float | None] = ("starting", None)
        self._result: JobResult | None = None
        self._thread: threading.Thread | None = None
        self._started_s = self._ended_s = 0.0

    def __enter__(self) -> BuildJob:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the child. Raises BuildError when the system refuses, RuntimeError the second time."""
        if self._thread is not None:
            raise RuntimeError("a BuildJob starts once; make a new one")
        path = [str(Path(entry).absolute()) for entry in sys.path if entry]  # "" is the working folder
        command = [sys.executable, "-c", BOOTSTRAP, self._target, *path]
        pipe = subprocess.PIPE
        try:
            # A session of its own: Ctrl-C in the terminal is for this process, which then cancels.
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True)
        except OSError as error:
            raise BuildError(f"no process to build in can be started ({error.strerror}): {SMALLER}") from error
        self._started_s = time.monotonic()
        self._thread = threading.Thread(target=self._supervise, args=(process,), name="build")
        self._thread.start()

    @property
    def progress(self) -> JobProgress:
        """The newest that the child told."""
        with self._news:
            phase, fraction = self._phase
            until_s = self._ended_s if self._result else time.monotonic()
        return JobProgress(phase, fraction, until_s - self._started_s if self._thread else 0.0)

    def poll(self) -> JobResult | None:
        """How it ended; None while it runs."""
        with self._news:
            return self._result

    def wait(self, on_progress: Callable[[JobProgress], None] | None = None) -> dict[str, Any]:
        """What the function returned. on_progress: called on this thread, with news and at least twice a second.

        Raises BuildCancelledError, or BuildError with the child's own words or with what became of it.
        """
        if self._thread is None:
            raise RuntimeError("a BuildJob must be started before it is waited for")
        told: tuple[str, float | None] | None = None
        while True:
            with self._news:
                if self._result is None and told == self._phase:
                    self._news.wait(0.5)
                result, told = self._result, self._phase
            if on_progress is not None:
                on_progress(self.progress)
            if result is not None:
                break
        if result.error is not None:
            raise result.error
        assert result.value is not None, "without an error there is a value"
        return result.value

    def cancel(self, grace_s: float = ASKED_GRACE_S) -> None:
        """Ask the child to stop; it is ended when it has not done so after `grace_s`. Returns at once."""
        with self._news:
            self._cancel.grace_s = min(self._cancel.grace_s, grace_s)
            if self._cancel.asked_s is None:
                self._cancel.asked_s = time.monotonic()

    def close(self) -> None:
        """Cancel it if it still runs, and stay until nothing of it is left. Once more is harmless."""
        self.cancel(CLOSING_GRACE_S)
        if self._thread is not None:
            self._thread.join()

    def _supervise(self, process: subprocess.Popen[bytes]) -> None:
        result = JobResult(None, BuildError("the build could not be followed: try again, and report it if it stays"))
        try:
            result = JobResult(Watch(process, self._limits, self._cancel, self._tell).run(self._options), None)
        except BuildError as error:
            result = JobResult(None, error)
        finally:
            with self._news:
                self._result, self._ended_s = result, time.monotonic()
                self._news.notify_all()

    def _tell(self, phase: str, fraction: float | None) -> None:
        with self._news:
            self._phase = (phase, fraction)
            self._news.notify_all()
