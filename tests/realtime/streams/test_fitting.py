"""A run's input: it fits the pictures of all streams, grows when they change, and is opened anew twice at most."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from engines.backends import EngineOptions
from engines.models.model import Model
from engines.types import Image, Size
from realtime.app import Run
from realtime.settings import Settings
from realtime.streams import fitting
from realtime.streams.fitting import InputFit
from realtime.streams.outlets import Delivery, IteratorOutlet
from realtime.streams.stream import StreamPlan
from realtime.types import Frame, SourceStatus

from ...engines.spots import picture, spots

WIDE, TALL, SQUARE, FULL_HD = Size(256, 144), Size(144, 256), Size(200, 200), Size(1920, 1080)
FOUR_TO_THREE = Size(256, 192)

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


class Pictures:
    """A source of these pictures. late_s: before the first one."""

    name, frame_count, fps = "pictures", None, 25.0

    def __init__(self, pictures: Sequence[Image], *, is_live: bool = False, late_s: float = 0.0) -> None:
        self._pictures, self.is_live, self._late_s = pictures, is_live, late_s
        self._closed = threading.Event()

    @property
    def status(self) -> SourceStatus:
        return SourceStatus("live")

    def __iter__(self) -> Iterator[Frame]:
        self._closed.wait(self._late_s)
        for number, image in enumerate(self._pictures):
            yield Frame(image, number, number / 25, time.monotonic_ns())
            if self.is_live and self._closed.wait(0.02):
                return

    def close(self) -> None:
        self._closed.set()


def results_of(model: Model, *sources: Pictures, size: object = "auto") -> tuple[Run, list[list[Delivery]]]:
    """What a run over these sources gives, stream by stream."""
    settings = Settings(model="spots", backend="ort", tracker="none", engine=EngineOptions(input_px=size))  # type: ignore[arg-type]
    changed = threading.Condition()
    outlets = [IteratorOutlet(changed, True) for _ in sources]
    plans = [
        StreamPlan(settings, lambda source=source: source, [outlet]) for source, outlet in zip(sources, outlets, strict=True)
    ]  # type: ignore[misc]
    run = Run(settings, lambda: model, plans)
    found: list[list[Delivery]] = [[] for _ in sources]
    readers = [
        threading.Thread(target=lambda row=row, outlet=outlet: row.extend(outlet.link))
        for row, outlet in zip(found, outlets, strict=True)
    ]  # type: ignore[misc]
    run.start()
    try:
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(60)
        assert run.wait(10), "it ends"
    finally:
        run.stop()
        run.join(10)
    return run, found


def inputs_of(deliveries: Sequence[Delivery]) -> list[Size]:
    return [delivery.model.card.input.size for delivery in deliveries]


def test_every_frame_of_a_recording_has_the_input_that_fits(tmp_path: Path) -> None:
    run, (found,) = results_of(spots(tmp_path), Pictures([picture(WIDE, (0.2, 0.3), (0.75, 0.6))] * 4))
    assert inputs_of(found) == [Size(128, 96)] * 4
    assert [len(one.result.segmentation.instances) for one in found] == [2] * 4
    assert run.model is not None
    assert str(run.model.input) == "96x128: the padding around 256x144 is left out (128x128 with it)"
    assert run.model.input.short == "96x128, padding left out"


@pytest.mark.parametrize(("size", "expected"), [("model", Size(128, 128)), ((96, 64), Size(96, 64))], ids=str)
def test_a_size_that_is_asked_for_is_the_size(tmp_path: Path, size: object, expected: Size) -> None:
    run, (found,) = results_of(spots(tmp_path), Pictures([picture(WIDE)]), size=size)
    assert inputs_of(found) == [expected]
    assert run.model is not None
    assert str(run.model.input) == f"{expected.height}x{expected.width}"


def test_a_stretched_picture_has_no_padding(tmp_path: Path) -> None:
    _, (found,) = results_of(spots(tmp_path, fit="stretch"), Pictures([picture(WIDE)]))
    assert inputs_of(found) == [Size(128, 128)]


def test_a_refusal_is_told_with_its_reason(tmp_path: Path) -> None:
    run, (found,) = results_of(spots(tmp_path, kind="shares"), Pictures([picture(WIDE, (0.3, 0.2), (0.7, 0.8))]))
    assert inputs_of(found) == [Size(128, 128)]
    assert run.model is not None
    assert str(run.model.input).startswith("128x128: 25% of it is padding, as its objects would be elsewhere")


def test_pictures_of_another_shape_are_never_shrunk(tmp_path: Path) -> None:
    """The first portrait among landscapes makes the input grow, before it is run; every frame has its result."""
    images = [picture(size, (0.5, 0.5)) for size in (WIDE, FULL_HD, TALL, WIDE, TALL)]
    _, (found,) = results_of(spots(tmp_path), Pictures(images))
    assert inputs_of(found) == [Size(128, 96)] * 2 + [Size(128, 128)] * 3
    assert [one.result.frame.index for one in found] == [0, 1, 2, 3, 4]
    assert [len(one.result.segmentation.instances) for one in found] == [1] * 5


def test_however_often_the_shape_changes_the_engine_is_opened_anew_twice_at_most(tmp_path: Path) -> None:
    shapes = [Size(256, 64), Size(256, 100), Size(256, 130), Size(256, 180), WIDE, TALL] * 3
    model = spots(tmp_path, Size(256, 256))
    run, (found,) = results_of(model, Pictures([picture(size) for size in shapes]))
    inputs = inputs_of(found)
    assert inputs[:3] == [Size(256, 64), Size(256, 128), Size(256, 256)]
    assert set(inputs[3:]) == {Size(256, 256)}
    assert run.model is not None
    assert str(run.model.input) == "256x256: 38% of it is padding, as the pictures change their shape"


def test_a_picture_that_fits_into_the_input_changes_nothing(tmp_path: Path) -> None:
    _, (found,) = results_of(spots(tmp_path), Pictures([picture(size) for size in (FOUR_TO_THREE, WIDE, Size(1000, 100))]))
    assert inputs_of(found) == [Size(128, 96)] * 3


def test_several_streams_get_an_input_for_all(tmp_path: Path) -> None:
    sources = [Pictures([picture(size, (0.5, 0.5))] * 3) for size in (Size(256, 100), FOUR_TO_THREE)]
    _, found = results_of(spots(tmp_path), *sources)
    assert {size for row in found for size in inputs_of(row)} == {Size(128, 96)}
    assert all(len(one.result.segmentation.instances) == 1 for row in found for one in row)


def test_a_camera_that_comes_late_gets_its_input_with_its_first_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its model is open by then, at its own size."""
    monkeypatch.setattr(fitting, "PATIENCE_S", 0.1)
    camera = Pictures([picture(WIDE, (0.5, 0.5))] * 30, is_live=True, late_s=1.5)
    _, (found,) = results_of(spots(tmp_path), camera)
    assert found
    assert set(inputs_of(found)) == {Size(128, 96)}


def test_a_source_that_cannot_be_opened_does_not_hold_up_the_others(tmp_path: Path) -> None:
    class Broken(Pictures):
        def __iter__(self) -> Iterator[Frame]:
            raise OSError("gone")

    started_s = time.monotonic()
    _, (found, none) = results_of(spots(tmp_path), Pictures([picture(WIDE)]), Broken([]))
    assert (len(found), none) == (1, [])
    assert inputs_of(found) == [Size(128, 96)]
    assert time.monotonic() - started_s < 50


def test_the_first_frame_of_a_recording_does_not_age_while_the_model_opens(tmp_path: Path) -> None:
    settings = Settings(model="spots", backend="ort", tracker="none")
    outlet = IteratorOutlet(threading.Condition(), True)
    model = spots(tmp_path)
    opened_ns: list[int] = []

    def find() -> Model:
        opened_ns.append(time.monotonic_ns())
        time.sleep(0.6)
        return model

    run = Run(settings, find, [StreamPlan(settings, lambda: Pictures([picture(WIDE)]), [outlet])])
    run.start()
    (found,) = list(outlet.link)
    assert run.wait(10)
    assert found.result.frame.captured_ns - opened_ns[0] > 0.5e9


def test_the_fit_asks_for_no_picture_where_none_matters(tmp_path: Path) -> None:
    def never(limit_s: float) -> list[Image]:
        raise AssertionError("not to be waited for")

    for options, fit in (
        (EngineOptions(input_px="model"), "letterbox"),
        (EngineOptions(trust="x.plan"), "letterbox"),
        (EngineOptions(), "stretch"),
    ):
        assert InputFit(options).apply(spots(tmp_path, fit=fit), never).fitting is None


def test_an_engine_that_cannot_grow_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its model's file is gone meanwhile."""
    model = spots(tmp_path)

    class Late(Pictures):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                if frame.index == 1:
                    deadline_s = time.monotonic() + 20
                    while not run_is_open.is_set() and time.monotonic() < deadline_s:
                        time.sleep(0.01)
                    model.path.unlink()
                yield frame

    run_is_open = threading.Event()
    settings = Settings(model="spots", backend="ort", tracker="none")
    outlet = IteratorOutlet(threading.Condition(), True)
    images = [picture(WIDE), picture(TALL), picture(TALL)]
    run = Run(settings, lambda: model, [StreamPlan(settings, lambda: Late(images), [outlet])])
    run.start()
    found = []
    for one in outlet.link:
        run_is_open.set()
        found.append(one)
    run.wait(20)
    assert inputs_of(found) == [Size(128, 96)] * 3
    assert "the pictures have another shape, and the model cannot be opened for it" in caplog.text
