"""Execution contexts of an engine: one for each run in flight and each number of images.

They work in one piece of scratch memory, since they run one after the other. TensorRT would allocate one for each of them;
TensorRT-RTX would do so while it runs, which a CUDA graph cannot contain. It also compiles the kernels of an engine when it first
runs; they are kept here, and can be given to the next start.
"""

from typing import Any

from engines.errors import BackendUnavailableError, CardError
from engines.gpu.buffer import Buffer
from engines.gpu.device import Device
from engines.gpu.staying import painted
from engines.models.card import ModelCard
from engines.onnx_graph.editing import input_shape
from engines.trt.loaded import WRONG_CARD, numpy_type
from engines.trt.runtime import TensorRt


class Contexts:
    """Creates the contexts of one engine; lives as long as they do. `forget` it after them and before the engine.

    batch: the most images of one run. All runs are on one stream.
    """

    def __init__(self, device: Device, tensorrt: TensorRt, engine: Any, card: ModelCard, kernels: bytes | None = None) -> None:
        """kernels: compiled in an earlier run of the same plan; those of another GPU, driver or version are ignored.

        Raises BackendUnavailableError if there is not enough memory.
        """
        self.card = card
        self._device, self._tensorrt, self._engine = device, tensorrt, engine
        self._cache: Any = None
        self.knew_kernels = False
        """Whether `kernels` were taken."""
        is_open = engine.get_tensor_shape(card.input.tensor)[0] == -1
        self.batch = int(engine.get_tensor_profile_shape(card.input.tensor, 0)[2][0]) if is_open else 1
        self._how: Any = tensorrt.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if tensorrt.name == "tensorrt-rtx":
            self._how = self._runtime_config(kernels)
        self._size_bytes = device_memory_bytes(engine)
        self._scratch = self._memory(self._size_bytes)

    def create(self, count: int) -> Any:
        """A context for `count` images, with its memory. Raises BackendUnavailableError, CardError for another shape than its."""
        spec = self.card.input
        context = self._engine.create_execution_context(self._how)
        if context is None:
            raise self._device.out_of_memory(f"create a context for {self.card.name}")
        shape = input_shape(spec, count)
        if not context.set_input_shape(spec.tensor, shape):
            reason = self._tensorrt.messages.reason()
            what = f"{self.card.name}: the engine refuses an input of {shape}, its card's shape ({reason})"
            raise CardError(what, WRONG_CARD)
        needed_bytes = int(context.update_device_memory_size_for_shapes())
        if needed_bytes <= self._size_bytes:
            context.set_device_memory(self._scratch.address, self._size_bytes)
        else:
            context.set_device_memory(self._memory(needed_bytes).address, needed_bytes)
        return context

    def buffers(self, context: Any) -> dict[str, Buffer]:
        """Memory for the outputs of a context for the most images, by tensor. Raises BackendUnavailableError, CardError."""
        found = {}
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            if name == self.card.input.tensor:
                continue
            dims = tuple(int(length) for length in context.get_tensor_shape(name))
            if -1 in dims:
                raise BackendUnavailableError(
                    f"{self.card.name}: the size of output {name} depends on the picture, which is not supported",
                    "Remove that output from the network, or run it on the CPU: --backend ort",
                )
            if self.batch > 1 and dims[:1] != (self.batch,):
                what = f"{self.card.name}: output {name} {dims} does not follow the batch of {self.batch}"
                raise CardError(what, "Build an engine for single images: run.py build, without --batch")
            dtype = numpy_type(self._tensorrt, self._engine, name)
            found[name] = Buffer(self._device, dims, dtype, stays=name in painted(self.card))
        return found

    def kernels(self) -> bytes | None:
        """The kernels that were compiled so far, for the next start; None for TensorRT, which compiles them when it builds."""
        data = self._cache.serialize() if self._cache is not None else None
        return bytes(data) if data is not None else None

    def forget(self) -> None:
        """Drop TensorRT's objects."""
        self._how = self._cache = self._engine = None

    def _memory(self, size_bytes: int) -> Any:
        return self._device.memory(size_bytes, f"allocate {size_bytes / 2**20:.0f} MiB to run {self.card.name}")

    def _runtime_config(self, kernels: bytes | None) -> Any:
        trt = self._tensorrt.trt
        runtime_config = self._engine.create_runtime_config()
        runtime_config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        # Not "lazy": kernels that are exchanged later would not be in the graph, and not among those that are kept.
        strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        runtime_config.dynamic_shapes_kernel_specialization_strategy = strategy
        runtime_cache = runtime_config.create_runtime_cache()
        if kernels is not None:
            self.knew_kernels = bool(runtime_cache.deserialize(kernels))
            self._tensorrt.messages.clear()  # or the refusal would be reported as the reason of a later error
        runtime_config.set_runtime_cache(runtime_cache)
        self._cache = runtime_cache
        return runtime_config


def is_capturable(context: Any, stream_handle: int) -> bool:
    """Whether a CUDA graph can contain a run of `context`; True where this version does not say."""
    ask = getattr(context, "is_stream_capturable", None)
    return ask is None or bool(ask(stream_handle))


def device_memory_bytes(engine: Any) -> int:
    """Memory that a context of this engine needs for activations; 0 if this version does not report it."""
    return int(getattr(engine, "device_memory_size_v2", 0) or getattr(engine, "device_memory_size", 0))
