"""The Python API: results of a source, of two sources on one model, and what a program can do with them."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import realtime
from engines.errors import ModelNotFoundError
from realtime.errors import RealtimeError, SettingsError, SourceLostError, SourceOpenError

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def test_a_recording_gives_every_frame_with_its_objects(tiny_model: Path, MemorySource: Any) -> None:
    results = list(realtime.open_stream(MemorySource(30), str(tiny_model), backend="ort"))
    assert [result.index for result in results] == list(range(30))
    last = results[-1]
    assert last.t_s == pytest.approx(29 / 30)
    assert last.classes == ("ground", "car", "person")
    assert {one.class_name for one in last.objects} == {"car", "person"}
    car = next(one for one in last.objects if one.class_name == "car")
    assert car.id == next(one.id for one in results[5].objects if one.class_name == "car")
    assert car.mask.shape == last.image.shape[:2]
    assert (last.image[car.mask] == 120).all(), "the car is grey"
    assert car.age_s == pytest.approx(29 / 30, abs=0.2)
    assert last.class_map is not None
    assert set(np.unique(last.class_map)) == {0, 1, 2}
    assert last.alpha is None
    assert sum(last.numbers["counts"].values()) == 2


def test_a_result_is_drawn_as_view_draws_it(tiny_model: Path, MemorySource: Any) -> None:
    last = list(realtime.open_stream(MemorySource(5), str(tiny_model), backend="ort"))[-1]
    drawn = last.draw()
    assert drawn.shape == last.image.shape
    assert (drawn != last.image).any()
    bare = last.draw(masks=False, boxes=False, labels=False, trails=False)
    assert (bare == last.image).all()


def test_without_a_tracker_objects_are_detections(tiny_model: Path, MemorySource: Any) -> None:
    last = list(realtime.open_stream(MemorySource(5), str(tiny_model), backend="ort", tracker="none"))[-1]
    assert {one.class_name for one in last.objects} == {"car", "person"}
    assert {one.id for one in last.objects} == {None}
    assert all(one.mask.any() for one in last.objects)


def test_a_loop_that_is_left_closes_the_source(tiny_model: Path, MemorySource: Any, wait_until: Callable[..., None]) -> None:
    source = MemorySource(None)
    for result in realtime.open_stream(source, str(tiny_model), backend="ort"):
        if result.index == 3:
            break
    assert source.closed


def test_a_live_source_gives_the_newest_frame(tiny_model: Path, MemorySource: Any) -> None:
    source = MemorySource(None, is_live=True, fps=200)
    with realtime.open_stream(source, str(tiny_model), backend="ort") as stream:
        results = iter(stream)
        first = next(results)
        threading.Event().wait(0.3)  # a slow reader
        assert next(results).index > first.index + 10
        assert stream.reading().captured > 10
        results.close()


def test_a_camera_that_is_not_there_is_waited_for_where_asked(tiny_model: Path, wait_until: Callable[..., None]) -> None:
    with pytest.raises(SourceOpenError, match="connection refused"):
        list(realtime.open_stream("rtsp://127.0.0.1:1/x", str(tiny_model), backend="ort"))
    stream = realtime.open_stream("rtsp://127.0.0.1:1/x", str(tiny_model), backend="ort", wait=True)
    assert stream.status().state == "connecting"
    thread = threading.Thread(target=lambda: list(stream), daemon=True)
    thread.start()
    wait_until(lambda: stream.status().state == "retrying" and "connection refused" in stream.status().detail)
    stream.close()
    thread.join(5)


def test_a_stream_that_is_never_iterated_opens_nothing(tiny_model: Path, MemorySource: Any) -> None:
    source = MemorySource(None)
    threads = threading.active_count()
    stream = realtime.open_stream(source, str(tiny_model), backend="ort")
    assert (threading.active_count(), source.iterated_on) == (threads, None)
    stream.close()


def test_an_error_of_the_source_is_raised_after_what_was_read(tiny_model: Path, MemorySource: Any) -> None:
    seen = []
    with pytest.raises(SourceLostError, match="broke at frame 7"):
        seen += [result.index for result in realtime.open_stream(MemorySource(20, fails_at=7), str(tiny_model), backend="ort")]
    with pytest.raises(ModelNotFoundError):
        list(realtime.open_stream(MemorySource(5), "no such model"))


@pytest.mark.parametrize("settings", [{"trackr": "none"}, {"tracker": "bytetrak"}, {"threshold": 2}])
def test_wrong_settings_are_refused_before_anything_opens(settings: dict[str, Any], MemorySource: Any) -> None:
    source = MemorySource(5)
    with pytest.raises(SettingsError):
        realtime.open_stream(source, **settings)
    assert source.iterated_on is None
    with pytest.raises(SettingsError, match="no source"):
        realtime.open_streams()


def test_two_sources_share_a_model_and_each_result_says_whose_it_is(tiny_model: Path, MemorySource: Any) -> None:
    class Newest:
        """An observer of one's own."""

        name = "newest"

        def update(self, result: realtime.Result, t_s: float) -> realtime.Observation:
            event = realtime.Event("new second", self.name, t_s) if result.frame.index % 30 == 0 else None
            return realtime.Observation((event,) if event else (), {0: float(result.frame.index)})

    sources = MemorySource(31), MemorySource(12)
    indices: dict[int, list[int]] = {0: [], 1: []}
    events = []
    for result in realtime.open_streams(*sources, model=str(tiny_model), backend="ort", observers=lambda: [Newest()]):
        indices[result.stream].append(result.index)
        assert result.numbers["newest"] == {0: result.index}
        events += [(result.stream, event.t_s) for event in result.events]
    assert indices == {0: list(range(31)), 1: list(range(12))}
    assert sorted(events) == [(0, 0.0), (0, 1.0), (1, 0.0)]


def test_one_of_two_sources_that_fails_is_named(tiny_model: Path, MemorySource: Any) -> None:
    streams = realtime.open_streams(MemorySource(8), MemorySource(20, fails_at=3), model=str(tiny_model), backend="ort")
    assert sorted(result.index for result in streams if result.stream == 0) == list(range(8))
    assert list(streams.errors) == [1]
    assert isinstance(streams.errors[1], SourceLostError)


def test_objects_become_detections_of_supervision(tiny_model: Path, MemorySource: Any) -> None:
    last = list(realtime.open_stream(MemorySource(5), str(tiny_model), backend="ort"))[-1]
    try:
        import supervision
    except ImportError:
        with pytest.raises(RealtimeError, match="pip install supervision"):
            last.to_supervision()
        return
    detections = last.to_supervision()
    assert isinstance(detections, supervision.Detections)
    assert detections.mask.shape == (len(last.objects), *last.image.shape[:2])
    assert set(detections.data["class_name"]) == {"car", "person"}


def test_a_program_that_sets_no_logging_up_hears_nothing(repo_root: Path) -> None:
    program = "import logging, realtime; realtime.Frame; logging.getLogger('realtime.sources').warning('lost')"
    done = subprocess.run([sys.executable, "-c", program], cwd=repo_root, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_importing_the_packages_loads_next_to_nothing(repo_root: Path) -> None:
    program = "import sys, engines, realtime; print(sorted({'numpy', 'cv2', 'msgspec', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=repo_root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert set(realtime.__all__) <= set(dir(realtime)) | {name for name in realtime.__all__ if getattr(realtime, name)}
    with pytest.raises(AttributeError, match="no attribute 'open_stram'"):
        realtime.open_stram  # noqa: B018


def test_events_of_results_that_a_slow_loop_misses_come_with_the_next(tiny_model: Path, MemorySource: Any) -> None:
    class Every:
        name = "every"

        def update(self, result: realtime.Result, t_s: float) -> realtime.Observation:
            return realtime.Observation((realtime.Event("frame", self.name, t_s, result.frame.index),))

    source = MemorySource(None, is_live=True, fps=100)
    seen: list[int | None] = []
    with realtime.open_stream(source, str(tiny_model), backend="ort", observers=[Every()]) as stream:
        results = iter(stream)
        for _ in range(5):
            seen += [event.track_id for event in next(results).events]
            threading.Event().wait(0.1)
        reading = stream.reading()
        results.close()
    assert reading.dropped_before_screen > 0
    assert len(seen) > 10
    assert seen == sorted(set(seen), key=lambda index: index or 0), "each once, in order"


def test_a_result_is_freed_as_soon_as_nobody_holds_it(tiny_model: Path, MemorySource: Any) -> None:
    gc.disable()
    try:
        results = list(realtime.open_stream(MemorySource(3), str(tiny_model), backend="ort"))
        assert results[-1].objects
        last = weakref.ref(results.pop())
        assert last() is None, "or every frame would wait for the cycle collector"
    finally:
        gc.enable()


def test_a_stream_is_iterated_over_once(tiny_model: Path, MemorySource: Any) -> None:
    stream = realtime.open_stream(MemorySource(3), str(tiny_model), backend="ort")
    assert len(list(stream)) == 3
    with pytest.raises(RealtimeError, match="iterated over already"):
        list(stream)


def test_two_observers_of_one_name_are_refused(tiny_model: Path, MemorySource: Any) -> None:
    class Counts:
        name = "counts"

        def update(self, result: realtime.Result, t_s: float) -> None: ...

    with pytest.raises(SettingsError, match="the same name"):
        list(realtime.open_stream(MemorySource(3), str(tiny_model), backend="ort", observers=[Counts()]))


def test_a_program_ends_while_it_holds_an_iterator(tiny_model: Path, repo_root: Path) -> None:
    program = (
        "import realtime\n"
        f"results = iter(realtime.open_stream('synthetic://street?width=96&height=72', {str(tiny_model)!r}, backend='ort'))\n"
        "print(next(results).index)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=repo_root, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr
