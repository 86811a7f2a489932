"""Text as small pictures: drawn once by Pillow in its own font (the same on every machine), then copied from a cache."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from engines.types import U8, Image


@lru_cache(maxsize=8)
def _font(size_px: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size_px)


@lru_cache(maxsize=2048)
def label(text: str, size_px: int, background_bgr: tuple[int, int, int]) -> Image:
    """`text` on a filled background, black or white, whichever reads better. (h, w, 3) uint8 BGR; shared, do not write to it."""
    # Class names come from other people's files: a line break or half a surrogate pair must not end the run.
    coverage = _coverage(" ".join(text.splitlines()).encode("utf-8", "replace").decode(), size_px)
    blue, green, red = background_bgr
    # Black on a relative luminance above 0.179 has more contrast than white (WCAG 2.1, contrast ratio).
    luminance = 0.2126 * (red / 255) ** 2.2 + 0.7152 * (green / 255) ** 2.2 + 0.0722 * (blue / 255) ** 2.2
    ink = 0.0 if luminance > 0.179 else 255.0
    background = np.array(background_bgr, np.float32)
    alpha = coverage[..., None].astype(np.float32) / 255
    patch = (background * (1 - alpha) + ink * alpha).astype(np.uint8)
    patch.setflags(write=False)
    return patch


def _coverage(text: str, size_px: int) -> U8:
    """(h, w) uint8 opacity of the letters, with a margin; its height depends on the size alone, so that labels line up."""
    from PIL import Image as PilImage
    from PIL import ImageDraw

    font = _font(size_px)
    ascent, descent = font.getmetrics()
    pad_x, pad_y = max(3, size_px // 3), max(1, size_px // 8)
    picture = PilImage.new("L", (int(font.getlength(text)) + 2 * pad_x, ascent + descent + 2 * pad_y))
    ImageDraw.Draw(picture).text((pad_x, pad_y), text, fill=255, font=font)
    return np.asarray(picture)
