"""A live playlist: its pieces of seconds are played at their own pace, its end is an end, and what is old is not shown again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from realtime.errors import SourceOpenError
from realtime.sources import open_source
from realtime.sources.common.playlist import newest_piece, piece_s
from realtime.sources.street.scene import Street
from realtime.sources.synthetic import read_stamp

from .conftest import FPS, stamped

PIECE_S = 1

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory, small_street: Street) -> list[Path]:
    """Six pieces of a second."""
    folder = tmp_path_factory.mktemp("hls")
    options = {"hls_time": str(PIECE_S), "hls_list_size": "0"}
    with av.open(str(folder / "all.m3u8"), "w", format="hls", container_options=options) as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "g": str(PIECE_S * FPS)})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        sound = container.add_stream("aac", rate=48000, layout="mono")
        for index in range(6 * PIECE_S * FPS):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stamped(small_street, index, index), format="bgr24")))
            container.mux(sound.encode(_silence(index)))
        container.mux(stream.encode())
        container.mux(sound.encode())
    return sorted(folder.glob("*.ts"))


def _silence(index: int) -> av.AudioFrame:
    """The sound of one picture."""
    count = 48000 // FPS
    frame = av.AudioFrame.from_ndarray(np.zeros((1, count), np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48000, index * count, Fraction(1, 48000)
    return frame


def serve(http_server: Any, pieces: list[Path], shown: Callable[[], int], *, ends: bool) -> str:
    """The playlist lists the last three of the first `shown()` pieces."""

    def playlist(handler: Any) -> None:
        last = min(shown(), len(pieces))
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{PIECE_S}", f"#EXT-X-MEDIA-SEQUENCE:{max(0, last - 3)}"]
        for piece in pieces[max(0, last - 3) : last]:
            lines += [f"#EXTINF:{PIECE_S}.0,", piece.name]
        lines += ["#EXT-X-ENDLIST"] if ends and last == len(pieces) else []
        data = "\n".join([*lines, ""]).encode()
        handler.send_response(200)
        handler.send_header("Content-Type", "application/vnd.apple.mpegurl")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    http_server.pages["/live.m3u8"] = playlist
    for piece in pieces:
        http_server.pages[f"/{piece.name}"] = lambda handler, piece=piece: http_server.file(handler, piece, "video/mp2t")
    return str(http_server.url("/live.m3u8"))


def test_a_live_playlist_is_played_at_its_own_pace_to_its_end(http_server: Any, pieces: list[Path]) -> None:
    begun_s = time.monotonic()
    url = serve(http_server, pieces, lambda: 3 + int((time.monotonic() - begun_s) / PIECE_S), ends=True)
    source = open_source(url)
    assert source.is_live
    assert source.status.sound == "aac, 48000 Hz"
    stamps, times_s = [], []
    for frame in source:
        stamps.append(read_stamp(frame.image))
        times_s.append(time.monotonic())
    assert stamps == list(range(6 * PIECE_S * FPS))
    assert source.reconnects == 0
    assert times_s[-1] - times_s[0] == pytest.approx(len(stamps) / FPS, abs=2.5)
    assert np.percentile(np.diff(times_s), 95) < 0.3
    assert source.status.state == "ended"


def test_an_old_playlist_is_not_shown_again(http_server: Any, pieces: list[Path]) -> None:
    source = open_source(serve(http_server, pieces, lambda: 3, ends=False))
    again = source._connect
    source.close()
    with pytest.raises(SourceOpenError, match="its playlist has nothing new"):
        again()


def test_closing_does_not_wait_for_a_server_that_is_silent(
    http_server: Any, pieces: list[Path], reading: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    url = serve(http_server, pieces, lambda: 3 if len(asked) < 2 else 4, ends=False)
    asked: list[float] = []
    listed = http_server.pages["/live.m3u8"]

    def playlist(handler: Any) -> None:
        asked.append(time.monotonic())
        listed(handler)

    def silent(_handler: Any) -> None:
        http_server.stopping.wait(30)

    http_server.pages["/live.m3u8"] = playlist
    http_server.pages[f"/{pieces[3].name}"] = silent
    with reading(open_source(url)) as frames:
        wait_until(lambda: len(frames) > 5 and f"/{pieces[3].name}" in http_server.requests, 10)
        closed_s = time.monotonic()
    assert time.monotonic() - closed_s < 1
    http_server.stopping.set()
    wait_until(lambda: "read" not in [thread.name for thread in threading.enumerate()], 8)


def test_what_a_playlist_says() -> None:
    text = b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na.ts\n#EXTINF:4,\nb.ts?x=1\n\n"
    assert (newest_piece(text), piece_s(text)) == ("b.ts?x=1", 4)
    assert (newest_piece(b"<MPD/>\xff"), piece_s(b"#EXTM3U\n")) == ("<MPD/>\ufffd", 6)
    assert newest_piece(b"#EXTM3U\n") == ""
