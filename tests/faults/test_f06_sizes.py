"""F06: the picture's size changes in mid-stream: every size is fitted anew, and masks lie where their objects are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import realtime
from realtime.sources.common.base import FrameSource, Picture

SIZES = ((1280, 720), (640, 480), (1920, 1080), (321, 241), (720, 1280))
EACH = 3


class Changing(FrameSource):
    """A bright person in the middle half of every picture, whose edges lie between cells of the network's map."""

    def _pictures(self) -> Iterator[Picture]:
        for number in range(EACH * len(SIZES)):
            width, height = SIZES[number // EACH]
            image = np.full((height, width, 3), 30, np.uint8)
            image[height // 4 : height - height // 4, width // 4 : width - width // 4] = 230
            yield Picture(image, number / 25, time.monotonic_ns())


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_masks_follow_each_size(tiny_model: Path, tmp_path: Path, fit: str) -> None:
    model = tmp_path / "tiny.onnx"
    model.write_bytes(tiny_model.read_bytes())
    model.with_suffix(".toml").write_text(tiny_model.with_suffix(".toml").read_text().replace('"stretch"', f'"{fit}"'))
    with realtime.open_stream(Changing("changing"), str(model), backend="ort", tracker="none") as stream:
        seen = [(result.image.shape[1::-1], [thing.mask for thing in result.objects]) for result in stream]
    assert [size for size, _ in seen] == [size for size in SIZES for _ in range(EACH)]
    for (width, height), (mask,) in seen:
        assert mask.shape == (height, width)
        rows, columns = np.nonzero(mask)
        truth = (width // 4, height // 4, width - width // 4 - 1, height - height // 4 - 1)
        found = (columns.min(), rows.min(), columns.max(), rows.max())
        # A cell of the map is 64th part of the width: with bars around the picture an edge may lie within one.
        slack = 1 if fit == "stretch" and width % 64 == 0 and height % 48 == 0 else max(width / 64, height / 48)
        assert np.abs(np.subtract(found, truth)).max() <= slack
