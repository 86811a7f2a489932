"""Masks of a slow model, moved on to the newest frame, lie clearly better on their objects than as they were."""

from __future__ import annotations

import pytest

from benchmarks.overlay import measure, of_street
from realtime.settings import Settings

SIZE = "width=480&height=270&objects=8&seconds=3&fps=30"


@pytest.mark.parametrize(("camera", "gain"), [("seed=1", 0.06), ("seed=2&pan=40&shake=2", 0.15)], ids=["still", "moving"])
def test_moved_masks_fit_better_than_old_ones(camera: str, gain: float) -> None:
    figures = measure(of_street(f"synthetic://street?{SIZE}&{camera}"), Settings().tracker, model_fps=8)
    assert figures["objects"] > 200
    assert figures["carried_iou"] > figures["old_masks_iou"] + gain
    assert figures["carried_iou"] > 0.6
