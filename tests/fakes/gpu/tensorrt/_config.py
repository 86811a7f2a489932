"""The builder's configuration, timing caches and optimisation profiles."""

from __future__ import annotations

import json
from typing import Any

from tensorrt._base import Bound, Dims, IHostMemory, IProgressMonitor, buffer, dims, make, typed, whole
from tensorrt._enums import BuilderFlag, ComputeCapability, DeviceType, MemoryPoolType, ProfilingVerbosity
from tensorrt._network import ILayer


class IOptimizationProfile(Bound):
    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        typed("set_shape", input, str)
        shapes = [dims("set_shape", value) for value in (min, opt, max)]
        is_ordered = len({len(shape) for shape in shapes}) == 1 and all(
            0 <= low <= middle <= high for low, middle, high in zip(*shapes, strict=True)
        )
        if not is_ordered:
            raise ValueError("Shape provided for the minimum, optimum and maximum is inconsistent")
        self._shapes[input] = shapes

    def get_shape(self, input: str) -> list[Dims]:
        return [Dims(shape) for shape in self._shapes.get(typed("get_shape", input, str), [])]

    def __bool__(self) -> bool:
        return True


class ITimingCache(Bound):
    def serialize(self) -> IHostMemory:
        return IHostMemory(json.dumps(self._facts).encode())

    def combine(self, input_cache: Any, ignore_mismatch: bool) -> bool:
        typed("combine", input_cache, ITimingCache)
        self._facts["entries"].update(input_cache._facts["entries"])
        return True

    def reset(self) -> bool:
        self._facts["entries"] = {}
        return True


class IBuilderConfig(Bound):
    @property
    def flags(self) -> int:
        return int(sum(1 << int(flag) for flag in self._flags))

    def set_flag(self, flag: Any) -> None:
        self._flags.add(typed("set_flag", flag, BuilderFlag))

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(typed("clear_flag", flag, BuilderFlag))

    def get_flag(self, flag: Any) -> bool:
        return typed("get_flag", flag, BuilderFlag) in self._flags

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        typed("set_memory_pool_limit", pool, MemoryPoolType)
        self._pools[pool] = whole("set_memory_pool_limit", pool_size)

    def get_memory_pool_limit(self, pool: Any) -> int:
        return int(self._pools.get(typed("get_memory_pool_limit", pool, MemoryPoolType), self._world.total_bytes))

    def add_optimization_profile(self, profile: Any) -> int:
        self._profiles.append(typed("add_optimization_profile", profile, IOptimizationProfile))
        return len(self._profiles) - 1

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._profiles)

    @property
    def builder_optimization_level(self) -> int:
        return int(self._level)

    @builder_optimization_level.setter
    def builder_optimization_level(self, value: int) -> None:
        self._level = whole("builder_optimization_level", value)

    @property
    def profiling_verbosity(self) -> Any:
        return self._verbosity

    @profiling_verbosity.setter
    def profiling_verbosity(self, value: Any) -> None:
        self._verbosity = typed("profiling_verbosity", value, ProfilingVerbosity)

    @property
    def progress_monitor(self) -> IProgressMonitor | None:
        monitor: IProgressMonitor | None = self._monitor
        return monitor

    @progress_monitor.setter
    def progress_monitor(self, value: Any) -> None:
        self._monitor = typed("progress_monitor", value, (IProgressMonitor, type(None)))

    def create_timing_cache(self, serialized_timing_cache: Any) -> ITimingCache:
        data = buffer("create_timing_cache", serialized_timing_cache)
        facts: dict[str, Any] = {"version": self._world.tensorrt_version, "gpu": self._world.gpu_name, "entries": {}}
        if data:
            try:
                facts = dict(json.loads(data))
                self._world.calls["timings reused"] += len(facts["entries"])
            except ValueError:
                self._log.warning("Failed to deserialize timing cache. Returning an empty timing cache.")
        cache: ITimingCache = make(ITimingCache, _facts=facts, _log=self._log)
        return cache

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        facts = typed("set_timing_cache", cache, ITimingCache)._facts
        typed("set_timing_cache", ignore_mismatch, bool)
        is_same_gpu = ignore_mismatch or facts["gpu"] == self._world.gpu_name
        if facts["version"] != self._world.tensorrt_version or not is_same_gpu:
            self._log.error("Error Code 2: Internal Error (timing cache was made by another version or device)")
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        cache: ITimingCache | None = self._cache
        return cache

    @property
    def default_device_type(self) -> Any:
        return self._device_type

    @default_device_type.setter
    def default_device_type(self, value: Any) -> None:
        self._device_type = typed("default_device_type", value, DeviceType)

    @property
    def DLA_core(self) -> int:
        return int(self._dla_core)

    @DLA_core.setter
    def DLA_core(self, value: int) -> None:
        if whole("DLA_core", value) >= self._world.dla_cores:
            self._log.error(f"Error Code 3: API Usage Error (DLA core {value} does not exist)")
            return
        self._dla_core = value

    @property
    def num_compute_capabilities(self) -> int:
        return len(self._capabilities)

    @num_compute_capabilities.setter
    def num_compute_capabilities(self, value: int) -> None:
        self._capabilities = [None] * whole("num_compute_capabilities", value)

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        self._capabilities[whole("set_compute_capability", index)] = typed(
            "set_compute_capability", compute_capability, ComputeCapability
        )
        return True

    def can_run_on_DLA(self, layer: Any) -> bool:
        node = typed("can_run_on_DLA", layer, ILayer)._node
        return self._world.dla_cores > 0 and node.op_type not in self._world.dla_refuses
