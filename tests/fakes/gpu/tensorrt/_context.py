"""Execution contexts: addresses and shapes first, then work on a stream."""

from __future__ import annotations

import hashlib
import time
import weakref
from typing import Any

from fakegpu.codes import CudaError
from fakegpu.onnx_run import byte_count
from fakegpu.streams import Span, Work, reads, writes

from tensorrt._base import Bound, Dims, IProfiler, answers, dims, make, typed, whole
from tensorrt._enums import ExecutionContextAllocationStrategy
from tensorrt._rtx import IRuntimeConfig

ALIGNMENT_BYTES = 256
"""The alignment of addresses for TensorRT. Source: IExecutionContext::setTensorAddress."""


class IExecutionContext(Bound):
    def _start(self) -> None:
        self._cuda = self._world.context()
        self._addresses: dict[str, int] = {}
        self._shapes = {tensor.name: tensor.shape for tensor in self._engine._network.inputs}
        self._profiler: IProfiler | None = None
        self._emits = True
        self._warm_shapes: Any = None
        own = self._scratch.size if self._scratch is not None else 0
        if self._scratch is not None:
            self._world.died(id(self._scratch))  # part of the context
        if (cache := self._config._cache if self._config is not None else None) is not None:
            cache._users.append(weakref.ref(self))
        self._kernels: set[str] = cache._entries if cache is not None else set()
        self._world.born(id(self), "TensorRT context", f"{own} bytes", self._cuda)

    def __del__(self) -> None:
        if "_warm_shapes" not in self.__dict__:
            return
        if not self._cuda.is_live:
            self._world.violations.append("IExecutionContext deleted after its CUDA context was given back")
        elif self._world.context() is None:
            self._world.violations.append("IExecutionContext deleted without a current CUDA context")
        self._world.died(id(self))
        if self._scratch is not None and not self._is_user_managed and self._scratch.is_live:
            self._world.free(self._scratch)

    @property
    def engine(self) -> Any:
        return self._engine

    @property
    def name(self) -> str:
        return ""

    @property
    def active_optimization_profile(self) -> int:
        return 0

    @property
    def profiler(self) -> IProfiler | None:
        return self._profiler

    @profiler.setter
    def profiler(self, value: Any) -> None:
        self._profiler = typed("profiler", value, (IProfiler, type(None)))

    @property
    def enqueue_emits_profile(self) -> bool:
        return self._emits

    @enqueue_emits_profile.setter
    def enqueue_emits_profile(self, value: bool) -> None:
        self._emits = typed("enqueue_emits_profile", value, bool)

    @answers(False)
    def set_input_shape(self, name: str, shape: Any) -> bool:
        tensor = self._engine._find(name)
        wanted = dims("set_input_shape", shape)
        if tensor is None or not tensor.is_input:
            return False
        low, _, high = (tuple(each) for each in self._engine.get_tensor_profile_shape(name, 0))
        fits = len(wanted) == len(low) and all(a <= w <= b for a, w, b in zip(low, wanted, high, strict=True))
        if not fits:
            self._log.error(
                f"IExecutionContext::setInputShape: Error Code 3: API Usage Error (shape {wanted} of {name} does not satisfy "
                f"any optimization profiles: {low} to {high})"
            )
            return False
        self._shapes[name] = wanted
        return True

    def get_tensor_shape(self, name: str) -> Dims:
        tensor = self._engine._find(name)
        if tensor is None:
            return Dims()
        return Dims(self._all_shapes().get(name, tensor.shape))

    @answers(False)
    def set_tensor_address(self, name: str, memory: int) -> bool:
        address = whole("set_tensor_address", memory)
        if self._engine._find(name) is None:
            return False
        if address % ALIGNMENT_BYTES:
            self._world.violations.append(f"set_tensor_address: {name} at {address:#x} is not aligned to {ALIGNMENT_BYTES} bytes")
        self._addresses[name] = address
        return True

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(typed("get_tensor_address", name, str), 0)

    @property
    def _allocates_lazily(self) -> bool:
        """Whether TensorRT-RTX allocates while it runs: the engine or the context does not demand the user's memory."""
        return self._world.is_rtx and (self._engine._plan.allocates_lazily or not self._is_user_managed)

    def update_device_memory_size_for_shapes(self) -> int:
        return 0 if self.infer_shapes() else self._world.workspace_bytes

    def set_device_memory(self, memory: int, size: int) -> None:
        address, size = whole("set_device_memory", memory), whole("set_device_memory", size)
        if not self._is_user_managed:
            self._log.error(
                "IExecutionContext::setDeviceMemoryV2: Error Code 3: API Usage Error (the context has its own memory)"
            )
            return
        if size < self._engine.device_memory_size_v2 or address % ALIGNMENT_BYTES:
            self._world.violations.append(f"set_device_memory: {size} bytes at {address:#x} are too few, or not aligned")
        self._scratch = self._world.memory.device.find(address, size)

    def is_stream_capturable(self, stream: int) -> bool:
        self._world.stream(whole("is_stream_capturable", stream))
        return not self._allocates_lazily

    def infer_shapes(self) -> list[str]:
        """The inputs that lack a shape."""
        return [name for name, shape in self._shapes.items() if -1 in shape]

    @property
    def all_binding_shapes_specified(self) -> bool:
        return not self.infer_shapes()

    @answers(False)
    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._world.stream(whole("set_optimization_profile_async", stream_handle))
        return 0 <= whole("set_optimization_profile_async", profile_index) < self._engine.num_optimization_profiles

    @answers(False)
    def execute_async_v3(self, stream_handle: int) -> bool:
        handle = whole("execute_async_v3", stream_handle)
        self._world.require_context()
        self._world.check_alive()
        if (missing := self._missing()) is not None:
            self._log.error(f"IExecutionContext::enqueueV3: Error Code 3: API Usage Error ({missing})")
            return False
        with self._world.lock:
            stream = self._world.stream(handle)
            if stream.is_default:
                self._log.warning(
                    "Using default stream in enqueueV3() may lead to performance issues due to additional calls to "
                    "cudaStreamSynchronize() by TensorRT to ensure correct synchronization. Please use non-default stream."
                )
            is_recorded = stream.capture is not None
            if is_recorded and self._allocates_lazily:
                self._world.scheduler.forbid_in_capture(stream)
            self._compile(is_recorded)
            shapes = self._all_shapes()
            if is_recorded and self._warm_shapes != shapes:
                self._world.violations.append("execute_async_v3 captured before it ran once with these shapes")
            self._warm_shapes = shapes
            self._world.enqueue(stream, self._work(dict(self._addresses), shapes))
            if self._profiler is not None and self._emits and not is_recorded:
                self._world.synchronize(stream)  # the layers' times are known only then
                self._report()
        return True

    @answers(False)
    def report_to_profiler(self) -> bool:
        if self._profiler is None:
            return False
        self._report()
        return True

    def _compile(self, is_recorded: bool) -> None:
        """TensorRT-RTX compiles the kernels that its cache lacks."""
        if not self._world.is_rtx:
            return
        name = hashlib.sha256(self._engine._plan.to_bytes()).hexdigest()[:16]
        missing = {f"{name}/{layer}" for layer in self._engine._layers.names()} - self._kernels
        self._world.calls["kernels compiled"] += len(missing)
        self._kernels.update(missing)
        if missing and is_recorded:
            self._world.violations.append("execute_async_v3 compiled kernels in a capture")

    def _missing(self) -> str | None:
        if self._scratch is None:
            return "The context has no device memory: call setDeviceMemoryV2 before enqueue."
        if unshaped := self.infer_shapes():
            return f"Input shape not specified for tensor {unshaped[0]}"
        for tensor in self._engine._network.tensors:
            if not self._addresses.get(tensor.name):
                kind = "input" if tensor.is_input else "output"
                return f"Address is not set for {kind} tensor {tensor.name}. Call setTensorAddress before enqueue."
        return None

    def _all_shapes(self) -> dict[str, tuple[int, ...]]:
        if self.infer_shapes():
            return dict(self._shapes)
        return {**self._shapes, **self._engine._network.output_shapes(self._shapes)}

    def _work(self, addresses: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> Work:
        network, world = self._engine._network, self._world
        scratch, weights = self._scratch, self._engine._weights

        def run() -> None:
            if not (scratch.is_live and weights.is_live):
                raise CudaError(700, "a TensorRT context or engine was deleted before its work was done")
            start = time.perf_counter()
            network.run_on(world.memory, addresses, shapes, world.build_breaks_parity)
            scratch.others["ms"] = (time.perf_counter() - start) * 1e3

        spans: list[Span] = [writes("device", scratch.address, scratch.size)]
        for tensor in network.tensors:
            span = reads if tensor.is_input else writes
            address = addresses[tensor.name]
            spans.append(span(world.memory.space_of(address), address, byte_count(tensor, shapes)))
        return Work("tensorrt", run, tuple(spans))

    def _report(self) -> None:
        names = self._engine._layers.names()
        total = self._scratch.others.get("ms", 0.0)
        for name in names:
            assert self._profiler is not None
            self._profiler.report_layer_time(name, total / len(names))


def make_context(engine: Any, strategy: Any) -> IExecutionContext | None:
    """None, and an error in the log, if the GPU's memory is full. strategy: or a runtime configuration."""
    config = strategy if isinstance(strategy, IRuntimeConfig) else None
    is_user_managed = (config._strategy if config is not None else strategy) is ExecutionContextAllocationStrategy.USER_MANAGED
    size = engine._world.workspace_bytes
    scratch = None
    try:
        if not is_user_managed:
            scratch = engine._world.allocate(size, "TensorRT scratch", is_backed=False)
    except CudaError as error:
        engine._log.error(
            f"Error Code 2: OutOfMemory (Requested size was {size} bytes.) ICudaEngine::createExecutionContext: {error}"
        )
        return None
    context: IExecutionContext = make(
        IExecutionContext, _engine=engine, _scratch=scratch, _log=engine._log, _config=config, _is_user_managed=is_user_managed
    )
    context._start()
    return context
