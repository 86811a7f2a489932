"""A run behind a window: what it says of itself, and recordings that come and go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import realtime.tracking
from engines.models import zoo
from realtime.errors import SinkError, SourceNotFoundError, SourceOpenError
from realtime.sessions.live import LiveSession
from realtime.settings import Settings
from realtime.sources.common.live import LiveSource
from realtime.streams.recorder import Recording

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

SLOW_TRACKER = """
import time
from realtime.tracking.none import NoTracker, Settings

class Slow(NoTracker):
    def update(self, segmentation, t_s, image):
        time.sleep(0.1)
        return ()

def create(settings):
    return Slow()
"""

Open = Callable[..., LiveSession]
WaitUntil = Callable[..., None]


@pytest.fixture
def open_session(tiny_model: Path, tmp_path: Path) -> Iterator[Open]:
    sessions = []

    def make(source: Any, **settings: Any) -> LiveSession:
        def opener() -> Any:
            if isinstance(source, Exception):
                raise source
            return source

        chosen = Settings(**{"model": str(tiny_model), "backend": "ort", "width": 160, **settings})
        wake = threading.Event().set
        session = LiveSession(chosen, "memory", opener, lambda: zoo.find(chosen.model), wake, tmp_path / "out")
        sessions.append(session)
        return session

    yield make
    for session in sessions:
        session.close()


def test_a_session_reports_what_it_is_doing(open_session: Open, MemorySource: Any, wait_until: WaitUntil) -> None:
    session = open_session(MemorySource(None, is_live=True, fps=100))
    assert session.state().phase in ("starting", "running")
    wait_until(lambda: session.state().phase == "running")
    state = session.state()
    assert (state.model, state.classes, state.source, state.message) == ("tiny", ("ground", "car", "person"), "memory", "")
    assert state.shown_classes == (0, 1, 2)
    assert not state.waits_for_model
    assert "ONNX Runtime" in state.backend
    wait_until(lambda: session.canvas.waiting)
    session.shown(session.canvas.get())
    assert session.reading().age.count == 1
    session.close()
    assert session.state().phase == "ended"


def test_a_camera_that_is_waited_for_says_why(open_session: Open, wait_until: WaitUntil) -> None:
    def connect() -> Any:
        raise SourceOpenError("camera: connection refused", "Check the address")

    session = open_session(LiveSource("camera", connect, waits=True))
    wait_until(lambda: session.state().message.startswith("Connection refused, trying again in"))
    assert session.state().phase == "starting"


@pytest.mark.parametrize("secret", ["rtsp://ada:s3cret@camera/1", "http://camera/?token=s3cret"])
def test_a_source_that_fails_is_reported_without_its_password(open_session: Open, wait_until: WaitUntil, secret: str) -> None:
    session = open_session(SourceNotFoundError(f"{secret}: no answer"))
    wait_until(lambda: session.state().phase == "failed")
    assert "no answer" in session.state().message
    assert "s3cret" not in session.state().message


def test_a_model_that_fails_is_reported(open_session: Open, MemorySource: Any, wait_until: WaitUntil) -> None:
    session = open_session(MemorySource(None, is_live=True), model="nothing.onnx")
    wait_until(lambda: session.state().phase == "failed")
    assert "nothing.onnx: no such model file" in session.state().message


def test_knobs_reach_a_paused_picture(open_session: Open, MemorySource: Any, wait_until: WaitUntil) -> None:
    session = open_session(MemorySource(None))
    wait_until(lambda: session.state().phase == "running")
    session.set_paused(True)
    assert session.state().paused
    wait_until(lambda: session.canvas.poll() is None)
    session.turn(masks=False)
    wait_until(lambda: session.canvas.waiting)


def test_recordings_follow_each_other_and_none_replaces_another(
    open_session: Open, MemorySource: Any, wait_until: WaitUntil
) -> None:
    """Two within one second had the same name, and the second took the place of the first."""
    session = open_session(MemorySource(None, is_live=True, fps=100))
    wait_until(lambda: session.state().phase == "running")
    paths = []
    for _ in range(3):
        written = session._files.recorder.frames_written + session._files.link.waiting + 1  # of the recording before
        path = session.start_recording()
        assert session.state().recording == path
        wait_until(lambda written=written: session._files.recorder.frames_written > written + 3)
        assert session.stop_recording() == path
        assert session.state().recording is None
        paths.append(path)
    assert session.stop_recording() is None
    session.close()
    assert len(set(paths)) == 3
    assert all(path.stat().st_size > 0 for path in paths)


def test_a_recording_after_one_that_failed_is_not_stopped_by_the_old_error(
    open_session: Open, MemorySource: Any, MemorySink: Any, wait_until: WaitUntil, plug_in: Callable[..., None]
) -> None:
    plug_in(realtime.tracking, "slow", SLOW_TRACKER)  # so that there is time to look before the recorder hears of it
    session = open_session(MemorySource(None, is_live=True, fps=30), tracker="slow")
    wait_until(lambda: session.state().phase == "running")
    session.start_recording()
    session._files.recording = Recording(lambda card, source: (MemorySink(fails_at=1),), path=Path("other.mp4"))
    wait_until(lambda: session.state().recording is None)
    assert "the disk is full" in session.state().warning
    assert session.state().message == "", "the session runs"
    assert session.state().phase == "running", "the picture goes on"
    path = session.start_recording()
    for _ in range(50):
        assert session.state().recording == path
    written = session._files.recorder.frames_written
    wait_until(lambda: session._files.recorder.frames_written > written + 3)
    assert session.state().warning == ""
    session.stop_recording()
    session.close()
    assert path.is_file()


def test_nothing_can_be_recorded_when_nothing_plays(open_session: Open, MemorySource: Any, wait_until: WaitUntil) -> None:
    session = open_session(MemorySource(5))
    wait_until(lambda: session.state().phase == "ended")
    with pytest.raises(SinkError, match="nothing is playing"):
        session.start_recording()
    assert session.state().recording is None


def test_a_recording_ends_with_its_clip(open_session: Open, MemorySource: Any, wait_until: WaitUntil) -> None:
    session = open_session(MemorySource(None))
    wait_until(lambda: session.state().phase == "running")
    path = session.start_recording()
    wait_until(lambda: session._files.recorder.frames_written > 3)
    session._stream.source._end.set()
    wait_until(lambda: session.state().phase == "ended")
    assert session.state().recording is None
    assert path.is_file()


def test_knobs_reach_the_last_picture_of_a_clip_that_has_ended(
    open_session: Open, MemorySource: Any, wait_until: WaitUntil
) -> None:
    session = open_session(MemorySource(5))
    wait_until(lambda: session.state().phase == "ended")
    wait_until(lambda: session.canvas.waiting)
    last = session.canvas.poll()
    session.turn(masks=False, boxes=False, labels=False, trails=False)
    bare = session.canvas.poll()
    assert last is not None
    assert bare is not None
    assert bare.index == last.index
    assert (bare.image != last.image).any()


@pytest.mark.parametrize(("overlay", "waits"), [("locked", True), ("live", False)])
def test_a_recording_waits_for_the_model_unless_it_was_opened_live(
    overlay: str, waits: bool, open_session: Open, MemorySource: Any, wait_until: WaitUntil
) -> None:
    session = open_session(MemorySource(5), overlay=overlay)
    wait_until(lambda: session.state().phase == "ended")
    assert session.state().waits_for_model is waits


def test_ages_start_again_when_pictures_are_shown_in_another_way(
    open_session: Open, MemorySource: Any, wait_until: WaitUntil
) -> None:
    session = open_session(MemorySource(5))
    wait_until(lambda: session.state().phase == "ended" and session.canvas.waiting)
    last = session.canvas.get()
    session.shown(last)
    session.turn(opacity=0.9)
    assert session.reading().age is not None
    assert session.reading().mask_age is not None
    session.turn(live_overlay=True)
    assert session.reading().age is None, "that of locked pictures is not that of live ones"
    assert session.reading().mask_age is None
    assert session.reading().stages, "the rest goes on"


def test_knobs_turned_while_the_model_opens_stay_turned(open_session: Open, MemorySource: Any, wait_until: WaitUntil) -> None:
    session = open_session(MemorySource(None), hide=("car",))
    session.turn(opacity=0.9)
    wait_until(lambda: session.state().phase == "running")
    assert session.knobs.opacity == 0.9
    assert session.knobs.hidden_classes == {1}


def test_a_pause_of_a_recording_holds_it_within_two_pictures(
    open_session: Open, MemorySource: Any, wait_until: WaitUntil
) -> None:
    session = open_session(MemorySource(None))
    wait_until(lambda: session.state().phase == "running")
    session.set_paused(True)
    shown = session._stream._port.segmented.taken
    time.sleep(0.3)
    assert session._stream._port.segmented.taken <= shown + 2


def test_an_object_is_selected_by_a_pixel_of_the_canvas_and_its_facts_are_known(
    open_session: Open, MemorySource: Any, wait_until: WaitUntil
) -> None:
    session = open_session(MemorySource(None, is_live=True, fps=50))
    wait_until(lambda: session._stream.shown is not None and session._stream.shown.tracks)
    result = session._stream.shown
    assert result is not None
    track = result.tracks[0]
    x, y = (track.box_px[:2] + track.box_px[2:]) / 2
    session.select_at(float(x), float(y))
    assert session.knobs.selected_id == track.id
    wait_until(lambda: session.state().selected is not None)
    session.shown(session.canvas.get())
    selected = session.state().selected
    assert selected is not None
    assert selected.id == track.id
    session.select_at(-1, -1)
    assert session.knobs.selected_id is None
    assert session.state().selected is None
