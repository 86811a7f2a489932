"""Colours come out within two levels of the standards' own arithmetic, for all that FFmpeg can tag."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest

from engines.pictures.pixels import Scratch
from realtime.sources import open_source
from realtime.sources.common.colour import raw_of, to_bgr

KR_KB = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
RGB, BT709, UNSPECIFIED, SMPTE170M, YCGCO = 0, 1, 2, 6, 8
UNKNOWN, LIMITED, FULL = 0, 1, 2
PATCH_PX = 32


class Tags(NamedTuple):
    matrix: int
    range: int


def patches(rows: int = 3, columns: int = 5) -> np.ndarray:
    """(rows, columns, 3) uint8 BGR, fixed; the primaries, black, white and greys among them."""
    corners = np.array([[b, g, r] for b in (0, 255) for g in (0, 255) for r in (0, 255)] + [[128] * 3, [64] * 3], np.uint8)
    others = np.random.default_rng(7).integers(0, 256, (rows * columns - len(corners), 3), np.uint8)
    return np.concatenate([corners, others]).reshape(rows, columns, 3)


def yuv(colours: np.ndarray, matrix: int, is_full: bool) -> np.ndarray:
    """(rows, columns, 3) Y, Cb, Cr in 0..1, straight from ITU-T H.273."""
    b, g, r = (colours[..., channel] / 255 for channel in range(3))
    if matrix == YCGCO:
        y, cb, cr = r / 4 + g / 2 + b / 4, g / 2 - r / 4 - b / 4, r / 2 - b / 2
    else:
        kr, kb = KR_KB[matrix]
        y = kr * r + (1 - kr - kb) * g + kb * b
        cb, cr = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
    if is_full:
        return np.stack([y, cb + 128 / 255, cr + 128 / 255], -1)
    return np.stack([(16 + 219 * y) / 255, (128 + 224 * cb) / 255, (128 + 224 * cr) / 255], -1)


def frame_of(
    colours: np.ndarray, tags: Tags, pixel_format: str, *, is_full: bool, size: tuple[int, int] | None = None
) -> av.VideoFrame:
    """The patches as a frame of any format with planes, each PATCH_PX large, cut to `size` (width, height)."""
    values = yuv(colours, tags.matrix if tags.matrix in (*KR_KB, YCGCO) else SMPTE170M, is_full)
    large = values.repeat(PATCH_PX, 0).repeat(PATCH_PX, 1)
    width, height = size or (large.shape[1], large.shape[0])
    frame = av.VideoFrame(width, height, pixel_format)
    frame.colorspace, frame.color_range = tags
    for number, plane in enumerate(frame.planes):
        depth = frame.format.components[number].bits
        kind = np.dtype("u1" if depth == 8 else "<u2")
        # Ten bits hold four times eight, not 1023/255 of them: levels are shifted, except in full range.
        most = 2**depth - 1 if is_full else 255 * 2 ** (depth - 8)
        if number == 3:
            part = np.full((height, width), 0.25)  # alpha
        else:
            step_x, step_y = -(-width // plane.width), -(-height // plane.height)
            part = large[:height:step_y, :width:step_x, number]
            if number and is_full:  # the middle is a whole number in each depth
                part = part + (2 ** (depth - 1) / most - 128 / 255)
        data = np.zeros((plane.height, plane.line_size // kind.itemsize), kind)
        data[:, : plane.width] = np.clip(np.round(part * most), 0, 2**depth - 1)
        plane.update(data.tobytes())
    return frame


def centres(image: np.ndarray, colours: np.ndarray) -> np.ndarray:
    rows, columns = (image.shape[0] // PATCH_PX, image.shape[1] // PATCH_PX)
    return image[PATCH_PX // 2 :: PATCH_PX, PATCH_PX // 2 :: PATCH_PX][:rows, :columns].astype(int) - colours[:rows, :columns]


@pytest.mark.parametrize("matrix", [*KR_KB, YCGCO])
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize(
    "pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p12le", "yuva420p"]
)
def test_each_matrix_range_and_layout(matrix: int, is_full: bool, pixel_format: str) -> None:
    colours = patches()
    frame = frame_of(colours, Tags(matrix, FULL if is_full else LIMITED), pixel_format, is_full=is_full)
    assert np.abs(centres(to_bgr(frame), colours)).max() <= 2


@pytest.mark.parametrize("pixel_format", ["nv12", "p010le", "uyvy422", "yuyv422", "yuv411p", "yuv410p", "nv16"])
def test_other_layouts(pixel_format: str) -> None:
    colours = patches()
    for matrix in (BT709, SMPTE170M, YCGCO):
        frame = frame_of(colours, Tags(matrix, LIMITED), "yuv444p", is_full=False)
        frame.colorspace = SMPTE170M  # so that the layout alone changes
        frame = frame.reformat(format=pixel_format)
        frame.colorspace = matrix
        assert np.abs(centres(to_bgr(frame), colours)).max() <= 2


@pytest.mark.parametrize("pixel_format", ["yuvj420p", "yuvj422p", "yuvj444p"])
def test_old_formats_of_full_range(pixel_format: str) -> None:
    colours = patches()
    assert np.abs(centres(to_bgr(frame_of(colours, Tags(SMPTE170M, UNKNOWN), pixel_format, is_full=True)), colours)).max() <= 2


@pytest.mark.parametrize(
    ("size", "matrix"), [((160, 96), SMPTE170M), ((720, 576), SMPTE170M), ((1280, 720), BT709), ((704, 600), BT709)]
)
def test_video_that_states_no_matrix_is_read_as_players_do(size: tuple[int, int], matrix: int) -> None:
    colours = patches(23, 42)
    frame = frame_of(colours, Tags(matrix, UNKNOWN), "yuv420p", is_full=False, size=size)
    frame.colorspace = UNSPECIFIED
    assert np.abs(centres(to_bgr(frame), colours)).max() <= 2


@pytest.mark.parametrize("size", [(63, 64), (64, 63), (63, 63), (1, 1), (2, 1), (33, 95)])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "nv12"])
def test_odd_sizes_keep_every_pixel(size: tuple[int, int], pixel_format: str) -> None:
    frame = av.VideoFrame(*size, pixel_format)
    frame.colorspace, frame.color_range = BT709, LIMITED
    for plane, value in zip(frame.planes, (235, 128, 128), strict=False):
        sample = (value * 4).to_bytes(2, "little") if "10" in pixel_format else bytes([value])
        plane.update(sample * (plane.buffer_size // len(sample)))
    image = to_bgr(frame)
    assert image.shape == (size[1], size[0], 3)
    assert image.min() >= 253


def test_a_picture_keeps_its_pixels_when_the_next_uses_the_same_scratch() -> None:
    """Of the steps between decoder and picture the arrays stay, of any size; the picture is always a new one."""
    scratch: Scratch = {}
    images, steps = [], []
    for colours, size in [(patches(), None), (255 - patches(), None), (patches(), (33, 95)), (patches(), None)]:
        frame = frame_of(colours, Tags(BT709, LIMITED), "yuv420p", is_full=False, size=size)
        images.append((to_bgr(frame, scratch), to_bgr(frame)))
        steps.append(list(scratch.values()))
    assert all(np.array_equal(*pair) for pair in images)
    assert all(now is before for now, before in zip(steps[1], steps[0], strict=True))


@pytest.mark.parametrize("pixel_format", ["gbrp", "rgb24", "bgra", "rgb48le", "gbrp10le", "gray", "gray10le", "ya8", "rgb565le"])
def test_what_has_no_matrix(pixel_format: str) -> None:
    colours = patches() if "gray" not in pixel_format and pixel_format != "ya8" else np.full((3, 5, 3), 77, np.uint8)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(colours.repeat(PATCH_PX, 0).repeat(PATCH_PX, 1)), format="bgr24")
    image = to_bgr(frame.reformat(format=pixel_format))
    assert np.abs(centres(image, colours)).max() <= (12 if pixel_format == "rgb565le" else 2)


@pytest.mark.parametrize("matrix", [3, 10, 11, 12, 13, 14, 15, 99])
def test_matrices_that_nobody_supports_are_shown_and_told(matrix: int) -> None:
    from realtime.sources.common.colour import colour_notes

    frame = frame_of(patches(), Tags(SMPTE170M, LIMITED), "yuv420p", is_full=False)
    frame.colorspace = matrix
    assert to_bgr(frame).shape == (96, 160, 3)
    assert len(colour_notes(frame)) == (matrix not in (12, 99))


@pytest.mark.parametrize("trc", [16, 18])
def test_hdr_is_told_once(tmp_path: Path, trc: int, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "hdr.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p10le"
        stream.codec_context.color_trc, stream.codec_context.colorspace = trc, 9
        for number in range(3):
            frame = frame_of(patches(), Tags(9, LIMITED), "yuv420p10le", is_full=False)
            frame.color_trc, frame.pts, frame.time_base = trc, number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert len(list(open_source(str(path)))) == 3
    told = [record.getMessage() for record in caplog.records if "HDR" in record.getMessage()]
    assert len(told) == 1
    assert ("PQ" if trc == 16 else "HLG") in told[0]


@pytest.mark.parametrize("matrix", [BT709, SMPTE170M, 9])
def test_tags_of_a_file_arrive(tmp_path: Path, matrix: int) -> None:
    path = tmp_path / "a.mkv"
    colours = patches()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, LIMITED
        frame = frame_of(colours, Tags(matrix, LIMITED), "yuv420p", is_full=False)
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (shown,) = open_source(str(path))
    assert np.abs(centres(shown.image, colours)).max() <= 2


@pytest.mark.parametrize("size", [(64, 48), (62, 46), (33, 21)])
@pytest.mark.parametrize(("matrix", "color_range"), [(SMPTE170M, LIMITED), (BT709, LIMITED), (BT709, FULL)])
def test_what_a_gpu_decodes_has_the_colours_of_what_the_cpu_decodes(size: tuple[int, int], matrix: int, color_range: int) -> None:
    """NV12 holds the numbers of planar 4:2:0 in another order: the same picture, also where colours change at each pixel."""
    width, height = size
    planar = av.VideoFrame(width, height, "yuv420p")
    noise = np.random.default_rng(1)
    for plane in planar.planes:
        plane.update(noise.integers(0, 256, (plane.height, plane.line_size), np.uint8).tobytes())
    paired = av.VideoFrame(width, height, "nv12")
    luma, *chroma = (np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:, : plane.width] for plane in planar.planes)
    for plane, rows in zip(paired.planes, (luma, np.stack(chroma, 2).reshape(chroma[0].shape[0], -1)), strict=True):
        data = np.zeros((plane.height, plane.line_size), np.uint8)
        data[:, : rows.shape[1]] = rows[: plane.height]
        plane.update(data.tobytes())
    for frame in (planar, paired):
        frame.colorspace, frame.color_range = matrix, color_range
    assert np.array_equal(to_bgr(paired), to_bgr(planar))


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "nv12"])
@pytest.mark.parametrize("size", [(64, 48), (63, 47), (1, 1)])
def test_a_raw_picture_is_the_frame_itself_and_its_bgr_that_of_the_frame(pixel_format: str, size: tuple[int, int]) -> None:
    frame = frame_of(patches(), Tags(BT709, LIMITED), pixel_format, is_full=False, size=size) if pixel_format != "nv12" else None
    if frame is None:
        frame = frame_of(patches(), Tags(SMPTE170M, LIMITED), "yuv444p", is_full=False, size=size).reformat(format="nv12")
        frame.colorspace, frame.color_range = BT709, LIMITED
    raw = raw_of(frame)
    assert raw is not None
    assert np.shares_memory(raw.planes[0], np.frombuffer(frame.planes[0], np.uint8)), "no copy"
    np.testing.assert_array_equal(raw.bgr(), to_bgr(frame))


def test_a_raw_picture_outlives_its_frame_and_those_that_follow(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 25, options={"bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(40):
            image = np.full((64, 96, 3), 6 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        pictures = [raw_of(frame) for frame in container.decode(video=0)]
    levels = [picture.bgr().mean() for picture in pictures if picture is not None]
    assert len(levels) == 40
    assert np.abs(np.array(levels) - 6 * np.arange(40)).max() < 4


@pytest.mark.parametrize("pixel_format", ["yuv422p", "yuv444p", "yuv420p10le", "bgr24", "gray", "yuva420p"])
def test_other_formats_are_no_raw_pictures(pixel_format: str) -> None:
    assert raw_of(av.VideoFrame(64, 48, pixel_format)) is None
