"""F07: pictures of any kind are converted, or rejected and counted; the source goes on, and numbers its frames as before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from realtime.sources.common.base import FrameSource, Picture

GOOD = np.full((48, 64, 3), 90, np.uint8)
USABLE: dict[str, Any] = {
    "grey": GOOD[..., 0],
    "one channel": GOOD[..., :1],
    "four channels": np.dstack([GOOD, GOOD[..., :1]]),
    "uint16": GOOD.astype(np.uint16) * 257,
    "every second row and column": np.full((96, 128, 3), 90, np.uint8)[::2, ::2],
    "mirrored": GOOD[:, ::-1],
    "Fortran order": np.asfortranarray(GOOD),
}
UNUSABLE: dict[str, Any] = {
    "none": None,
    "empty": np.zeros((0, 0, 3), np.uint8),
    "no rows": np.zeros((0, 64, 3), np.uint8),
    "two channels": GOOD[..., :2],
    "five channels": np.zeros((48, 64, 5), np.uint8),
    "floats": GOOD.astype(np.float32) / 255,
    "one row of numbers": np.zeros(48, np.uint8),
    "signed": GOOD.astype(np.int16),
}


class Odd(FrameSource):
    def __init__(self, image: Any, is_live: bool) -> None:
        self.is_live = is_live
        super().__init__("odd")
        self._images = (GOOD, image, image, GOOD)

    def _pictures(self) -> Iterator[Picture]:
        for number, image in enumerate(self._images):
            yield Picture(image, number / 25, time.monotonic_ns(), number)


@pytest.mark.parametrize("is_live", [False, True], ids=["recording", "camera"])
@pytest.mark.parametrize("kind", USABLE)
def test_what_can_be_converted_is(kind: str, is_live: bool) -> None:
    frames = list(source := Odd(USABLE[kind], is_live))
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    for frame in frames:
        assert (frame.image.shape, frame.image.dtype, frame.image.flags.c_contiguous) == (GOOD.shape, np.uint8, True)
        assert np.array_equal(frame.image, GOOD)
    assert not source.status.rejected


@pytest.mark.parametrize("is_live", [False, True], ids=["recording", "camera"])
@pytest.mark.parametrize("kind", UNUSABLE)
def test_what_cannot_is_rejected_and_counted(kind: str, is_live: bool) -> None:
    frames = list(source := Odd(UNUSABLE[kind], is_live))
    assert [frame.index for frame in frames] == [0, 3]
    assert list(source.status.rejected.values()) == [2]
