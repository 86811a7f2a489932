"""A machine with a GPU for the tests: fakes of CUDA and TensorRT that enforce their rules, and engines built on them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.backends import Choice, EngineOptions, open_engine
from engines.building import builder, work
from engines.building.job import JobProgress
from engines.gpu import primary
from engines.models.model import Model
from engines.plans.passport import Passport
from engines.plans.requests import request_for
from engines.plans.store import Store

from ..fakes.gpu.fake_gpu import World, install, install_ort


class JobHere:
    """Does the work of a BuildJob in this process and its World, ten times as fast. The child has its own tests."""

    def __init__(self, target: str, options: dict[str, Any], **limits: Any) -> None:
        self._options = options
        self._phase = JobProgress("starting", None, 0.0)

    def __enter__(self) -> JobHere:
        return self

    def __exit__(self, *exc_info: object) -> None: ...

    def start(self) -> None: ...

    def cancel(self) -> None: ...

    @property
    def progress(self) -> JobProgress:
        return self._phase

    def wait(self, on_progress: Callable[[JobProgress], None] | None = None) -> dict[str, Any]:
        def report(phase: str, fraction: float | None) -> None:
            self._phase = JobProgress(phase, fraction, 0.0)
            if on_progress is not None:
                on_progress(self._phase)

        return work.build(self._options, report, lambda: False)


class GpuMachine:
    """Builds and opens engines on a World."""

    def __init__(self, world: World, frames: Path) -> None:
        """frames: pictures to compare precisions on."""
        self.world = world
        self._frames = frames

    def reset_counts(self) -> None:
        """Forget earlier calls and faults, such as those of a build."""
        self.world.calls.clear()
        self.world._faults.clear()

    def build(self, model: Model, **asked: Any) -> Passport:
        """Build like `run.py build`. asked: as for `request_for`."""
        request = request_for(model, **{"precision": "fp16", "runtime": "tensorrt", **asked})
        environment = builder.environment_for(request)
        calibrate = pictures(self._frames / "camera", 90) if request.precision == "int8-qdq" else None
        return (
            builder.EngineBuilder(model, request, environment, Store(), frames=self._frames, calibrate=calibrate).run().passport
        )

    def open(self, model: Model, backend: str = "trt", options: EngineOptions | None = None, **asked: Any) -> Choice:
        """An engine of `model`, built first if necessary."""
        if backend == "trt":
            self.build(model, **asked)
        return open_engine(model, backend, options or EngineOptions())


@contextmanager
def fake_machine(folder: Path, monkeypatch: pytest.MonkeyPatch, world: World | None = None) -> Iterator[GpuMachine]:
    """A GpuMachine whose engines are in `folder`. At the end everything must be freed, and no rule broken."""
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    monkeypatch.setattr(builder, "BuildJob", JobHere)
    monkeypatch.setattr(primary, "_held", None)  # a failed test may have left it open
    with install(world or World()) as installed, install_ort(installed):
        yield GpuMachine(installed, pictures(folder / "frames"))
        gc.collect()
        assert installed.live() == [], "something was not freed"
        assert installed.leaks == [], "something outlived its context"
        assert installed.violations == [], "a rule of CUDA or TensorRT was broken"


def pictures(folder: Path, count: int = 2) -> Path:
    """A folder of pictures that are all different."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(5)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index}.png"), cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (64, 48)))
    return folder
