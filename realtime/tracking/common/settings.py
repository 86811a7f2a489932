"""The settings that all trackers share, and their checks."""

import math
from dataclasses import dataclass, field, fields

from engines.errors import choices
from realtime.camera_motion import MODES
from realtime.errors import SettingsError
from realtime.tracking.common import kalman


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """Thresholds and times. Scores and overlaps are in [0, 1]; overlaps are IoUs of boxes enlarged by `margin` and `doubt`."""

    high_score: float = 0.4
    """Least score of a confident detection, which may revive a lost track."""
    start_score: float = 0.4
    """Least score of a detection without a track to start a new one."""
    low_score: float = 0.1
    """Detections below this score are ignored."""
    margin: float = 0.1
    """Boxes are compared with this share of their width and height added on each side: tolerates jumps and flickering sizes."""
    doubt: float = 2.0
    """This many standard deviations of the predicted position are added to the margin. An object seen once may have any velocity,
    and a lost one may have changed it: both may be found farther away, the more so the more time has passed."""
    max_margin: float = 1.0
    """Margin and doubt together add at most this share of the width and height on each side."""
    match_overlap: float = 0.3
    """Least overlap of a confident detection with its track."""
    faint_overlap: float = 0.55
    """Least overlap of a faint detection with its track: a detection of low score must be at the predicted place."""
    again_overlap: float = 0.7
    """Least overlap of a faint detection with a lost track, without margin: a half-hidden object is faint shortly before and
    after it is lost, but at the predicted place."""
    other_class_overlap: float = 0.75
    """Least overlap with a track of another class: a box at nearly the same place is the same car, now classified as a truck."""
    duplicate_overlap: float = 0.9
    """Overlap, without margin, from which two boxes of any classes are one object: no new track starts."""
    confirm_hits: int = 3
    """Sightings that confirm a track."""
    confirm_s: float = 0.1
    """A track seen twice is confirmed once its first sighting is this old: slow models need not wait for three frames."""
    tentative_s: float = 0.1
    """An unconfirmed track is removed when unseen for longer."""
    lost_s: float = 3.0
    """A confirmed track is removed when unseen for longer."""
    coast_s: float = 0.25
    """A confirmed track unseen for at most this long is still returned, at its predicted box and with row None."""
    faint_noise: float = 2.0
    """Additional noise of a box with score 0, as a multiple of the noise of a confident one."""
    camera_motion: str = "auto"
    """Compensation of the camera's motion: auto (while the background moves), on, off."""
    noise: kalman.Noise = field(default_factory=kalman.Noise)
    """The noise of boxes; in a preset, the table [tracking.noise]."""

    def __post_init__(self) -> None:
        if self.camera_motion not in MODES:
            cure = choices(str(self.camera_motion), MODES)
            raise SettingsError(f'tracking: "{self.camera_motion}" is not a mode of camera_motion', cure)
        for setting in fields(self):
            if setting.name not in ("noise", "camera_motion"):
                _check_number(setting.name, getattr(self, setting.name))
        for setting in fields(self.noise):
            _check_number(f"noise.{setting.name}", getattr(self.noise, setting.name))
        if self.low_score > self.high_score:
            raise SettingsError(f"tracking: low_score = {self.low_score} exceeds high_score = {self.high_score}", "Lower it")


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise SettingsError(f"tracking: {name} = {value!r} is not valid", "Give a number, 0 or more")
    if name.endswith(("_score", "_overlap", "_inside")) and not 0 < value <= 1:
        raise SettingsError(f"tracking: {name} = {value} is not valid", "Give a number above 0, at most 1")
