"""F22: a recording that is too slow, or hangs, holds up no picture: it drops, counts and says so."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.models import zoo
from realtime.errors import SinkError
from realtime.flow.links import Latest
from realtime.sessions import live
from realtime.sessions.live import LiveSession
from realtime.settings import Settings
from realtime.sources import Paced
from realtime.streams.recorder import Recording
from realtime.types import Canvas

from ..realtime.runs import files_of, run_of

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

WaitUntil = Callable[..., None]


@pytest.fixture
def settings(tiny_model: Path) -> Settings:
    return Settings(model=str(tiny_model), backend="ort", width=320)


class HangingSink:
    """A file on a disk that does not answer until `answers` is set."""

    def __init__(self) -> None:
        self.answers, self.indices = threading.Event(), []

    def write(self, result: Any, canvas: Any) -> None:
        self.indices.append(result.frame.index)
        self.answers.wait()

    def close(self) -> None:
        self.answers.wait()


def test_a_slow_recorder_neither_ages_the_picture_nor_queues_without_end(
    settings: Settings, MemorySource: Any, MemorySink: Any, wait_until: WaitUntil
) -> None:
    """Its queue is bounded, what it cannot take is dropped there and counted, and the picture does not wait for it."""
    ages_ms: list[float] = []
    screen: Latest[Canvas] = Latest(lambda: look())

    def look() -> None:
        canvas = screen.poll()
        if canvas is not None:
            ages_ms.append((time.monotonic_ns() - canvas.captured_ns) / 1e6)

    run = run_of(settings, lambda: MemorySource(None, is_live=True, fps=150), [MemorySink(slow_s=0.06)], screen)
    run.start()
    wait_until(lambda: files_of(run).dropped > 60)
    assert files_of(run).link.waiting <= 64
    run.stop()
    assert run.wait(20)
    assert np.percentile(ages_ms[10:], 95) < 120, "the first wait for what a tracker and fonts load"


@pytest.mark.parametrize("is_live", [True, False], ids=["camera", "file"])
def test_a_disk_that_hangs_does_not_freeze_the_picture(
    settings: Settings, MemorySource: Any, wait_until: WaitUntil, is_live: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A file in a window waited for its recording: 5.5 s of 9 without a new picture."""
    caplog.set_level(logging.INFO)
    shown_s: list[float] = []
    screen: Latest[Canvas] = Latest(lambda: shown_s.append(time.monotonic()) if screen.poll() else None)
    source = MemorySource(None, is_live=is_live, fps=100)
    run = run_of(settings, lambda: source if is_live else Paced(source), [], screen)
    files, sink = files_of(run), HangingSink()
    run.start()
    try:
        wait_until(lambda: len(shown_s) > 10)
        files.recording = Recording(lambda card, source: (sink,), path=Path("out/film.mp4"))
        wait_until(lambda: files.dropped > 100)
        assert np.diff(shown_s).max() < 0.5, "a busy machine"
        assert files.link.waiting <= 64
        dropped = files.dropped
        files.recording = None
        sink.answers.set()
        wait_until(lambda: files.recorder.news)
    finally:
        sink.answers.set()
        run.stop()
        assert run.wait(20)
    lacking = int(files.recorder.news.split("it lacks ")[1].split()[0])
    assert lacking >= dropped
    if not is_live:  # of a camera others may be dropped before the model
        assert lacking + len(sink.indices) >= sink.indices[-1] - sink.indices[0] + 1, "every frame is written or counted"
    assert any(
        "out/film.mp4" in text and f"{lacking} frames: the disk or the encoder was too slow" in text for text in caplog.messages
    )


def test_a_window_on_a_disk_that_hangs(
    settings: Settings, MemorySource: Any, wait_until: WaitUntil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the start of a recording nor the end of the session waits for it."""
    source = MemorySource(None, is_live=True, fps=100)
    session = LiveSession(settings, "memory", lambda: source, lambda: zoo.find(settings.model), lambda: None, tmp_path / "out")
    wait_until(lambda: session.state().phase == "running")
    answers, sink = threading.Event(), HangingSink()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(live, "check_outputs", lambda paths: answers.wait(20))
            start_s = time.monotonic()
            with pytest.raises(SinkError, match=r"the disk does not answer\. Try again"):
                session.start_recording()
            assert time.monotonic() - start_s < 1
        session._files.recording = Recording(lambda card, source: (sink,), path=Path("out/film.mp4"))
        wait_until(lambda: session._files.dropped > 5)
        assert "lacks" in session.state().warning
        start_s = time.monotonic()
        session.close()
        assert time.monotonic() - start_s < 2.5
        assert session._files.recorder.is_writing
    finally:
        answers.set()
        sink.answers.set()


def test_a_recording_of_nothing_is_not_saved(settings: Settings, MemorySource: Any, wait_until: WaitUntil) -> None:
    """Its disk had not answered before it was stopped, and the window said "Saved"."""
    source, answers, sink = MemorySource(None, is_live=True, fps=100), threading.Event(), HangingSink()
    sink.answers.set()
    run = run_of(settings, lambda: source, [], Latest())
    run.start()
    try:
        wait_until(lambda: run.stream.reading().processed)
        files_of(run).recording = Recording(lambda card, source: (sink,) if answers.wait() else (), path=Path("out/film.mp4"))
        wait_until(lambda: files_of(run).link.waiting > 2)
        run.stop()
        answers.set()
        assert run.wait(20)
    finally:
        answers.set()
        run.stop()
    assert files_of(run).recorder.news == "out/film.mp4: nothing was recorded"


def test_what_an_interruption_cuts_off_is_not_blamed_on_the_disk(
    settings: Settings, MemorySource: Any, wait_until: WaitUntil
) -> None:
    """Frames that waited when the run was stopped were reported as too many for the disk."""
    source, sink = MemorySource(None, is_live=True, fps=100), HangingSink()
    run = run_of(settings, lambda: source, [], Latest())
    files = files_of(run)
    run.start()
    try:
        wait_until(lambda: run.stream.reading().processed)
        files.recording = Recording(lambda card, source: (sink,), path=Path("out/film.mp4"))
        wait_until(lambda: files.link.waiting > 2)
        run.stop()
        sink.answers.set()
        assert run.wait(20)
    finally:
        sink.answers.set()
        run.stop()
    assert files.dropped == 0
    assert files.recorder.news == f"Saved out/film.mp4; it lacks {files.link.cancelled} frames: it was interrupted"
