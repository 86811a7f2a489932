"""F16: a CUDA context belongs to one thread. The fake GPU raises like PyCUDA, and our own check comes before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from engines.errors import WrongThreadError
from engines.gpu.device import Device
from tests.threads import raised_elsewhere

from ..fakes.gpu.fake_gpu import World, install
from ..fakes.gpu.lab import cuda_with_context


@pytest.fixture
def world() -> Iterator[World]:
    with install(World()) as world:
        yield world
        assert world.violations == []


def test_the_fake_refuses_another_thread_like_pycuda() -> None:
    with install(World()), cuda_with_context() as cuda:
        assert isinstance(raised_elsewhere(lambda: cuda.mem_alloc(1)), cuda.LogicError)


@pytest.mark.parametrize(
    "use",
    [
        lambda device: device.memory(10),
        lambda device: device.stream(),
        lambda device: device.close(),
        lambda device: device.check_thread(),
    ],
    ids=["memory", "stream", "close", "check"],
)
def test_another_thread_is_refused(world: World, use: Callable[[Device], object]) -> None:
    with Device() as device:
        error = raised_elsewhere(lambda: use(device))
    assert isinstance(error, WrongThreadError)
    assert "its CUDA context belongs to that thread" in str(error)
