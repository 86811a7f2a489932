"""ByteTrack in seconds: confident detections are matched first; faint ones may continue a track but never start one.

Source: ByteTrack (Zhang et al., 2022), algorithm 1; enlarged boxes from C-BIoU (Yang et al., 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

from realtime.tracking.common.settings import TrackerSettings
from realtime.tracking.common.tracker import BoxTracker


@dataclass(frozen=True, slots=True)
class Settings(TrackerSettings):
    """See `TrackerSettings`."""


class ByteTrack(BoxTracker):
    """The shared loop without additions: boxes, scores and classes."""


def create(settings: Settings) -> ByteTrack:
    """A ByteTrack without tracks."""
    return ByteTrack(settings)
