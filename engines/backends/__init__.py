"""Backends: the runtimes that run a network. The folder is the registry: module NAME holds a function `open_engine(model)`."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Protocol, cast

from engines.errors import BackendUnavailableError
from engines.fit import Fit
from engines.model import Model
from engines.nearest import did_you_mean
from engines.types import Image, Outputs

PREFERENCE = ("trt", "openvino", "ort")
"""The order in which "auto" tries: the fastest first."""


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

    def infer(self, image: Image) -> Inference:
        """Fit `image` to the input, run, wait. Raises InferenceError when the run fails."""
        ...

    def close(self) -> None:
        """Free everything. Called once; nothing is called after it."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, and why the backends before it were not taken: backend name → one line."""

    engine: Engine
    backend: str
    refusals: dict[str, str]


def names() -> tuple[str, ...]:
    """The backends this version has, best first."""
    found = {module.name for module in pkgutil.iter_modules(__path__)}
    return tuple(name for name in PREFERENCE if name in found) + tuple(sorted(found - set(PREFERENCE)))


def open_engine(model: Model, backend: str = "auto") -> Choice:
    """Load `model` on `backend`, or with "auto" on the first of PREFERENCE that takes it.

    Raises BackendUnavailableError with every reason when none does.
    """
    if backend != "auto":
        return Choice(_open(model, backend), backend, {})
    refusals: dict[str, str] = {}
    for name in dict.fromkeys((*PREFERENCE, *names())):
        if name not in names():
            refusals[name] = "not part of this version"
            continue
        try:
            return Choice(_open(model, name), name, refusals)
        except BackendUnavailableError as error:
            refusals[name] = str(error)
    reasons = "; ".join(f"{name}: {reason}" for name, reason in refusals.items())
    raise BackendUnavailableError(f"no backend can run {model.card.name} here ({reasons})")


def check_backend(backend: str) -> None:
    """Raises BackendUnavailableError unless `backend` is "auto" or one this version has: the text lists them."""
    if backend == "auto" or backend in names():
        return
    known = ("auto", *names())
    if backend == "trt":
        raise BackendUnavailableError(f"backend trt: this version has no TensorRT engine yet; use one of {', '.join(known)}")
    raise BackendUnavailableError(f'unknown backend "{backend}"; known: {", ".join(known)}{did_you_mean(backend, known)}')


def _open(model: Model, backend: str) -> Engine:
    check_backend(backend)
    return cast(Engine, importlib.import_module(f"{__name__}.{backend}").open_engine(model))
