"""The builder."""

from __future__ import annotations

import threading
import time
from typing import Any

from fakegpu.layers import LayerList, Options
from fakegpu.plan import Plan

from tensorrt._base import Bound, IHostMemory, ILogger, answers, make, typed, whole
from tensorrt._config import IBuilderConfig, IOptimizationProfile
from tensorrt._enums import MAJOR, BuilderFlag, DeviceType, ProfilingVerbosity
from tensorrt._kernels import errors_without_kernel
from tensorrt._network import INetworkDefinition

PRECISION_FLAGS = ("FP16", "BF16", "INT8", "FP8")


class Builder(Bound):
    def __init__(self, logger: ILogger) -> None:
        log = typed("Builder", logger, ILogger)._log
        self._world.count("Builder")
        if not self._world.is_usable:
            code = self._world.init_result or (35 if not self._world.has_driver else 100)
            log.error(f"[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (cudaError {code})")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._bind(_log=log, _logger=logger)

    @property
    def logger(self) -> ILogger:
        logger: ILogger = self._logger
        return logger

    @property
    def num_DLA_cores(self) -> int:
        return self._world.dla_cores

    @property
    def platform_has_fast_fp16(self) -> bool:
        return self._world.compute_capability >= (5, 3)

    @property
    def platform_has_fast_int8(self) -> bool:
        return self._world.compute_capability >= (6, 1)

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        network: INetworkDefinition = make(
            INetworkDefinition, _flags=whole("create_network", flags), _log=self._log, _network=None, _nodes=[], _onnx=b""
        )
        return network

    def create_builder_config(self) -> IBuilderConfig:
        config: IBuilderConfig = make(
            IBuilderConfig, _log=self._log, _flags={BuilderFlag.TF32}, _pools={}, _profiles=[], _level=3, _monitor=None,
            _verbosity=ProfilingVerbosity.LAYER_NAMES_ONLY, _cache=None, _device_type=DeviceType.GPU, _dla_core=-1,
            _capabilities=[],
        )  # fmt: skip
        return config

    def create_optimization_profile(self) -> IOptimizationProfile:
        profile: IOptimizationProfile = make(IOptimizationProfile, _shapes={})
        return profile

    @answers(None)
    def build_serialized_network(self, network: Any, config: Any) -> IHostMemory | None:
        typed("build_serialized_network", network, INetworkDefinition)
        typed("build_serialized_network", config, IBuilderConfig)
        reason = self._world.build_error or self._why_not(network, config)
        if reason:
            for line in reason.splitlines():
                self._log.error(f"IBuilder::buildSerializedNetwork: {line}")
            return None
        if errors := errors_without_kernel(network._network.model, self._world.no_kernel):
            for text in errors:
                self._log.error(text)
            if config._cache is not None:  # some layers were timed before
                config._cache._facts["entries"].update({layer.name: 1 for layer, _ in network._nodes[:1]})
            return None
        plan = self._plan(network, config)
        options = Options(plan.lowers_to, plan.ignores_precision, self._world.fuses_activations)
        names = LayerList(network._network.model, options).names()
        if not self._work(names, config._monitor):
            self._log.error(
                "IBuilder::buildSerializedNetwork: Error Code 2: Internal Error (Build cancelled by progress monitor)"
            )
            return None
        if config._cache is not None:
            config._cache._facts["entries"].update(dict.fromkeys(names, 1))
        return IHostMemory(plan.to_bytes())

    def _why_not(self, network: Any, config: Any) -> str:
        """The reason why TensorRT would refuse to build; empty if there is none."""
        if network._network is None or not network._nodes:
            return "Error Code 4: API Usage Error (Network must have at least one output)"
        flags = [flag.name for flag in config._flags if flag.name in PRECISION_FLAGS]
        if network._is_strongly_typed and flags:
            return f"Error Code 4: API Usage Error (strongly typed network: builder flag {flags[0]} is not allowed)"
        if config._device_type is DeviceType.DLA:
            return self._why_not_on_dla(network, config, flags)
        for tensor in network._network.inputs:
            if -1 not in tensor.shape:
                continue
            if not config._profiles:
                return (
                    "Error Code 4: API Usage Error "
                    "(Network has dynamic or shape inputs, but no optimization profile has been defined.)"
                )
            for index, profile in enumerate(config._profiles):
                shapes = profile._shapes.get(tensor.name)
                if shapes is None:
                    return f"Error Code 4: API Usage Error (Dynamic input {tensor.name} is missing dimensions in profile {index})"
                if any(len(shape) != len(tensor.shape) for shape in shapes) or any(
                    want not in (-1, have) for shape in shapes for want, have in zip(tensor.shape, shape, strict=True)
                ):
                    return f"Error Code 4: API Usage Error (profile {index} does not match the shape of {tensor.name})"
        return ""

    def _why_not_on_dla(self, network: Any, config: Any, flags: list[str]) -> str:
        if config._dla_core < 0:
            return "Error Code 3: API Usage Error (default device is DLA, but no DLA core is set)"
        if MAJOR < 11 and network._is_strongly_typed:
            return "Error Code 4: API Usage Error (DLA does not support strongly typed networks)"
        if MAJOR < 11 and not {"FP16", "INT8"} & set(flags):
            return "Error Code 9: Internal Error (DLA supports only FP16 and INT8 precision)"
        refused = [node.name for node, _ in network._nodes if node.op_type in self._world.dla_refuses]
        if refused and BuilderFlag.GPU_FALLBACK not in config._flags:
            return f"Error Code 9: Internal Error ({refused[0]}: is not supported on DLA and GPU fallback is not enabled)"
        return ""

    def _plan(self, network: Any, config: Any) -> Plan:
        flags = {flag.name for flag in config._flags}
        profiles = [{name: [list(s) for s in shapes] for name, shapes in p._shapes.items()} for p in config._profiles]
        return Plan(
            version=self._world.tensorrt_version,
            gpu=self._world.gpu_name,
            capability=".".join(map(str, self._world.compute_capability)),
            onnx=network._onnx,
            is_strongly_typed=network._is_strongly_typed,
            lowers_to="Half" if "FP16" in flags else "BFloat16" if "BF16" in flags else "",
            ignores_precision=self._world.build_ignores_precision,
            verbosity=config._verbosity.name,
            profiles=profiles,
            is_on_dla=config._device_type is DeviceType.DLA,
            allocates_lazily=self._world.is_rtx and "REQUIRE_USER_ALLOCATION" not in flags,
            dla_refuses=sorted(self._world.dla_refuses),
        )

    def _work(self, names: list[str], monitor: Any) -> bool:
        """Take the time of a build, and call the monitor from another thread. Returns whether the build may continue."""
        finished: list[bool] = []
        failures: list[BaseException] = []

        def tell() -> None:
            try:
                finished.append(_phases(names, monitor, self._world.build_seconds))
            except BaseException as error:  # a real monitor that raises ends the process
                failures.append(error)

        thread = threading.Thread(target=tell, name="tensorrt-builder")
        thread.start()
        thread.join()
        if failures:
            self._world.violations.append(f"IProgressMonitor raised {failures[0]!r}: the real one would end the process")
            raise failures[0]
        return finished[0]


def _phases(names: list[str], monitor: Any, seconds: float) -> bool:
    outer, inner = "Building Engine", "Tactic Selection"
    if monitor is None:
        time.sleep(seconds)
        return True
    monitor.phase_start(outer, None, 2)
    monitor.phase_start(inner, outer, max(1, len(names)))
    goes_on = True
    for step in range(max(1, len(names))):
        time.sleep(seconds / max(1, len(names)))
        goes_on = bool(monitor.step_complete(inner, step))
        if not goes_on:
            break
    monitor.phase_finish(inner)
    goes_on = goes_on and bool(monitor.step_complete(outer, 0))
    monitor.phase_finish(outer)
    return goes_on
