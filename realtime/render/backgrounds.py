"""Backgrounds that replace the one behind a foreground: the same blurred, one colour, or a picture."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from engines.types import U8, Image, Size
from realtime.render.pixels import Bgr, plain, scaled, shrunk

REDUCTION = 8
"""The blur is computed on a picture this many times smaller."""

BLUR_SHARE = 1 / 36
"""Standard deviation of the blur, as a share of the picture's height: 20 pixels at 720p, which makes all writing illegible. It is
also half the side of each box filter."""


@dataclass(frozen=True)
class Blur:
    """The frame's own background, out of focus. The foreground is left out of the blur, so that it makes no halo."""

    def behind(self, image: Image, foreground: U8) -> Image:
        height, width = image.shape[:2]
        size = Size(max(1, width // REDUCTION), max(1, height // REDUCTION))
        small = shrunk(image, size).astype(np.float32)
        # Grown by a cell, since the soft edge still holds colours of the foreground.
        covered = cv2.dilate(shrunk(foreground, size), np.ones((3, 3), np.uint8))
        share = (255 - covered).astype(np.float32) / 255 + 1e-4  # never 0: deep inside the foreground there is nothing else
        side = 2 * round(BLUR_SHARE * height / REDUCTION) + 1
        blurred = np.dstack((small * share[..., None], share))
        for _ in range(3):  # three box filters are close to a Gaussian, in a third of the time
            blurred = cv2.boxFilter(blurred, -1, (side, side), borderType=cv2.BORDER_REFLECT)
        return scaled((blurred[..., :3] / blurred[..., 3:]).astype(np.uint8), Size(width, height), cv2.INTER_LINEAR)


@dataclass(frozen=True)
class Plain:
    """One colour, such as a studio's green."""

    colour: Bgr

    def behind(self, image: Image, foreground: U8) -> Image:
        return plain(self.colour, Size.of(image))


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that fills the canvas: its aspect is kept, the rest is cropped evenly. image: (H, W, 3) uint8 BGR."""

    image: Image

    def behind(self, image: Image, foreground: U8) -> Image:
        return _filling(self, Size.of(image))


Background = Blur | Plain | Picture
"""`behind` makes a read-only picture of `image`'s size. foreground: (H, W) uint8, 255 where `image` is all foreground."""


@lru_cache(maxsize=2)
def _filling(picture: Picture, size: Size) -> Image:
    original = Size.of(picture.image)
    scale = max(size.width / original.width, size.height / original.height)
    whole = Size(max(size.width, round(original.width * scale)), max(size.height, round(original.height * scale)))
    image = scaled(picture.image, whole, cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left, top = (whole.width - size.width) // 2, (whole.height - size.height) // 2
    return np.ascontiguousarray(image[top : top + size.height, left : left + size.width])
