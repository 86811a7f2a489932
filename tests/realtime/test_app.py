"""The wiring, with a real network and sources and sinks in memory: counts, order, ages, errors, recordings, pauses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engines.backends
import realtime.tracking
from engines.errors import BackendUnavailableError, ModelNotFoundError
from realtime.app import Run
from realtime.errors import SettingsError, SinkError, SourceLostError, SourceNotFoundError
from realtime.flow.links import Latest
from realtime.flow.meter import Reading
from realtime.settings import Settings
from realtime.sources import Paced
from realtime.streams.recorder import Recording
from realtime.types import Canvas

from .runs import files_of, run_of

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

SLOW_ENGINE = """
import time
from engines.backends.ort import OrtEngine

class SlowEngine(OrtEngine):
    def infer(self, image):
        time.sleep(0.2)
        return super().infer(image)

def open_engine(model, *options):
    return SlowEngine(model)
"""

BREAKING_TRACKER = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Settings:
    pass

class Breaking:
    frames = 0

    def update(self, segmentation, t_s, image):
        self.frames += 1
        if self.frames > 3:
            raise ZeroDivisionError("the tracker broke")
        return ()

def create(settings):
    return Breaking()
"""

MakeRun = Callable[..., Run]
WaitUntil = Callable[..., None]


@pytest.fixture
def make_run(tiny_model: Path) -> MakeRun:
    def make(source: Any, *sinks: Any, screen: Latest[Canvas] | None = None, **settings: Any) -> Run:
        chosen = Settings(**{"model": str(tiny_model), "backend": "ort", "width": 320, **settings})
        return run_of(chosen, lambda: source, sinks, screen)

    return make


def finish(run: Run) -> None:
    try:
        assert run.wait(20), "the run hangs"
    finally:
        run.stop()


def in_flight(reading: Reading) -> int:
    return reading.captured - reading.processed - reading.dropped_before_model


def test_every_frame_of_a_recording_arrives_in_order_and_none_is_dropped(
    make_run: MakeRun, MemorySource: Any, MemorySink: Any
) -> None:
    source, first, second = MemorySource(80), MemorySink(), MemorySink()
    run = make_run(source, first, second)
    run.start()
    finish(run)
    assert first.indices == second.indices == list(range(80))
    assert [canvas.index for canvas in first.canvases] == list(range(80))
    assert (first.closed, second.closed) == (1, 1)
    reading = run.stream.reading()
    assert (reading.captured, reading.processed, reading.dropped_before_model, in_flight(reading)) == (80, 80, 0, 0)
    assert set(reading.stages) == {"read", "preprocess", "inference", "decode", "track", "draw", "write"}
    assert all(quantiles.count == 80 for quantiles in reading.stages.values())
    assert files_of(run).recorder.frames_written == 80
    assert source.closed
    assert source.iterated_on not in (None, threading.main_thread())


def test_the_network_sees_what_the_source_drew_and_tracks_keep_their_ids(
    make_run: MakeRun, MemorySource: Any, MemorySink: Any
) -> None:
    sink = MemorySink()
    run = make_run(MemorySource(30), sink)
    run.start()
    finish(run)
    names = [{run.model.card.class_name(track.class_id): track.id for track in result.tracks} for result in sink.results[5:]]
    assert all(set(found) == {"car", "person"} for found in names)
    assert len({tuple(sorted(found.items())) for found in names}) == 1, "one id per object through all frames"
    assert sum(run.stream.counts.values()) == 2
    last = sink.results[-1].segmentation.class_map
    assert set(np.unique(last)) == {0, 1, 2}


@pytest.mark.parametrize("is_live", [True, False], ids=["live", "file"])
def test_captured_is_processed_and_dropped_and_in_flight_at_every_moment(
    make_run: MakeRun, MemorySource: Any, MemorySink: Any, plug_in: Callable[..., None], is_live: bool
) -> None:
    plug_in(engines.backends, "slow", SLOW_ENGINE.replace("0.2", "0.02"))
    source = MemorySource(300 if is_live else 40, is_live=is_live, fps=300)
    run = make_run(source, MemorySink(), backend="slow")
    run.start()
    seen: list[int] = []
    while not run.wait(0.002):
        seen.append(in_flight(run.stream.reading()))
    assert min(seen) >= 0
    # waiting in the link, in the network, waiting to be handed on, and one captured between the two looks
    assert max(seen) <= (1 if is_live else 2) + 3
    reading = run.stream.reading()
    assert in_flight(reading) == 0
    assert reading.captured == source.produced
    assert files_of(run).recorder.frames_written == reading.processed
    assert (reading.dropped_before_model > 100) if is_live else (reading.dropped_before_model == 0)


def test_a_slow_network_behind_a_live_camera_never_makes_frames_old(
    make_run: MakeRun, MemorySource: Any, MemorySink: Any, plug_in: Callable[..., None]
) -> None:
    """F01, a few seconds of it: 30 fps in, 200 ms a frame. Ages stay flat, and only the newest frame waits."""
    plug_in(engines.backends, "slow", SLOW_ENGINE)
    sink, ages_ms = MemorySink(), []
    sink_write = sink.write

    def write(result: Any, canvas: Canvas) -> None:
        ages_ms.append((time.monotonic_ns() - canvas.captured_ns) / 1e6)
        sink_write(result, canvas)

    sink.write = write
    source = MemorySource(110, is_live=True, fps=30)
    run = make_run(source, sink, backend="slow")
    run.start()
    finish(run)
    assert len(ages_ms) >= 10
    assert np.percentile(ages_ms, 95) <= 280, "200 ms in the network, 33 ms for the next frame to come, and a busy machine"
    # Medians: one hiccup of a busy machine is no growth.
    assert np.median(ages_ms[-4:]) - np.median(ages_ms[1:5]) < 60, "they do not grow"
    reading = run.stream.reading()
    assert abs(reading.captured - reading.processed - reading.dropped_before_model) <= 1
    assert reading.captured == 110
    assert sink.indices == sorted(set(sink.indices))


def test_an_error_of_the_source_is_raised_and_what_was_written_is_finished(
    make_run: MakeRun, MemorySource: Any, MemorySink: Any
) -> None:
    source, sink = MemorySource(20, fails_at=7), MemorySink()
    run = make_run(source, sink)
    run.start()
    with pytest.raises(SourceLostError, match="broke at frame 7"):
        finish(run)
    assert source.closed
    assert sink.indices == list(range(len(sink.indices)))
    assert sink.closed == (1 if sink.indices else 0)


def test_a_source_that_does_not_open_is_reported(make_run: MakeRun, tiny_model: Path) -> None:
    def no_source() -> Any:
        raise SourceNotFoundError("memory: no such source")

    run = run_of(Settings(model=str(tiny_model), backend="ort"), no_source)
    run.start()
    with pytest.raises(SourceNotFoundError):
        finish(run)


def test_a_model_that_is_not_there_lets_a_hanging_camera_go(make_run: MakeRun, MemorySource: Any) -> None:
    source = MemorySource(None, is_live=True, hangs=True)
    run = make_run(source, model="no such model")
    run.start()
    with pytest.raises(ModelNotFoundError):
        finish(run)


def test_a_model_that_is_not_there_lets_a_file_go(make_run: MakeRun, MemorySource: Any) -> None:
    run = make_run(MemorySource(5), model="no such model")
    run.start()
    with pytest.raises(ModelNotFoundError):
        finish(run)


def test_an_unknown_backend_is_reported(make_run: MakeRun, MemorySource: Any) -> None:
    run = make_run(MemorySource(5), backend="ortt")
    run.start()
    with pytest.raises(BackendUnavailableError, match='Did you mean "ort"'):
        finish(run)


def test_an_error_of_the_tracker_is_reported(
    make_run: MakeRun, MemorySource: Any, MemorySink: Any, plug_in: Callable[..., None]
) -> None:
    plug_in(realtime.tracking, "breaking", BREAKING_TRACKER)
    source = MemorySource(None)
    run = make_run(source, MemorySink(), tracker="breaking")
    run.start()
    with pytest.raises(ZeroDivisionError, match="the tracker broke"):
        finish(run)
    assert source.closed


def test_a_tracker_that_does_not_exist_is_reported(make_run: MakeRun, MemorySource: Any) -> None:
    run = make_run(MemorySource(None), tracker="bytetrak")
    run.start()
    with pytest.raises(SettingsError, match="bytetrack"):
        finish(run)


def test_an_error_of_a_file_ends_a_run_without_a_window(make_run: MakeRun, MemorySource: Any, MemorySink: Any) -> None:
    source, broken, other = MemorySource(None), MemorySink(fails_at=5), MemorySink()
    run = make_run(source, other, broken)
    run.start()
    with pytest.raises(SinkError, match="the disk is full"):
        finish(run)
    assert (broken.closed, other.closed) == (1, 1), "both were closed"
    assert len(broken.results) == 5


def test_an_error_while_finishing_a_file_is_reported(make_run: MakeRun, MemorySource: Any, MemorySink: Any) -> None:
    broken, other = MemorySink(fails_on_close=True), MemorySink()
    run = make_run(MemorySource(5), broken, other)
    run.start()
    with pytest.raises(SinkError, match="index cannot be written"):
        finish(run)
    assert other.closed == 1


def test_an_error_of_a_file_does_not_end_a_window(
    make_run: MakeRun, MemorySource: Any, MemorySink: Any, wait_until: WaitUntil
) -> None:
    screen: Latest[Canvas] = Latest()
    broken, healthy = MemorySink(fails_at=2), MemorySink()
    run = make_run(MemorySource(None, is_live=True, fps=200), broken, screen=screen)
    run.start()
    wait_until(lambda: files_of(run).recorder.error)
    assert files_of(run).recording is None
    before = run.stream.reading().processed
    wait_until(lambda: run.stream.reading().processed > before + 5)
    assert broken.closed == 1
    files_of(run).recording = Recording(lambda card, source: (healthy,))
    wait_until(lambda: len(healthy.results) > 3)
    assert files_of(run).recorder.error is None
    run.stop()
    finish(run)
    assert healthy.closed == 1


def test_a_recording_starts_and_stops_in_the_middle(
    make_run: MakeRun, MemorySource: Any, MemorySink: Any, wait_until: WaitUntil
) -> None:
    screen: Latest[Canvas] = Latest()
    run = make_run(MemorySource(None, is_live=True, fps=200), screen=screen)
    run.start()
    wait_until(lambda: run.stream.reading().processed > 3)
    sinks = []
    for _ in range(2):
        sink = MemorySink()
        sinks.append(sink)
        files_of(run).recording = Recording(lambda card, source, sink=sink: (sink,))
        wait_until(lambda sink=sink: len(sink.results) > 5)
        files_of(run).recording = None
        wait_until(lambda sink=sink: sink.closed == 1)
    run.stop()
    finish(run)
    first, second = sinks
    assert first.indices[0] > 0
    assert first.indices[-1] < second.indices[0]
    assert files_of(run).recorder.error is None


def test_a_paused_picture_is_drawn_again_with_new_knobs(make_run: MakeRun, MemorySource: Any, wait_until: WaitUntil) -> None:
    screen: Latest[Canvas] = Latest()
    run = make_run(MemorySource(None), screen=screen)
    run.start()
    wait_until(lambda: screen.put_count > 3)
    run.stream.gate.set_paused(True)
    wait_until(lambda: stands_still(lambda: screen.put_count))
    shown = screen.poll()
    assert shown is not None
    run.stream.panel.turn(opacity=0.0, boxes=False, labels=False, trails=False)
    run.stream.redraw()
    wait_until(lambda: screen.waiting)
    again = screen.poll()
    assert again is not None
    assert again.index == shown.index
    assert not np.array_equal(again.image, shown.image)
    count = run.stream.reading().processed
    for _ in range(2):
        run.stream.gate.step()
        count += 1
        wait_until(lambda count=count: run.stream.reading().processed == count)
    assert stands_still(lambda: run.stream.reading().processed)
    run.stream.gate.set_paused(False)
    wait_until(lambda count=count: run.stream.reading().processed > count + 5)
    run.stop()
    finish(run)


def stands_still(figure: Callable[[], int]) -> bool:
    before = figure()
    time.sleep(0.15)  # longer than a busy machine takes for a picture
    return figure() == before


def test_a_step_after_a_long_pause_shows_a_frame_that_is_not_old(
    make_run: MakeRun, MemorySource: Any, wait_until: WaitUntil
) -> None:
    """Its age was the time that the person thought about pressing the key."""
    screen: Latest[Canvas] = Latest()
    run = make_run(MemorySource(None), screen=screen)
    run.start()
    wait_until(lambda: screen.put_count > 1)
    run.stream.gate.set_paused(True)
    wait_until(lambda: stands_still(lambda: screen.put_count))
    time.sleep(0.5)
    before = screen.put_count
    stepped_ns = time.monotonic_ns()
    run.stream.gate.step()
    wait_until(lambda: screen.put_count > before)
    canvas = screen.poll()
    run.stop()
    finish(run)
    assert canvas is not None
    assert canvas.captured_ns >= stepped_ns


def test_a_live_camera_is_drained_while_paused(make_run: MakeRun, MemorySource: Any, wait_until: WaitUntil) -> None:
    source, screen = MemorySource(None, is_live=True, fps=200), Latest[Canvas]()
    run = make_run(source, screen=screen)
    run.start()
    wait_until(lambda: run.stream.reading().processed > 2)
    run.stream.gate.set_paused(True)
    wait_until(lambda: stands_still(lambda: run.stream.reading().captured))
    produced = source.produced
    wait_until(lambda: source.produced > produced + 10)
    run.stream.gate.set_paused(False)
    wait_until(lambda: screen.waiting and screen._items[0].index > produced)
    run.stop()
    finish(run)


def test_a_redraw_before_the_first_picture_is_harmless(make_run: MakeRun, MemorySource: Any, MemorySink: Any) -> None:
    run = make_run(MemorySource(5), MemorySink())
    run.stream.redraw()
    run.start()
    run.stream.redraw()
    finish(run)
    assert run.stream.reading().processed == 5


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.1, 0.4])
def test_stop_at_any_time_ends_the_run_soon(make_run: MakeRun, MemorySource: Any, MemorySink: Any, after_s: float) -> None:
    source, sink = MemorySource(None), MemorySink()
    run = make_run(source, sink)
    run.start()
    time.sleep(after_s)
    start_s = time.monotonic()
    run.stop()
    finish(run)
    assert time.monotonic() - start_s < 2
    assert sink.indices == list(range(len(sink.indices)))
    assert sink.closed == (1 if sink.indices else 0) or not sink.indices


def test_without_a_tracker_results_say_so(make_run: MakeRun, MemorySource: Any, MemorySink: Any) -> None:
    sink = MemorySink()
    run = make_run(MemorySource(5), sink, tracker="none")
    run.start()
    finish(run)
    assert [result.tracks for result in sink.results] == [None] * 5
    assert not run.stream.counts


@pytest.mark.parametrize("is_live", [True, False], ids=["camera", "file"])
def test_the_live_overlay_shows_each_frame_of_a_camera_however_slow_the_network(
    make_run: MakeRun, MemorySource: Any, MemorySink: Any, plug_in: Callable[..., None], wait_until: WaitUntil, is_live: bool
) -> None:
    plug_in(engines.backends, "slow", SLOW_ENGINE)
    sink = MemorySink()
    source = MemorySource(None, is_live=is_live, fps=30)
    run = make_run(source if is_live else Paced(source), sink, screen=Latest(), backend="slow", overlay="live")
    run.start()
    wait_until(lambda: len(sink.results) > 60, timeout_s=30)
    run.stop()
    finish(run)
    reading = run.stream.reading()
    assert reading.processed < 20, "200 ms a frame"
    assert len(sink.indices) > 2.5 * reading.processed
    assert sink.indices == sorted(set(sink.indices)), "never back in time"
    ages_s = [result.mask_age_s for result in sink.results[5:-5]]
    assert 0.15 < np.median(ages_s) < 0.6
    assert reading.mask_age is not None
    assert [canvas.index for canvas in sink.canvases] == [result.frame.index for result in sink.results]


def test_the_locked_overlay_shows_the_frame_that_the_masks_belong_to(
    make_run: MakeRun, MemorySource: Any, MemorySink: Any, plug_in: Callable[..., None]
) -> None:
    plug_in(engines.backends, "slow", SLOW_ENGINE)
    sink = MemorySink()
    run = make_run(MemorySource(40, is_live=True, fps=30), sink, screen=Latest(), backend="slow")
    run.start()
    finish(run)
    assert len(sink.results) == run.stream.reading().processed
    assert {result.mask_age_s for result in sink.results} == {0.0}


def test_without_a_screen_nothing_is_moved(
    make_run: MakeRun, MemorySource: Any, MemorySink: Any, plug_in: Callable[..., None]
) -> None:
    """Files hold what the network saw, whatever the preset says about the window."""
    sink = MemorySink()
    run = make_run(MemorySource(20), sink, overlay="live")
    run.start()
    finish(run)
    assert sink.indices == list(range(20))
    assert {result.mask_age_s for result in sink.results} == {0.0}
