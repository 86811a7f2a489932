"""A target for builds in a child process that has a fake GPU: BuildJob("tests.fakes.gpu.child_build:build", ...).

The child's World is described by the environment variable FAKE_GPU, as JSON: {"tensorrt_version": "10.3.0"}.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from tests.fakes.gpu.fake_gpu import World, install

VARIABLE = "FAKE_GPU"


def world_here() -> World:
    """The World that the environment describes."""
    settings = json.loads(os.environ.get(VARIABLE, "{}"))
    if "compute_capability" in settings:
        settings["compute_capability"] = tuple(settings["compute_capability"])
    for name in ("dla_refuses", "unsupported_operators"):
        settings[name] = frozenset(settings.get(name, ()))
    return World(**settings)


def build(options: dict[str, Any], report: Callable[..., None], is_cancelled: Callable[[], bool]) -> dict[str, Any]:
    """`engines.building.work.build`, on the fake. Fails if the fake reports errors."""
    with install(world_here()) as world:
        from engines.building import work

        result = work.build(options, report, is_cancelled)
        complaints = [*world.violations, *world.leaks, *world.live()]
        if complaints:
            raise AssertionError(f"the fake GPU complains: {complaints}")
        return result
