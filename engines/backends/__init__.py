"""Backends: the runtimes that run a network. The folder is the registry: module NAME holds a function `open_engine(model)`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from engines.backends.common.options import EngineOptions
from engines.errors import BackendUnavailableError, EngineNotBuiltError, NoGpuError, did_you_mean
from engines.loading import load_module, module_names

if TYPE_CHECKING:
    from engines.models.card import ModelCard
    from engines.models.fit import Fit
    from engines.models.model import Model
    from engines.types import Image, Outputs, Size

__all__ = ["EngineOptions"]

PREFERENCE = ("trt", "ort-cuda", "openvino", "ort")
"""The order in which "auto" tries: the fastest first."""

GPU_BACKENDS = ("trt", "ort-cuda")


DEFAULTS = EngineOptions()


@dataclass(frozen=True, slots=True)
class Inference:
    """One run of a network. outputs: valid until the next `infer` of the same engine."""

    outputs: Outputs
    geometry: Fit
    preprocess_ms: float
    inference_ms: float


class Engine(Protocol):
    """A network, loaded. Opened, used and closed on the same thread."""

    description: str
    """Runtime, device and precision as they are, not as they were asked for: "OpenVINO 2026.4, CPU, bf16"."""

    card: ModelCard
    """Of the network as this engine runs it: what its outputs mean, which a build may have fused."""

    def infer(self, image: Image) -> Inference:
        """Fit `image` to the input, run, wait. Raises InferenceError when the run fails."""
        ...

    def close(self) -> None:
        """Free everything. Called once; nothing is called after it."""
        ...


@runtime_checkable
class PipelinedEngine(Protocol):
    """An engine that can work on several images at a time. Its `infer` is `start` and `finish`."""

    inflight: int
    """How many images may be started before the first is finished."""

    def start(self, image: Image) -> None:
        """Begin with `image`, which may change once this returns. Raises InferenceError."""
        ...

    def finish(self) -> Inference:
        """Wait for the first that was started and not finished. Raises InferenceError."""
        ...


@runtime_checkable
class RecurrentEngine(Protocol):
    """An engine whose network may have states (as its card calls them). Each stream of frames, a number, has its own."""

    def infer(self, image: Image, stream: int = 0) -> Inference:
        """As `Engine.infer`, with the states after the last frame of that stream."""
        ...

    def forget(self, stream: int) -> None:
        """Drop the states of one stream: its next frame is a first one."""
        ...

    def reset(self) -> None:
        """Drop the states of all streams."""
        ...


@runtime_checkable
class BatchEngine(Protocol):
    """An engine that can run several images at a time."""

    batch: int
    """How many images one run takes at most; 1 where the network takes one only, which the first batch may show."""

    def infer_batch(self, images: Sequence[Image]) -> list[Inference]:
        """Run 1 to `batch` images of any sizes. Each result has a leading axis of 1, as `infer` gives it.

        The times are the batch's, shared equally among its images. Raises InferenceError.
        """
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, and why the backends before it were not taken: backend name → one line.

    unbuilt: such a line of a backend that could run the model once an engine is built for it; empty where there is none.
    """

    engine: Engine
    backend: str
    refusals: dict[str, str]
    unbuilt: str = ""


def names() -> tuple[str, ...]:
    """The backends this version has, best first."""
    found = {name.replace("_", "-") for name in module_names(__path__)}
    return tuple(name for name in PREFERENCE if name in found) + tuple(sorted(found - set(PREFERENCE)))


def open_engine(model: Model, backend: str = "auto", options: EngineOptions = DEFAULTS) -> Choice:
    """Load `model` on `backend`, or with "auto" on the first of PREFERENCE that takes it.

    Raises BackendUnavailableError with every reason when none does; EngineNotBuiltError for a GPU backend that is named and
    lacks its engine.
    """
    if backend != "auto":
        try:
            return Choice(_open(model, backend, options), backend, {})
        except NoGpuError as error:
            raise NoGpuError(f"{error}; or run on the CPU: --backend auto") from error
    refusals: dict[str, str] = {}
    unbuilt = ""
    for name in names():
        try:
            return Choice(_open(model, name, options), name, refusals, unbuilt)
        except BackendUnavailableError as error:
            # Most machines have no GPU, and need no advice on it each time.
            refusals[name] = str(error).partition(":")[0] if isinstance(error, NoGpuError) else str(error)
            if isinstance(error, EngineNotBuiltError):
                unbuilt = str(error)
    reasons = "; ".join(f"{name}: {reason}" for name, reason in refusals.items())
    raise BackendUnavailableError(f"no backend can run {model.card.name} here ({reasons})")


def check_backend(backend: str) -> None:
    """Raises BackendUnavailableError unless `backend` is "auto" or one this version has: the text lists them."""
    if backend == "auto" or backend in names():
        return
    known = ("auto", *names())
    hint = '; did you mean "trt"?' if backend.startswith("tensorrt") else did_you_mean(backend, known)
    raise BackendUnavailableError(f'unknown backend "{backend}"; known: {", ".join(known)}{hint}')


def _open(model: Model, backend: str, options: EngineOptions) -> Engine:
    check_backend(backend)
    if backend in GPU_BACKENDS and model.card.side_inputs:
        fed = ", ".join(model.card.side_inputs)
        raise BackendUnavailableError(
            f"{model.card.name} is fed {fed} beside the image, which {backend} cannot do; the CPU's backends can: --backend auto"
        )
    module = load_module(__name__, backend.replace("-", "_"))
    if backend == "trt":  # its engines were built for their sizes
        return cast(Engine, module.open_engine(model, options))
    with _at_size(model, options.size) as sized:
        return cast(Engine, module.open_engine(sized, options) if backend in GPU_BACKENDS else module.open_engine(sized))


@contextmanager
def _at_size(model: Model, size: Size | None) -> Iterator[Model]:
    """The model with an input of `size`, for as long as it takes to load it. Raises ModelFileError, CardError."""
    if size is None or size == model.card.input.size:
        yield model
        return
    import tempfile

    from engines.onnx_graph.sizing import sized_copy

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # a runtime may hold on to the file
        yield sized_copy(model, size, Path(folder))
