"""An installed World for each test, and its parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.gpu.fake_gpu import FakeLibcuda, World, install
from tests.fakes.gpu.lab import Lab, cuda_with_context


@pytest.fixture
def world() -> Iterator[World]:
    with install(World()) as world:
        yield world


@pytest.fixture
def cuda(world: World) -> Iterator[Any]:
    with cuda_with_context() as cuda:
        yield cuda


@pytest.fixture
def lib(world: World) -> FakeLibcuda:
    return FakeLibcuda(world)


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Indirect parameter: TensorRT's version."""
    with install(World(tensorrt_version=getattr(request, "param", "10.13.3"))) as world, cuda_with_context():
        yield Lab(world)
