"""The fake TensorRT-RTX: memory of the user's, kernels that are compiled when it first runs, and their cache."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.fakes.gpu.fake_gpu import FakeLibcuda, World, install
from tests.fakes.gpu.lab import Lab, capture, cuda_with_context, network


@pytest.fixture
def lab() -> Iterator[Lab]:
    with install(World(tensorrt_version="1.7.1")) as world, cuda_with_context():
        yield Lab(world)


def engine_of(lab: Lab, *, requires: bool = True) -> Any:
    builder, net, config = lab.parsed(network())
    if requires:
        config.set_flag(lab.trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    plan = bytes(builder.build_serialized_network(net, config))
    return lab.trt.Runtime(lab.logger).deserialize_cuda_engine(plan)


def context_of(lab: Lab, engine: Any, cache: Any = None, strategy: str = "USER_MANAGED") -> tuple[Any, list[Any]]:
    """A context, ready to run, and what must stay alive."""
    config = engine.create_runtime_config()
    config.set_execution_context_allocation_strategy(lab.trt.ExecutionContextAllocationStrategy[strategy])
    cache = cache or config.create_runtime_cache()
    config.set_runtime_cache(cache)
    context = engine.create_execution_context(config)
    memory = lab.cuda.mem_alloc(engine.device_memory_size_v2)
    if strategy == "USER_MANAGED":
        context.set_device_memory(int(memory), engine.device_memory_size_v2)
    x, y = lab.cuda.to_device(np.full((1, 1, 2, 2), 3, np.float32)), lab.cuda.mem_alloc(16)
    context.set_tensor_address("x", int(x))
    context.set_tensor_address("y", int(y))
    return context, [memory, x, y, cache, config]


@pytest.mark.parametrize(
    ("requires", "strategy", "is_fine"), [(True, "USER_MANAGED", True), (False, "USER_MANAGED", False), (True, "STATIC", False)]
)
def test_only_the_users_memory_can_be_captured(lab: Lab, requires: bool, strategy: str, is_fine: bool) -> None:
    context, kept = context_of(lab, engine_of(lab, requires=requires), strategy=strategy)
    stream = lab.cuda.Stream()
    assert context.execute_async_v3(stream.handle)
    stream.synchronize()
    assert context.is_stream_capturable(stream.handle) is is_fine
    ran: list[bool] = []
    code, _ = capture(FakeLibcuda(lab.world), stream, lambda: ran.append(context.execute_async_v3(stream.handle)))
    assert (code == 0, ran) == (is_fine, [is_fine])
    assert kept


def test_a_context_without_memory_does_not_run(lab: Lab) -> None:
    engine = engine_of(lab)
    config = engine.create_runtime_config()
    config.set_execution_context_allocation_strategy(lab.trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    context = engine.create_execution_context(config)
    assert not context.execute_async_v3(lab.cuda.Stream().handle)
    assert "has no device memory" in lab.heard[-1]


def test_too_little_memory_is_a_violation(lab: Lab) -> None:
    context, kept = context_of(lab, engine_of(lab))
    context.set_device_memory(int(kept[0]), 16)
    assert "16 bytes" in lab.world.violations[-1]


def test_kernels_of_a_cache_are_not_compiled_again(lab: Lab) -> None:
    engine, stream = engine_of(lab), lab.cuda.Stream()
    first, kept = context_of(lab, engine)
    assert first.execute_async_v3(stream.handle)
    stream.synchronize()
    compiled = lab.world.calls["kernels compiled"]
    assert compiled > 0
    data = bytes(kept[3].serialize())
    cache = engine.create_runtime_config().create_runtime_cache()
    assert cache.deserialize(data)
    second, kept_too = context_of(lab, engine, cache)
    assert second.execute_async_v3(stream.handle)
    stream.synchronize()
    assert lab.world.calls["kernels compiled"] == compiled
    assert kept_too


@pytest.mark.parametrize("change", [{"driver_version": 13010}, {"gpu_name": "another"}, {"tensorrt_version": "1.8.0"}])
def test_a_cache_of_another_machine_is_refused(lab: Lab, change: dict[str, Any]) -> None:
    engine = engine_of(lab)
    context, kept = context_of(lab, engine)
    context.execute_async_v3(lab.cuda.Stream().handle)
    data = bytes(kept[3].serialize())
    for name, value in change.items():
        setattr(lab.world, name, value)
    assert not engine.create_runtime_config().create_runtime_cache().deserialize(data)
    assert not engine.create_runtime_config().create_runtime_cache().deserialize(b"junk")


def test_a_cache_that_ends_before_its_contexts_is_a_violation(lab: Lab) -> None:
    context, kept = context_of(lab, engine_of(lab))
    del kept[3:]
    context._config._cache = None
    gc.collect()
    assert lab.world.violations == ["IRuntimeCache deleted before a context that uses it"]
