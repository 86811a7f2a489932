"""Pipeline: threads, links, and the two ways to end: the stream is over, or the first error ends everything.

A stage is a function on a thread of its own, which opens, uses and closes what it needs there. When it returns, its output links
are closed, so the end of a stream travels downstream. When it raises, the error is kept, every link is cancelled, and every other
stage unblocks.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from realtime.flow.links import Closed, Link

AnyLink = TypeVar("AnyLink", bound="Link[Any]")


class Pipeline:
    """Stages and the links between them. Add links and stages, `start`, then `wait` or `stop`."""

    def __init__(self) -> None:
        self._links: list[Link[Any]] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._on_stop: list[Callable[[], None]] = []
        self._on_failure: list[Callable[[BaseException], None]] = []
        self._stopped = False

    def link(self, link: AnyLink) -> AnyLink:
        """Cancel `link` when a stage fails or the pipeline is stopped (at once, if it has been)."""
        with self._lock:
            self._links.append(link)
            stopped = self._stopped
        if stopped:
            link.cancel()
        return link

    def stage(self, name: str, run: Callable[[], None], *outputs: Link[Any]) -> None:
        """Add a thread `name` that calls `run` once; `outputs` close when it returns."""
        self._threads.append(threading.Thread(target=self._guarded, args=(run, outputs), name=name, daemon=False))

    def on_stop(self, release: Callable[[], None]) -> None:
        """Call `release` when the pipeline is stopped or fails: for what no link can unblock, such as a camera's read."""
        with self._lock:
            self._on_stop.append(release)
            stopped = self._stopped
        if stopped:
            release()

    def on_failure(self, report: Callable[[BaseException], None]) -> None:
        """Call `report` with the first error, on the thread where it happened."""
        self._on_failure.append(report)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def error(self) -> BaseException | None:
        """The first error, if any stage has failed."""
        return self._error

    @property
    def running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """End at once: cancel all links. Returns immediately; may be called from any thread, more than once.

        A release that fails does not stop the others; it is the pipeline's error if it is the first.
        """
        with self._lock:
            self._stopped = True
            links, releases = list(self._links), list(self._on_stop)
        for link in links:
            link.cancel()
        for release in releases:
            try:
                release()
            except Exception as error:
                self._keep(error)

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until all threads have ended. False when `timeout_s` passed before that."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(None if deadline_s is None else max(0.0, deadline_s - time.monotonic()))
        return not self.running

    def wait(self, timeout_s: float | None = None) -> bool:
        """As `join`, but raises the first error at the end."""
        has_ended = self.join(timeout_s)
        if has_ended and self._error is not None:
            raise self._error
        return has_ended

    def _guarded(self, run: Callable[[], None], outputs: tuple[Link[Any], ...]) -> None:
        try:
            run()
        except Closed:
            pass  # the next stage, or the pipeline, has ended
        except BaseException as error:
            self._keep(error)
            self.stop()
        finally:
            for link in outputs:
                link.close()

    def _keep(self, error: BaseException) -> None:
        with self._lock:
            is_first = self._error is None
            if is_first:
                self._error = error
        if is_first:
            for report in self._on_failure:
                report(error)


class Gate:
    """Pause and single step. A stage calls `wait` before each frame, or checks `is_open` and then calls `passed`."""

    def __init__(self, on_change: Callable[[], None] | None = None) -> None:
        """on_change: called after each change, from the thread that makes it."""
        self._changed = threading.Condition()
        self._on_change = on_change
        self._steps = 0
        self._open_for_good = False
        self.paused = False
        self.released_ns = 0
        """When the latest pause ended or step was made (`time.monotonic_ns()`): the age of frames that waited begins here."""

    @property
    def is_open(self) -> bool:
        """Whether a frame may pass."""
        return not self.paused or self._steps > 0 or self._open_for_good

    def set_paused(self, paused: bool) -> None:
        with self._changed:
            if self.paused and not paused:
                self.released_ns = time.monotonic_ns()
            self.paused = paused
            self._steps = 0
        self._notify()

    def step(self) -> None:
        """Admit one more frame while paused."""
        with self._changed:
            if self.paused:
                self._steps += 1
                self.released_ns = time.monotonic_ns()
        self._notify()

    def release(self) -> None:
        """Never block again: the pipeline ends."""
        with self._changed:
            self._open_for_good = True
        self._notify()

    def wait(self) -> None:
        """Block while paused, until a step or the end of the pause, and pass."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_open)
        self.passed()

    def passed(self) -> None:
        """A frame has passed: it used up a step, if there was one."""
        with self._changed:
            self._steps = max(0, self._steps - 1)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
        if self._on_change is not None:
            self._on_change()
