"""ByteTrack in seconds: confident detections are matched first; faint ones may continue a track but never start one.

Source: ByteTrack (Zhang et al., 2022), algorithm 1; enlarged boxes from C-BIoU (Yang et al., 2023).
"""

from realtime.tracking.common.settings import TrackerSettings as Settings
from realtime.tracking.common.tracker import BoxTracker


def create(settings: Settings) -> BoxTracker:
    """The shared loop without additions: boxes, scores and classes."""
    return BoxTracker(settings)
