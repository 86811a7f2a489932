"""Backgrounds: what a foreground stands before instead of its room: the same blurred, a colour, or a picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from engines.types import U8, Image, Size
from realtime.render.blending import Bgr, blend_picture, plain
from realtime.render.scaling import shrunk

if TYPE_CHECKING:
    from realtime.render.matte import Matte

COARSE = 8
"""Blurring begins with a picture this many times smaller."""

BLUR_SHARE = 1 / 36
"""Standard deviation of the blur, as a share of the picture's height: 20 pixels of 720p, in which no writing can be read. It is
also half the side of each of the boxes that it is made of."""


class Background(Protocol):
    """Makes what is behind the foreground."""

    def behind(self, image: Image, foreground: U8) -> Image:
        """A picture of `image`'s size, not to be written to. foreground: (H, W) uint8, how much of `image` is not background."""
        ...


@dataclass(frozen=True)
class Blur:
    """The room itself, out of focus. The foreground is left out, or it would shine through as a halo."""

    def behind(self, image: Image, foreground: U8) -> Image:
        height, width = image.shape[:2]
        size = Size(max(1, width // COARSE), max(1, height // COARSE))
        small = shrunk(image, size).astype(np.float32)
        # Grown by a cell, since its soft edge holds colours of the foreground still.
        covered = cv2.dilate(shrunk(foreground, size), np.ones((3, 3), np.uint8))
        share = (255 - covered).astype(np.float32) / 255 + 1e-4  # somewhere in the middle of it there is nothing else
        side = 2 * round(BLUR_SHARE * height / COARSE) + 1
        blurred = np.dstack((small * share[..., None], share))
        for _ in range(3):  # three boxes are all but a Gaussian, in a third of the time
            blurred = cv2.boxFilter(blurred, -1, (side, side), borderType=cv2.BORDER_REFLECT)
        room = (blurred[..., :3] / blurred[..., 3:]).astype(np.uint8)
        upsampled: Image = cv2.resize(room, (width, height), interpolation=cv2.INTER_LINEAR)
        return upsampled


@dataclass(frozen=True)
class Plain:
    """One colour, such as a studio's green."""

    colour: Bgr

    def behind(self, image: Image, foreground: U8) -> Image:
        return plain(self.colour, Size.of(image))


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that fills the canvas, its aspect kept, what is too much cut off evenly. image: (H, W, 3) uint8 BGR."""

    image: Image

    def behind(self, image: Image, foreground: U8) -> Image:
        return _filling(self, Size.of(image))


def replace_background(image: Image, matte: Matte, background: Background) -> None:
    """Put `background` behind the matte, in place."""
    foreground = np.zeros(image.shape[:2], np.uint8)
    height, width = matte.alpha.shape
    foreground[matte.y : matte.y + height, matte.x : matte.x + width] = matte.alpha
    blend_picture(image, background.behind(image, foreground), cv2.bitwise_not(foreground))


@lru_cache(maxsize=2)
def _filling(picture: Picture, size: Size) -> Image:
    of = Size.of(picture.image)
    scale = max(size.width / of.width, size.height / of.height)
    scaled = (max(size.width, round(of.width * scale)), max(size.height, round(of.height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    image = cv2.resize(picture.image, scaled, interpolation=how)
    left, top = (scaled[0] - size.width) // 2, (scaled[1] - size.height) // 2
    return np.ascontiguousarray(image[top : top + size.height, left : left + size.width])
