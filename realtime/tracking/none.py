"""No tracking: every frame stands alone, and nothing gets an id."""

from __future__ import annotations

from dataclasses import dataclass

from engines.types import Image, Segmentation
from realtime.types import Track


@dataclass(frozen=True, slots=True)
class Settings:
    """There is nothing to set."""


class NoTracker:
    """Returns no tracks, whatever it sees."""

    def update(self, segmentation: Segmentation, t_s: float, image: Image) -> tuple[Track, ...]:
        return ()


def create(settings: Settings) -> NoTracker:
    """The tracker that tracks nothing."""
    return NoTracker()
