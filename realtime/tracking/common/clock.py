"""Seconds between two frames, however wrong the stream's timestamps are."""

import math
from typing import NamedTuple

MIN_DT_S = 0.001
MAX_DT_S = 2.0
"""A longer step is a gap: motion from before it does not hold after it."""

_FIRST_DT_S = 1 / 30


class Tick(NamedTuple):
    """One frame's step in time."""

    dt_s: float
    """Always within [MIN_DT_S, MAX_DT_S]."""
    is_gap: bool
    """The stream jumped ahead by more than MAX_DT_S."""


class StepClock:
    """Turns timestamps into plausible steps forward.

    A frame whose timestamp is not a number, or earlier than the last one, counts as a step like the one before. Time continues
    from the new timestamp.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        """Seconds since the first frame, the sum of the steps; rises with every frame."""
        self._last_t_s = math.nan
        self.usual_dt_s = _FIRST_DT_S
        """The last plausible step."""

    def tick(self, t_s: float) -> Tick:
        """Take the next frame's timestamp in seconds."""
        step_s = t_s - self._last_t_s
        if math.isfinite(t_s):
            self._last_t_s = t_s
        is_gap = MAX_DT_S < step_s < math.inf
        if not math.isfinite(step_s) or step_s < 0:
            dt_s = self.usual_dt_s
        else:
            dt_s = min(max(step_s, MIN_DT_S), MAX_DT_S)
            self.usual_dt_s = dt_s if not is_gap else self.usual_dt_s
        self.now_s += dt_s
        return Tick(dt_s, is_gap)
