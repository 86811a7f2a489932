"""The inference thread: several streams in turn, one that fails, one that is paused, an engine that is exchanged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engines.backends
from engines.errors import BackendUnavailableError, InferenceError, SegmentationError
from engines.models import zoo
from engines.segmenter import Segmenter
from realtime.app import Run
from realtime.errors import SourceLostError
from realtime.flow.links import Closed, Latest
from realtime.settings import Settings
from realtime.streams.inference import Inference, Swap
from realtime.streams.outlets import Outlet
from realtime.streams.stream import Stream, StreamPlan
from realtime.types import Canvas, Frame, SourceStatus

from ...engines.backends.test_side_inputs import running_mean
from ...engines.conftest import Nets
from ..runs import plan_of

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

WaitUntil = Callable[..., None]

LATE_ENGINE = """
from collections import deque
from engines.backends.ort import OrtEngine, open_engine as open_ort

class LateEngine(OrtEngine):
    '''Works on two images at a time: each is finished after the next has been started.'''

    inflight = 2

    def __init__(self, engine):
        self.__dict__.update(engine.__dict__)
        self._waiting = deque()

    def start(self, image, *stream):
        self._waiting.append(image.copy())

    def finish(self):
        return super().infer(self._waiting.popleft())

    def infer(self, image, *stream):
        self.start(image)
        return self.finish()

def open_engine(model, *options):
    return LateEngine(open_ort(model, *options))
"""

BREAKING_ENGINE = """
from engines.backends.ort import OrtEngine, open_engine as open_ort
from engines.errors import InferenceError

class BreakingEngine(OrtEngine):
    def __init__(self, engine):
        self.__dict__.update(engine.__dict__)
        self.runs = 0

    def infer(self, *image_and_stream):
        self.runs += 1
        if self.runs > 4:
            raise InferenceError("the network broke")
        return super().infer(*image_and_stream)

def open_engine(model, *options):
    return BreakingEngine(open_ort(model, *options))
"""


@pytest.fixture
def run_over(tiny_model: Path) -> Callable[..., Run]:
    """A run over (source, sink) pairs on the tiny model."""

    def make(*pairs: Sequence[Any], backend: str = "ort") -> Run:
        settings = Settings(model=str(tiny_model), backend=backend, width=320)
        plans = [plan_of(settings, lambda source=source: source, sinks) for source, *sinks in pairs]
        return Run(settings, lambda: zoo.find(settings.model), plans)

    return make


def test_two_cameras_run_on_one_engine_and_one_that_dies_leaves_the_other(
    run_over: Callable[..., Run], MemorySource: Any, MemorySink: Any, caplog: pytest.LogCaptureFixture, wait_until: WaitUntil
) -> None:
    lasting, dying = MemorySource(None, is_live=True, fps=60), MemorySource(None, is_live=True, fps=60)
    first, second = MemorySink(), MemorySink()
    run = run_over((lasting, first), (dying, second))
    run.start()
    wait_until(lambda: len(first.results) > 5 and len(second.results) > 5)
    dying._fails_at = dying.produced + 3
    wait_until(lambda: not run.streams[1].pipeline.running)
    seen = len(first.results)
    wait_until(lambda: len(first.results) > seen + 20)
    lasting.close()
    assert run.wait(20), "the run goes on to its end, and raises nothing"
    assert isinstance(run.streams[1].pipeline.error, SourceLostError)
    assert run.streams[0].pipeline.error is None
    assert f"broke at frame {dying._fails_at}" in caplog.text
    assert first.indices == sorted(set(first.indices))
    assert second.indices == sorted(set(second.indices))
    assert second.indices[-1] < dying._fails_at
    assert (first.closed, second.closed) == (1, 1)
    for stream, source in zip(run.streams, (lasting, dying), strict=True):
        reading = stream.reading()
        assert reading.captured == source.produced
        assert reading.age is not None
        assert reading.age.p50_ms < 150
        waiting = reading.captured - reading.processed - reading.dropped_before_model
        assert waiting == (0 if source is lasting else waiting)
        assert 0 <= waiting <= 1
    assert [stream.counts[2] for stream in run.streams] == [1, 1], "each has its own tracks: the person stands still"


def test_streams_are_served_in_turn(tiny_model: Path, MemorySource: Any, MemorySink: Any) -> None:
    """Two recordings, always ready: of the first half of all frames each stream has its share."""
    settings = Settings(model=str(tiny_model), backend="ort", width=320)
    served: list[int] = []

    class Watched(Segmenter):
        def start(self, image: Any, stream: int = 0) -> None:
            served.append(stream)
            super().start(image, stream)

    inference = Inference(lambda: Watched(zoo.find(settings.model), "ort"))
    sinks = [MemorySink(), MemorySink()]
    streams = [Stream(plan_of(settings, lambda: MemorySource(120), [sink]), inference) for sink in sinks]
    for stream in streams:
        stream.pipeline.start()
    inference.run()
    assert all(stream.pipeline.wait(20) for stream in streams)
    assert [sink.indices for sink in sinks] == [list(range(120))] * 2
    of_streams = [number for number in served if number][:120]  # without the warm-up
    assert 30 <= of_streams.count(1) <= 90


def test_a_paused_stream_and_a_slow_file_hold_up_no_other(
    run_over: Callable[..., Run], MemorySource: Any, MemorySink: Any, wait_until: WaitUntil
) -> None:
    slow, quick = MemorySink(slow_s=0.2), MemorySink()
    run = run_over((MemorySource(None), MemorySink()), (MemorySource(None), slow), (MemorySource(200), quick))
    run.streams[0].gate.set_paused(True)
    run.start()
    wait_until(lambda: len(quick.results) == 200)
    assert run.streams[0].reading().processed == 0
    assert len(slow.results) < 60
    run.stop()
    assert run.wait(5)


def test_an_error_of_the_network_ends_every_stream(
    run_over: Callable[..., Run], MemorySource: Any, MemorySink: Any, plug_in: Callable[..., None]
) -> None:
    plug_in(engines.backends, "breaking", BREAKING_ENGINE)
    sources = MemorySource(None), MemorySource(None, is_live=True)
    run = run_over(*((source, MemorySink()) for source in sources), backend="breaking")
    run.start()
    with pytest.raises(InferenceError, match="the network broke"):
        run.wait(20)
    assert all(source.closed for source in sources)


@pytest.fixture
def swap(tiny_model: Path) -> Callable[..., list[SegmentationError | None]]:
    """Asks a run for another engine; returns the list that its answer goes into."""

    def ask(run: Run, backend: str) -> list[SegmentationError | None]:
        answers: list[SegmentationError | None] = []
        run.inference.swap(Swap(lambda: Segmenter(zoo.find(str(tiny_model)), backend), answers.append))
        return answers

    return ask


@pytest.mark.parametrize(("before", "after"), [("late", "ort"), ("ort", "late"), ("late", "late")])
def test_an_engine_is_exchanged_with_frames_in_flight_and_each_mask_stays_with_its_frame(
    run_over: Callable[..., Run],
    swap: Callable[..., list[Any]],
    MemorySource: Any,
    MemorySink: Any,
    plug_in: Callable[..., None],
    wait_until: WaitUntil,
    before: str,
    after: str,
) -> None:
    plug_in(engines.backends, "late", LATE_ENGINE)
    sink = MemorySink()
    run = run_over((MemorySource(400), sink), backend=before)
    run.start()
    for _ in range(3):
        seen = len(sink.results)
        wait_until(lambda seen=seen: len(sink.results) > seen + 20)
        answers = swap(run, after)
        wait_until(lambda answers=answers: answers)
        assert answers == [None]
    run.wait(20)
    assert sink.indices == list(range(400))
    offsets_px = []
    for result in sink.results:
        class_map, image = result.segmentation.class_map, result.frame.image
        seen_x = (np.nonzero(class_map == 1)[1].mean() + 0.5) * image.shape[1] / class_map.shape[1]
        true_x = np.nonzero(image[..., 0] == 120)[1].mean() + 0.5
        offsets_px.append(seen_x - true_x)
    assert np.abs(offsets_px - np.median(offsets_px)).max() < 0.6, "the car drives one pixel a frame"


def test_an_engine_that_does_not_open_leaves_the_one_before(
    run_over: Callable[..., Run], swap: Callable[..., list[Any]], MemorySource: Any, MemorySink: Any, wait_until: WaitUntil
) -> None:
    sink = MemorySink()
    run = run_over((MemorySource(100), sink))
    run.start()
    wait_until(lambda: run.model is not None)
    backend = run.model.backend
    answers = swap(run, "nonsense")
    wait_until(lambda: answers)
    assert isinstance(answers[0], BackendUnavailableError)
    run.wait(20)
    assert sink.indices == list(range(100))
    assert run.model.backend == backend


def test_an_exchange_that_runs_out_of_memory_leaves_the_engine_before(
    run_over: Callable[..., Run], MemorySource: Any, MemorySink: Any, wait_until: WaitUntil
) -> None:
    """The working engine was closed, opened again and exchanged again, until no attempt was left."""

    def open_too_large() -> Segmenter:
        raise MemoryError

    sink, answers = MemorySink(), []
    run = run_over((MemorySource(100), sink))
    run.start()
    wait_until(lambda: run.model is not None)
    run.inference.swap(Swap(open_too_large, answers.append))
    wait_until(lambda: answers)
    assert "out of memory" in str(answers[0])
    assert isinstance(answers[0], SegmentationError)
    run.wait(20)
    assert sink.indices == list(range(100))
    assert len(answers) == 1
    assert run.inference.recoveries == 0


def test_nothing_is_drawn_that_nobody_wants(tiny_model: Path, MemorySource: Any, MemorySink: Any) -> None:
    from realtime.app import Run
    from realtime.streams.outlets import CanvasFormat, FilesOutlet
    from realtime.streams.recorder import Recording
    from realtime.streams.stream import StreamPlan

    settings = Settings(model=str(tiny_model), backend="ort", width=320)
    sinks = [MemorySink(), MemorySink()]
    small, large = CanvasFormat(48), CanvasFormat(96)

    def files(sink: Any, format: CanvasFormat, needs_canvas: bool) -> FilesOutlet:
        return FilesOutlet(format, Recording(lambda *_: (sink,), needs_canvas))

    def play(*outlets: FilesOutlet) -> Any:
        run = Run(settings, lambda: zoo.find(settings.model), [StreamPlan(settings, lambda: MemorySource(10), outlets)])
        run.start()
        run.wait(20)
        return run.stream.reading().stages

    assert "draw" not in play(files(sinks[0], small, False))
    assert sinks[0].canvases == [None] * 10
    assert sinks[0].indices == list(range(10))
    sinks[0] = MemorySink()
    stages = play(files(sinks[0], small, True), files(sinks[1], small, True), files(MemorySink(), large, True))
    assert stages["draw"].count == 20, "once for the two of one size, once for the other"
    assert all(one is other for one, other in zip(sinks[0].canvases, sinks[1].canvases, strict=True))


def test_knobs_turned_from_two_threads_are_all_kept(run_over: Callable[..., Run], MemorySource: Any) -> None:
    """The model's card turns knobs on the inference thread, the window on its own: a turn was lost."""
    panel = run_over((MemorySource(1),)).stream.panel

    def turn(name: str) -> None:
        for number in range(2000):
            panel.change(lambda knobs: knobs)
            panel.turn(**{name: number})

    threads = [threading.Thread(target=turn, args=(name,)) for name in ("selected_id", "opacity")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (panel.knobs.selected_id, panel.knobs.opacity) == (1999, 1999)


def test_a_window_gets_the_newest_picture_and_a_file_beside_it_every_one(
    tiny_model: Path, MemorySource: Any, MemorySink: Any, wait_until: WaitUntil
) -> None:
    screen: Latest[Canvas] = Latest()
    settings = Settings(model=str(tiny_model), backend="ort", width=320)
    sink = MemorySink()
    run = Run(settings, lambda: zoo.find(settings.model), [plan_of(settings, lambda: MemorySource(50), [sink], screen)])
    run.start()
    wait_until(lambda: len(sink.results) == 50)
    time.sleep(0.02)
    assert run.wait(5)
    assert sink.indices == list(range(50))
    assert run.stream.reading().dropped_before_screen == 49
    newest = screen.poll()
    assert newest is not None
    assert newest.index == 49


class Still:
    """A recording of one grey, `count` frames long."""

    is_live, fps, name = False, 30.0, "still"

    def __init__(self, grey: int, count: int) -> None:
        self.image, self.frame_count = np.full((16, 24, 3), grey, np.uint8), count
        self.status = SourceStatus("live")

    def __iter__(self) -> Iterator[Frame]:
        return (Frame(self.image, index, index / 30, time.monotonic_ns()) for index in range(self.frame_count))

    def close(self) -> None: ...


def test_a_recurrent_network_remembers_each_stream_by_itself(tmp_path: Path, MemorySink: Any) -> None:
    settings = Settings(model=str(running_mean(Nets(tmp_path))), backend="ort", width=320, smooth=False)
    white, black = MemorySink(), MemorySink()
    plans = [plan_of(settings, lambda grey=grey: Still(grey, 12), [sink]) for grey, sink in ((255, white), (0, black))]
    run = Run(settings, lambda: zoo.find(settings.model), plans)
    run.start()
    assert run.wait(20)
    mattes = [[int(result.segmentation.alpha.max()) for result in sink.results] for sink in (white, black)]
    assert mattes[1] == [0] * 12, "nothing of the white stream"
    assert mattes[0][0] == pytest.approx(64, abs=1)
    assert mattes[0][-1] == pytest.approx(127.5, abs=1), "the running mean of white alone, times the gain"


def test_frames_of_several_streams_go_through_the_network_together_where_it_takes_batches(
    tmp_path: Path, MemorySource: Any, MemorySink: Any
) -> None:
    model = zoo.find(str(Nets(tmp_path).semantic()))
    settings = Settings(model=str(model.path), backend="ort", width=320, tracker="none")
    sinks = [MemorySink() for _ in range(3)]
    sizes: list[int] = []

    class Counting(Segmenter):
        def start_batch(self, images: Any) -> None:
            sizes.append(len(images))
            super().start_batch(images)

    inference = Inference(lambda: Counting(model, "ort"))
    streams = [Stream(plan_of(settings, lambda: MemorySource(30), [sink]), inference) for sink in sinks]
    for stream in streams:
        stream.pipeline.start()
    inference.run()
    for stream in streams:
        assert stream.pipeline.wait(10)
    assert max(sizes) == 3
    with Segmenter(model, "ort") as alone:
        for sink in sinks:
            assert sink.indices == list(range(30))
            for result in sink.results:
                expected = alone(result.frame.image, settings.decode_settings(0.3))
                assert np.array_equal(result.segmentation.class_map, expected.class_map)


def test_an_exchange_of_engines_leaves_the_knobs_as_they_were_turned(
    tiny_model: Path, swap: Callable[..., list[Any]], MemorySource: Any, MemorySink: Any, wait_until: WaitUntil
) -> None:
    settings = Settings(model=str(tiny_model), backend="ort", width=320, hide=("car",))
    plan = plan_of(settings, lambda: MemorySource(None), [MemorySink()])
    run = Run(settings, lambda: zoo.find(settings.model), [plan])
    run.start()
    wait_until(lambda: run.stream.panel.knobs.hidden_classes == {1})
    run.stream.panel.turn(hidden_classes=frozenset())
    answers = swap(run, "ort")
    wait_until(lambda: answers)
    assert run.stream.panel.knobs.hidden_classes == frozenset()
    run.stop()
    assert run.wait(5)


def test_an_outlet_that_has_ended_does_not_end_the_stream(tiny_model: Path, MemorySource: Any, MemorySink: Any) -> None:
    class Gone(Outlet):
        def put(self, delivery: Any, may_wait: bool) -> None:
            raise Closed

    settings, sink = Settings(model=str(tiny_model), backend="ort", width=320), MemorySink()
    plan = plan_of(settings, lambda: MemorySource(40), [sink])
    for outlets, written in (((*plan.outlets, Gone()), 40), ((Gone(),), 0)):
        run = Run(settings, lambda: zoo.find(settings.model), [StreamPlan(settings, plan.open_source, outlets)])
        run.start()
        assert run.wait(10), "with no outlet left it ends"
        assert len(sink.results) == written
        sink.results.clear()
