"""The GPU's engine for a bench: what stands in its way here, and the build where only the engine is missing.

A user who has a GPU wants to know how fast that is, not the CPU that `--backend auto` takes while there is no engine.
"""

import time
from collections.abc import Callable
from pathlib import Path

from engines.backends import EngineOptions, here, open_engine
from engines.backends.common.opening import at_size
from engines.backends.trt import batch_for, first_runtime
from engines.building.builder import EngineBuilder, environment_for
from engines.building.job import JobProgress
from engines.errors import BackendUnavailableError, BuildError, EngineNotBuiltError, NoGpuError
from engines.gpu.device import import_pycuda
from engines.gpu.driver import Driver
from engines.models.model import Model
from engines.plans.passport import BuildRequest
from engines.plans.requests import request_for
from engines.plans.store import Found, Store
from engines.types import Image, Size
from realtime.bench.card import EngineFacts
from realtime.bench.gpus import seen
from realtime.process.jetson import ROOT
from realtime.process.progress import Progress
from realtime.settings import Settings
from realtime.streams.fitting import InputFit

WITH_ENGINES = ("auto", "trt")
"""Backends that run engines."""

GPUS_WITHOUT_ENGINES = ("ort-cuda",)

WITHOUT = "Or measure without it: --no-build, or --backend ort"


def obstacle() -> BackendUnavailableError | None:
    """What this machine lacks to run an engine of TensorRT; None where it can. Quick."""
    try:
        Driver().facts()
        import_pycuda()
        first_runtime()
    except BackendUnavailableError as error:
        return error
    return None


def first_line(lacking: BackendUnavailableError, root: Path = ROOT) -> str:
    """What "auto" measures where TensorRT cannot run, and why."""
    if isinstance(lacking, NoGpuError) and not seen(root):
        return "measures the CPU: this machine has no NVIDIA GPU"
    why = f"{lacking.what}. {lacking.cure}" if lacking.cure else lacking.what
    if set(here()) & set(GPUS_WITHOUT_ENGINES):
        return f"measures the GPU through ONNX Runtime, without TensorRT, which is faster: {why}"
    return f"measures the CPU, not the GPU: {why}"


def engine_for(
    model: Model, settings: Settings, image: Image, say: Callable[[str], None], *, builds: bool = True
) -> EngineFacts | None:
    """The engine that a run over pictures like `image` would use, built first where there is none and `builds` allows it.

    None where no engine will run. say: called once with what will be measured, unless a backend was named that says it all.
    Raises BuildError.
    """
    if settings.backend not in WITH_ENGINES:
        return None
    lacking, options = obstacle(), settings.engine
    if lacking is None:
        fitted = InputFit(options).apply(model, lambda limit_s: [image])
        gpu = Driver().facts().name
        try:
            engine = open_engine(fitted, "trt", options).engine
        except EngineNotBuiltError as error:
            if builds and not options.trust:
                say(f"measures the GPU: {gpu}, after building its engine, once")
                return _built(model, fitted, options)
            lacking = error
        except BackendUnavailableError as error:
            lacking = error
        else:
            say(f"measures the GPU: {gpu}")
            engine.close()
            return None if options.trust else _cached(model, options, engine.card.input.size)
    if settings.backend == "auto":  # else opening the model raises the error
        say(first_line(lacking))
    return None


def _built(model: Model, fitted: Model, options: EngineOptions) -> EngineFacts:
    """Build it, with progress on the terminal. fitted: the model with the input that fits the pictures."""
    with at_size(fitted, options) as sized:
        size = sized.card.input.size
    start_s = time.monotonic()
    try:
        request = _request(model, options, size)
        builder = EngineBuilder(model, request, environment_for(request), Store())
        with Progress(f"{model.card.name}, {options.precision}") as progress:

            def show(job: JobProgress) -> None:
                progress.show(job.fraction or 0.0, 1.0, job.phase)

            found = builder.run(on_progress=show, on_wait=lambda: progress.show(0.0, 1.0, "another process builds it; waiting"))
    except BuildError as error:
        raise BuildError(error.what, f"{error.cure}. {WITHOUT}" if error.cure else WITHOUT) from error
    return _facts(found, time.monotonic() - start_s)


def _request(model: Model, options: EngineOptions, size: Size) -> BuildRequest:
    runtime = options.runtime or first_runtime()
    batch = batch_for(model, options)
    return request_for(model, precision=options.precision, size=size, batch=batch, runtime=runtime, dla_core=options.dla_core)


def _cached(model: Model, options: EngineOptions, size: Size) -> EngineFacts | None:
    request = _request(model, options, size)
    try:
        return _facts(Store().find(request, environment_for(request)))
    except EngineNotBuiltError:
        return None  # another engine serves, such as one of a larger batch


def _facts(found: Found, wall_s: float | None = None) -> EngineFacts:
    passport = found.passport
    wall_s = None if wall_s is None else round(wall_s, 1)
    return EngineFacts(passport.build_seconds, passport.built_at, wall_s)
