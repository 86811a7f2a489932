"""F12: MJPEG without a boundary, with 2 GB of Content-Length, one byte a second or an endless head: bounded memory and time."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import resource
import threading
import time
from collections.abc import Callable
from itertools import islice

import cv2
import pytest

from realtime.errors import SourceOpenError
from realtime.sources import open_source
from realtime.sources.street.scene import Street
from realtime.sources.synthetic import read_stamp

Handler = http.server.BaseHTTPRequestHandler


def _kilobytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize(
    "how", [{"boundary": ""}, {"content_length": 2**31}, {"content_length": 3}], ids=["no boundary", "2 GB", "too short"]
)
def test_wrong_headers_do_not_matter(http_server, small_street: Street, how: dict[str, object]) -> None:
    http_server.pages["/live"] = lambda handler: http_server.mjpeg(handler, small_street, **how)
    source = open_source(http_server.url("/live"))
    before = _kilobytes()
    frames = list(islice(source, 10))
    assert source.status.detail == "320x180 MJPEG"
    source.close()
    assert all(read_stamp(frame.image) is not None for frame in frames)
    assert _kilobytes() - before < 16_000


def _drip(stopping: threading.Event, data: Callable[[], bytes]) -> Callable[[Handler], None]:
    def page(handler: Handler) -> None:
        with contextlib.suppress(OSError):
            while not stopping.is_set():
                handler.wfile.write(data())
                stopping.wait(0.05)

    return page


def test_a_body_that_drips_ends_at_the_deadline(http_server, small_street: Street) -> None:
    def page(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=x")
        handler.end_headers()
        handler.wfile.write(cv2.imencode(".jpg", small_street.draw(0.0))[1].tobytes()[:200])
        _drip(http_server.stopping, lambda: b"\0")(handler)

    http_server.pages["/slow"] = page
    source = open_source(http_server.url("/slow#timeout_s=0.5"))
    started_s = time.monotonic()
    with pytest.raises(SourceOpenError, match=r"no whole picture within 0\.5 s"):
        next(iter(source))
    assert time.monotonic() - started_s < 1.5
    source.close()


@pytest.mark.parametrize("data", [b"x", b"X-More: 1\r\n"], ids=["slow-loris", "endless header"])
def test_an_endless_head_fails_at_the_deadline(http_server, data: bytes) -> None:
    chunks = itertools.chain([b"HTTP/1.1 200 OK\r\n"], itertools.repeat(data))
    http_server.pages["/drip"] = _drip(http_server.stopping, lambda: next(chunks))
    started_s = time.monotonic()
    with pytest.raises(SourceOpenError):
        open_source(http_server.url("/drip#open_timeout_s=1"))
    assert time.monotonic() - started_s < 1.5


def test_an_endless_body_without_pictures_takes_no_memory(http_server) -> None:
    def page(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=x")
        handler.end_headers()
        with contextlib.suppress(OSError):
            while not http_server.stopping.is_set():
                handler.wfile.write(b"X-Header: endless\r\n" * 5000)

    http_server.pages["/endless"] = page
    source = open_source(http_server.url("/endless#timeout_s=0.5"))
    before = _kilobytes()
    with pytest.raises(SourceOpenError, match="no whole picture"):
        next(iter(source))
    source.close()
    assert _kilobytes() - before < 16_000
