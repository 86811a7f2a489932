"""Text as small pictures: drawn once by Pillow in its built-in font (the same on every machine), then copied from a cache."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

import cv2
import numpy as np

from engines.types import U8, Image

KEPT_CALLS = 4096
"""A text is kept while it is drawn: what was not asked for in so many calls, seconds of a crowd, may go. A cache by number alone
would fill for an hour with the labels of objects that have left."""

KEPT = 1024
"""Never more than so many pictures of names, and as many of percentages: 6 and 3 MB at 720p."""

Drawn = TypeVar("Drawn", bound=Callable[..., Any])


def recent(make: Drawn) -> Drawn:
    """`make` with a cache of what it was asked for in the last `KEPT_CALLS` to twice as many calls. Any thread may call it."""
    young: dict[tuple[Any, ...], Any] = {}
    old: dict[tuple[Any, ...], Any] = {}
    calls = 0

    @wraps(make)
    def cached(*key: Any) -> Any:
        nonlocal young, old, calls
        calls += 1
        if calls >= KEPT_CALLS or len(young) >= KEPT // 2:
            young, old, calls = {}, young, 0
        found = young.get(key)
        if found is None:
            found = old.get(key)
            young[key] = found = make(*key) if found is None else found
        return found

    cached.kept = lambda: len(young.keys() | old.keys())  # type: ignore[attr-defined]  # for tests
    return cast(Drawn, cached)


@lru_cache(maxsize=8)
def _font(size_px: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size_px)


@recent
def label(text: str, size_px: int, background_bgr: tuple[int, int, int]) -> Image:
    """(h, w, 3) uint8 BGR: `text`, black or white by contrast, on a filled background. Shared, read-only."""
    # Class names come from model files: a line break or half a surrogate pair must not end the run.
    coverage = _coverage(" ".join(text.splitlines()).encode("utf-8", "replace").decode(), size_px)
    return _inked(coverage, background_bgr)


@recent
def percent_label(percent: int, size_px: int, background_bgr: tuple[int, int, int]) -> Image:
    """A percentage to put beside a `label` of the same size and colour; all of two digits are equally wide. Shared, read-only.

    Separate from the name, since it changes with every frame and the name does not.
    """
    return _inked(_percent_coverage(percent, size_px), background_bgr)


def _inked(coverage: U8, background_bgr: tuple[int, int, int]) -> Image:
    patch: Image = cv2.applyColorMap(coverage, _inks(background_bgr))
    patch.setflags(write=False)
    return patch


@lru_cache(maxsize=256)
def _inks(background_bgr: tuple[int, int, int]) -> U8:
    """(256, 1, 3) uint8: coverage by a letter → colour between the background's and the letter's."""
    blue, green, red = background_bgr
    # Above a relative luminance of 0.179 black has more contrast than white (WCAG 2.1, contrast ratio).
    luminance = 0.2126 * (red / 255) ** 2.2 + 0.7152 * (green / 255) ** 2.2 + 0.0722 * (blue / 255) ** 2.2
    ink = 0.0 if luminance > 0.179 else 255.0
    share = np.arange(256, dtype=np.float32)[:, None, None] / 255
    return (np.array(background_bgr, np.float32) * (1 - share) + ink * share).astype(np.uint8)


@lru_cache(maxsize=1024)
def _percent_coverage(percent: int, size_px: int) -> U8:
    coverage = _coverage(f"{percent}%", size_px, before_px=0)
    missing_px = max(0, _percent_px(size_px) - coverage.shape[1])
    return np.ascontiguousarray(np.pad(coverage, ((0, 0), (missing_px, 0))))


@lru_cache(maxsize=8)
def _percent_px(size_px: int) -> int:
    """Width of the widest percentage of two digits."""
    return max(int(_coverage(f"{digit}{digit}%", size_px, before_px=0).shape[1]) for digit in "0468")


def _coverage(text: str, size_px: int, before_px: int | None = None) -> U8:
    """(h, w) uint8 opacity of the letters, with a margin. The height depends on the size alone, so that labels line up.

    before_px: margin before the first letter, if different from the one after the last.
    """
    from PIL import Image as PilImage
    from PIL import ImageDraw

    font = _font(size_px)
    ascent, descent = font.getmetrics()
    pad_x, pad_y = max(3, size_px // 3), max(1, size_px // 8)
    left = pad_x if before_px is None else before_px
    picture = PilImage.new("L", (int(font.getlength(text)) + left + pad_x, ascent + descent + 2 * pad_y))
    ImageDraw.Draw(picture).text((left, pad_y), text, fill=255, font=font)
    return np.asarray(picture)
