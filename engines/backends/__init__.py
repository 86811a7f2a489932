"""Backends: the runtimes that run a network. The folder is the registry: each of its modules is a `Backend`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from engines.backends.common.options import EngineOptions, declared
from engines.errors import BackendUnavailableError, EngineNotBuiltError, NoGpuError, choices
from engines.loading import load_module, module_names

if TYPE_CHECKING:
    from engines.models.card import ModelCard
    from engines.models.fit import Fit
    from engines.models.model import Model
    from engines.types import Image, Outputs

__all__ = ["EngineOptions"]

DEFAULTS = EngineOptions()


@dataclass(frozen=True, slots=True)
class Inference:
    """One run of a network. outputs: valid until the next run, or with several in flight until so many more are started."""

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
    """How many runs may be started before the first is finished. Outputs stay valid until so many more are started."""

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


@runtime_checkable
class PipelinedBatchEngine(PipelinedEngine, BatchEngine, Protocol):
    """An engine that can work on several batches at a time. Its `infer_batch` is `start_batch` and `finish_batch`."""

    def start_batch(self, images: Sequence[Image]) -> None:
        """Begin with 1 to `batch` images of any sizes, which may change once this returns. Raises InferenceError."""
        ...

    def finish_batch(self) -> list[Inference]:
        """Wait for the run that was started first and not finished, also one of a single image. Raises InferenceError."""
        ...


@runtime_checkable
class RawEngine(Protocol):
    """An engine that takes pictures as cameras and decoders give them. All others are given BGR."""

    takes: frozenset[str]
    """The formats of `RawPicture` that its `infer`, `start` and `start_batch` take, beside BGR."""


@runtime_checkable
class CancellableEngine(Protocol):
    """An engine whose runs can be ended before their time: a graph may loop for ever."""

    def cancel(self) -> None:
        """End the run that is going on with an InferenceError, and likewise all later ones. From any thread."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, and why the backends before it were not taken: backend name → one line.

    unbuilt: what a backend lacks that could run the model once an engine is built for it; empty where there is none.
    """

    engine: Engine
    backend: str
    refusals: dict[str, str]
    unbuilt: str = ""


class Backend(Protocol):
    """What a backend's module holds. It is named like its module, with a hyphen for each underscore."""

    RANK: int
    """"auto" tries the lowest first: the fastest."""
    OPTIONS: tuple[str, ...]
    """The fields of EngineOptions that it uses."""
    TAKES_SIDE_INPUTS: bool
    """Whether it can feed a network anything beside the image."""

    def missing(self) -> str | None:
        """What this machine lacks for it, in a few words; None where it can run. Quick: `run.py models` lists by it."""
        ...

    def open_engine(self, model: Model, options: EngineOptions) -> Engine:
        """Load `model`. Raises BackendUnavailableError: something is missing here, or the runtime refuses the network."""
        ...


def names() -> tuple[str, ...]:
    """The backends this version has, sorted. Imports none of them."""
    return tuple(sorted(name.replace("_", "-") for name in module_names(__path__)))


def ranked() -> tuple[str, ...]:
    """The backends this version has, in the order in which "auto" tries them."""
    return tuple(sorted(names(), key=lambda name: _module(name).RANK))


def here() -> tuple[str, ...]:
    """The backends that this machine can run, best first."""
    return tuple(name for name in ranked() if _module(name).missing() is None)


def options_of(backend: str) -> tuple[str, ...]:
    """The fields of EngineOptions that a backend uses; of "auto", the input's size alone."""
    return ("input_px",) if backend == "auto" else _module(backend).OPTIONS


def check_options(backend: str, fields: Iterable[str]) -> None:
    """Raises BackendUnavailableError for fields of EngineOptions that a backend does not use."""
    used = options_of(backend)
    unused = [name for name in fields if name not in used]
    if unused:
        users = " or ".join(name for name in ranked() if set(unused) <= set(_module(name).OPTIONS))
        flags = ", ".join(declared()[name][1].flag for name in unused)
        raise BackendUnavailableError(f"{flags}: not with --backend {backend}", f"Add --backend {users}" if users else "")


def open_engine(model: Model, backend: str = "auto", options: EngineOptions = DEFAULTS) -> Choice:
    """Load `model` on `backend`, or with "auto" on the best ranked that takes it.

    Raises BackendUnavailableError with every reason when none does; EngineNotBuiltError for a backend that is named and lacks
    its engine.
    """
    if backend != "auto":
        try:
            return Choice(_open(model, backend, options), backend, {})
        except NoGpuError as error:
            cure = f"{error.cure}, or run on the CPU" if error.cure else "Run on the CPU"
            raise NoGpuError(error.what, f"{cure}: --backend auto") from error
    refusals: dict[str, str] = {}
    unbuilt = ""
    for name in ranked():
        try:
            return Choice(_open(model, name, options), name, refusals, unbuilt)
        except BackendUnavailableError as error:
            # Most machines have no GPU, and need no advice on it each time.
            refusals[name] = error.what if isinstance(error, NoGpuError) else str(error)
            if isinstance(error, EngineNotBuiltError):
                unbuilt = error.what
    reasons = "; ".join(f"{name}: {reason}" for name, reason in refusals.items())
    raise BackendUnavailableError(
        f"no backend can run {model.card.name} here ({reasons})", "See what this machine lacks: run.py doctor"
    )


def check_backend(backend: str) -> None:
    """Raises BackendUnavailableError unless `backend` is "auto" or one this version has."""
    known = ("auto", *names())
    if backend not in known:
        cure = 'Did you mean "trt"?' if backend.startswith("tensorrt") else choices(backend, known)
        raise BackendUnavailableError(f'unknown backend "{backend}"', cure)


def _module(backend: str) -> Backend:
    check_backend(backend)
    return cast(Backend, load_module(__name__, backend.replace("-", "_")))


def _open(model: Model, backend: str, options: EngineOptions) -> Engine:
    module = _module(backend)
    if model.card.side_inputs and not module.TAKES_SIDE_INPUTS:
        fed = ", ".join(model.card.side_inputs)
        raise BackendUnavailableError(
            f"{model.card.name} is fed {fed} beside the image, which {backend} cannot do",
            "The CPU's backends can: --backend auto",
        )
    return module.open_engine(model, options)
