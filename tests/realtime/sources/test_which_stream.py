"""Of several video streams the best is shown, and only it is fetched."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from realtime.errors import SourceOpenError
from realtime.sources import open_source

FPS = 25


def write(path: Path, streams: list[tuple[str, int, int, int, Disposition]], frames: int = 10, **options: str) -> Path:
    """A file of several video streams, each a flat grey: codec, width, height, grey, disposition."""
    with av.open(str(path), "w", **({"container_options": options} if options else {})) as container:
        made = []
        for codec, width, height, grey, disposition in streams:
            stream = container.add_stream(codec, rate=FPS)
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = disposition
            made.append((stream, np.full((height, width, 3), grey, np.uint8)))
        for number in range(frames):
            for stream, image in made:
                if stream.codec_context.name == "mjpeg" and number:
                    continue  # a cover has one picture
                frame = av.VideoFrame.from_ndarray(image, format="bgr24")
                frame.pts, frame.time_base = number, Fraction(1, FPS)
                container.mux(stream.encode(frame))
        for stream, _ in made:
            container.mux(stream.encode())
    return path


NONE, DEFAULT, COVER = Disposition(0), Disposition.default, Disposition.attached_pic


@pytest.mark.parametrize(
    ("name", "streams", "chosen"),
    [
        ("larger.mkv", [("libx264", 64, 48, 50, NONE), ("libx264", 160, 96, 200, NONE)], 200),
        ("equal.mkv", [("libx264", 64, 48, 50, NONE), ("libx264", 64, 48, 200, NONE)], 50),
        ("default.mkv", [("libx264", 160, 96, 50, NONE), ("libx264", 64, 48, 200, DEFAULT)], 200),
        ("cover.mkv", [("mjpeg", 200, 200, 50, NONE), ("libx264", 64, 48, 200, DEFAULT)], 200),
        ("cover.mp4", [("mjpeg", 200, 200, 50, COVER), ("libx264", 64, 48, 200, NONE)], 200),
        ("two.ts", [("libx264", 64, 48, 50, NONE), ("libx264", 160, 96, 200, NONE)], 200),
    ],
)
def test_the_best_video_stream_is_shown(tmp_path: Path, name: str, streams: list[Any], chosen: int) -> None:
    frames = list(open_source(str(write(tmp_path / name, streams))))
    assert len(frames) == 10
    assert abs(frames[5].image.mean() - chosen) < 4


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("libmp3lame", rate=44100)
        cover = container.add_stream("mjpeg", rate=FPS)
        cover.width = cover.height = 64
        cover.pix_fmt, cover.disposition = "yuvj420p", COVER
        noise = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.int16), format="s16", layout="mono")
        noise.sample_rate = 44100
        container.mux(sound.encode(noise))
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="bgr24")
        picture.pts = 0
        container.mux(cover.encode(picture))
        container.mux(cover.encode())
        container.mux(sound.encode())
    with pytest.raises(SourceOpenError, match=r"song\.mp3: it contains no video, only a cover picture. Give a video file"):
        open_source(str(path))


def test_a_codec_without_decoder_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi", [("mpeg4", 64, 48, 50, NONE)])
    data = path.read_bytes()
    assert data.count(b"FMP4") == 2
    path.write_bytes(data.replace(b"FMP4", b"zzzz"))
    with pytest.raises(SourceOpenError, match=r"a\.avi: no decoder here for its codec, .*zzzz.*\. Convert it: ffmpeg"):
        open_source(str(path))


@pytest.fixture(scope="module")
def hls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A master playlist: sound alone, a small, a large and a middle variant."""
    folder = tmp_path_factory.mktemp("hls")
    for name, width, height, grey in (("lo", 64, 48, 50), ("hi", 160, 96, 200), ("mid", 96, 64, 120)):
        image = np.full((height, width, 3), grey, np.uint8)
        options = {"hls_time": "0.2", "hls_list_size": "0", "hls_segment_filename": str(folder / f"{name}%d.ts")}
        with av.open(str(folder / f"{name}.m3u8"), "w", format="hls", container_options=options) as container:
            stream = container.add_stream("libx264", rate=FPS, options={"g": "5"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for number in range(15):
                frame = av.VideoFrame.from_ndarray(image, format="bgr24")
                frame.pts, frame.time_base = number, Fraction(1, FPS)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    (folder / "master.m3u8").write_text(
        '#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9000000,CODECS="mp4a.40.2"\nsound.m3u8\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=100000,RESOLUTION=64x48,CODECS="avc1.4d001f,mp4a.40.2"\nlo.m3u8\n'
        "#EXT-X-STREAM-INF:BANDWIDTH=2000000,RESOLUTION=160x96\nhi.m3u8\n"
        "#EXT-X-STREAM-INF:BANDWIDTH=5000000,RESOLUTION=96x64\nmid.m3u8\n"
    )
    return folder


def test_the_best_variant_of_a_playlist_is_shown(hls: Path) -> None:
    frames = list(open_source(str(hls / "master.m3u8")))
    assert [frame.index for frame in frames] == list(range(15))
    assert frames[0].image.shape == (96, 160, 3)


def test_only_the_best_variant_is_fetched(hls: Path, http_server: Any) -> None:
    def serve(path: Path) -> Callable[[Any], None]:
        return lambda handler: http_server.file(
            handler, path, "application/vnd.apple.mpegurl" if path.suffix == ".m3u8" else "video/mp2t"
        )

    for path in hls.iterdir():
        http_server.pages[f"/{path.name}"] = serve(path)
    source = open_source(http_server.url("/master.m3u8"))
    assert not source.is_live
    frames = list(source)
    assert len(frames) == 15
    assert frames[0].image.shape == (96, 160, 3)
    fetched = {path for path in http_server.requests if not path.startswith(("/master", "/hi"))}
    assert not fetched
    assert sum(path.endswith(".ts") for path in http_server.requests) == len(list(hls.glob("hi*.ts")))
