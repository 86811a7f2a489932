"""F32: at twelve odd sizes what a network sees comes back to where it was: IoU at least 0.995, offset below half a pixel."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from engines.decoding.masks import paint_masks
from engines.models.card import InputSpec
from engines.models.fit import InputFiller, fit
from engines.types import Size

HOW = ("letterbox", "letterbox_top_left", "stretch")
ODD_SIZES = [
    Size(width, height)
    for width, height in (
        (641, 361), (361, 641), (853, 479), (479, 853), (999, 333), (333, 999),
        (639, 641), (517, 389), (389, 517), (701, 437), (437, 701), (963, 541),
    )
]  # fmt: skip


def iou(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("frame", ODD_SIZES, ids=str)
def test_a_checkerboard_comes_back_where_it_was(frame: Size, how: str) -> None:
    """Frame → input → the map a perfect network would give → frame: an error of geometry would shift or scale the board.

    The input is about as fine as the frames: a coarser one loses more than 0.005 to its pixels alone (0.009 at 640).
    """
    rows, columns = np.indices((frame.height, frame.width))
    truth = ((rows * 3 // frame.height + columns * 3 // frame.width) % 2).astype(np.uint8)
    image = np.repeat(truth[..., None] * np.uint8(255), 3, axis=2)
    spec = InputSpec("image", (960, 960), "nhwc", "uint8", "rgb", how, (0.0,) * 3, (1.0,) * 3, 0)  # type: ignore[arg-type]
    tensor, geometry = InputFiller(spec)(image)

    content = geometry.cut((tensor[0, :, :, 0] > 127).astype(np.uint8))
    found = cv2.resize(np.ascontiguousarray(content), (frame.width, frame.height), interpolation=cv2.INTER_NEAREST_EXACT)

    assert iou(truth > 0, found > 0) >= 0.995
    (shift_x, shift_y), _ = cv2.phaseCorrelate(truth.astype(np.float64), found.astype(np.float64))
    assert max(abs(shift_x), abs(shift_y)) < 0.5


@pytest.mark.parametrize("magnify", [1, 2])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("frame", ODD_SIZES, ids=str)
def test_a_mask_mixed_from_prototypes_lies_where_its_object_is(frame: Size, how: str, magnify: int) -> None:
    """Prototypes that rise linearly are upsampled exactly, so the mask's edge is a line that is known in frame pixels."""
    geometry = fit(frame, Size(640, 640), how)
    centres = (np.arange(160, dtype=np.float32) + 0.5) * 4
    prototypes = np.stack((np.tile(centres, (160, 1)), np.tile(centres[:, None], (1, 160)), np.ones((160, 160), np.float32)))
    box = np.array([[0.1, 0.15, 0.9, 0.85]], np.float32) * np.array((frame.width, frame.height) * 2, np.float32)
    centre_x, centre_y = frame.width * 0.47, frame.height * 0.52
    slope = 0.6
    # In network pixels: (x - cx) + slope * (y - cy) > 0.
    net_x, net_y, _, _ = geometry.to_net(np.array([[centre_x, centre_y, centre_x, centre_y]], np.float32))[0]
    coefficients = np.array([[1, slope, -(net_x + slope * net_y)]], np.float32)

    labels = paint_masks(coefficients, prototypes, box, geometry, magnify)

    height, width = labels.shape
    assert (width, height) == (geometry.content.width * magnify, geometry.content.height * magnify)
    x = (np.arange(width) + 0.5) * frame.width / width
    y = (np.arange(height)[:, None] + 0.5) * frame.height / height
    scale_x, scale_y = geometry.scale
    truth = (x - centre_x) * scale_x + slope * (y - centre_y) * scale_y > 0
    truth &= (x > box[0, 0]) & (x < box[0, 2]) & (y > box[0, 1]) & (y < box[0, 3])
    assert iou(truth, labels == 1) >= 0.995
    offset_px = (np.argwhere(truth).mean(axis=0) - np.argwhere(labels == 1).mean(axis=0)) * frame.width / width
    assert np.abs(offset_px).max() < 0.5
