"""From stored pixels to the picture that players show: square pixels, upright, not mirrored."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import cv2
import numpy as np

from engines.types import Image, Size

if TYPE_CHECKING:
    import av

_SQUARE = Fraction(1)
_MOST_ASPECT = 8  # beyond it a file is damaged: the widest in use is 4:1
_MOST_KEYS = 256  # more than any decoder holds back; where nothing decodes, none comes out
_MOST_PX = 1 << 26  # a picture is not enlarged beyond this


class Turn(NamedTuple):
    """One of the eight ways to lay a picture: rows and columns exchanged first, then mirrored."""

    transposes: bool
    flips_x: bool
    flips_y: bool


UPRIGHT = Turn(False, False, False)
_QUARTERS = {1: Turn(True, False, True), 2: Turn(False, True, True), 3: Turn(True, True, False)}
"""Quarter turns counter-clockwise."""


def turn_of(frame: av.VideoFrame) -> Turn:
    """What a frame's display matrix asks for; the nearest of the eight, where it turns by another angle."""
    side_data: Mapping[str, Any] = cast(Any, frame).side_data
    try:
        matrix = side_data.get("DISPLAYMATRIX")
    except ValueError:  # the frame carries a kind of data that this PyAV does not know: it gives none of them
        return _QUARTERS.get(round(frame.rotation / 90) % 4, UPRIGHT)
    if matrix is None:
        return UPRIGHT
    # x' = a x + c y, y' = b x + d y, with y downwards
    a, b, _, c, d = (float(value) for value in np.frombuffer(matrix, np.int32, 5))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Turn(False, a < 0, d < 0)
    return Turn(True, c < 0, b < 0)


def turned(image: Image, turn: Turn) -> Image:
    """The (H, W, 3) picture laid as `turn` says; the same array where there is nothing to do."""
    if turn.transposes:
        image = np.asarray(cv2.transpose(image))
    if turn.flips_x or turn.flips_y:
        image = np.asarray(cv2.flip(image, -1 if turn.flips_x and turn.flips_y else 1 if turn.flips_x else 0))
    return image


def plausible_aspect(aspect: Fraction | None) -> Fraction:
    """A pixel's width by its height, as stated; 1 where nothing is stated, or nothing that a camera makes."""
    if aspect is None or not Fraction(1, _MOST_ASPECT) <= aspect <= _MOST_ASPECT:
        return _SQUARE
    return aspect


class FrameAspect:
    """The pixel aspect of each picture, where the stream may change it at a key frame.

    PyAV has it only of the decoder, which has read on: its new value begins with the first key frame that has not come out.
    """

    def __init__(self, aspect: Fraction) -> None:
        self._now = self._stated = aspect
        self._keys: list[int] = []  # time stamps of key frames that have not come out
        self._changes: list[tuple[int, Fraction]] = []

    def feed(self, packet: av.Packet[Any]) -> None:
        """A packet goes to the decoder."""
        if packet.is_keyframe and packet.pts is not None:
            self._keys.append(packet.pts)
            del self._keys[:-_MOST_KEYS]

    def of(self, pts: int | None, stated: Fraction | None) -> Fraction:
        """Of the picture that comes out with this time stamp. stated: by the decoder now."""
        if pts is None:
            return plausible_aspect(stated)
        self._keys = [key for key in self._keys if key >= pts]
        aspect = plausible_aspect(stated)
        if aspect != self._stated:
            self._stated = aspect
            self._changes.append((min(self._keys, default=pts), aspect))
        while self._changes and pts >= self._changes[0][0]:
            self._now = self._changes.pop(0)[1]
        return self._now


def square_size(stored: Size, aspect: Fraction) -> Size:
    """The size of a picture of such pixels, drawn with square ones. The side that is too short grows: no pixel is lost."""
    if aspect >= 1:
        wide = Size(round(stored.width * aspect), stored.height)
        return wide if wide.width * wide.height <= _MOST_PX else Size(stored.width, max(1, round(stored.height / aspect)))
    high = Size(stored.width, round(stored.height / aspect))
    return high if high.width * high.height <= _MOST_PX else Size(max(1, round(stored.width * aspect)), stored.height)


def with_square_pixels(image: Image, aspect: Fraction) -> Image:
    """The (H, W, 3) picture as it is shown; the same array where its pixels are square."""
    size = square_size(Size.of(image), aspect)
    if size == Size.of(image):
        return image
    return np.asarray(cv2.resize(image, (size.width, size.height), interpolation=cv2.INTER_LINEAR))
