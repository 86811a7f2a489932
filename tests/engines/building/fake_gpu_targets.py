"""What a build job's child calls in the tests: the real work, on a machine that seems to have a GPU."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "fakes" / "gpu"))

import fake_gpu

from engines.building import work


def build(
    options: dict[str, Any], report: Callable[[str, float | None], None], is_cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """FAKE_WORLD: settings of the World, as JSON."""
    with fake_gpu.install(fake_gpu.World(**json.loads(os.environ.get("FAKE_WORLD", "{}")))):
        return work.build(options, report, is_cancelled)
