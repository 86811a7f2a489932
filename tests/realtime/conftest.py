"""Sources and sinks in memory, parts plugged into the registries, and a watch for threads that stay behind."""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from engines.types import Image
from realtime.errors import SinkError, SourceLostError
from realtime.types import Canvas, Frame, Result, SourceStatus


@pytest.fixture
def no_thread_is_left() -> Iterator[None]:
    """Fails a test that leaves a thread behind."""
    before = set(threading.enumerate())
    yield
    deadline_s = time.monotonic() + 3
    while left := set(threading.enumerate()) - before:
        assert time.monotonic() < deadline_s, f"threads left over: {sorted(thread.name for thread in left)}"
        time.sleep(0.005)


def wait_until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "did not happen in time"
        time.sleep(0.002)


@pytest.fixture(name="wait_until")
def _wait_until() -> Callable[..., None]:
    return wait_until


def scene(index: int, width: int = 96, height: int = 72) -> Image:
    """Dark ground, a grey car that drives to the right, a bright person that stands."""
    image = np.full((height, width, 3), 30, np.uint8)
    left = 4 + index % (width // 2)
    cv2.rectangle(image, (left, height // 2), (left + width // 4, height // 2 + height // 5), (120, 120, 120), cv2.FILLED)
    cv2.rectangle(image, (width - 16, 8), (width - 8, height // 3), (230, 230, 230), cv2.FILLED)
    return image


class MemorySource:
    """A source of drawn frames. count None: endless. fps: the pace of a live one. fails_at: the frame that breaks it."""

    def __init__(
        self,
        count: int | None = 10,
        *,
        is_live: bool = False,
        fps: float = 30.0,
        fails_at: int | None = None,
        hangs: bool = False,
    ) -> None:
        self.name = "memory"
        self.is_live = is_live
        self.frame_count = count
        self.fps: float | None = fps
        self.closed = 0
        self.produced = 0
        self.iterated_on: threading.Thread | None = None
        self._fails_at, self._hangs = fails_at, hangs
        self._end = threading.Event()

    @property
    def status(self) -> SourceStatus:
        return SourceStatus("ended" if self._end.is_set() else "live", f"{self.produced} frames")

    def __iter__(self) -> Iterator[Frame]:
        self.iterated_on = threading.current_thread()
        start_s, index = time.monotonic(), 0
        while self.frame_count is None or index < self.frame_count:
            if self.is_live and self._end.wait(max(0.0, start_s + index / (self.fps or 30) - time.monotonic())):
                return
            if self._end.is_set():
                return
            if self._hangs:
                self._end.wait()
                return
            if index == self._fails_at:
                raise SourceLostError(f"memory: broke at frame {index}")
            image = scene(index)
            self.produced += 1
            yield Frame(image, index, index / (self.fps or 30), time.monotonic_ns())
            index += 1

    def close(self) -> None:
        self.closed += 1
        self._end.set()


@dataclass
class MemorySink:
    """Keeps what it was given. fails_at: the write that breaks it; fails_on_close: so does the close."""

    fails_at: int | None = None
    fails_on_close: bool = False
    slow_s: float = 0.0
    results: list[Result] = field(default_factory=list)
    canvases: list[Canvas] = field(default_factory=list)
    closed: int = 0

    def write(self, result: Result, canvas: Canvas) -> None:
        time.sleep(self.slow_s)
        if len(self.results) == self.fails_at:
            raise SinkError("memory: the disk is full")
        self.results.append(result)
        self.canvases.append(canvas)

    def close(self) -> None:
        self.closed += 1
        if self.fails_on_close:
            raise SinkError("memory: the index cannot be written")

    @property
    def indices(self) -> list[int]:
        return [result.frame.index for result in self.results]


@pytest.fixture(scope="session", name="MemorySource")
def _memory_source() -> type[MemorySource]:
    return MemorySource


@pytest.fixture(scope="session", name="MemorySink")
def _memory_sink() -> type[MemorySink]:
    return MemorySink


@pytest.fixture(scope="session")
def draw_scene() -> Callable[..., Image]:
    return scene


@pytest.fixture
def plug_in(tmp_path: Path) -> Iterator[Callable[[ModuleType, str, str], None]]:
    """Adds a module, given as text, to a package whose folder is its registry."""
    added: list[tuple[ModuleType, str, str]] = []

    def add(package: ModuleType, name: str, text: str) -> None:
        folder = tmp_path / "plugged_in" / package.__name__
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(text)
        package.__path__.append(str(folder))
        importlib.invalidate_caches()
        added.append((package, name, str(folder)))

    yield add
    for package, name, folder in added:
        package.__path__.remove(folder)
        sys.modules.pop(f"{package.__name__}.{name}", None)
        if hasattr(package, name):
            delattr(package, name)
