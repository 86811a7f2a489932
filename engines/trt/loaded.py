"""A loaded engine: the types of its tensors, and its layers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from engines.errors import BackendUnavailableError, CardError
from engines.models.card import ModelCard
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

WRONG_CARD = "Copy the engine's passport, the .json next to it, as well"


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

    context.profiler = Profiler()
    yield lambda: {name: float(np.median(values)) for name, values in times.items()}
    # TensorRT cannot remove a profiler: do not use the context again.


def check_tensors(tensorrt: TensorRt, engine: Any, card: ModelCard) -> None:
    """Raises CardError if the engine's inputs and outputs are not those of the card."""
    trt = tensorrt.trt
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    if inputs != [card.input.tensor]:
        what = f"{card.name}: the engine's inputs are {', '.join(inputs)}, its card names {card.input.tensor}"
        raise CardError(what, WRONG_CARD)
    missing = [name for name in card.outputs.values() if name not in names]
    if missing:
        raise CardError(f"{card.name}: the engine has no output {', '.join(missing)}, only {', '.join(names)}", WRONG_CARD)
    dtype = numpy_type(tensorrt, engine, card.input.tensor)
    if dtype != np.dtype(card.input.dtype):
        raise CardError(f"{card.name}: the engine's input is {dtype}, its card says {card.input.dtype}", WRONG_CARD)
