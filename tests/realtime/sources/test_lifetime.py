"""No threads and file handles leak over repeated openings."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from realtime.errors import SourceOpenError
from realtime.sources import Paced, open_source
from realtime.sources.common.base import FrameSource, Picture
from realtime.sources.street.scene import Street

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="counts handles in /proc")]


def _handles() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def _settled_threads(expected: int) -> int:
    due_s = time.monotonic() + 2
    while threading.active_count() > expected and time.monotonic() < due_s:
        time.sleep(0.02)
    return threading.active_count()


@pytest.mark.parametrize("kind", ["file", "loop", "paced", "images", "sample", "synthetic", "http"])
def test_eight_openings_leak_nothing(kind: str, clip: Path, tmp_path: Path, http_server, small_street: Street) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((20, 30, 3), np.uint8))
    http_server.pages["/live"] = lambda handler: http_server.mjpeg(handler, small_street, frames=20)
    uri = {
        "file": str(clip),
        "loop": f"{clip}?loop=1",
        "paced": "synthetic://street?width=64&height=64&fps=200",
        "images": str(tmp_path),
        "sample": "sample://carphone",
        "synthetic": "synthetic://street?width=64&height=64",
        "http": http_server.url("/live"),
    }[kind]

    def once() -> None:
        source = open_source(uri)
        source = Paced(source) if kind == "paced" else source
        list(islice(source, 2))
        source.close()

    once()
    time.sleep(0.1)
    handles, threads = _handles(), threading.active_count()
    for _ in range(8):
        once()
    assert _settled_threads(threads) <= threads
    time.sleep(0.1 if kind == "http" else 0)  # the server's side of the last connections
    assert _handles() <= handles + (2 if kind == "http" else 0)


def test_cameras_opened_repeatedly_leak_nothing(rtsp_servers: Callable) -> None:
    server = rtsp_servers()
    threads = threading.active_count()
    source = open_source(server.url())
    next(iter(source))
    handles = _handles()
    source.close()
    for _ in range(4):
        source = open_source(server.url())
        next(iter(source))
        source.close()
    server.drop_clients()
    assert _settled_threads(threads) <= threads
    assert _handles() <= handles


def test_failed_openings_leak_nothing(tmp_path: Path) -> None:
    (tmp_path / "noise.mp4").write_bytes(bytes(1000))
    handles, threads = _handles(), threading.active_count()
    for _ in range(20):
        with pytest.raises(SourceOpenError):
            open_source(str(tmp_path / "noise.mp4"))
        with pytest.raises(SourceOpenError):
            next(iter(open_source("rtsp://127.0.0.1:1/x")))
    assert _settled_threads(threads) <= threads
    assert _handles() <= handles


def test_threads_that_close_at_once_free_it_one_at_a_time() -> None:
    """Before the first frame nobody owns it: a model that is refused closes it on two threads, and FFmpeg crashes at that."""
    inside, most, both = [], [], threading.Barrier(2)

    class Slow(FrameSource):
        def _pictures(self) -> Iterator[Picture]:
            return iter(())

        def _release(self) -> None:
            inside.append(1)
            time.sleep(0.05)
            most.append(len(inside))
            inside.pop()

    source = Slow("slow")

    def close() -> None:
        both.wait()
        source.close()

    threads = [threading.Thread(target=close) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    source.close()
    assert set(most) == {1}
    assert source.status.state == "ended"
