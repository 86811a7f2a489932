"""BuildJob: a build in a child process, so that a crash or a lack of memory does not affect the live view."""

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

from engines.building.child import SMALLER
from engines.building.watch import CANCEL_GRACE_S, Cancel, Watch
from engines.errors import BuildError
from engines.system.unfinished import unfinished

BOOTSTRAP = "import sys; sys.path[:] = sys.argv[2:]; from engines.building.child import main; main(sys.argv[1])"
"""The child uses the import path of this process. With `-m` it would search the working folder first."""

CLOSING_GRACE_S = 0.5
"""Time that `close` gives the child to stop by itself: leaving the program must not wait for a build."""


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Progress of a build. fraction: of the phase, 0 to 1; None if unknown. seconds: since the start."""

    phase: str
    fraction: float | None
    seconds: float


class BuildJob:
    """Calls `module:function` (see `engines.building.child`) in a child process, once.

    The caller of `start` calls `close`, after which no process, thread or open file is left.
    `progress` and `cancel` may be called on any thread and never wait.
    """

    def __init__(
        self, target: str, options: dict[str, Any], *, timeout_s: float = 3600.0, memory_limit_bytes: int | None = None
    ) -> None:
        """options: JSON data. memory_limit_bytes: limit of the child's resident memory, on systems with /proc."""
        self._target = target
        self._options = json.dumps(options).encode() + b"\n"
        self._timeout_s, self._memory_bytes = timeout_s, memory_limit_bytes
        self._cancel = Cancel()
        self._changed = threading.Condition()
        self._phase: tuple[str, float | None] = ("starting", None)
        self._ended_with: dict[str, Any] | BuildError | None = None
        self._thread: threading.Thread | None = None
        self._started_s = self._ended_s = 0.0

    def __enter__(self) -> BuildJob:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the child. Raises BuildError when the system refuses, RuntimeError the second time."""
        if self._thread is not None:
            raise RuntimeError("a BuildJob can be started only once")
        path = [str(Path(entry).absolute()) for entry in sys.path if entry]  # "" is the working folder
        command = [sys.executable, "-c", BOOTSTRAP, self._target, *path]
        pipe = subprocess.PIPE
        try:
            # A new session: Ctrl-C in the terminal interrupts this process, which then cancels the child.
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True)
        except OSError as error:
            raise BuildError(f"the build process cannot be started ({error.strerror})", SMALLER) from error
        self._started_s = time.monotonic()
        self._thread = threading.Thread(target=self._supervise, args=(process,), name="build")
        self._thread.start()

    @property
    def progress(self) -> JobProgress:
        """The last progress that the child reported."""
        with self._changed:
            phase, fraction = self._phase
            until_s = time.monotonic() if self._ended_with is None else self._ended_s
        return JobProgress(phase, fraction, until_s - self._started_s if self._thread else 0.0)

    def wait(self, on_progress: Callable[[JobProgress], None] | None = None) -> dict[str, Any]:
        """The function's return value. on_progress: called on this thread, for each change and at least twice a second.

        Raises BuildCancelledError, or BuildError with the child's error or with how the child ended.
        """
        if self._thread is None:
            raise RuntimeError("start a BuildJob before waiting for it")
        reported: tuple[str, float | None] | None = None
        while True:
            with self._changed:
                if self._ended_with is None and reported == self._phase:
                    self._changed.wait(0.5)
                end, reported = self._ended_with, self._phase
            if on_progress is not None:
                on_progress(self.progress)
            if isinstance(end, BuildError):
                raise end
            if end is not None:
                return end

    def cancel(self, grace_s: float = CANCEL_GRACE_S) -> None:
        """Ask the child to stop; after `grace_s` it is terminated. Returns at once."""
        with self._changed:
            self._cancel.grace_s = min(self._cancel.grace_s, grace_s)
            if self._cancel.asked_s is None:
                self._cancel.asked_s = time.monotonic()

    def close(self) -> None:
        """Cancel the build if it still runs, and wait for its end. Idempotent."""
        self.cancel(CLOSING_GRACE_S)
        if self._thread is not None:
            self._thread.join()

    def _supervise(self, process: subprocess.Popen[bytes]) -> None:
        end: dict[str, Any] | BuildError
        end = BuildError("the build could not be watched", "Try again, and report it if it happens again")
        try:
            watch = Watch(process, self._timeout_s, self._memory_bytes, self._cancel, self._note)
            with unfinished(watch.kill):
                end = watch.run(self._options)
        except BuildError as error:
            end = error
        finally:
            with self._changed:
                self._ended_with, self._ended_s = end, time.monotonic()
                self._changed.notify_all()

    def _note(self, phase: str, fraction: float | None) -> None:
        with self._changed:
            self._phase = (phase, fraction)
            self._changed.notify_all()
