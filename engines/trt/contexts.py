"""Execution contexts of an engine, one for each image in flight.

TensorRT allocates their memory itself, once. TensorRT-RTX would do so while it runs, which a CUDA graph cannot contain, so its
contexts get memory of the Device. It also compiles the kernels of an engine when it first runs; they are kept here, and can be
given to the next start.
"""

from typing import Any

from engines.gpu.device import Device
from engines.trt.runtime import TensorRt


class Contexts:
    """Creates the contexts of one engine; lives as long as they do. `forget` it after them and before the engine."""

    def __init__(self, tensorrt: TensorRt, engine: Any, kernels: bytes | None = None) -> None:
        """kernels: compiled in an earlier run of the same plan; those of another GPU, driver or version are ignored."""
        self._tensorrt, self._engine = tensorrt, engine
        self._config: Any = None
        self._cache: Any = None
        self.knew_kernels = False
        """Whether `kernels` were taken."""
        if tensorrt.name == "tensorrt-rtx":
            self._configure(kernels)

    def create(self) -> Any:
        """A context; None if the GPU lacks the memory. Set its input's shape, then call `provide`."""
        if self._config is None:
            return self._engine.create_execution_context()
        return self._engine.create_execution_context(self._config)

    def provide(self, context: Any, device: Device) -> None:
        """Give a context its memory, if it does not allocate it itself. Raises BackendUnavailableError if there is not enough."""
        if self._config is None:
            return
        size_bytes = max(int(context.update_device_memory_size_for_shapes()), device_memory_bytes(self._engine))
        if size_bytes:
            context.set_device_memory(device.memory(size_bytes).address, size_bytes)

    def kernels(self) -> bytes | None:
        """The kernels that were compiled so far, for the next start; None for TensorRT, which compiles them when it builds."""
        return bytes(self._cache.serialize()) if self._cache is not None else None

    def forget(self) -> None:
        """Drop TensorRT's objects."""
        self._config = self._cache = self._engine = None

    def _configure(self, kernels: bytes | None) -> None:
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
        self._config, self._cache = runtime_config, runtime_cache


def is_capturable(context: Any, stream_handle: int) -> bool:
    """Whether a CUDA graph can contain a run of `context`; True where this version does not say."""
    ask = getattr(context, "is_stream_capturable", None)
    return ask is None or bool(ask(stream_handle))


def device_memory_bytes(engine: Any) -> int:
    """Memory that a context of this engine needs for activations; 0 if this version does not report it."""
    return int(getattr(engine, "device_memory_size_v2", 0) or getattr(engine, "device_memory_size", 0))
