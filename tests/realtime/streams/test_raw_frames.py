"""Raw pictures on their way: converted on the thread that reads, or not at all where the engine takes them and nobody draws."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import engines.backends
from engines.models import zoo
from engines.pictures.pixels import Colours
from engines.pictures.raw import RawPicture
from engines.segmenter import Segmenter
from engines.types import Image
from realtime.app import Run
from realtime.errors import SourceLostError
from realtime.settings import Settings
from realtime.streams.outlets import CanvasFormat, FilesOutlet
from realtime.streams.recorder import Recording
from realtime.streams.stream import StreamPlan
from realtime.types import Frame, Result

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

RAW_ENGINE = """
from engines.backends.ort import OrtEngine, open_engine as open_ort
from engines.pictures.raw import RawPicture

got = []

class RawEngine(OrtEngine):
    '''Takes I420 as it is, and converts it for itself, as a GPU does.'''

    takes = frozenset(("i420",))

    def __init__(self, engine):
        self.__dict__.update(engine.__dict__)

    def infer(self, image, *stream):
        if isinstance(image, RawPicture):
            got.append(image.format)
            image = RawPicture(image.format, image.planes, image.colours).bgr()
        return super().infer(image, *stream)

def open_engine(model, *options):
    return RawEngine(open_ort(model, *options))
"""

COUNT = 40


class Asked(RawPicture):
    """A raw picture that notes which threads ask for its BGR."""

    __slots__ = ("threads",)

    def __init__(self, image: Image) -> None:
        height, width = image.shape[:2]
        whole = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).reshape(-1)
        sizes = [(height, width), (height // 2, width // 2), (height // 2, width // 2)]
        starts = (0, width * height, width * height * 5 // 4)
        planes = [whole[start : start + h * w].reshape(h, w) for start, (h, w) in zip(starts, sizes, strict=True)]
        super().__init__("i420", planes, Colours(6, False))
        self.threads: list[str] = []

    def bgr(self) -> Image:
        self.threads.append(threading.current_thread().name.partition("-")[0])
        return super().bgr()


@pytest.fixture
def run_over(tiny_model: Path, MemorySource: Any, MemorySink: Any) -> Callable[..., tuple[list[Asked], list[Result]]]:
    """Runs the frames of a source as raw pictures, in order; the pictures, and the results."""

    def run(backend: str, *, draws: bool, tracker: str = "none", raw: bool = True) -> tuple[list[Asked], list[Result]]:
        pictures: list[Asked] = []

        class RawSource(MemorySource):  # type: ignore[misc]
            def __iter__(self) -> Iterator[Frame]:
                for frame in super().__iter__():
                    pictures.append(Asked(frame.image))
                    shown = pictures[-1] if raw else RawPicture.bgr(pictures[-1])
                    yield Frame(shown, frame.index, frame.pts_s, frame.captured_ns)

        sink = MemorySink()
        settings = Settings(model=str(tiny_model), backend=backend, width=320, tracker=tracker)
        recording = Recording(lambda card, source: (sink,), draws)
        outlet = FilesOutlet(CanvasFormat(settings.width, 0), recording)
        plan = StreamPlan(settings, lambda: RawSource(COUNT), [outlet])
        whole = Run(settings, lambda: zoo.find(settings.model), [plan])
        whole.start()
        assert whole.wait(30)
        assert sink.indices == list(range(COUNT))
        return pictures, sink.results

    return run


def maps_of(results: list[Result]) -> list[Any]:
    return [result.segmentation.class_map for result in results]


def test_an_engine_that_takes_bgr_gets_it_from_the_thread_that_reads(run_over: Callable[..., Any]) -> None:
    pictures, results = run_over("ort", draws=False)
    assert {name for picture in pictures for name in picture.threads} == {"capture"}
    assert all(isinstance(result.frame.picture, np.ndarray) for result in results), "the decoder's memory is free again"
    _, expected = run_over("ort", draws=False, raw=False)
    for found, wanted in zip(maps_of(results), maps_of(expected), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("draws", [False, True])
def test_an_engine_that_takes_them_gets_them_and_the_same_is_seen(
    run_over: Callable[..., Any], plug_in: Callable[..., None], draws: bool
) -> None:
    plug_in(engines.backends, "raw", RAW_ENGINE)
    pictures, results = run_over("raw", draws=draws)
    got = engines.backends.raw.got
    assert [key for key, _ in groupby(got)] == ["i420"]
    assert len(got) >= COUNT - 2, "a recording's first frames may be read before the model is open"
    late = pictures[3:]
    if draws:
        assert all(picture.threads[0] in ("capture", "compose") for picture in late), "never the model's"
        assert any(picture.threads[0] == "capture" for picture in late)
    else:
        assert [picture.threads for picture in late] == [[]] * len(late), "nobody needs BGR"
    _, expected = run_over("ort", draws=draws)
    for found, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(found.segmentation.class_map, wanted.segmentation.class_map)
        np.testing.assert_array_equal(found.frame.image, wanted.frame.image)
        assert found.frame.size == wanted.frame.size


def test_trackers_see_the_same_in_raw_pictures(run_over: Callable[..., Any], plug_in: Callable[..., None]) -> None:
    """To a level: they look at a few pixels, which are converted alone."""
    plug_in(engines.backends, "raw", RAW_ENGINE)
    _, results = run_over("raw", draws=False, tracker="auto")
    _, expected = run_over("ort", draws=False, tracker="auto")
    for found, wanted in zip(results, expected, strict=True):
        assert [track.id for track in found.tracks or ()] == [track.id for track in wanted.tracks or ()]


def test_a_segmenter_converts_what_its_engine_does_not_take(tiny_model: Path, draw_scene: Callable[..., Image]) -> None:
    picture = Asked(draw_scene(3))
    with Segmenter(zoo.find(str(tiny_model)), "ort") as segmenter:
        assert segmenter.takes == frozenset()
        found = segmenter(picture).class_map
        np.testing.assert_array_equal(found, segmenter(picture.bgr()).class_map)


def test_memory_that_runs_out_for_a_picture_ends_the_stream_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(*_: object) -> Image:
        return cv2.resize(np.zeros((1, 1), np.uint8), (1 << 30, 1 << 22))

    monkeypatch.setattr(cv2, "cvtColor", endless)
    frame = Frame(RawPicture("bgrx", (np.zeros((4, 4, 4), np.uint8),)), 0, 0.0, 0)
    with pytest.raises(MemoryError):
        frame.as_taken(frozenset())
    assert frame.as_taken(frozenset(("bgrx",))) is frame


def test_a_stream_says_that_there_is_no_memory(tiny_model: Path, MemorySink: Any, MemorySource: Any) -> None:
    class Endless(RawPicture):
        __slots__ = ()

        def bgr(self) -> Image:
            raise MemoryError

    class Source(MemorySource):  # type: ignore[misc]
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                broken = Endless("bgrx", (np.zeros((72, 96, 4), np.uint8),))
                yield frame if frame.index < 3 else Frame(broken, frame.index, frame.pts_s, frame.captured_ns)

    settings = Settings(model=str(tiny_model), backend="ort", width=320, tracker="none")
    outlet = FilesOutlet(CanvasFormat(320, 0), Recording(lambda card, source: (MemorySink(),)))
    run = Run(settings, lambda: zoo.find(settings.model), [StreamPlan(settings, lambda: Source(9), [outlet])])
    run.start()
    with pytest.raises(SourceLostError, match=r"not enough memory for its pictures. Close other programs"):
        run.wait(20)
