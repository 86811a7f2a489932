"""F13: an RTSP camera behind a bad network, with a wrong password, or redirecting in a circle: the right state, no password."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from realtime.errors import SourceOpenError
from realtime.sources import open_source

from .rtsp_proxy import RtspProxy

pytestmark = pytest.mark.slow


@pytest.fixture
def proxy(rtsp_servers: Callable) -> Iterator[RtspProxy]:
    proxy = RtspProxy(rtsp_servers().port)
    yield proxy
    proxy.close()


def test_a_reset_is_a_loss_and_the_camera_is_found_again(
    proxy: RtspProxy, wait_until: Callable, reading: Callable, caplog: pytest.LogCaptureFixture, rounds: Callable[[int, int], int]
) -> None:
    source = open_source(proxy.url("admin:hunter2@"))
    with reading(source) as frames:
        for _ in range(rounds(1, 50)):
            count = len(frames)
            wait_until(lambda count=count: len(frames) > count + 5)
            proxy.reset()
            wait_until(lambda: source.status.state == "retrying")
            assert "hunter2" not in source.status.detail
            wait_until(lambda: source.status.state == "live")
    assert "lost (" in caplog.messages[0]
    assert not any("hunter2" in text for text in caplog.messages)


def test_lost_packets_cost_pictures_and_not_the_stream(
    proxy: RtspProxy, wait_until: Callable, reading: Callable, rounds: Callable[[int, int], int]
) -> None:
    source = open_source(proxy.url())
    with reading(source) as frames:
        wait_until(lambda: len(frames) > 5)
        proxy.loss, count, states = 0.3, len(frames), set()
        end_s = time.monotonic() + rounds(3, 300)
        while time.monotonic() < end_s:
            states.add(source.status.state)
            time.sleep(0.02)
        assert len(frames) > count
        assert states <= {"live", "stalled", "undecodable"}
        proxy.loss, count = 0.0, len(frames)
        wait_until(lambda: len(frames) > count + 30 and source.status.state == "live")


def test_jitter_is_waited_for(
    proxy: RtspProxy, wait_until: Callable, reading: Callable, rounds: Callable[[int, int], int]
) -> None:
    source = open_source(proxy.url())
    with reading(source) as frames:
        wait_until(lambda: len(frames) > 5)
        proxy.jitter_s, count, states = 0.5, len(frames), set()
        end_s = time.monotonic() + rounds(3, 300)
        while time.monotonic() < end_s:
            states.add(source.status.state)
            time.sleep(0.02)
        assert len(frames) > count
        assert states <= {"live", "stalled"}
        assert source.reconnects == 0


def test_a_refused_password_is_reported_but_not_printed(rtsp_servers: Callable) -> None:
    server = rtsp_servers(password="right")
    source = open_source(server.url("admin:hunter2@"))
    with pytest.raises(
        SourceOpenError, match=r"rtsp://\*\*\*@127\.0\.0\.1:\d+/live: the user name or password was refused"
    ) as caught:
        next(iter(source))
    assert "hunter2" not in repr(caught.value)
    good = open_source(server.url("admin:right@"))
    assert next(iter(good)).image.shape == (180, 320, 3)
    assert "right" not in good.name + good.status.detail
    good.close()


def test_a_redirect_loop_ends_at_once(rtsp_servers: Callable) -> None:
    server = rtsp_servers()
    server.redirects_to = server.url()
    started_s = time.monotonic()
    with pytest.raises(SourceOpenError, match="redirects lead in a circle"):
        next(iter(open_source(server.url("admin:hunter2@"))))
    assert time.monotonic() - started_s < 1
    assert server.connections == 1
