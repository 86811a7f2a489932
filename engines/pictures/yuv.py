"""YUV to BGR, by OpenCV, and its arithmetic in whole numbers, which the GPU's kernel repeats.

CPU time of a 720p picture, 4:2:0 to BGR: 1.2 ms with OpenCV's converter (BT.601 in limited range and even sizes only), 1.7 with
the matrix product below.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from engines.pictures.pixels import Colours, Pixels, Scratch
from engines.types import U8, Image, Size

LIMITED_BT601 = (5, 6)
"""H.273's numbers of BT.601's matrix: 625 and 525 lines."""

YCGCO = 8

KR_KB = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),  # FCC, NTSC 1953
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),
}
"""H.273's number of a matrix → the weights of red and blue in luma."""


def bgr_of(planes: Sequence[U8], colours: Colours | None, scratch: Scratch) -> Image:
    """BGR of a raw picture's planes, 4:2:0 or (without colours) BGRx: a new array. Raises MemoryError."""
    try:
        if colours is None:
            return np.asarray(cv2.cvtColor(planes[0], cv2.COLOR_BGRA2BGR), np.uint8)
        return yuv_to_bgr(planes, (2, 2), colours, scratch)
    except cv2.error as error:
        raise MemoryError(str(error)) from error  # nothing else can fail: the shapes have been checked


def yuv_to_bgr(planes: Sequence[U8], step: tuple[int, int], colours: Colours, scratch: Scratch) -> Image:
    """A YUV picture of 8 bits as BGR, a new array; each chroma sample has the pixels that it was taken of.

    planes: Y (H, W), then Cb and Cr, or both in one (h, w, 2). step: columns and rows of Y for each of them.
    """
    height, width = planes[0].shape
    if step == (2, 2) and uses_opencv(colours, is_even(Size(width, height))):
        if len(planes) == 2:
            return np.asarray(cv2.cvtColorTwoPlane(planes[0], planes[1], cv2.COLOR_YUV2BGR_NV12), np.uint8)
        whole = np.empty((height * 3 // 2, width), np.uint8)
        start = 0
        for plane in planes:
            np.copyto(whole.reshape(-1)[start : start + plane.size].reshape(plane.shape), plane)
            start += plane.size
        return np.asarray(cv2.cvtColor(whole, cv2.COLOR_YUV2BGR_I420), np.uint8)
    spread = [planes[0]]
    for number, plane in enumerate(planes[1:], 1):
        if step != (1, 1):
            wide = (plane.shape[1] * step[0], plane.shape[0] * step[1])
            # OpenCV writes into an array of the right size, and makes a new one in place of any other.
            scratch[number] = np.asarray(cv2.resize(plane, wide, dst=scratch.get(number), interpolation=cv2.INTER_NEAREST))
            plane = scratch[number][:height, :width]
        spread.append(plane)
    return bgr_of_444(spread, colours, scratch)


def bgr_of_444(planes: Sequence[U8], colours: Colours | None, scratch: Scratch) -> Image:
    """BGR of planes that all have the picture's size; BGRx where there are no colours."""
    if colours is None:
        return np.ascontiguousarray(planes[0][..., :3])
    scratch[0] = np.asarray(cv2.merge(list(planes), dst=scratch.get(0)), np.uint8)
    return np.asarray(cv2.transform(scratch[0], _matrix(colours)), np.uint8)


def is_even(size: Size) -> bool:
    return size.width % 2 == 0 and size.height % 2 == 0


def uses_opencv(colours: Colours, even: bool) -> bool:
    return even and not colours.is_full and colours.matrix in LIMITED_BT601


@lru_cache(maxsize=32)
def _matrix(colours: Colours) -> npt.NDArray[np.float32]:
    """(3, 4): Y, Cb, Cr and 1 → B, G, R. Source: ITU-T H.273, section 8.3."""
    luma, chroma = (1.0, 1.0) if colours.is_full else (255 / 219, 255 / 224)
    if colours.matrix == YCGCO:  # Cb holds Cg, Cr holds Co
        rows = np.array([[1, -1, -1], [1, 1, 0], [1, -1, 1]], np.float64)
    else:
        kr, kb = KR_KB[colours.matrix]
        kg = 1 - kr - kb
        red, blue = 2 * (1 - kr), 2 * (1 - kb)
        rows = np.array([[1, blue, 0], [1, -kb * blue / kg, -kr * red / kg], [1, 0, red]], np.float64)
    rows *= (luma, chroma, chroma)
    offset = -rows @ np.array([0 if colours.is_full else 16, 128, 128], np.float64)
    return np.hstack([rows, offset[:, np.newaxis]]).astype(np.float32)


@lru_cache(maxsize=32)
def pixels(format: str, colours: Colours, even: bool) -> Pixels:
    if uses_opencv(colours, even):  # color_yuv.simd.hpp: 1.164, 2.018, -0.391, -0.813 and 1.596 in 20 bits
        weights = np.array([[1220542, 2116026, 0], [1220542, -409993, -852492], [1220542, 0, 1673527]])
        offsets = (1 << 19) - weights @ (16, 128, 128)
        return Pixels(format, tuple(weights.ravel().tolist()), tuple(offsets.tolist()), 20, 16)
    matrix, one = _matrix(colours).astype(np.float64), 1 << 10  # cv2.transform of bytes: weights in 10 bits, the offset rounded
    weights, offsets = np.rint(matrix[:, :3] * one), np.rint((matrix[:, 3] + 0.5) * one)
    return Pixels(format, tuple(int(number) for number in weights.ravel()), tuple(int(number) for number in offsets), 10)
