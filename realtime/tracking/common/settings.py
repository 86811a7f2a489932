"""What every tracker lets its user set, and how settings are checked."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

from engines.errors import did_you_mean
from realtime.camera_motion.motion import MODES
from realtime.errors import SettingsError
from realtime.tracking.common import kalman


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """How a tracker decides. Scores and overlaps lie in [0, 1]; overlaps are IoUs of boxes grown by `margin` and `doubt`."""

    high_score: float = 0.4
    """From here on a detection is confident: it may revive a lost track."""
    start_score: float = 0.4
    """From here on a detection that no track claims starts a new one."""
    low_score: float = 0.1
    """Below this a detection is noise."""
    margin: float = 0.1
    """Boxes are compared with this much of their width and height added on each side: lenient to jumps and flickering sizes."""
    doubt: float = 2.0
    """So many standard deviations of the predicted position are added to that margin. An object seen only once may have any
    velocity, one that was lost may have changed it: both may be found farther off, the farther the more time has passed."""
    max_margin: float = 1.0
    """Margin and doubt together never add more than this much of the width and height on a side."""
    match_overlap: float = 0.3
    """Least overlap of a confident detection with its track."""
    faint_overlap: float = 0.55
    """Least overlap of a faint detection with its track: what is unsure of itself must lie where it is expected."""
    again_overlap: float = 0.7
    """Least overlap of a faint detection with a lost track, boxes as they are, without margin: who is half hidden is faint,
    shortly before being lost and shortly after, but is where expected."""
    other_class_overlap: float = 0.75
    """Least overlap with a track of another class: only a box in nearly the same place is the same car, now called truck."""
    duplicate_overlap: float = 0.9
    """From here on (boxes as they are, without margin) two boxes are one object, whatever their classes: no new track starts."""
    confirm_hits: int = 3
    """Sightings that confirm a track."""
    confirm_s: float = 0.1
    """A track seen twice is confirmed when its first sighting is this old, so that slow models need not wait for three frames."""
    tentative_s: float = 0.1
    """A track that is not confirmed is given up when unseen for longer."""
    lost_s: float = 3.0
    """A confirmed track is given up when unseen for longer."""
    coast_s: float = 0.25
    """A confirmed track unseen for at most this long is still returned, at its predicted box and with row None."""
    faint_noise: float = 2.0
    """How much noisier a box is whose score is 0 than one that is sure: so many times more."""
    camera_motion: str = "auto"
    """Whether a camera that moves is told from objects that do: auto (while the background moves), on, off."""
    noise: kalman.Noise = field(default_factory=kalman.Noise)
    """How restless boxes are; in a preset the table [tracking.noise]."""

    def __post_init__(self) -> None:
        if self.camera_motion not in MODES:
            hint = did_you_mean(str(self.camera_motion), MODES)
            raise SettingsError(f'tracking: camera_motion is "{self.camera_motion}"; it can be {", ".join(MODES)}{hint}')
        for setting in fields(self):
            if setting.name not in ("noise", "camera_motion"):
                _check_number(setting.name, getattr(self, setting.name))
        for setting in fields(self.noise):
            _check_number(f"noise.{setting.name}", getattr(self.noise, setting.name))
        if self.low_score > self.high_score:
            raise SettingsError(f"tracking: low_score = {self.low_score} must not exceed high_score = {self.high_score}")


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise SettingsError(f"tracking: {name} = {value!r} must be a number, 0 or more")
    if name.endswith(("_score", "_overlap", "_inside")) and not 0 < value <= 1:
        raise SettingsError(f"tracking: {name} = {value} must lie above 0 and not above 1")
