"""What TensorRT-RTX has and TensorRT lacks: runtime configurations, and caches of the kernels that it compiles when it runs."""

from __future__ import annotations

import json
from typing import Any

from fakegpu.world import World

from tensorrt._base import Bound, IHostMemory, answers, buffer, make, typed
from tensorrt._enums import CudaGraphStrategy, DynamicShapesKernelSpecializationStrategy, ExecutionContextAllocationStrategy


class IRuntimeCache(Bound):
    """Compiled kernels. It is not kept alive by the configurations and contexts that use it."""

    def serialize(self) -> IHostMemory:
        return IHostMemory(json.dumps({**machine(self._world), "kernels": sorted(self._entries)}).encode())

    @answers(False)
    def deserialize(self, blob: Any) -> bool:
        data = buffer("deserialize", blob)
        self._world.require_context()  # the environment is compared with that of the current context
        try:
            facts = json.loads(data)
            entries = set(facts.pop("kernels"))
        except (ValueError, KeyError, AttributeError):
            self._log.error("IRuntimeCache::deserialize: Error Code 1: Serialization (invalid runtime cache)")
            return False
        if facts != machine(self._world):
            self._log.warning("IRuntimeCache::deserialize: the cache was made in another environment and is ignored")
            return False
        self._entries.update(entries)
        return True

    def reset(self) -> bool:
        self._entries.clear()
        return True

    def __del__(self) -> None:
        if any(uses() is not None for uses in self.__dict__.get("_users", [])):
            self._world.violations.append("IRuntimeCache deleted before a context that uses it")


def machine(world: World) -> dict[str, Any]:
    """What the kernels of a cache are for."""
    return {
        "version": world.tensorrt_version,
        "gpu": world.gpu_name,
        "capability": list(world.compute_capability),
        "driver": world.driver_version,
    }


class IRuntimeConfig(Bound):
    def set_execution_context_allocation_strategy(self, strategy: Any = ExecutionContextAllocationStrategy.STATIC) -> None:
        self._strategy = typed("set_execution_context_allocation_strategy", strategy, ExecutionContextAllocationStrategy)

    def get_execution_context_allocation_strategy(self) -> Any:
        return self._strategy

    def create_runtime_cache(self) -> IRuntimeCache:
        cache: IRuntimeCache = make(IRuntimeCache, _entries=set(), _users=[], _log=self._log)
        return cache

    def set_runtime_cache(self, cache: Any = None) -> bool:
        self._cache = typed("set_runtime_cache", cache, IRuntimeCache)
        return True

    def get_runtime_cache(self) -> IRuntimeCache | None:
        cache: IRuntimeCache | None = self._cache
        return cache

    @property
    def cuda_graph_strategy(self) -> Any:
        return self._graphs

    @cuda_graph_strategy.setter
    def cuda_graph_strategy(self, value: Any) -> None:
        self._graphs = typed("cuda_graph_strategy", value, CudaGraphStrategy)

    @property
    def dynamic_shapes_kernel_specialization_strategy(self) -> Any:
        return self._kernels

    @dynamic_shapes_kernel_specialization_strategy.setter
    def dynamic_shapes_kernel_specialization_strategy(self, value: Any) -> None:
        self._kernels = typed("dynamic_shapes_kernel_specialization_strategy", value, DynamicShapesKernelSpecializationStrategy)


def make_config(log: Any) -> IRuntimeConfig:
    config: IRuntimeConfig = make(
        IRuntimeConfig, _log=log, _strategy=ExecutionContextAllocationStrategy.STATIC, _cache=None,
        _graphs=getattr(CudaGraphStrategy, "DISABLED", None),
        _kernels=getattr(DynamicShapesKernelSpecializationStrategy, "LAZY", None),
    )  # fmt: skip
    return config
