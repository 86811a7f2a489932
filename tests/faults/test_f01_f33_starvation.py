"""F01, F33: a model, or the drawing, that is too slow for the camera. Frames are dropped before the model; nothing piles up."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engines.backends
from realtime.flow.links import Latest
from realtime.settings import Settings
from realtime.streams.outlets import CanvasFormat, WindowOutlet
from realtime.streams.stream import StreamPlan
from realtime.types import Canvas, Result

from ..realtime.runs import Run, zoo

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

SLOW_ENGINE = """
import time
from engines.backends.ort import OrtEngine, open_engine as open_ort

wait_s, started = 0.0, 0

class SlowEngine(OrtEngine):
    def __init__(self, engine):
        self.__dict__.update(engine.__dict__)

    def infer(self, image, *stream):
        global started
        started += image.shape[0] < 100  # not the warm-up
        time.sleep(wait_s)
        return super().infer(image, *stream)

def open_engine(model, *options):
    return SlowEngine(open_ort(model, *options))
"""


class SlowObserver:
    """Holds up the thread that composes, as drawing does on a busy machine."""

    name = "slow"

    def __init__(self, wait_s: float, started: Callable[[], int]) -> None:
        """started: how many frames the engine has begun with."""
        self._wait_s, self._started = wait_s, started
        self.ahead: list[int] = []
        """At each frame's end here, how many later ones the engine has begun with."""

    def update(self, result: Result, t_s: float) -> None:
        time.sleep(self._wait_s)
        self.ahead.append(self._started() - len(self.ahead) - 1)


def ages_ms(
    tiny_model: Path, source: Any, observer: SlowObserver, seconds: float
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], Run]:
    """Age of each picture when it reaches the screen, in order."""
    arrived = threading.Event()
    canvases: Latest[Canvas] = Latest(arrived.set)
    settings = Settings(model=str(tiny_model), backend="slow", width=320)
    plan = StreamPlan(settings, lambda: source, [WindowOutlet(canvases, CanvasFormat(320))], (observer,))
    run = Run(settings, lambda: zoo.find(settings.model), [plan])
    found = []
    run.start()
    assert arrived.wait(30)  # a busy machine opens slowly
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        arrived.wait(0.1)
        arrived.clear()
        if (canvas := canvases.poll()) is not None:
            found.append((time.monotonic_ns() - canvas.captured_ns) / 1e6)
    run.stop()
    assert run.wait(20)
    return np.array(found[2:]), run


@pytest.mark.parametrize(
    ("model_ms", "drawing_ms", "most_ms"), [(200, 0, 200 + 33), (20, 300, 2 * 300 + 33)], ids=["slow model", "slow drawing"]
)
def test_the_age_of_pictures_does_not_grow(
    tiny_model: Path,
    MemorySource: Any,
    plug_in: Callable[..., None],
    rounds: Callable[[int, int], int],
    model_ms: int,
    drawing_ms: int,
    most_ms: int,
) -> None:
    """A picture waits for the camera's next frame, for the model, and for twice the drawing at most."""
    plug_in(engines.backends, "slow", SLOW_ENGINE.replace("wait_s, started = 0.0", f"wait_s, started = {model_ms / 1e3}"))
    engine = importlib.import_module("engines.backends.slow")
    observer = SlowObserver(drawing_ms / 1e3, lambda: engine.started)
    source = MemorySource(None, is_live=True, fps=30)
    ages, run = ages_ms(tiny_model, source, observer, rounds(4, 60))
    assert max(observer.ahead) <= 1, "no other waits beside the one that is with the model, or has just come from it"
    assert float(np.median(ages)) <= 1.3 * most_ms + 50, "with some time for a machine that does other things"
    reading = run.stream.reading()
    assert reading.captured == source.produced
    assert 0 <= reading.captured - reading.processed - reading.failed - reading.dropped_before_model <= 1
