"""What a loaded engine says of itself: its layers, and how long each takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from engines.errors import BackendUnavailableError
from engines.trt.runtime import TensorRt

DTYPES = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}
"""TensorRT's types that NumPy has, by their names."""


def numpy_type(tensorrt: TensorRt, engine: Any, tensor: str) -> np.dtype[Any]:
    """The NumPy type of an engine's input or output. Raises BackendUnavailableError for one that NumPy lacks."""
    name = str(engine.get_tensor_dtype(tensor)).rpartition(".")[2]
    if name not in DTYPES:
        raise BackendUnavailableError(f"{tensor} is {name}, which cannot be read here: build the engine again")
    return np.dtype(DTYPES[name])


def inspect(tensorrt: TensorRt, engine: Any, context: Any) -> str:
    """The inspector's JSON: every layer with its kind and the types of its tensors, which depend on the context's shapes."""
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    return str(inspector.get_engine_information(tensorrt.trt.LayerInformationFormat.JSON))


@contextmanager
def layer_times(tensorrt: TensorRt, context: Any) -> Iterator[Callable[[], dict[str, float]]]:
    """While entered, every run of `context` is timed by layer; call what is given for the median milliseconds by name."""
    times: dict[str, list[float]] = {}
    profiler = _profiler(tensorrt.trt.IProfiler, times)
    context.profiler = profiler
    yield lambda: {name: float(np.median(values)) for name, values in times.items()}
    # TensorRT has no way to take a profiler away: the context is not to be used again.


def _profiler(base: Any, times: dict[str, list[float]]) -> Any:
    class Profiler(base):  # type: ignore[misc]  # known only now
        def __init__(self) -> None:
            base.__init__(self)  # pybind11 wants it called so

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times.setdefault(layer_name, []).append(ms)

    return Profiler()


def device_memory_bytes(engine: Any) -> int:
    """What a context of this engine takes for what is between its layers; 0 where this version does not say."""
    return int(getattr(engine, "device_memory_size_v2", 0) or getattr(engine, "device_memory_size", 0))
