"""A pytest plugin: the tests of tests/gpu on the stand-ins, `python -m pytest -p tests.fakes.gpu.on_fakes tests/gpu`.

So these tests, which few machines can run, are themselves tested. FAKE_GPU describes the World, as in child_build.py. They use a
smaller model, and open and close fewer times.
"""

from __future__ import annotations

import contextlib
import importlib

import pytest

from tests.fakes.gpu.child_build import world_here
from tests.fakes.gpu.fake_gpu import install, install_ort

_stack = contextlib.ExitStack()


def pytest_sessionstart(session: pytest.Session) -> None:
    world = _stack.enter_context(install(world_here()))
    _stack.enter_context(install_ort(world))
    from engines.building import builder
    from tests.engines.gpu_machine import JobHere

    patch = _stack.enter_context(pytest.MonkeyPatch.context())
    patch.setattr(builder, "BuildJob", JobHere)  # a child would see the real machine
    if world.is_rtx:  # it is there under TensorRT's name too, see fake_gpu
        patch.setattr("engines.backends.trt.installed", lambda: ("tensorrt-rtx",))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for name, value in (("conftest.MODEL", "road-small"), ("test_gpu.MODEL", "road-small"), ("test_gpu.TIMES", 3)):
        module, _, attribute = name.partition(".")
        setattr(importlib.import_module(f"tests.gpu.{module}"), attribute, value)


def pytest_sessionfinish(session: pytest.Session) -> None:
    from fakegpu.world import current

    world = current()
    print(f"builds: {world.calls['Builder.build_serialized_network']}, violations: {world.violations}")
    _stack.close()
