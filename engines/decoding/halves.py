"""Half precision to single. NumPy converts the numbers one by one, OpenCV with the processor's instruction for it."""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engines.types import F32


def as_float32(numbers: npt.NDArray[Any]) -> F32:
    """`numbers` in single precision; the same array where it is so already.

    A million halves: 0.35 ms instead of 1.7, where OpenCV can (5.0; 4.x refuses them).
    """
    if numbers.dtype != np.float16 or not numbers.size or not _opencv_can():
        return np.asarray(numbers, np.float32)
    row = np.ascontiguousarray(numbers).reshape(1, -1)
    return np.asarray(cv2.add(row, 0, dtype=cv2.CV_32F), np.float32).reshape(numbers.shape)


@lru_cache(maxsize=1)
def _opencv_can() -> bool:
    """Whether this OpenCV converts every half to the number that it is."""
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(1, -1)
    try:
        converted = cv2.add(every, 0, dtype=cv2.CV_32F)
    except (cv2.error, TypeError):
        return False
    return converted.dtype == np.float32 and bool(np.array_equal(converted, every.astype(np.float32), equal_nan=True))
