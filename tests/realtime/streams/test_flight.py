"""Two runs in flight: what they give to speed, and that they make no picture older. On a stand-in for a GPU that keeps time."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import engines.backends
from engines.errors import InferenceError
from engines.families import DecodeSettings
from engines.models import zoo
from engines.segmenter import Segmenter
from realtime.flow.links import Bounded, Closed, Latest, Link
from realtime.flow.meter import Meter
from realtime.streams import recovery
from realtime.streams.inference import Inference
from realtime.streams.port import Segmented
from realtime.types import Frame

from ...engines.conftest import Nets
from ..conftest import scene

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

TIMED_ENGINE = """
import time
from collections import deque
from dataclasses import replace

from engines.backends.ort import OrtEngine, open_engine as open_ort

staging_s, network_s, inflight, batch = 0.0015, 0.010, 2, 4
network_of = lambda images: network_s
before_finish = lambda: None

class TimedEngine(OrtEngine):
    '''Computes one run after the other, and takes its time beside the CPU. Results are ONNX Runtime's, made in the wait.'''

    def __init__(self, engine):
        self.__dict__.update(engine.__dict__)
        self.inflight, self.batch = inflight, batch
        self._started, self._free_s = deque(), 0.0

    def start_batch(self, images):
        assert len(self._started) < self.inflight
        time.sleep(staging_s)
        self._free_s = max(self._free_s, time.perf_counter()) + network_of(images)
        self._started.append((self._free_s, [image.copy() for image in images]))

    def finish_batch(self):
        due_s, images = self._started.popleft()
        before_finish()
        runs = [super(TimedEngine, self).infer(image) for image in images]
        time.sleep(max(0.0, due_s - time.perf_counter()))
        return [replace(run, outputs={name: output.copy() for name, output in run.outputs.items()}) for run in runs]

    def start(self, image):
        self.start_batch([image])

    def finish(self):
        return self.finish_batch()[0]

    def infer_batch(self, images):
        self.start_batch(images)
        return self.finish_batch()

    def infer(self, image, *stream):
        return self.infer_batch([image])[0]

def open_engine(model, *options):
    return TimedEngine(open_ort(model, *options))
"""


@pytest.fixture
def gpu(plug_in: Callable[..., None]) -> ModuleType:
    """The backend "timed"."""
    plug_in(engines.backends, "timed", TIMED_ENGINE)
    return importlib.import_module("engines.backends.timed")


@dataclass
class Ends:
    """Both ends of one stream: puts frames into its port, and takes them out again. drawing_s: the time after each."""

    inference: Inference
    frames: Link[Frame]
    drawing_s: float = 0.003
    got: list[Segmented] = field(default_factory=list)
    ages_ms: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.is_open = threading.Event()
        self.may_draw = threading.Event()
        self.may_draw.set()
        self.port = self.inference.port(Meter(), DecodeSettings, lambda model: self.is_open.set())
        self.port.open(self.frames, None)

    def put(self, index: int, image: Any = None) -> None:
        self.port.put(Frame(scene(index) if image is None else image, index, index / 30, time.monotonic_ns()))

    def draw(self) -> None:
        """A thread of the stream."""
        while True:
            try:
                item = self.port.get()
            except Closed:
                return
            if item is not None:
                self.may_draw.wait()
                time.sleep(self.drawing_s)
                self.got.append(item)
                self.ages_ms.append((time.monotonic_ns() - item.frame.captured_ns) / 1e6)

    def play(self, count: int, fps: float) -> None:
        """A camera, or with fps 0 a recording."""
        self.is_open.wait()
        start_s = time.monotonic()
        for index in range(count):
            if fps:
                time.sleep(max(0.0, start_s + index / fps - time.monotonic()))
            self.put(index)
        self.port.end()


class Running:
    """An inference thread and its streams, until the block ends."""

    def __init__(self, inference: Inference, *ends: Ends) -> None:
        threads = [inference.run, *(end.draw for end in ends)]
        self._threads = [threading.Thread(target=target) for target in threads]
        self._ends = ends

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()
        for end in self._ends:
            end.is_open.wait()

    def __exit__(self, *exc_info: object) -> None:
        for end in self._ends:
            end.may_draw.set()
            end.port.end()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def opening(tiny_model: Path) -> Callable[[], Segmenter]:
    return lambda: Segmenter(zoo.find(str(tiny_model)), "timed")


class Slow(Segmenter):
    """Takes 8 ms of the CPU to read an image, as many objects at 1080p do."""

    def read(self, run: Any, settings: DecodeSettings | None = None) -> Any:
        time.sleep(0.008)
        return super().read(run, settings)


def played(gpu: ModuleType, model: Path, inflight: int, *, count: int, fps: float, network_s: float) -> tuple[float, float]:
    """Frames per second, and the median age in ms."""
    gpu.inflight, gpu.network_s = inflight, network_s
    inference = Inference(lambda: Slow(zoo.find(str(model)), "timed"))
    ends = Ends(inference, Latest() if fps else Bounded(2))
    with Running(inference, ends):
        start_s = time.monotonic()
        ends.play(count, fps)
    return len(ends.got) / (time.monotonic() - start_s), float(np.median(ends.ages_ms))


def test_a_frame_in_flight_waits_for_no_other(gpu: ModuleType, opening: Callable[[], Segmenter], wait_until: Any) -> None:
    inference = Inference(opening)
    ends = Ends(inference, Latest())
    with Running(inference, ends):
        ends.put(0)
        wait_until(lambda: len(ends.got) == 1)


def test_a_camera_that_the_network_keeps_up_with_is_no_older_with_two_in_flight(gpu: ModuleType, tiny_model: Path) -> None:
    """An age with an interval of the camera in it would be 55 ms or more: here of 33 ms, beside 10 + 8 + 3."""
    _, age_ms = played(gpu, tiny_model, 2, count=20, fps=30, network_s=0.010)
    assert age_ms < 45


def test_a_recording_takes_the_longer_of_gpu_and_cpu_not_both(gpu: ModuleType, tiny_model: Path) -> None:
    """10 ms of the network beside 8 + 1.5 of the CPU: at most 51 a second one after the other, 100 side by side."""
    one, _ = played(gpu, tiny_model, 1, count=30, fps=0, network_s=0.010)
    two, _ = played(gpu, tiny_model, 2, count=30, fps=0, network_s=0.010)
    assert two > one * 1.3


def test_a_camera_that_is_faster_than_the_network_has_more_pictures_and_none_older(gpu: ModuleType, tiny_model: Path) -> None:
    one, age_of_one_ms = played(gpu, tiny_model, 1, count=70, fps=100, network_s=0.016)
    two, age_of_two_ms = played(gpu, tiny_model, 2, count=70, fps=100, network_s=0.016)
    assert two > one * 1.15
    assert age_of_two_ms < age_of_one_ms + 8


def test_behind_slow_drawing_no_second_frame_of_a_camera_is_started(
    gpu: ModuleType, opening: Callable[[], Segmenter], wait_until: Any
) -> None:
    """With two in flight a camera's pictures were older by the time of one more drawing: 98 ms for 68 where that takes 30."""
    inference = Inference(opening)
    ends = Ends(inference, Latest())
    with Running(inference, ends):
        ends.may_draw.clear()
        ends.put(0)
        wait_until(lambda: ends.frames.taken == 1 and ends.port.segmented.taken == 1)
        ends.put(1)
        wait_until(lambda: ends.port.segmented.waiting == 1)
        ends.put(2)
        time.sleep(0.06)
        ends.put(3)
        assert ends.frames.taken == 2, "the newest is taken when there is somebody to draw it"
        ends.may_draw.set()
        wait_until(lambda: len(ends.got) == 3)
    assert [item.frame.index for item in ends.got] == [0, 1, 3]


def test_the_next_frame_is_computed_while_the_outputs_of_the_last_are_read(
    gpu: ModuleType, tiny_model: Path, wait_until: Any
) -> None:
    events: list[str] = []

    class Watched(Segmenter):
        def start(self, image: Any, stream: int = 0) -> None:
            events.append("start")
            super().start(image, stream)

        def read(self, run: Any, settings: DecodeSettings | None = None) -> Any:
            events.append("read")
            return super().read(run, settings)

    inference = Inference(lambda: Watched(zoo.find(str(tiny_model)), "timed"))
    ends = Ends(inference, Latest())
    second = threading.Event()

    def arrive() -> None:
        """In the middle of the first frame's run."""
        if not second.is_set():
            second.set()
            wait_until(lambda: ends.port._is_asking)
            ends.put(1)

    with Running(inference, ends):
        events.clear()
        gpu.before_finish = arrive
        ends.put(0)
        wait_until(lambda: len(ends.got) == 2)
    assert events == ["start", "start", "read", "read"]


@pytest.fixture
def open_colours(tmp_path: Path) -> Callable[[], Segmenter]:
    model = zoo.find(str(Nets(tmp_path).semantic()))
    return lambda: Segmenter(model, "timed")


def pictures(seed: int) -> Iterator[Any]:
    rng = np.random.default_rng(seed)
    while True:
        yield np.kron(rng.integers(0, 255, (6, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))


def test_batches_in_flight_give_each_stream_its_own(gpu: ModuleType, open_colours: Callable[[], Segmenter]) -> None:
    gpu.network_s, sizes = 0.004, []
    gpu.network_of = lambda images: sizes.append(len(images)) or gpu.network_s
    inference = Inference(open_colours)
    ends = [Ends(inference, Bounded(2), drawing_s=0) for _ in range(4)]
    with Running(inference, *ends):

        def play(end: Ends, seed: int) -> None:
            for index, image in zip(range(25), pictures(seed), strict=False):
                end.put(index, image)
            end.port.end()

        players = [threading.Thread(target=play, args=(end, seed)) for seed, end in enumerate(ends)]
        for player in players:
            player.start()
        for player in players:
            player.join()
    assert max(sizes) == 4
    with open_colours() as alone:
        for end in ends:
            assert [item.frame.index for item in end.got] == list(range(25))
            for item in end.got[::5]:
                assert item.segmentation is not None
                np.testing.assert_array_equal(item.segmentation.class_map, alone(item.frame.image).class_map)


@pytest.mark.parametrize("fails_in", ["read", "run"])
def test_a_bad_frame_in_a_batch_costs_the_other_streams_nothing(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_in: str
) -> None:
    """Recordings: the others of its run are read, or run again. The bad frame alone goes without."""
    monkeypatch.setattr(recovery, "PAUSES_S", (0.01,) * 3)
    model = zoo.find(str(Nets(tmp_path).semantic()))
    opened: list[Segmenter] = []

    class Picky(Segmenter):
        def read(self, run: Any, settings: DecodeSettings | None = None) -> Any:
            if fails_in == "read" and run.geometry.frame.width == 40:
                raise InferenceError("it makes no sense", "Look")
            return super().read(run, settings)

        def start_batch(self, images: Any) -> None:
            self._refuse(images)
            super().start_batch(images)

        def start(self, image: Any, stream: int = 0) -> None:
            self._refuse([image])
            super().start(image, stream)

        @staticmethod
        def _refuse(images: Any) -> None:
            if fails_in == "run" and any(image.shape[1] == 40 for image in images):
                raise InferenceError("it makes no sense", "Look")

    def open_picky() -> Segmenter:
        opened.append(Picky(model, "timed"))
        return opened[-1]

    inference = Inference(open_picky)
    ends = [Ends(inference, Bounded(2), drawing_s=0) for _ in range(3)]
    with Running(inference, *ends):
        for index in range(8):
            for number, end in enumerate(ends):
                image = next(pictures(index))
                end.put(index, image[:, :40] if (number, index) == (1, 4) else image)
    assert [[item.frame.index for item in end.got] for end in ends] == [list(range(8))] * 3
    assert [[item.frame.index for item in end.got if item.error] for end in ends] == [[], [4], []]
    assert len(opened) == 2


class Camera(Ends):
    """Puts a frame when the last one has come back."""

    def look(self, count: int, image: Any, wait_until: Any) -> None:
        for index in range(count):
            self.put(index, image)
            wait_until(lambda index=index: len(self.got) == index + 1)
        self.port.end()


@pytest.mark.parametrize("batch", [1, 4])
def test_a_camera_whose_frames_make_no_sense_ends_no_other(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Any, batch: int
) -> None:
    """Such as one that FP16 overflows on: after three attempts in a minute to open the engine again, the run had ended."""
    monkeypatch.setattr(recovery, "PAUSES_S", (0.01,) * 3)
    gpu.batch, gpu.network_s, opened = batch, 0.002, []
    model = zoo.find(str(Nets(tmp_path).semantic()))

    class Picky(Segmenter):
        def read(self, run: Any, settings: DecodeSettings | None = None) -> Any:
            if run.geometry.frame.width == 40:
                raise InferenceError("it makes no sense", "Look")
            return super().read(run, settings)

    def open_picky() -> Segmenter:
        opened.append(Picky(model, "timed"))
        return opened[-1]

    inference = Inference(open_picky)
    good, bad = (Camera(inference, Latest(), drawing_s=0) for _ in range(2))
    image = next(pictures(0))
    with Running(inference, good, bad):
        good.put(0, image)
        wait_until(lambda: len(good.got) == 1)
        good.got.clear()
        sights = [(good, image), (bad, image[:, :40])]
        looks = [threading.Thread(target=end.look, args=(20, one, wait_until)) for end, one in sights]
        for look in looks:
            look.start()
        for look in looks:
            look.join()
    assert not any(item.error for item in good.got)
    assert all(item.error == "it makes no sense" for item in bad.got)
    assert len(opened) == 1


def test_an_engine_that_makes_sense_to_no_stream_is_opened_again(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Any
) -> None:
    monkeypatch.setattr(recovery, "PAUSES_S", (0.01,) * 3)
    opened: list[Segmenter] = []
    broken = threading.Event()
    model = zoo.find(str(Nets(tmp_path).semantic()))

    class Breaking(Segmenter):
        def read(self, run: Any, settings: DecodeSettings | None = None) -> Any:
            if broken.is_set() and self is opened[0] and not self._is_warm_up:
                raise InferenceError("it makes no sense", "Look")
            return super().read(run, settings)

    def open_breaking() -> Segmenter:
        opened.append(Breaking(model, "timed"))
        return opened[-1]

    inference = Inference(open_breaking)
    ends = [Camera(inference, Latest(), drawing_s=0) for _ in range(2)]
    image = next(pictures(0))
    with Running(inference, *ends):
        for end in ends:
            end.put(0, image)
        wait_until(lambda: all(len(end.got) == 1 for end in ends))
        broken.set()
        for end in ends:
            end.got.clear()
        looks = [threading.Thread(target=end.look, args=(12, image, wait_until)) for end in ends]
        for look in looks:
            look.start()
        for look in looks:
            look.join()
    assert len(opened) == 2
    for end in ends:
        assert 1 <= sum(bool(item.error) for item in end.got) <= 3
        assert not end.got[-1].error
