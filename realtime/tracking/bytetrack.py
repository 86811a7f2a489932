"""ByteTrack in seconds: confident detections choose their tracks first, faint ones may keep a track alive but never start one.

Source: ByteTrack (Zhang et al., 2022), algorithm 1; grown boxes from C-BIoU (Yang et al., 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

from realtime.tracking.common.settings import TrackerSettings
from realtime.tracking.common.tracker import BoxTracker


@dataclass(frozen=True, slots=True)
class Settings(TrackerSettings):
    """What all trackers have in common is all there is to set."""


class ByteTrack(BoxTracker):
    """The shared machine as it is: boxes, scores and classes."""


def create(settings: Settings) -> ByteTrack:
    """A ByteTrack without tracks."""
    return ByteTrack(settings)
