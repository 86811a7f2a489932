"""Labels are pictures from a bounded cache: changes are drawn, and memory does not grow over days."""

from __future__ import annotations

import numpy as np
import pytest

from engines.models.card import InputSpec, ModelCard
from engines.types import Instances, Segmentation, Size
from realtime.knobs import Knobs
from realtime.render import Look, Painter
from realtime.render.text import KEPT, label, percent_label
from realtime.types import Frame, Result, Track

INPUT = InputSpec("image", (64, 48), "nchw", "float32", "rgb", "stretch")
CARD = ModelCard("objects", "yolo_seg", INPUT, {"predictions": "p", "prototypes": "q"}, ("person", "car"))
ONLY_LABELS = Knobs(masks=False, boxes=False, trails=False)
BOX = np.array((60, 100, 200, 160), np.float32)
COLOUR = (40, 90, 200)


def drawn(painter: Painter, track_id: int = 7, class_id: int = 0, score: float = 0.88) -> np.ndarray:
    track = Track(track_id, class_id, score, BOX, 0, np.zeros((0, 2), np.float32))
    frame = Frame(np.full((180, 320, 3), 100, np.uint8), 0, 0.0, 0)
    seen = Segmentation(Instances.none(Size(320, 180)))
    return painter(Result(frame, seen, (track,)), ONLY_LABELS, Look(CARD)).image


@pytest.mark.parametrize("changed", [{"score": 0.89}, {"class_id": 1}, {"track_id": 8}])
def test_changes_are_drawn_and_can_be_undone(changed: dict[str, float]) -> None:
    painter = Painter()
    first = drawn(painter)
    assert not np.array_equal(drawn(painter, **changed), first)
    assert np.array_equal(drawn(painter), first)


def test_a_percentage_is_drawn_once_and_is_read_only() -> None:
    first = percent_label(88, 16, COLOUR)
    assert percent_label(88, 16, COLOUR) is first
    for other in (percent_label(87, 16, COLOUR), percent_label(88, 16, (41, 90, 200))):
        assert not np.array_equal(other, first)
    with pytest.raises(ValueError, match="read-only"):
        first[:] = 0


def test_the_cache_is_bounded() -> None:
    """Ids only rise, and without a limit memory would, too."""
    for number in range(KEPT + 50):
        label(f"car {number}", 11, COLOUR)
        percent_label(number % 100, 11, (number % 256, number // 256, 0))
    for cached in (label, percent_label):
        assert KEPT // 2 <= cached.kept() <= KEPT  # type: ignore[attr-defined]
