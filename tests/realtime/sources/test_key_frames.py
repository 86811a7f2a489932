"""A live stream that is joined between two key frames begins with the next one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from realtime.errors import SourceLostError
from realtime.sources.common import container
from realtime.sources.common.container import VideoStream

FPS, GOP, MISSED = 25, 20, 4


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three groups of pictures; of the first only what follows its start. The parameters are in the header, as in an SDP."""
    path = tmp_path_factory.mktemp("joined") / "joined.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=FPS, options={"g": str(GOP), "tune": "zerolatency", "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        packets = []
        for number in range(3 * GOP):
            image = np.full((96, 160, 3), 4 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            packets += stream.encode(frame)
        output.mux([*packets, *stream.encode()][MISSED:])
    return path


def test_packets_before_the_first_key_frame_are_no_damage(
    joined: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(container, "_SWALLOWED_S", 0.0)  # as when each packet came after a second without a picture
    stream = VideoStream(f"file:{joined}", "camera", is_live=True)
    pictures = list(stream.pictures())
    stream.close()
    first = next(number for number, picture in enumerate(pictures) if picture.image is not None)
    assert first == 0, f"{first} packets before the key frame counted as damage"
    assert caplog.messages == ["camera: waiting for a key frame"]


def test_a_stream_without_a_key_frame_is_lost_in_the_end(joined: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "_KEY_FRAME_WITHIN_S", 0.0)
    stream = VideoStream(f"file:{joined}", "camera", is_live=True)
    with pytest.raises(SourceLostError, match="no key frame within"):
        list(stream.pictures())
    stream.close()
