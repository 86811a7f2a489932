"""Facts about a loaded engine: its tensors' types, its layers and their times."""

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
"""NumPy types by the names of TensorRT's."""


def numpy_type(tensorrt: TensorRt, engine: Any, tensor: str) -> np.dtype[Any]:
    """The NumPy type of an engine's input or output. Raises BackendUnavailableError if NumPy has none."""
    name = str(engine.get_tensor_dtype(tensor)).rpartition(".")[2]
    if name not in DTYPES:
        raise BackendUnavailableError(f"{tensor} has the type {name}, which NumPy lacks", "Build the engine again")
    return np.dtype(DTYPES[name])


def inspect(tensorrt: TensorRt, engine: Any, context: Any) -> str:
    """The inspector's JSON: every layer with its kind and the types of its tensors, for the context's shapes."""
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    return str(inspector.get_engine_information(tensorrt.trt.LayerInformationFormat.JSON))


@contextmanager
def layer_times(tensorrt: TensorRt, context: Any) -> Iterator[Callable[[], dict[str, float]]]:
    """Time every run of `context` by layer inside the block; the yielded function returns median milliseconds by name."""
    times: dict[str, list[float]] = {}
    base: Any = tensorrt.trt.IProfiler

    class Profiler(base):  # type: ignore[misc]  # known only at run time
        def __init__(self) -> None:
            base.__init__(self)  # required by pybind11

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times.setdefault(layer_name, []).append(ms)

    profiler = Profiler()  # TensorRT does not keep it alive
    context.profiler = profiler
    yield lambda: {name: float(np.median(values)) for name, values in times.items()}
    # TensorRT cannot remove a profiler: do not use the context again.


def device_memory_bytes(engine: Any) -> int:
    """Memory that a context of this engine needs for activations; 0 if this version does not report it."""
    return int(getattr(engine, "device_memory_size_v2", 0) or getattr(engine, "device_memory_size", 0))
