"""Decoded video frames as raw pictures or BGR: every matrix and range that FFmpeg can tag, to within one level.

FFmpeg's own converter rounds down (0.9 levels too dark on average, up to 2.9), takes matrices that it does not know for BT.601,
and needs half the time of `engines.pictures.raw`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engines.pictures.pixels import Colours, Scratch
from engines.pictures.raw import RawPicture
from engines.pictures.yuv import KR_KB, YCGCO, yuv_to_bgr
from engines.types import U8

if TYPE_CHECKING:
    import av

_MPEG, _JPEG = 1, 2  # AVColorRange: limited and full
_RGB, _BT709, _UNSPECIFIED, _SMPTE170M = 0, 1, 2, 6  # AVColorSpace
_PRIMARIES_KR_KB = {1: 1, 4: 4, 5: 5, 6: 6, 7: 6, 9: 9}
"""AVColorPrimaries → the matrix of the same standard, for video whose matrix is derived from its primaries (12)."""

_APPROXIMATE = {
    3: "reserved", 10: "BT.2020 with constant luminance", 11: "SMPTE 2085",
    13: "derived from the primaries with constant luminance", 14: "ICtCp", 15: "IPT-C2", 16: "YCgCo-Re", 17: "YCgCo-Ro",
}  # fmt: skip
"""AVColorSpace → its name, where BT.2020's or YCgCo's plain matrix is the nearest that a matrix can come."""

_HD_WIDTH_PX, _SD_HEIGHT_PX = 1280, 576
_POINT = 0x10  # SWS_POINT: a chroma sample for each of its pixels, as OpenCV does it

_PLANAR = {
    "yuv420p": (2, 2), "yuvj420p": (2, 2), "yuv422p": (2, 1), "yuvj422p": (2, 1), "yuv444p": (1, 1), "yuvj444p": (1, 1),
}  # fmt: skip
"""8-bit planar format → columns and rows of luma for each chroma sample."""


def to_bgr(frame: av.VideoFrame, scratch: Scratch | None = None) -> npt.NDArray[Any]:
    """One decoded frame as (H, W, 3) uint8 BGR, a new array, with neither rotation nor pixel aspect applied. Alpha is dropped.

    scratch: of one stream and one thread. Kept there is what is made on the way; without it, it is allocated for each frame.

    Video that states no matrix has BT.709 where it is HD and BT.601 where not, as in mpv and VLC. Grey is full range, as in
    FFmpeg.
    """
    if _is_rgb(frame) or len(frame.format.components) < 3:
        frame.colorspace = _RGB if _is_rgb(frame) else frame.colorspace
        return frame.to_ndarray(format="bgr24", interpolation=_POINT)
    colours = _colours_of(frame)
    raw = raw_of(frame)
    planes, step = _planes_of(frame, colours.is_full) if raw is None else (raw.planes, (2, 2))
    return yuv_to_bgr(planes, step, colours, {} if scratch is None else scratch)


def raw_of(frame: av.VideoFrame) -> RawPicture | None:
    """A decoded frame of 4:2:0 in 8 bits as it is: views of the decoder's memory, which live as long as they are used.

    None for any other format. With neither rotation nor pixel aspect applied.
    """
    name, wide = frame.format.name, -(-frame.width // 2)
    if name not in ("yuv420p", "yuvj420p", "nv12") or any(plane.line_size <= 0 for plane in frame.planes):
        return None
    if name == "nv12":
        luma, both = (_lines(plane) for plane in frame.planes)
        chroma = both[: -(-frame.height // 2), : 2 * wide].reshape(-1, wide, 2)
        return RawPicture("nv12", (luma[: frame.height, : frame.width], chroma), _colours_of(frame))
    return RawPicture("i420", [_rows(plane) for plane in frame.planes], _colours_of(frame))


def _colours_of(frame: av.VideoFrame) -> Colours:
    return Colours(matrix_of(frame), frame.color_range == _JPEG or frame.format.name.startswith("yuvj"))


def matrix_of(frame: av.VideoFrame) -> int:
    """AVColorSpace of the matrix to convert a frame with: its own, or what players take it to be."""
    space = frame.colorspace
    if space == _UNSPECIFIED or (space == _RGB and not _is_rgb(frame)):
        return _BT709 if frame.width >= _HD_WIDTH_PX or frame.height > _SD_HEIGHT_PX else _SMPTE170M
    if space == 12:
        return _PRIMARIES_KR_KB.get(frame.color_primaries, _BT709)
    if space in (YCGCO, 16, 17):
        return YCGCO
    return space if space in KR_KB else 9 if space in _APPROXIMATE else _BT709


def colour_notes(frame: av.VideoFrame) -> list[str]:
    """What cannot be shown as it is meant, each as one line; usually nothing."""
    notes = []
    if frame.color_trc in (16, 18):
        kind = "PQ" if frame.color_trc == 16 else "HLG"
        notes.append(f"HDR video ({kind}) is not tone-mapped: pictures are paler than a player shows them")
    if not _is_rgb(frame) and frame.colorspace in _APPROXIMATE:
        notes.append(f"its colour matrix ({_APPROXIMATE[frame.colorspace]}) is not supported: colours are approximate")
    return notes


def _is_rgb(frame: av.VideoFrame) -> bool:
    return frame.format.is_rgb or frame.format.has_palette


def _planes_of(frame: av.VideoFrame, is_full: bool) -> tuple[Sequence[U8], tuple[int, int]]:
    """Y, Cb, Cr in 8 bits, the frame's own numbers, and for how many columns and rows of Y a chroma sample is."""
    step = _PLANAR.get(frame.format.name)
    if step is None:
        # The same matrix and range on both sides: depth and layout change, colours do not.
        frame.colorspace, frame.color_range = _SMPTE170M, _JPEG if is_full else _MPEG
        frame = frame.reformat(format="yuv444p", interpolation=_POINT, dst_color_range=frame.color_range)
        step = (1, 1)
    return [_rows(plane) for plane in frame.planes[:3]], step


def _rows(plane: Any) -> U8:
    """A plane's (height, width) bytes, without the padding at the end of its lines; a view."""
    return _lines(plane)[: plane.height, : plane.width]


def _lines(plane: Any) -> U8:
    """A plane's lines, with their padding; a view."""
    lines: U8 = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return lines
