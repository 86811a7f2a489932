"""F18: a build whose process is killed, cancelled, too slow or too large. No half engine, no lock left; the next one works."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engines.building.job import BuildJob
from engines.errors import BuildError, EngineNotBuiltError
from engines.plans.store import Store

from ..engines.building.jobs import Start, children, wait_until
from ..engines.plans.examples import ROAD, RTX_3060, passport_of

pytestmark = pytest.mark.slow

PLAN = "engine of two builders"


@pytest.fixture
def build_options(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "counter").touch()
    return {
        "root": str(tmp_path / "engines"),
        "key": str(tmp_path / "state" / "engine.key"),
        "counter": str(tmp_path / "counter"),
        "passport": msgspec.to_builtins(passport_of(PLAN.encode())),
        "plan": PLAN,
        "seconds": 0.5,
    }


@pytest.fixture
def store(build_options: dict[str, Any]) -> Store:
    return Store(Path(build_options["root"]), Path(build_options["key"]))


def builds(options: dict[str, Any]) -> int:
    return len(Path(options["counter"]).read_text().splitlines())


def leftovers(store: Store) -> list[Path]:
    return [*(store.root / ".scratch").iterdir(), *store.root.rglob("*.part")]


def test_processes_that_build_at_once_make_one_engine(start: Start, build_options: dict[str, Any], store: Store) -> None:
    jobs = [start("build_once", build_options) for _ in range(3)]
    assert sorted(job.wait()["built"] for job in jobs) == [False, False, True]
    assert "waiting" in {job.progress.phase for job in jobs}
    assert builds(build_options) == 1
    assert store.read(store.find(ROAD, RTX_3060)) == PLAN.encode()
    assert leftovers(store) == []


def kill(job: BuildJob) -> None:
    (pid,) = map(int, children()[-1:])
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("end", "limits", "error"),
    [
        (kill, {}, "SIGKILL"),
        (BuildJob.cancel, {}, "cancelled"),
        (BuildJob.close, {}, "cancelled"),
        (lambda job: None, {"timeout_s": 1.5}, "longer than"),
        (lambda job: None, {"memory_limit_bytes": 2**20}, "needed more"),
    ],
    ids=["killed", "cancelled", "closed", "timeout", "memory"],
)
def test_an_ended_build_leaves_no_engine_and_no_lock_and_the_next_one_works(
    start: Start, build_options: dict[str, Any], store: Store, end: Callable[[BuildJob], None], limits: dict[str, Any], error: str
) -> None:
    job = start("build_once", {**build_options, "seconds": 30}, **limits)
    if not limits:
        wait_until(lambda: job.progress.phase == "building")
    end(job)
    with pytest.raises(BuildError, match=error):
        job.wait()
    assert store.engines() == []
    with pytest.raises(EngineNotBuiltError):
        store.find(ROAD, RTX_3060)
    assert start("build_once", build_options).wait() == {"built": True}
    assert store.read(store.find(ROAD, RTX_3060)) == PLAN.encode()
    assert leftovers(store) == [], "the second build removed the files of the first"


def test_a_failed_build_leaves_nothing_and_reports_the_reason(start: Start, build_options: dict[str, Any], store: Store) -> None:
    with pytest.raises(BuildError, match=r"^the network cannot be parsed\. Export it again$"):
        start("build_once", {**build_options, "seconds": 0, "fail": True}).wait()
    assert leftovers(store) == []
    assert store.engines() == []


def test_the_waiting_process_takes_over_if_the_first_is_killed(start: Start, build_options: dict[str, Any], store: Store) -> None:
    first = start("build_once", {**build_options, "seconds": 60})
    wait_until(lambda: first.progress.phase == "building")
    second = start("build_once", build_options)
    wait_until(lambda: second.progress.phase == "waiting")
    first.close()
    assert second.wait() == {"built": True}
    assert builds(build_options) == 2
    assert leftovers(store) == []


def test_processes_that_create_the_key_at_once_share_it(start: Start, tmp_path: Path) -> None:
    options = {"key": str(tmp_path / "state" / "engine.key"), "at": time.time() + 1.5}
    jobs = [start("make_key", options) for _ in range(4)]
    assert len({job.wait()["signature"] for job in jobs}) == 1
    assert len(list((tmp_path / "state").iterdir())) == 1
