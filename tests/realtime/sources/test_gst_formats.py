"""What GStreamer hands over as it is: BGR, BGRx, NV12, I420, with the layout and the colours that its caps state."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.pictures.pixels import Colours
from engines.pictures.raw import RawPicture
from engines.types import Image
from realtime.sources import open_source
from realtime.sources.common.gst_text import Caps, read_caps

needs_gstreamer = pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason="needs gst-launch-1.0")

FORMATS = ("bgr", "bgrx", "nv12", "i420")


def picture_of(form: str, width: int, height: int, colorimetry: str = "") -> Image | RawPicture:
    """A picture of coloured bars."""
    colours = f",colorimetry={colorimetry}" if colorimetry else ""
    drawn = f"videotestsrc pattern=smpte ! video/x-raw,format=BGR,width={width},height={height},framerate=30/1"
    source = open_source(f"{drawn} ! videoconvert ! video/x-raw,format={form}{colours} ! appsink sync=false")
    picture = next(iter(source)).picture
    source.close()
    return picture


@settings(max_examples=40)
@given(width=st.integers(1, 9000), height=st.integers(1, 5000), format=st.sampled_from(FORMATS))
def test_rows_are_padded_to_the_next_four_bytes(width: int, height: int, format: str) -> None:
    rows = Caps(width, height, format, None).rows
    needed = {"bgr": [3 * width], "bgrx": [4 * width], "nv12": [width, 2 * ((width + 1) // 2)]}
    widths = needed.get(format, [width, (width + 1) // 2, (width + 1) // 2])
    assert len(rows) == len(widths)
    for (_, stride_bytes), wide in zip(rows, widths, strict=True):
        assert stride_bytes % 4 == 0
        assert 0 <= stride_bytes - wide < 4


@settings(max_examples=40)
@given(width=st.integers(1, 40), height=st.integers(1, 30), format=st.sampled_from(FORMATS))
def test_a_picture_is_made_of_any_size(width: int, height: int, format: str) -> None:
    caps = Caps(width, height, format, None, Colours(1, False) if format in ("nv12", "i420") else None)
    size_bytes = sum(rows * stride_bytes for rows, stride_bytes in caps.rows)
    picture = caps.picture(np.arange(size_bytes, dtype=np.uint8))
    image = picture.bgr() if isinstance(picture, RawPicture) else picture
    assert image.shape == (height, width, 3)
    assert (format == "bgr") != isinstance(picture, RawPicture)


COLORIMETRIES = [
    ("bt601", 64, 48, Colours(6, False)),
    ("bt709", 64, 48, Colours(1, False)),
    ("bt2020", 64, 48, Colours(9, False)),
    ("smpte240m", 64, 48, Colours(7, False)),
    ("1:4:0:0", 1920, 1080, Colours(6, True)),  # of a Motion JPEG camera
    ("2:3:5:1", 64, 48, Colours(1, False)),
    ("2:2:0:0", 64, 48, Colours(4, False)),
    ("", 640, 480, Colours(6, False)),
    ("", 1280, 720, Colours(1, False)),
    ("0:0:0:0", 720, 576, Colours(6, False)),
]


@pytest.mark.parametrize(("colorimetry", "width", "height", "colours"), COLORIMETRIES)
def test_the_caps_say_what_the_numbers_mean(colorimetry: str, width: int, height: int, colours: Colours) -> None:
    stated = f", chroma-site=(string)mpeg2, colorimetry=(string){colorimetry}" if colorimetry else ""
    for form in ("NV12", "I420", "BGRx"):
        fields = f"format=(string){form}, width=(int){width}, height=(int){height}, framerate=(fraction)30000/1001{stated}"
        caps = read_caps(f"/GstPipeline:pipeline0/GstFdSink:frames_out.GstPad:sink: caps = video/x-raw, {fields}")
        assert caps == Caps(width, height, form.lower(), 30000 / 1001, None if form == "BGRx" else colours)


@needs_gstreamer
@pytest.mark.parametrize(("size", "colorimetry"), [((320, 240), "bt709"), ((321, 181), "bt601"), ((318, 181), "1:4:0:0")])
def test_real_gstreamers_yuv_has_the_colours_of_its_bgr(size: tuple[int, int], colorimetry: str) -> None:
    plain = picture_of("BGR", *size)
    assert isinstance(plain, np.ndarray)
    for form in ("NV12", "I420"):
        raw = picture_of(form, *size, colorimetry)
        assert isinstance(raw, RawPicture)
        assert raw.format == form.lower()
        # At edges GStreamer's pattern has mixed its chroma; in its lower right there is noise.
        off = np.abs(raw.bgr().astype(int) - plain.astype(int))[: size[1] * 3 // 4 - 4]
        assert np.median(off) <= 1
        assert (off.max(axis=2) <= 4).mean() > 0.9


@needs_gstreamer
def test_other_formats_are_converted_by_gstreamer() -> None:
    for form, format in (("YUY2", "bgrx"), ("P010_10LE", "i420")):
        picture = picture_of(form, 320, 240)
        assert isinstance(picture, RawPicture)
        assert picture.format == format


@needs_gstreamer
@pytest.mark.parametrize("size", [(322, 242), (854, 482)])
def test_a_file_is_the_same_picture_through_gstreamer(tmp_path: Path, size: tuple[int, int]) -> None:
    """A decoder's rows and planes are padded otherwise than the pipe's."""
    if subprocess.run(["gst-inspect-1.0", "--exists", "avdec_h264"], check=False).returncode:
        pytest.skip("needs GStreamer's decoders (gstreamer1.0-libav)")
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        image = np.indices((size[1], size[0], 3)).sum(axis=0).astype(np.uint8)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
        container.mux(stream.encode(None))
    pictures = []
    for uri in (str(path), f"filesrc location={path} ! decodebin ! appsink"):
        source = open_source(uri)
        pictures.append(next(iter(source)).image)
        source.close()
    np.testing.assert_array_equal(*pictures)
