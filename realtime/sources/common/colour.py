"""Decoded video frames as BGR: every matrix and range that FFmpeg can tag, to within one level.

FFmpeg's own converter rounds down (0.9 levels too dark on average, up to 2.9) and takes matrices that it does not know for
BT.601. CPU time of a 720p frame, 4:2:0 to BGR: 0.6 ms with FFmpeg, 1.2 with OpenCV (BT.601 in limited range and even sizes
only), 1.7 with the matrix product below.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from engines.types import U8

if TYPE_CHECKING:
    import av

_MPEG, _JPEG = 1, 2  # AVColorRange: limited and full
_RGB, _BT709, _UNSPECIFIED, _SMPTE170M = 0, 1, 2, 6  # AVColorSpace
_YCGCO = 8
_KR_KB = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),  # FCC, NTSC 1953
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),
}
_PRIMARIES_KR_KB = {1: 1, 4: 4, 5: 5, 6: 6, 7: 6, 9: 9}
"""AVColorPrimaries → the matrix of the same standard, for video whose matrix is derived from its primaries (12)."""

_APPROXIMATE = {
    3: "reserved", 10: "BT.2020 with constant luminance", 11: "SMPTE 2085",
    13: "derived from the primaries with constant luminance", 14: "ICtCp", 15: "IPT-C2", 16: "YCgCo-Re", 17: "YCgCo-Ro",
}  # fmt: skip
"""AVColorSpace → its name, where BT.2020's or YCgCo's plain matrix is the nearest that a matrix can come."""

_HD_WIDTH_PX, _SD_HEIGHT_PX = 1280, 576
_POINT = 0x10  # SWS_POINT: a chroma sample for each of its pixels, as OpenCV does it
Scratch = dict[int, U8]
"""Arrays that are used again for the next frame: 0 for the merged planes, 1 and 2 for the spread chroma."""

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
    name = frame.format.name
    if _is_rgb(frame) or len(frame.format.components) < 3:
        frame.colorspace = _RGB if _is_rgb(frame) else frame.colorspace
        return frame.to_ndarray(format="bgr24", interpolation=_POINT)
    matrix, is_full = matrix_of(frame), frame.color_range == _JPEG or name.startswith("yuvj")
    even = frame.width % 2 == 0 and frame.height % 2 == 0
    if name in ("yuv420p", "yuvj420p") and even and not is_full and matrix in (5, 6):
        return np.asarray(cv2.cvtColor(frame.to_ndarray(), cv2.COLOR_YUV2BGR_I420))
    return np.asarray(cv2.transform(_as_444(frame, is_full, {} if scratch is None else scratch), _to_bgr_matrix(matrix, is_full)))


def matrix_of(frame: av.VideoFrame) -> int:
    """AVColorSpace of the matrix to convert a frame with: its own, or what players take it to be."""
    space = frame.colorspace
    if space == _UNSPECIFIED or (space == _RGB and not _is_rgb(frame)):
        return _BT709 if frame.width >= _HD_WIDTH_PX or frame.height > _SD_HEIGHT_PX else _SMPTE170M
    if space == 12:
        return _PRIMARIES_KR_KB.get(frame.color_primaries, _BT709)
    if space in (_YCGCO, 16, 17):
        return _YCGCO
    return space if space in _KR_KB else 9 if space in _APPROXIMATE else _BT709


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


def _as_444(frame: av.VideoFrame, is_full: bool, scratch: Scratch) -> U8:
    """(H, W, 3) uint8 Y, Cb, Cr: the frame's own numbers, reduced to 8 bits and spread to all pixels. Belongs to `scratch`."""
    width, height = frame.width, frame.height
    step = _PLANAR.get(frame.format.name)
    if step is None:
        # The same matrix and range on both sides: depth and layout change, colours do not.
        frame.colorspace, frame.color_range = _SMPTE170M, _JPEG if is_full else _MPEG
        frame = frame.reformat(format="yuv444p", interpolation=_POINT, dst_color_range=frame.color_range)
        step = (1, 1)
    planes = [_rows(plane) for plane in frame.planes[:3]]
    if step != (1, 1):
        wide = (planes[1].shape[1] * step[0], planes[1].shape[0] * step[1])
        for number in (1, 2):
            # OpenCV writes into an array of the right size, and makes a new one in place of any other.
            scratch[number] = cv2.resize(planes[number], wide, dst=scratch.get(number), interpolation=cv2.INTER_NEAREST)
            planes[number] = scratch[number][:height, :width]
    scratch[0] = cv2.merge(planes, dst=scratch.get(0))
    return scratch[0]


def _rows(plane: Any) -> U8:
    """A plane's (height, width) bytes, without the padding at the end of its lines; a view."""
    rows: U8 = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
    return rows


@lru_cache(maxsize=32)
def _to_bgr_matrix(matrix: int, is_full: bool) -> npt.NDArray[np.float32]:
    """(3, 4): Y, Cb, Cr and 1 → B, G, R. Source: ITU-T H.273, section 8.3."""
    luma, chroma = (1.0, 1.0) if is_full else (255 / 219, 255 / 224)
    if matrix == _YCGCO:  # Cb holds Cg, Cr holds Co
        rows = np.array([[1, -1, -1], [1, 1, 0], [1, -1, 1]], np.float64)
    else:
        kr, kb = _KR_KB[matrix]
        kg = 1 - kr - kb
        red, blue = 2 * (1 - kr), 2 * (1 - kb)
        rows = np.array([[1, blue, 0], [1, -kb * blue / kg, -kr * red / kg], [1, 0, red]], np.float64)
    rows *= (luma, chroma, chroma)
    offset = -rows @ np.array([0 if is_full else 16, 128, 128], np.float64)
    return np.hstack([rows, offset[:, np.newaxis]]).astype(np.float32)
