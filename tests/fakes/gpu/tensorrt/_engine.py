"""The runtime, engines and their inspector."""

from __future__ import annotations

from typing import Any

from fakegpu.codes import CudaError
from fakegpu.layers import LayerList, Options
from fakegpu.onnx_run import Network
from fakegpu.plan import MAGIC, Plan, version_tag

from tensorrt._base import Bound, Dims, IHostMemory, ILogger, answers, buffer, data_type, make, typed, whole
from tensorrt._context import IExecutionContext, make_context
from tensorrt._enums import (
    MAJOR,
    ExecutionContextAllocationStrategy,
    LayerInformationFormat,
    ProfilingVerbosity,
    TensorFormat,
    TensorIOMode,
    TensorLocation,
)
from tensorrt._rtx import IRuntimeConfig, make_config


class Runtime(Bound):
    def __init__(self, logger: ILogger) -> None:
        log = typed("Runtime", logger, ILogger)._log
        self._world.count("Runtime")
        if not self._world.is_usable:
            log.error("[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (cudaError 35)")
            if MAJOR < 11:
                raise TypeError("pybind11::init(): factory function returned nullptr")
        self._bind(_log=log, _logger=logger, _host_code=False, _dla_core=0)

    @property
    def logger(self) -> ILogger:
        logger: ILogger = self._logger
        return logger

    @property
    def engine_host_code_allowed(self) -> bool:
        return bool(self._host_code)

    @engine_host_code_allowed.setter
    def engine_host_code_allowed(self, value: bool) -> None:
        self._host_code = typed("engine_host_code_allowed", value, bool)
        if value:
            self._world.violations.append("Runtime.engine_host_code_allowed was set: plans may run code on the host")

    @property
    def num_DLA_cores(self) -> int:
        return self._world.dla_cores

    @property
    def DLA_core(self) -> int:
        return int(self._dla_core)

    @DLA_core.setter
    def DLA_core(self, value: int) -> None:
        if whole("DLA_core", value) >= self._world.dla_cores:
            self._log.error(f"IRuntime::setDLACore: Error Code 3: API Usage Error (DLA core {value} does not exist)")
            return
        self._dla_core = value

    @answers(None)
    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
        data = buffer("deserialize_cuda_engine", serialized_engine)
        if MAJOR >= 11 and not (self._world.is_usable and self._world.is_initialised):
            raise SystemExit("segfault")
        if self._world.context() is None:
            self._log.error("IRuntime::deserializeCudaEngine: Error Code 1: Cuda Runtime (invalid device context)")
            return None
        plan = Plan.from_bytes(data)
        reason = self._why_not(data, plan)
        if reason or plan is None:
            self._log.error(f"IRuntime::deserializeCudaEngine: {reason}")
            return None
        if plan.gpu != self._world.gpu_name:
            self._log.warning(
                "Using an engine plan file across different models of devices is not recommended and is likely to affect "
                "performance or even cause errors."
            )
        network = Network(plan.onnx, rounds=not plan.ignores_precision)
        try:
            weights = self._world.allocate(max(1, network.weight_bytes), "TensorRT weights", is_backed=False)
        except CudaError as error:
            self._log.error(
                f"Error Code 1: Cuda Runtime (Requested amount of GPU memory ({network.weight_bytes} bytes) could not be "
                f"allocated. There may not be enough free memory for allocation to succeed.) {error}"
            )
            return None
        engine: ICudaEngine = make(ICudaEngine, _plan=plan, _network=network, _weights=weights, _log=self._log, _runtime=self)
        engine._start()
        return engine

    def _why_not(self, data: bytes, plan: Plan | None) -> str:
        if plan is None:
            self._world.violations.append("Runtime.deserialize_cuda_engine was given bytes that are no whole plan")
            part = "stdArchiveReader" if data.startswith(MAGIC) else "Magic tag does not match"
            return f"Error Code 1: Serialization (Serialization assertion failed.{part})"
        here = ".".join(map(str, self._world.compute_capability))
        mine, its = version_tag(self._world.tensorrt_version), version_tag(plan.version)
        if mine != its:
            return (
                "Error Code 1: Serialization (Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed."
                f"Version tag does not match. Note: Current Version: {mine}, Serialized Engine Version: {its})"
            )
        if plan.is_on_dla and not self._world.dla_cores:
            return "Error Code 9: Internal Error (the engine runs on a DLA, and there is none)"
        if plan.capability != here:
            return (
                "Error Code 6: API Usage Error (The engine plan file is generated on an incompatible device, expecting "
                f"compute {here} got compute {plan.capability}, please rebuild.)"
            )
        return ""


class ICudaEngine(Bound):
    def _start(self) -> None:
        self._context = self._world.context()
        self._by_name = {tensor.name: tensor for tensor in self._network.tensors}
        flat = self._plan.ignores_precision
        refuses = frozenset(self._plan.dla_refuses) if self._plan.is_on_dla else None
        options = Options(self._plan.lowers_to, flat, self._world.fuses_activations, refuses)
        self._layers = LayerList(self._network.model, options)
        self._world.died(id(self._weights))  # part of the engine
        self._world.born(id(self), "TensorRT engine", f"{self._network.weight_bytes} bytes of weights", self._context)

    def __del__(self) -> None:
        if "_layers" not in self.__dict__:
            return
        if not self._context.is_live:
            self._world.violations.append("ICudaEngine deleted after its CUDA context was given back")
        elif self._world.context() is None:
            self._world.violations.append("ICudaEngine deleted without a current CUDA context")
        self._world.died(id(self))
        if self._weights.is_live:
            self._world.free(self._weights)

    @property
    def num_io_tensors(self) -> int:
        return len(self._network.tensors)

    @property
    def num_layers(self) -> int:
        return len(self._layers.layers)

    @property
    def num_optimization_profiles(self) -> int:
        return max(1, len(self._plan.profiles))

    @property
    def name(self) -> str:
        return "Unnamed Network 0"

    @property
    def profiling_verbosity(self) -> Any:
        return ProfilingVerbosity[self._plan.verbosity]

    @property
    def device_memory_size(self) -> int:
        return self._world.workspace_bytes

    @property
    def device_memory_size_v2(self) -> int:
        return self._world.workspace_bytes

    def get_tensor_name(self, index: int) -> str | None:
        if not 0 <= whole("get_tensor_name", index) < len(self._network.tensors):
            self._log.error(f"ICudaEngine::getIOTensorName: Error Code 3: API Usage Error (index {index} out of range)")
            return None
        return str(self._network.tensors[index].name)

    def get_tensor_mode(self, name: str) -> Any:
        tensor = self._find(name)
        return TensorIOMode.NONE if tensor is None else TensorIOMode.INPUT if tensor.is_input else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        tensor = self._find(name)
        return data_type(tensor.dtype if tensor is not None else self._network.tensors[0].dtype)

    def get_tensor_shape(self, name: str) -> Dims:
        tensor = self._find(name)
        return Dims(tensor.shape if tensor is not None else ())

    def get_tensor_location(self, name: str) -> Any:
        self._find(name)
        return TensorLocation.DEVICE

    def get_tensor_format(self, name: str, profile_index: int = 0) -> Any:
        self._find(name)
        return TensorFormat.LINEAR

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        """Minimum, optimum, maximum."""
        tensor = self._find(name)
        index = whole("get_tensor_profile_shape", profile_index)
        if tensor is None or not tensor.is_input or not 0 <= index < self.num_optimization_profiles:
            self._log.error(f"ICudaEngine::getProfileShape: Error Code 3: API Usage Error ({name}, profile {index})")
            return [Dims()] * 3
        shapes = self._plan.profiles[index].get(name) if self._plan.profiles else None
        return [Dims(shape) for shape in shapes or [tensor.shape] * 3]

    @answers(None)
    def create_execution_context(self, strategy: Any = ExecutionContextAllocationStrategy.STATIC) -> IExecutionContext | None:
        typed("create_execution_context", strategy, (ExecutionContextAllocationStrategy, IRuntimeConfig))
        return make_context(self, strategy)

    def create_runtime_config(self) -> IRuntimeConfig:
        return make_config(self._log)

    def create_engine_inspector(self) -> EngineInspector:
        inspector: EngineInspector = make(EngineInspector, _engine=self, _log=self._log)
        return inspector

    def serialize(self) -> IHostMemory:
        return IHostMemory(self._plan.to_bytes())

    def _find(self, name: str) -> Any:
        tensor = self._by_name.get(typed("get_tensor", name, str))
        if tensor is None:
            self._log.error(f"ICudaEngine: Error Code 3: API Usage Error (Given invalid tensor name: {name}.)")
        return tensor


class EngineInspector(Bound):
    @property
    def execution_context(self) -> IExecutionContext | None:
        return self.__dict__.get("_context")

    @execution_context.setter
    def execution_context(self, context: IExecutionContext) -> None:
        self.__dict__["_context"] = typed("execution_context", context, IExecutionContext)

    def get_engine_information(self, format: Any) -> str:
        if typed("get_engine_information", format, LayerInformationFormat) is not LayerInformationFormat.JSON:
            return "\n".join(self._engine._layers.names())
        plan, names = self._engine._plan, [tensor.name for tensor in self._engine._network.tensors]
        return str(self._engine._layers.to_json(self._world.tensorrt_version, plan.verbosity, names))
