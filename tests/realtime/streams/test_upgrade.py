"""A GPU that lacks its engine: the model runs on the CPU meanwhile, and switches over when the engine is built."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engines.backends import EngineOptions
from engines.building import builder
from engines.errors import EngineNotBuiltError
from engines.gpu import primary
from engines.models import zoo
from engines.plans.requests import request_for
from engines.plans.store import Store
from realtime.sessions.live import LiveSession
from realtime.settings import Settings

from ...engines.conftest import Nets
from ...fakes import host_kernels
from ...fakes.gpu.fake_gpu import World, install
from ..runs import run_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("no_thread_is_left"),
    pytest.mark.skipif(not host_kernels.is_available(), reason="needs g++, to run the kernel on the CPU"),
]

WaitUntil = Callable[..., None]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo_root: Path) -> Iterator[World]:
    """This process and the builds' children have a GPU, and folders of their own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("FAKE_GPU", "{}")
    monkeypatch.syspath_prepend(str(repo_root))
    monkeypatch.setattr(builder, "TARGET", "tests.fakes.gpu.child_build:build")
    monkeypatch.setattr(primary, "_held", None)
    with install(World()) as world:
        yield world
        assert world.live() == []
        assert world.leaks == []
        assert world.violations == []


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """A convolution, so that there is something to do in half precision."""
    return Nets(tmp_path).semantic()


@pytest.fixture
def open_session(colours: Path, tmp_path: Path) -> Iterator[Callable[..., LiveSession]]:
    sessions = []

    def make(source: Any, **settings: Any) -> LiveSession:
        chosen = Settings(**{"model": str(colours), "backend": "auto", "width": 160, **settings})
        session = LiveSession(
            chosen, "memory", lambda: source, lambda: zoo.find(chosen.model), threading.Event().set, tmp_path / "out"
        )
        sessions.append(session)
        return session

    yield make
    for session in sessions:
        session.close()


def is_on_gpu(session: LiveSession) -> bool:
    return "TensorRT" in session.state().backend


@pytest.mark.parametrize("backend", ["auto", "trt"])
def test_a_view_begins_on_the_cpu_and_switches_over_without_a_gap(
    world: World, open_session: Callable[..., LiveSession], MemorySource: Any, wait_until: WaitUntil, backend: str
) -> None:
    session = open_session(MemorySource(None, is_live=True, fps=50), backend=backend)
    wait_until(lambda: session.reading().processed > 2, 20)
    assert "CPU" in session.state().backend
    assert session.state().notice.startswith("Building a TensorRT engine")
    wait_until(lambda: is_on_gpu(session), 30)
    assert session.state().backend == "TensorRT 10.13.3, Fake RTX 4000, fp16"
    assert session.state().notice == ""
    processed = session.reading().processed
    wait_until(lambda: session.reading().processed > processed + 5, 20)
    assert session.state().phase == "running"


def test_the_second_time_the_engine_is_there(
    world: World, open_session: Callable[..., LiveSession], MemorySource: Any, wait_until: WaitUntil
) -> None:
    first = open_session(MemorySource(None, is_live=True))
    wait_until(lambda: is_on_gpu(first), 30)
    first.close()
    second = open_session(MemorySource(None, is_live=True))
    wait_until(lambda: second.reading().processed > 2, 20)
    assert is_on_gpu(second)
    assert second.state().notice == ""


def test_a_build_that_fails_leaves_the_picture_as_it_was_and_says_why(
    world: World,
    open_session: Callable[..., LiveSession],
    MemorySource: Any,
    wait_until: WaitUntil,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAKE_GPU", json.dumps({"build_error": "Error Code 2: OutOfMemory (no further information)"}))
    session = open_session(MemorySource(None, is_live=True))
    wait_until(lambda: session.state().notice.startswith("No TensorRT engine: "), 30)
    assert "Error Code 2: OutOfMemory" in session.state().notice
    assert "CPU" in session.state().backend
    processed = session.reading().processed
    wait_until(lambda: session.reading().processed > processed + 3, 20)


def test_an_engine_that_does_not_open_leaves_the_picture_as_it_was(
    world: World, open_session: Callable[..., LiveSession], MemorySource: Any, wait_until: WaitUntil
) -> None:
    world.fail("Runtime.deserialize_cuda_engine", 1, 999)
    session = open_session(MemorySource(None, is_live=True))
    wait_until(lambda: session.state().notice.startswith("No TensorRT engine: "), 30)
    processed = session.reading().processed
    wait_until(lambda: session.reading().processed > processed + 3, 20)
    assert "CPU" in session.state().backend


def test_an_engine_that_does_not_run_leaves_the_picture_as_it_was(
    world: World, open_session: Callable[..., LiveSession], MemorySource: Any, wait_until: WaitUntil
) -> None:
    """It opens, and fails in its first run: the one there was goes on, and nothing of the other is left."""
    world.fail("IExecutionContext.execute_async_v3", 1, 700)
    session = open_session(MemorySource(None, is_live=True))
    wait_until(lambda: session.state().notice.startswith("No TensorRT engine: "), 30)
    processed = session.reading().processed
    wait_until(lambda: session.reading().processed > processed + 3, 20)
    assert "CPU" in session.state().backend
    assert world.live() == []
    world.violations.clear()


def test_a_clip_that_is_shorter_than_the_build_does_not_end_it(
    world: World, open_session: Callable[..., LiveSession], MemorySource: Any, wait_until: WaitUntil
) -> None:
    session = open_session(MemorySource(5))
    wait_until(lambda: session.state().phase == "ended", 20)
    wait_until(lambda: session.state().notice == "", 30)
    session.close()
    again = open_session(MemorySource(5))
    wait_until(lambda: again.reading().processed > 2, 20)
    assert is_on_gpu(again)


def test_closing_while_another_process_builds_does_not_wait_for_it(
    world: World, open_session: Callable[..., LiveSession], MemorySource: Any, wait_until: WaitUntil, colours: Path
) -> None:
    model = zoo.find(str(colours))
    request = request_for(model, precision="fp16", runtime="tensorrt")
    with Store().building(request, builder.environment_for(request)):
        session = open_session(MemorySource(None, is_live=True))
        wait_until(lambda: session.reading().processed > 2, 20)
        begin_s = time.monotonic()
        session.close()
        assert time.monotonic() - begin_s < 2.5


def test_closing_while_it_builds_takes_less_than_two_seconds(
    world: World,
    open_session: Callable[..., LiveSession],
    MemorySource: Any,
    wait_until: WaitUntil,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAKE_GPU", json.dumps({"build_seconds": 60.0}))
    session = open_session(MemorySource(None, is_live=True))
    wait_until(lambda: "building engine" in session.state().notice, 30)
    begin_s = time.monotonic()
    session.close()
    assert time.monotonic() - begin_s < 2.5, "two seconds, and a busy machine"


def test_a_run_without_a_window_wants_its_engine_built_first(
    world: World, colours: Path, MemorySource: Any, MemorySink: Any
) -> None:
    settings = Settings(model=str(colours), backend="trt", width=160)
    run = run_of(settings, lambda: MemorySource(5), [MemorySink()])
    run.start()
    with pytest.raises(EngineNotBuiltError, match=r"no engine for .* yet\. Build it: run.py build"):
        run.wait(20)


def test_every_frame_arrives_in_order_with_frames_in_flight(
    world: World,
    colours: Path,
    MemorySource: Any,
    MemorySink: Any,
    open_session: Callable[..., LiveSession],
    wait_until: WaitUntil,
) -> None:
    """One frame or two of them: with the same engine, which is built once."""
    session = open_session(MemorySource(None, is_live=True))
    wait_until(lambda: is_on_gpu(session), 30)
    session.close()
    for inflight in (1, 2):
        settings = Settings(model=str(colours), backend="trt", width=160, engine=EngineOptions(inflight=inflight))
        plays_every_frame(settings, MemorySource(40), MemorySink())


def plays_every_frame(settings: Settings, source: Any, sink: Any) -> None:
    run = run_of(settings, lambda: source, [sink])
    run.start()
    assert run.wait(20)
    assert sink.indices == list(range(40))
    assert run.stream.reading().processed == 40
