from __future__ import annotations

import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import islice, pairwise

import numpy as np
import pytest

from engines.types import Size
from realtime.errors import SourceOpenError
from realtime.sources import open_source
from realtime.sources.common.attempt import CarefulBackoff
from realtime.sources.synthetic import read_stamp


def test_a_camera_is_live_and_fresh(rtsp_servers: Callable) -> None:
    source = open_source(rtsp_servers().url())
    assert (source.is_live, source.status.state, source.frame_count) == (True, "connecting", None)
    started_s = time.monotonic()
    frames = iter(source)
    next(frames)
    assert time.monotonic() - started_s < 1.5
    list(islice(frames, 15))  # the frames that arrived while FFmpeg probed the stream
    ages_ms = [(time.monotonic_ns() - read_stamp(frame.image)) / 1e6 for frame in islice(frames, 20)]
    assert source.status.detail.startswith("320x180 h264")
    source.close()
    # One frame interval is FFmpeg's parser, which sees a frame's end only when the next begins.
    assert float(np.median(ages_ms)) < 40 + 35


def test_time_and_index_rise_across_reconnects(rtsp_servers: Callable) -> None:
    server = rtsp_servers()
    source = open_source(server.url())
    frames, states, drops = [], set(), 0
    for frame in source:
        frames.append(frame)
        states.add(source.status.state)
        if len(frames) == 7 or (drops == 1 and source.status.detail.endswith("1 reconnect")):
            server.drop_clients()
            drops += 1
        if source.status.detail.endswith("2 reconnects"):
            break
    source.close()
    assert states == {"live"}
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert all(later.pts_s > earlier.pts_s for earlier, later in pairwise(frames))


def test_the_resolution_may_change_in_mid_stream(rtsp_servers: Callable) -> None:
    server = rtsp_servers()
    source = open_source(server.url())
    shapes = []
    for frame in source:
        if frame.image.shape not in shapes:
            shapes.append(frame.image.shape)
        if frame.index == 20:
            server.size = Size(192, 108)
        if frame.index == 60 or len(shapes) == 2:
            break
    source.close()
    assert shapes == [(180, 320, 3), (108, 192, 3)]


@pytest.mark.slow
def test_a_frozen_camera_is_stalled_then_retried_and_closing_is_quick(rtsp_servers: Callable) -> None:
    server = rtsp_servers()
    source = open_source(server.url())
    frames: list[object] = []
    thread = threading.Thread(target=lambda: frames.extend(source))
    thread.start()
    _wait(lambda: len(frames) > 5, 5)
    server.freeze.set()
    froze_s = time.monotonic()
    _wait(lambda: source.status.state == "stalled", 2.5)
    _wait(lambda: source.status.state in ("retrying", "connecting"), 4)
    assert time.monotonic() - froze_s < 4
    count = len(frames)
    server.freeze.clear()
    _wait(lambda: len(frames) > count, 8)
    server.freeze.set()
    time.sleep(0.1)
    closed_s = time.monotonic()
    source.close()
    thread.join(5)
    assert not thread.is_alive()
    assert time.monotonic() - closed_s < 2.0


def _wait(until: Callable[[], bool], timeout_s: float) -> None:
    due_s = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < due_s, "it did not happen in time"
        time.sleep(0.02)


def test_closing_does_not_wait_for_a_long_time_out(rtsp_servers: Callable) -> None:
    server = rtsp_servers()
    source = open_source(f"{server.url()}#timeout_s=20")
    frames: list[object] = []
    reader = threading.Thread(target=lambda: frames.extend(source), daemon=True)
    reader.start()
    _wait(lambda: len(frames) > 5, 10)
    server.freeze.set()
    time.sleep(0.3)
    started_s = time.monotonic()
    source.close()
    reader.join(10)
    assert time.monotonic() - started_s < 2


def test_a_camera_that_never_answers_fails_at_the_deadline(rtsp_servers: Callable) -> None:
    source = open_source(rtsp_servers(silent=True).url("admin:hunter2@") + "#open_timeout_s=1")
    started_s = time.monotonic()
    with pytest.raises(SourceOpenError, match="no answer within 1 s") as caught:
        next(iter(source))
    assert time.monotonic() - started_s < 2
    assert "hunter2" not in str(caught.value)


def test_closing_does_not_wait_for_a_camera_that_never_answers(rtsp_servers: Callable) -> None:
    source = open_source(rtsp_servers(silent=True).url())
    thread = threading.Thread(target=lambda: list(source))
    thread.start()
    time.sleep(0.2)
    assert source.status.state == "connecting"
    closed_s = time.monotonic()
    source.close()
    thread.join(2)
    assert time.monotonic() - closed_s < 0.3
    assert source.status.state == "ended"


def test_a_program_ends_while_a_camera_does_not_answer(rtsp_servers: Callable) -> None:
    code = (
        "import sys, threading, time\nfrom realtime.sources import open_source\n"
        "source = open_source(sys.argv[1])\nthread = threading.Thread(target=lambda: list(source))\n"
        "thread.start(); time.sleep(0.3); source.close(); thread.join()"
    )
    started_s = time.monotonic()
    subprocess.run([sys.executable, "-c", code, rtsp_servers(silent=True).url()], check=True, timeout=20)
    assert time.monotonic() - started_s < 4


def test_a_camera_that_refuses_for_a_while_is_asked_seldom(rtsp_servers: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be starting. What is refused at first is an error at once."""
    monkeypatch.setattr(CarefulBackoff, "PAUSES_S", (0.5, 1.0))
    server = rtsp_servers()
    source = open_source(server.url("admin:right@"))
    frames: list[object] = []
    thread = threading.Thread(target=lambda: frames.extend(source))
    thread.start()
    _wait(lambda: len(frames) > 5, 5)
    server.password = "new"
    before = server.connections
    server.drop_clients()
    _wait(lambda: "refused" in source.status.detail, 5)
    assert source.status.state == "retrying"
    time.sleep(1.0)
    assert server.connections - before <= 2
    server.password, count = "right", len(frames)
    _wait(lambda: len(frames) > count, 5)
    source.close()
    thread.join(3)


def test_pauses_after_a_refusal_lock_no_account() -> None:
    backoff = CarefulBackoff(random.Random(1))
    pauses = [backoff.pause_s() for _ in range(6)]
    assert all(least <= pause <= 1.2 * least for pause, least in zip(pauses, (5, 15, 60, 300, 300, 300), strict=True))
    backoff.reset()
    assert backoff.pause_s() <= 6


def test_a_redirect_to_another_camera_does_not_give_it_the_password(rtsp_servers: Callable) -> None:
    other = rtsp_servers(password="secret")
    source = open_source(rtsp_servers(redirects_to=other.url().replace("127.0.0.1", "localhost")).url("admin:secret@"))
    with pytest.raises(SourceOpenError, match=r"a redirect leads to rtsp://localhost:\d+, which does not get the password"):
        next(iter(source))


@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
def test_a_redirect_on_the_same_camera_keeps_the_password(rtsp_servers: Callable, scheme: str) -> None:
    server = rtsp_servers(password="secret", scheme=scheme)
    server.redirects_to = server.url().replace("/live", "/real")
    source = open_source(server.url("admin:secret@"))
    assert next(iter(source)).image.shape == (180, 320, 3)
    source.close()


def test_a_stream_that_does_not_decode_is_said_and_ends_nothing(rtsp_servers: Callable, reading: Callable) -> None:
    server = rtsp_servers()
    source = open_source(server.url())
    with reading(source) as frames:
        _wait(lambda: len(frames) > 5, 5)
        server.noise.set()
        _wait(lambda: source.status.state == "undecodable", 6)
        assert source.status.rejected["a packet that does not decode"] > 20
        server.noise.clear()
        count = len(frames)
        _wait(lambda: len(frames) > count + 5 and source.status.state == "live", 5)
        assert source.reconnects == 0


def test_no_server_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    source = open_source(f"rtsp://admin:hunter2@127.0.0.1:{port}/live")
    with pytest.raises(SourceOpenError, match=r"\*\*\*@127.*connection refused. Check the address and the port"):
        next(iter(source))
    assert source.status.state == "ended"


def test_a_camera_that_returns_is_reconnected_soon_and_logged_once(
    rtsp_servers: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    server = rtsp_servers()
    source = open_source(server.url())
    frames: list[object] = []
    thread = threading.Thread(target=lambda: frames.extend(source))
    thread.start()
    _wait(lambda: len(frames) > 5, 5)
    server.stop()
    _wait(lambda: source.status.state == "retrying", 3)
    assert "trying again in" in source.status.detail
    time.sleep(1.2)  # several attempts fail meanwhile
    count, back_s = len(frames), time.monotonic()
    rtsp_servers(port=server.port)
    _wait(lambda: len(frames) > count, 5)
    assert time.monotonic() - back_s < 2.0
    source.close()
    thread.join(3)
    lost, back = caplog.messages
    assert ": lost (" in lost
    assert float(back.split(": back after ")[1].removesuffix(" s without a frame")) > 1.1
    assert {record.levelname for record in caplog.records} == {"WARNING"}
