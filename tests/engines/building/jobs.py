"""Build jobs of `child_targets`, for the tests of jobs and of builds that share a store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engines.building.job import BuildJob

Start = Callable[..., BuildJob]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts jobs of child_targets and closes them at the end."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    jobs: list[BuildJob] = []

    def start_job(function: str, options: dict[str, Any] | None = None, **limits: Any) -> BuildJob:
        job = BuildJob(f"child_targets:{function}", options or {}, **limits)
        jobs.append(job)
        job.start()
        return job

    yield start_job
    for job in jobs:
        job.close()


def wait_until(condition: Callable[[], Any], seconds: float = 15.0) -> None:
    until_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until_s, "the condition never became true"
        time.sleep(0.01)


def children() -> list[str]:
    """Ids of the processes that this thread has started, zombies included."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
