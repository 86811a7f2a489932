from __future__ import annotations

import http.server
import itertools
import re
import resource
import socket
import threading
import time
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.types import Size
from realtime.cli import main
from realtime.errors import SourceLostError, SourceOpenError
from realtime.sources import open_source
from realtime.sources.common.trail import Trail
from realtime.sources.street.scene import Street
from realtime.sources.synthetic import read_stamp

from .conftest import HttpServer

Handler = http.server.BaseHTTPRequestHandler


def _kilobytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_mjpeg_is_live_and_fresh(http_server, small_street: Street) -> None:
    http_server.pages["/live"] = lambda handler: http_server.mjpeg(handler, small_street)
    source = open_source(http_server.url("/live"))
    assert (source.is_live, source.status.state, source.frame_count) == (True, "live", None)
    ages_ms = []
    for frame in islice(source, 20):
        stamp = read_stamp(frame.image)
        assert stamp is not None
        ages_ms.append((time.monotonic_ns() - stamp) / 1e6)
        assert stamp <= frame.captured_ns
    source.close()
    assert float(np.median(ages_ms)) < 40
    assert source.status.state == "ended"
    assert len(http_server.requests) == 1


def test_a_slow_reader_gets_fresh_frames(http_server, small_street: Street) -> None:
    """As on the capture thread: frames are read without pause, and only the newest is kept."""
    http_server.pages["/live"] = lambda handler: http_server.mjpeg(handler, small_street)
    source = open_source(http_server.url("/live"))
    newest: list[object] = [None]

    def drain() -> None:
        for frame in source:
            newest[0] = frame

    thread = threading.Thread(target=drain)
    thread.start()
    ages_ms = []
    for _ in range(5):
        time.sleep(0.15)
        ages_ms.append((time.monotonic_ns() - read_stamp(newest[0].image)) / 1e6)
    source.close()
    thread.join(2)
    assert not thread.is_alive()
    assert max(ages_ms[1:]) < 150


def test_a_picture_bomb_is_rejected_by_its_header_and_counted(http_server, small_street: Street) -> None:
    jpeg = cv2.imencode(".jpg", small_street.draw(0.0))[1].tobytes()
    at = jpeg.index(b"\xff\xc0") + 5
    bomb = jpeg[:at] + (8000).to_bytes(2, "big") * 2 + jpeg[at + 4 :]

    def page(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=x")
        handler.end_headers()
        while not http_server.stopping.is_set():
            handler.wfile.write(b"--x\r\n\r\n" + bomb + b"\r\n--x\r\n\r\n" + jpeg + b"\r\n--x\r\n\r\n\xff\xd8\xff\xd9\r\n")
            http_server.stopping.wait(0.02)

    http_server.pages["/live"] = page
    source = open_source(http_server.url("/live"))
    before = _kilobytes()
    assert len(list(islice(source, 5))) == 5
    bombs, empty = source.status.rejected.values()
    assert (bombs, empty) == (5, 4)
    assert "8000x8000 pixels" in next(iter(source.status.rejected))
    assert source.status.state == "live"
    source.close()
    assert _kilobytes() - before < 50_000


def test_the_status_has_the_size_that_the_pictures_have_now(http_server, small_street: Street) -> None:
    def page(handler: Handler) -> None:
        http_server.mjpeg(handler, small_street, frames=3)
        http_server.mjpeg(handler, Street(Size(192, 108), objects=1, seed=1), frames=3)

    http_server.pages["/live"] = page
    source = open_source(http_server.url("/live"))
    details = [source.status.detail for _ in islice(source, 6)]
    source.close()
    assert (details[0], details[-1]) == ("320x180 MJPEG", "192x108 MJPEG")


def test_it_reconnects_when_the_server_drops_it(http_server, small_street: Street, caplog: pytest.LogCaptureFixture) -> None:
    http_server.pages["/live"] = lambda handler: http_server.mjpeg(handler, small_street, frames=6)
    source = open_source(http_server.url("/live", "admin:hunter2@"))
    frames = list(islice(source, 14))
    assert source.status.detail.endswith("2 reconnects")
    source.close()
    name = r"http://\*\*\*@127\.0\.0\.1:\d+/live: "
    lost, back = name + r"lost \(the server closed the connection\), reconnecting", name + r"back after 0\.\d s without a frame"
    for line, expected in zip(caplog.messages, (lost, back) * 2, strict=True):
        assert re.fullmatch(expected, line)
    assert [frame.index for frame in frames] == list(range(14))
    assert all(later.pts_s > earlier.pts_s for earlier, later in pairwise(frames))
    assert frames[-1].pts_s == pytest.approx((frames[-1].captured_ns - frames[0].captured_ns) / 1e9, abs=0.05)


def test_a_headless_run_reports_a_lost_camera_and_its_return(
    http_server, small_street: Street, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    http_server.pages["/live"] = lambda handler: http_server.mjpeg(handler, small_street, frames=6)
    url = http_server.url("/live", "admin:hunter2@")
    outputs = ["--jsonl", str(tmp_path / "o.jsonl"), "--log", str(tmp_path / "o.log")]
    assert main(["process", url, "--frames", "8", *outputs, "--model", str(tiny_model), "--backend", "ort"]) == 0
    written, log = capsys.readouterr().err, (tmp_path / "o.log").read_text()
    for text in (written, log):
        lost = text.count(": lost (the server closed the connection), reconnecting\n")  # twice where a slow machine drops frames
        assert lost >= 1
        assert text.count(": back after ") in (lost, lost - 1)
        assert "hunter2" not in text


def test_a_headless_run_counts_unusable_pictures(
    http_server, small_street: Street, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def page(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        while not http_server.stopping.is_set():
            for jpeg in (b"\xff\xd8\xff\xd9", cv2.imencode(".jpg", small_street.draw(time.monotonic()))[1].tobytes()):
                handler.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg + b"\r\n")
                http_server.stopping.wait(0.02)

    http_server.pages["/live"] = page
    outputs = ["--jsonl", str(tmp_path / "o.jsonl"), "--model", str(tiny_model), "--backend", "ort"]
    assert main(["process", http_server.url("/live"), "--frames", "8", *outputs]) == 0
    assert re.search(r"^unusable (\d+) pictures of the source: cannot be read as an image \(\1\)$", capsys.readouterr().out, re.M)


def test_process_waits_where_it_is_asked_to(
    small_street: Street, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    servers: list[HttpServer] = []

    def switch_on() -> None:
        servers.append(HttpServer(port))
        servers[0].pages["/live"] = lambda handler: servers[0].mjpeg(handler, small_street)

    url = f"http://admin:hunter2@127.0.0.1:{port}/live"
    words = ["process", url, "--frames", "3", "--model", str(tiny_model), "--backend", "ort"]
    assert main([*words, "--jsonl", str(tmp_path / "a.jsonl")]) == 2
    timer = threading.Timer(1.0, switch_on)
    timer.start()
    assert main([*words, "--jsonl", str(tmp_path / "o.jsonl"), "--wait"]) == 0
    timer.join()
    servers[0].stop()
    written = capsys.readouterr().err
    assert written.count(": not there (connection refused), waiting for it. Check the address and the port\n") == 1
    assert written.count(": back after ") == 1
    assert "hunter2" not in written


def test_waiting_for_a_recording_says_so(http_server, clip: Path) -> None:
    http_server.pages["/clip.mp4"] = lambda handler: http_server.file(handler, clip)
    source = open_source(http_server.url("/clip.mp4"), waits=True)
    assert not source.is_live  # it is there
    source.close()
    port, path = http_server.server_address[1], "/clip.mp4"
    http_server.stop()
    waiting = open_source(f"http://127.0.0.1:{port}{path}", waits=True)
    later = HttpServer(port)
    later.pages[path] = lambda handler: later.file(handler, clip)
    with pytest.raises(SourceOpenError, match=r"this is a recording, not a live stream\. Open it again"):
        next(iter(waiting))
    later.stop()


def test_a_declared_end_is_an_end(http_server, small_street: Street) -> None:
    http_server.pages["/clip"] = lambda handler: http_server.mjpeg(handler, small_street, frames=5, says_end=True)
    source = open_source(http_server.url("/clip"))
    assert len(list(source)) == 5
    assert source.status.state == "ended"


@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
def test_a_refused_password_is_reported_but_not_printed(http_server, scheme: str) -> None:
    def page(handler: Handler) -> None:
        handler.send_response(401)
        challenge = 'Basic realm="cam"' if scheme == "Basic" else 'Digest realm="cam", nonce="abc", qop="auth", algorithm=MD5'
        handler.send_header("WWW-Authenticate", challenge)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    http_server.pages["/live"] = page
    with pytest.raises(SourceOpenError, match=r"the user name or password was refused \(401\)") as caught:
        open_source(http_server.url("/live", "admin:hunter2@"))
    assert "hunter2" not in repr(caught.value)
    assert "***@127.0.0.1" in str(caught.value)


def test_the_right_password_opens(http_server, small_street: Street) -> None:
    def page(handler: Handler) -> None:
        if handler.headers.get("Authorization") == "Basic YWRtaW46cEBzcw==":  # admin:p@ss
            http_server.mjpeg(handler, small_street)
            return
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", 'Basic realm="cam"')
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    http_server.pages["/live"] = page
    source = open_source(http_server.url("/live", "admin:p%40ss@"))
    assert len(list(islice(source, 3))) == 3
    assert "p%40ss" not in source.name
    source.close()


def _moved(to: str) -> Callable[[Handler], None]:
    def page(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return page


def _locked(show: Callable[[Handler], None], asked: list[str]) -> Callable[[Handler], None]:
    """A page that wants admin:secret; `asked` gets the Authorization of each request."""

    def page(handler: Handler) -> None:
        asked.append(handler.headers.get("Authorization", ""))
        if asked[-1] == "Basic YWRtaW46c2VjcmV0":
            show(handler)
            return
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", 'Basic realm="cam"')
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return page


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("/loop", "redirects lead in a circle"),
        ("/there", "redirects lead in a circle"),
        ("/more?{}", "more than 5 redirects"),
        ("file:///etc/hostname", "redirects to file://"),
        ("http://[", "redirects to an invalid address"),
    ],
)
def test_redirects_are_followed_within_bounds(http_server, to: str, message: str) -> None:
    more = itertools.count()
    http_server.pages["/loop"] = lambda handler: _moved(to.format(next(more)))(handler)
    http_server.pages |= {"/there": _moved("/loop"), "/more": http_server.pages["/loop"]}
    started_s = time.monotonic()
    with pytest.raises(SourceOpenError, match=message) as caught:
        open_source(http_server.url("/loop", "admin:secret@"))
    assert time.monotonic() - started_s < 1
    assert len(http_server.requests) <= 6
    assert "secret" not in str(caught.value)


def test_a_redirect_to_another_path_of_the_server_keeps_the_password(http_server, small_street: Street) -> None:
    asked: list[str] = []
    http_server.pages |= {"/live": _moved("/video/1")}
    http_server.pages["/video/1"] = _locked(lambda handler: http_server.mjpeg(handler, small_street), asked)
    source = open_source(http_server.url("/live", "admin:secret@"))
    assert next(iter(source)).image.shape == (180, 320, 3)
    source.close()
    assert asked[-1]


def test_a_recording_behind_a_redirect_gets_the_password(http_server, clip: Path) -> None:
    http_server.pages |= {"/film": _moved("/clip.mp4"), "/clip.mp4": _locked(lambda handler: http_server.file(handler, clip), [])}
    source = open_source(http_server.url("/film", "admin:secret@"))
    assert len(list(source)) == 50
    source.close()


def test_another_server_does_not_get_the_password_and_the_error_says_so(http_server, small_street: Street) -> None:
    asked: list[str] = []
    http_server.pages["/video"] = _locked(lambda handler: http_server.mjpeg(handler, small_street), asked)
    other = http_server.url("/video").replace("127.0.0.1", "localhost")
    http_server.pages["/live"] = _moved(other)
    with pytest.raises(
        SourceOpenError, match=r"redirect leads to http://localhost:\d+, which does not get the password"
    ) as caught:
        open_source(http_server.url("/live", "admin:secret@"))
    assert asked == [""]
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("first", "location", "goes_on"),
    [
        ("https://u:p@cam/a", "http://cam/b", False),
        ("http://u:p@cam/a", "https://cam/b", False),
        ("http://u:p@cam/a", "http://cam:8080/b", False),
        ("http://u:p@cam:80/a", "http://CAM/b", True),
        ("http://u:p@cam/a", "//cam/b", True),
        ("rtsp://u:p@cam/a", "rtsp://cam:554/b", True),
        ("rtsp://u:p@cam/a", "rtsp://evil/b", False),
        ("rtsps://u:p@cam/a", "rtsp://cam/b", False),
    ],
)
def test_only_the_named_server_gets_the_password(first: str, location: str, goes_on: bool) -> None:
    trail = Trail(first, "name")
    trail.follow(location)
    assert ("u:p@" in trail.url) == goes_on
    assert bool(trail.withheld) != goes_on
    trail.follow(first.replace("u:p@", "") + "/back")
    assert "u:p@" in trail.url


@pytest.mark.parametrize("scheme", ["Basic", "Digest", "both"])
def test_a_wrong_password_is_sent_once(http_server, scheme: str) -> None:
    """Cameras lock an account after a few."""
    asked: list[str] = []

    def page(handler: Handler) -> None:
        asked.append(handler.headers.get("Authorization", ""))
        handler.send_response(401)
        if scheme != "Basic":
            handler.send_header("WWW-Authenticate", 'Digest realm="cam", nonce="abc", qop="auth", algorithm=MD5')
        if scheme != "Digest":
            handler.send_header("WWW-Authenticate", 'Basic realm="cam"')
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    http_server.pages["/live"] = page
    with pytest.raises(SourceOpenError, match="refused"):
        open_source(http_server.url("/live", "admin:hunter2@"))
    assert len([text for text in asked if text]) == 1


def test_a_plain_file_is_not_live(http_server, clip: Path) -> None:
    http_server.pages["/clip.mp4"] = lambda handler: http_server.file(handler, clip)
    source = open_source(http_server.url("/clip.mp4"))
    assert (source.is_live, source.frame_count, source.fps) == (False, 50, 25.0)
    assert [read_stamp(frame.image) for frame in source] == list(range(50))
    source.close()


@pytest.mark.parametrize("drips", [False, True], ids=["silent", "a byte now and then"])
def test_a_file_whose_server_falls_silent_is_lost_not_ended(http_server, clip: Path, drips: bool) -> None:
    def page(handler: Handler) -> None:
        data = clip.read_bytes()
        handler.send_response(200)
        handler.send_header("Content-Type", "video/mp4")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        begun = len(data) * 2 // 3
        handler.wfile.write(data[:begun])
        for at in range(begun, len(data)):
            if http_server.stopping.wait(0.1 if drips else 20):
                return
            handler.wfile.write(data[at : at + 1])

    http_server.pages["/clip.mp4"] = page
    source = open_source(http_server.url("/clip.mp4#timeout_s=0.5"))
    frames: list[object] = []
    begun_s = time.monotonic()
    with pytest.raises(SourceLostError, match=r"no answer within 0\.5 s"):
        frames.extend(source)
    assert time.monotonic() - begun_s < 10
    source.close()


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (404, "text/plain", "answers 404 .*Check the path"),
        (503, "text/plain", "answers 503"),
        (200, "text/html", "this is a web page"),
    ],
)
def test_answers_that_are_not_videos(http_server, status: int, kind: str, message: str) -> None:
    def page(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", "5")
        handler.end_headers()
        handler.wfile.write(b"hello")

    http_server.pages["/x"] = page
    with pytest.raises(SourceOpenError, match=message):
        open_source(http_server.url("/x"))


def test_no_server_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(SourceOpenError, match=r"connection refused\. Check the address and the port"):
        open_source(f"http://admin:hunter2@127.0.0.1:{port}/x")
    with pytest.raises(SourceOpenError, match="no host has that name"):
        open_source("http://surely.invalid/x")


def test_close_from_another_thread_ends_a_silent_read_at_once(http_server, small_street: Street) -> None:
    def page(handler: Handler) -> None:
        http_server.mjpeg(handler, small_street, frames=3)
        http_server.stopping.wait(20)

    http_server.pages["/live"] = page
    source = open_source(http_server.url("/live#timeout_s=10"))
    frames: list[object] = []
    thread = threading.Thread(target=lambda: frames.extend(source))
    thread.start()
    time.sleep(1.4)
    assert source.status.state == "stalled"
    assert source.status.detail.startswith("no frame for 1.")
    closed_s = time.monotonic()
    source.close()
    thread.join(3)
    assert time.monotonic() - closed_s < 0.3
    assert len(frames) == 3


def test_close_before_the_first_picture_is_not_an_error(http_server) -> None:
    def page(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=x")
        handler.end_headers()
        http_server.stopping.wait(20)

    http_server.pages["/live"] = page
    source = open_source(http_server.url("/live#timeout_s=10"))
    failures: list[Exception] = []

    def capture() -> None:
        try:
            assert list(source) == []
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=capture)
    thread.start()
    time.sleep(0.2)
    source.close()
    thread.join(2)
    assert not thread.is_alive()
    assert failures == []


def test_letters_and_spaces_in_an_address_reach_the_server_percent_encoded(http_server, small_street: Street) -> None:
    http_server.pages["/caf%C3%A9%20one"] = lambda handler: http_server.mjpeg(handler, small_street, frames=3)
    source = open_source(http_server.url("/café one"))
    assert next(iter(source)).image.size
    source.close()
