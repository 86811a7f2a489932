"""Every scheme in the folder keeps the Source protocol: a new module is tested by existing."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from realtime.sources import open_source, schemes
from realtime.sources.gst import open_pipeline
from realtime.sources.webcam import Format, cameras, webcam
from realtime.types import Frame, Source, SourceStatus

STATES = {"connecting", "live", "stalled", "retrying", "ended"}
Open = Callable[[], Source]


@pytest.fixture(params=schemes())
def opened(request: pytest.FixtureRequest, clip: Path, tmp_path: Path) -> Open:
    """Opens a real instance of each scheme, with a stand-in for a camera. A scheme that is not listed is opened as SCHEME://."""

    def server(name: str) -> Any:
        return request.getfixturevalue(name)

    def http() -> Source:
        pages, street = server("http_server"), server("small_street")
        pages.pages["/live"] = lambda handler: pages.mjpeg(handler, street)
        return open_source(pages.url("/live"))

    def images() -> Source:
        for number in range(3):
            cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((20, 30, 3), number, np.uint8))
        return open_source(str(tmp_path))

    def camera() -> Source:
        server("plug")(tmp_path, 0, "Cam")
        return webcam(cameras(tmp_path)[0], "webcam://0", Format(), server("kind"), tmp_path)

    def gstreamer(name: str) -> Source:
        if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER) and shutil.which("gst-launch-1.0") is None:
            pytest.skip("neither OpenCV's GStreamer nor gst-launch-1.0 is available")
        return open_pipeline("videotestsrc is-live=true ! video/x-raw,width=320,height=180 ! appsink sync=false", name)

    openers: dict[str, Open] = {
        "csi": lambda: gstreamer("csi://0"),  # all of it but the sensor
        "file": lambda: open_source(str(clip)),
        "gst": lambda: gstreamer("gst://videotestsrc"),
        "http": http,
        "images": images,
        "rtsp": lambda: open_source(server("rtsp_servers")().url()),
        "sample": lambda: open_source("sample://carphone"),
        "synthetic": lambda: open_source("synthetic://street?width=320&height=180&seconds=1"),
        "webcam": camera,
    }
    return openers.get(request.param, lambda: open_source(f"{request.param}://"))


def _check_frame(frame: Frame, index: int) -> None:
    assert frame.index == index
    assert frame.image.dtype == np.uint8
    assert frame.image.ndim == 3
    assert frame.image.shape[2] == 3
    assert frame.image.flags.c_contiguous


def test_a_source_keeps_the_protocol(opened: Open) -> None:
    source: Source = opened()
    assert isinstance(source.name, str)
    assert isinstance(source.is_live, bool)
    assert source.frame_count is None or source.frame_count > 0
    assert source.fps is None or source.fps > 0
    frames: list[Frame] = []
    for frame in source:
        _check_frame(frame, len(frames))
        frames.append(frame)
        assert isinstance(source.status, SourceStatus)
        assert source.status.state in STATES
        if len(frames) == 12:
            break
    source.close()
    source.close()
    assert len(frames) >= 2
    assert frames[0].pts_s == 0.0
    for earlier, later in itertools.pairwise(frames):
        assert later.pts_s > earlier.pts_s
        assert later.captured_ns >= earlier.captured_ns
        assert not np.shares_memory(earlier.image, later.image)
    assert source.status.state == "ended"
    assert list(source) == []


def test_close_from_another_thread_ends_the_iteration(opened: Open) -> None:
    source = opened()
    seen, failures = [], []

    def capture() -> None:
        try:
            seen.extend(frame.index for frame in source)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=capture)
    thread.start()
    while not seen and thread.is_alive():
        thread.join(0.01)
    source.close()
    thread.join(2)
    assert not thread.is_alive()
    assert failures == []


def test_closing_before_iterating(opened: Open) -> None:
    source = opened()
    source.close()
    assert source.status.state == "ended"
    assert list(source) == []


def test_the_heavy_decoder_loads_only_for_the_schemes_that_need_it(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((20, 30, 3), np.uint8))
    code = (
        "import contextlib, sys; sys.modules['av'] = None\nfrom realtime.errors import SourceError\n"
        "from realtime.sources import open_source, schemes, first_webcam\nschemes()\n"
        "with contextlib.suppress(SourceError): first_webcam(0.1)\n"
        f"assert len(list(open_source({str(tmp_path)!r}))) == 1\n"
        "assert len(list(open_source('synthetic://street?seconds=0.1&width=64&height=64'))) == 3\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
