"""GStreamer through a pipe: a script replaces `gst-launch-1.0`; where that is installed it is used as well."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.errors import SourceError, SourceLostError, SourceOpenError
from realtime.sources import open_source, parse
from realtime.sources.common import gst_child
from realtime.sources.common.gst_pipe import PipeFeed
from realtime.sources.common.gst_text import Caps, cut, read_caps
from realtime.types import Source

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the pipe is read on Linux only"),
    pytest.mark.skipif(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER), reason="this OpenCV reads GStreamer itself"),
]
needs_gstreamer = pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason="gst-launch-1.0 is not installed")

# Row y, pixel x of picture n holds (n, y, x) modulo 256, and the padding 255. `plan` says what else happens.
STAND_IN = """\
#!{python} -SE
import os, signal, subprocess, sys, time
words = " ".join(sys.argv[1:])
log = open({log!r}, "a")
log.write(repr(sys.argv[1:]) + "\\n"); log.write(f"pid {{os.getpid()}}\\n"); log.flush()
plan = dict(item.split("=", 1) for item in open({plan!r}).read().split("\\n") if item)
sink = int(words.split(" fd=")[1].split()[0])
say = lambda text, to=1: os.write(to, (text + "\\n").encode())
if "deaf" in plan:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-SEc", "import signal, time; signal.signal(2, signal.SIG_IGN); time.sleep(60)"])
    log.write(f"pid {{child.pid}}\\n"); log.flush()
    time.sleep(0.2)
else:
    signal.signal(signal.SIGINT, lambda *_: os._exit(1))
say("Setting pipeline to PAUSED ...")
for line in plan.get("stderr", "").split("|"):
    say(line, 2)
width, height, channels = int(plan.get("width", 6)), int(plan.get("height", 4)), int(plan.get("channels", 3))
def caps(width):
    form = "BGR" if channels == 3 else "BGRx"
    say(f"/GstPipeline:pipeline0/GstFdSink:frames_out.GstPad:sink: caps = video/x-raw, width=(int){{width}}, "
        f"height=(int){{height}}, framerate=(fraction){{plan.get('rate', '50/1')}}, format=(string){{form}}")
if "never" not in plan:
    caps(width)
stride = -(-width * channels // 4) * 4
for number in range(int(plan.get("frames", 1000000))):
    rows = b"".join(
        b"".join(bytes((number % 256, y % 256, x % 256, 255)[:channels]) for x in range(width)).ljust(stride, b"\\xff")
        for y in range(height)
    )
    time.sleep(0.005)
    os.write(sink, rows)
if "resize" in plan:
    caps(width + 2)
    time.sleep(60)
if "part" in plan:
    os.write(sink, b"xyz")
if "silent" in plan:
    time.sleep(60)
for line in plan.get("last", "").split("|"):
    say(line, 2)
sys.exit(int(plan.get("exit", 0)))
"""


class StandIn:
    """A `gst-launch-1.0` on PATH. `plan` is read at each start; `calls` are the arguments it was started with."""

    def __init__(self, folder: Path) -> None:
        self._log, self._plan = folder / "log", folder / "plan"
        self._log.touch()
        program = folder / "gst-launch-1.0"
        program.write_text(STAND_IN.format(python=sys.executable, log=str(self._log), plan=str(self._plan)))
        program.chmod(0o755)
        self.plan()

    def plan(self, **how: object) -> None:
        self._plan.write_text("".join(f"{key}={value}\n" for key, value in how.items()))

    @property
    def calls(self) -> list[list[str]]:
        return [eval(line) for line in self._log.read_text().splitlines() if line.startswith("[")]

    @property
    def pids(self) -> list[int]:
        return [int(line.split()[1]) for line in self._log.read_text().splitlines() if line.startswith("pid ")]

    def living(self) -> list[int]:
        """Children and grandchildren that still run, zombies included."""
        return [pid for pid in self.pids if Path(f"/proc/{pid}").exists()]


@pytest.fixture
def gst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setenv("PATH", str(tmp_path))
    stand_in = StandIn(tmp_path)
    yield stand_in
    for pid in stand_in.living():
        os.kill(pid, signal.SIGKILL)
    assert stand_in.living() == []


def _handles() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def _failure(source: Source) -> SourceError:
    with pytest.raises(SourceError) as caught:
        list(islice(source, 1000))
    source.close()
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("width", [5, 6, 7, 8])
def test_padding_at_the_end_of_rows_is_cut_away(gst: StandIn, width: int, channels: int) -> None:
    gst.plan(width=width, channels=channels)
    source = open_source("anysrc ! appsink")
    frames = list(islice(source, 3))
    source.close()
    for number, frame in enumerate(frames):
        assert (frame.index, frame.image.shape, frame.image.flags.c_contiguous) == (number, (4, width, 3), True)
        assert np.all(frame.image[..., 0] == number)
        assert np.array_equal(frame.image[..., 1], np.repeat(np.arange(4)[:, None], width, 1))
        assert np.array_equal(frame.image[..., 2], np.repeat(np.arange(width)[None], 4, 0))
    assert not np.shares_memory(frames[0].image, frames[1].image)


def test_a_picture_bomb_is_refused_by_its_caps(gst: StandIn) -> None:
    gst.plan(width=60_000, height=60_000, frames=0, silent=1)
    assert "declares 60000x60000 pixels" in str(_failure(open_source("anysrc ! appsink")))


def test_a_picture_larger_than_the_pipe_arrives_whole(gst: StandIn) -> None:
    gst.plan(width=1201, height=700, frames=2)
    frames = list(open_source("anysrc ! appsink"))
    assert [np.unique(frame.image[..., 0]).tolist() for frame in frames] == [[0], [1]]
    assert np.array_equal(frames[1].image[-1, :, 2], np.arange(1201) % 256)


def test_the_negotiated_format_is_reported_and_time_rises(gst: StandIn) -> None:
    gst.plan(width=8, rate="30000/1001")
    source = open_source("anysrc ! appsink")
    assert (source.is_live, source.status.state) == (True, "connecting")
    before_ns = time.monotonic_ns()
    frames = list(islice(source, 5))
    assert source.status.detail == "8x4 GStreamer 29.97 fps"
    assert source.fps == pytest.approx(29.97, abs=0.001)
    for earlier, later in pairwise(frames):
        assert later.pts_s > earlier.pts_s
        assert before_ns < earlier.captured_ns < later.captured_ns <= time.monotonic_ns()
    source.close()
    assert source.status.state == "ended"


def test_the_end_of_a_stream_ends_the_iteration(gst: StandIn) -> None:
    gst.plan(frames=7)
    source = open_source("anysrc ! appsink")
    assert len(list(source)) == 7
    assert source.status.state == "ended"
    assert len(gst.calls) == 1
    assert gst.living() == []


@pytest.mark.parametrize(
    ("plan", "kind", "message"),
    [
        ({"last": "ERROR: from element /GstPipeline:pipeline0/GstV4l2Src:v4l2src0: Cannot identify device '/dev/video7'.|"
                  "Additional debug info:|v4l2_calls.c(654): gst_v4l2_open ():|ERROR: pipeline doesn't want to preroll.",
          "never": 1, "frames": 0, "exit": 1}, SourceOpenError, r"v4l2src0: Cannot identify device.*Try the pipeline"),
        ({"last": 'WARNING: erroneous pipeline: no element "h264x"', "never": 1, "frames": 0, "exit": 1},
         SourceOpenError, r'no element "h264x". Install its plugin.*sudo apt install gstreamer1.0'),
        ({"last": "Execution ended", "frames": 0}, SourceOpenError, "Execution ended"),
        ({"never": 1, "frames": 0, "exit": 1}, SourceOpenError, "Setting pipeline to PAUSED"),
        ({"last": "ERROR: from element /GstPipeline:pipeline0/GstRtspSrc:r: rtsp://admin:hunter2@camera/1 refused",
          "never": 1, "frames": 0, "exit": 1}, SourceOpenError, r"r: rtsp://\*\*\*@camera/1 refused"),
    ],
)  # fmt: skip
def test_a_failing_pipeline_reports_the_reason_in_one_line(gst: StandIn, plan: dict, kind: type, message: str) -> None:
    gst.plan(**plan)
    error = _failure(open_source("anysrc location=rtsp://camera/1 ! appsink"))
    assert isinstance(error, kind)
    assert "hunter2" not in str(error)
    with pytest.raises(kind, match=message):
        raise error
    assert gst.living() == []


@pytest.mark.parametrize(
    "plan", [{"never": 1, "frames": 0, "silent": 1}, {"frames": 0, "silent": 1}, {"frames": 0, "part": 1, "silent": 1}]
)
def test_without_a_first_picture_it_fails_in_time(gst: StandIn, plan: dict) -> None:
    from realtime.sources.common.gst_pipe import PipeSource
    from realtime.sources.common.gst_text import cut

    gst.plan(**plan)
    source = PipeSource("camera", cut("anysrc ! appsink", "camera"), first_frame_timeout_s=0.6)
    start_s = time.monotonic()
    error = _failure(source)
    assert isinstance(error, SourceOpenError)
    assert str(error).startswith("camera: no picture for 0.6 s. ")
    assert 0.5 < time.monotonic() - start_s < 2.5
    assert gst.living() == []


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (
            {"last": "ERROR: from element /GstPipeline:p/GstV4l2Src:v4l2src0: Device is gone", "exit": 1},
            "v4l2src0: Device is gone",
        ),
        ({"last": "Got EOS", "part": 1}, "Got EOS"),
        ({"last": "(Argus) Error EndOfFile: Unexpected error"}, r"nvargus-daemon"),
        ({"resize": 1}, "size or rate of its pictures has changed"),
        ({"silent": 1}, r"no picture for 1\.8 s"),
    ],
    ids=["error", "cut", "argus", "resized", "silent"],
)
def test_a_broken_stream_is_reconnected(gst: StandIn, plan: dict, reason: str) -> None:
    gst.plan(frames=5, **plan)
    source = open_source("anysrc ! appsink")
    details: list[str] = []
    stopping = threading.Event()

    def watch() -> None:
        while not stopping.wait(0.01):
            status = source.status
            if status.state == "retrying":
                details.append(status.detail)

    watcher = threading.Thread(target=watch)
    watcher.start()
    frames = list(islice(source, 8))
    stopping.set()
    watcher.join()
    assert [frame.index for frame in frames] == list(range(8))
    assert [int(frame.image[0, 0, 0]) for frame in frames].count(0) == 2, "the second child starts at 0 again"
    assert source.status.detail.endswith("1 reconnect")
    with pytest.raises(SourceLostError, match=reason):
        raise SourceLostError(details[0])
    source.close()
    assert len(gst.calls) == 2
    assert gst.living() == []


@pytest.mark.parametrize("plan", [{}, {"never": 1, "frames": 0, "silent": 1}], ids=["live", "starting"])
def test_closing_takes_less_than_two_seconds_and_ends_the_whole_group(gst: StandIn, plan: dict, wait_until: Callable) -> None:
    gst.plan(deaf=1, **plan)
    source = open_source("anysrc ! appsink")
    thread = threading.Thread(target=lambda: list(source))
    thread.start()
    wait_until(lambda: len(gst.pids) == 2)
    time.sleep(0.3)
    start_s = time.monotonic()
    source.close()
    thread.join()
    assert time.monotonic() - start_s < 2
    wait_until(lambda: gst.living() == [])
    assert source.status.state == "ended"


def test_closing_a_responsive_child_is_quick(gst: StandIn) -> None:
    source = open_source("anysrc ! appsink")
    next(iter(source))
    start_s = time.monotonic()
    source.close()
    assert time.monotonic() - start_s < 0.5
    assert gst.living() == []


def test_repeated_openings_leak_nothing(gst: StandIn, no_thread_is_left: None) -> None:
    def once() -> None:
        source = open_source("anysrc ! appsink")
        list(islice(source, 2))
        source.close()

    once()
    handles = _handles()
    for _ in range(5):
        once()
    gst.plan(never=1, frames=0, exit=1)
    for _ in range(5):
        _failure(open_source("anysrc ! appsink"))
    assert _handles() == handles
    assert gst.living() == []


def test_without_gst_launch_the_error_names_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceOpenError, match=r"gst-launch-1\.0 is not installed.*sudo apt install gstreamer1\.0-tools"):
        open_source("videotestsrc ! appsink")


@pytest.mark.parametrize(
    ("text", "before", "after", "is_paced"),
    [
        ("v4l2src ! appsink", "v4l2src", "", True),
        ("v4l2src ! appsink drop=true max-buffers=1 sync=false", "v4l2src", "", False),
        ("v4l2src ! videoconvert", "v4l2src ! videoconvert", "", False),
        ("filesrc location='a b.mp4' ! decodebin ! appsink", "filesrc 'location=a b.mp4' ! decodebin", "", True),
        ("v4l2src ! tee name=t t. ! queue ! appsink sync=0 t. ! fakesink",
         "v4l2src ! tee name=t t. ! queue", "t. ! fakesink", False),
        ("videotestsrc ! video/x-raw(memory:NVMM), width=(int)8 ! appsink",
         "videotestsrc ! 'video/x-raw(memory:NVMM),' 'width=(int)8'",
         "", True),
    ],
)  # fmt: skip
def test_the_appsink_is_replaced_and_nothing_else(text: str, before: str, after: str, is_paced: bool) -> None:
    from realtime.sources.common.gst_text import cut

    pipeline = cut(text, "x")
    assert pipeline.before == tuple(shlex.split(before))
    assert pipeline.after == tuple(shlex.split(after))
    assert pipeline.is_paced == is_paced
    arguments = pipeline.arguments(9)
    assert arguments[: len(pipeline.before)] == list(pipeline.before)
    assert arguments[len(arguments) - len(pipeline.after) :] == list(pipeline.after)
    assert "fd=9" in arguments


@pytest.mark.parametrize(("text", "message"), [("gst://a ! 'b", "quote .* not closed"), ("gst://appsink", "has no source")])
def test_a_wrong_pipeline_is_rejected_when_opened(gst: StandIn, text: str, message: str) -> None:
    with pytest.raises(SourceOpenError, match=message):
        open_source(text)


@given(st.text(max_size=200))
def test_no_line_that_a_child_prints_breaks_the_reader(line: str) -> None:
    from realtime.sources.common.gst_text import cut, explain, read_caps

    prefix = "x/GstFdSink:frames_out.GstPad:sink: caps = video/x-raw, "
    assert read_caps(prefix + line.replace("=", " ")) is None
    assert explain("a", [line, prefix + line], cut("a ! appsink", "a"))[0].startswith("a: ")


@needs_gstreamer
@pytest.mark.parametrize("width", [317, 318, 319, 320])
@pytest.mark.parametrize("form", ["BGR", "BGRx", "I420"])
def test_real_gstreamer_delivers_the_requested_colours(width: int, form: str) -> None:
    pipeline = f"videotestsrc pattern=red ! video/x-raw,format={form},width={width},height=9 ! appsink sync=false"
    source = open_source(pipeline)
    frame = next(iter(source))
    source.close()
    assert frame.image.shape == (9, width, 3)
    assert np.allclose(frame.image, (0, 0, 255), atol=4)


@needs_gstreamer
def test_real_gstreamer_drops_old_pictures_for_a_late_reader() -> None:
    source = open_source(
        "videotestsrc is-live=true num-buffers=60 ! video/x-raw,width=1280,height=720,framerate=30/1 ! appsink sync=false"
    )
    frames = iter(source)
    next(frames)
    time.sleep(1)
    assert len(list(frames)) < 45, "30 pictures were made in that second, and only the newest is delivered"


@needs_gstreamer
def test_real_gstreamer_plays_a_recording_at_its_own_speed() -> None:
    start_s = time.monotonic()
    frames = list(open_source("videotestsrc num-buffers=15 ! video/x-raw,width=64,height=48,framerate=30/1 ! appsink"))
    assert len(frames) >= 12
    assert time.monotonic() - start_s > 0.4
    assert frames[-1].pts_s - frames[0].pts_s == pytest.approx(14 / 30, abs=0.2)


@needs_gstreamer
def test_real_gstreamer_starts_every_time() -> None:
    for _ in range(20):
        source = open_source("videotestsrc ! video/x-raw,width=64,height=48 ! appsink sync=false")
        start_s = time.monotonic()
        next(iter(source))
        assert time.monotonic() - start_s < 5, "a notification that GStreamer lost was waited for"
        source.close()


@pytest.mark.parametrize(
    "element", ["GstIdentity:frames_pace.GstPad:src", "GstQueue:frames_queue.GstPad:sink", "GstFdSink:frames_out.GstPad:sink"]
)
def test_the_format_is_read_from_any_of_our_elements(element: str) -> None:
    from realtime.sources.common.gst_text import Caps, read_caps

    fields = "format=(string)BGRx, width=(int)64, height=(int)48, framerate=(fraction)0/1, interlace-mode=(string)progressive"
    assert read_caps(f"/GstPipeline:pipeline0/{element}: caps = video/x-raw, {fields}") == Caps(64, 48, "bgrx", None)
    assert read_caps(f"/GstPipeline:pipeline0/GstCapsFilter:c.GstPad:src: caps = video/x-raw, {fields}") is None


@needs_gstreamer
def test_real_gstreamer_names_an_element_that_is_missing() -> None:
    assert 'no element "nosuchsrc". Install its plugin' in str(_failure(open_source("nosuchsrc ! appsink")))


SECRET_PIPELINES = [
    "rtspsrc location=rtsp://admin:hunter2@camera/1 ! decodebin ! appsink",
    "rtspsrc location=rtsp://camera/1 user-id=admin user-pw=hunter2 ! decodebin ! appsink",
    "souphttpsrc location=http://camera/?loginpas=hunter2 ! appsink",
    "rtmpsrc location=rtmp://host/app/hunter2 ! appsink",
    "srtsrc uri=srt://host:1 passphrase=hunter2 ! appsink",
    "anysrc location=rtsp://a:${GST_TEST_PASSWORD}@camera/1 ! appsink",
]


@pytest.mark.parametrize("text", SECRET_PIPELINES)
def test_no_argument_of_a_child_holds_a_password(gst: StandIn, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """gst-launch-1.0 showed it to every user in `ps`."""
    monkeypatch.setenv("GST_TEST_PASSWORD", "hunter2")
    uri = parse(text)
    feed = PipeFeed(uri.name, cut(uri.target, uri.name))
    try:
        assert "hunter2" not in str(feed._process.args)
        with contextlib.suppress(FileNotFoundError):
            assert b"hunter2" not in Path(f"/proc/{feed._process.pid}/cmdline").read_bytes()
        with pytest.raises(SourceError) as caught:
            feed.wait_for_first(10)
        assert "hunter2" not in str(caught.value)
    finally:
        feed.close()
    assert gst.calls == []


def test_the_child_for_such_a_pipeline_does_what_gst_launch_does() -> None:
    """With GStreamer's core elements alone, which come with its library."""
    try:
        ctypes.CDLL("libgstreamer-1.0.so.0")
    except OSError:
        pytest.skip("GStreamer's library is not installed")
    child = [sys.executable, "-I", str(gst_child.__file__)]

    def run(*words: str, timeout_s: float = 20) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(child, input=json.dumps(words).encode(), capture_output=True, timeout=timeout_s, check=False)

    caps = "caps=video/x-raw,format=BGR,width=2,height=2"
    made = run(
        "fakesrc", "num-buffers=3", "sizetype=2", "sizemax=12", "!", "capsfilter", caps, "!", "fdsink", "name=frames_out", "fd=2"
    )
    assert (made.returncode, len(made.stderr)) == (0, 36)
    assert read_caps(made.stdout.decode().strip()) == Caps(2, 2, "bgr", None)
    failed = run("filesrc", "location=/nowhere", "!", "fdsink", "name=frames_out", "fd=2")
    assert (failed.returncode, failed.stdout.splitlines()[0]) == (1, b"ERROR: Resource not found.")
    wrong = run("nothingsrc", "!", "fdsink", "name=frames_out")
    assert (wrong.returncode, b'no element "nothingsrc"' in wrong.stdout) == (1, True)
