"""A loaded engine: the types of its tensors, its layers, and slots, the context and memory of one image in flight."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from engines.errors import BackendUnavailableError, CardError
from engines.gpu.buffer import Buffer
from engines.gpu.device import Device, Event, Graph, Memory
from engines.gpu.letterbox import FrameBuffer
from engines.models.card import ModelCard
from engines.models.fit import Fit
from engines.onnx_graph.editing import input_shape
from engines.pictures.raw import Pixels
from engines.trt.contexts import Contexts, device_memory_bytes
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

    profiler = Profiler()  # TensorRT does not keep it alive
    context.profiler = profiler
    yield lambda: {name: float(np.median(values)) for name, values in times.items()}
    # TensorRT cannot remove a profiler: do not use the context again.


@dataclass(slots=True)
class Slot:
    """One image in flight. outputs: by tensor, in host memory once `done` has been waited for."""

    context: Any
    frame: FrameBuffer
    input: Memory
    outputs: dict[str, Buffer]
    begun: Event
    uploaded: Event
    done: Event
    geometry: Fit | None = None
    pixels: Pixels | None = None
    graph: Graph | None = None
    ran: bool = False
    runs: int = 0
    staged_ms: float = 0.0
    started_s: float = 0.0

    def is_still(self, runs: int) -> Callable[[], bool]:
        """Whether its outputs are still those of the run of that number."""
        return lambda: self.runs == runs


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


def make_slot(device: Device, tensorrt: TensorRt, engine: Any, contexts: Contexts, card: ModelCard, *, timed: bool) -> Slot:
    """timed: its events record the GPU's clock. Raises BackendUnavailableError, CardError for an input of another shape."""
    spec = card.input
    needed = device_memory_bytes(engine)
    context = contexts.create()
    if context is None:
        raise device.out_of_memory(f"allocate {needed / 2**20:.0f} MiB to run {card.name}")
    shape = input_shape(spec)
    if not context.set_input_shape(spec.tensor, shape):
        what = f"{card.name}: the engine refuses an input of {shape}, its card's shape ({tensorrt.messages.reason()})"
        raise CardError(what, WRONG_CARD)
    contexts.provide(context, device)
    memory = device.memory(int(np.prod(shape)) * np.dtype(spec.dtype).itemsize)
    context.set_tensor_address(spec.tensor, memory.address)
    outputs: dict[str, Buffer] = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        if name == spec.tensor:
            continue
        dims = tuple(int(length) for length in context.get_tensor_shape(name))
        if -1 in dims:
            raise BackendUnavailableError(
                f"{card.name}: the size of output {name} depends on the picture, which is not supported",
                "Remove that output from the network, or run it on the CPU: --backend ort",
            )
        outputs[name] = Buffer(device, dims, numpy_type(tensorrt, engine, name))
        context.set_tensor_address(name, outputs[name].address)
    begun, uploaded, done = device.event(timed=timed), device.event(), device.event(timed=timed)
    return Slot(context, FrameBuffer(device), memory, outputs, begun, uploaded, done)
