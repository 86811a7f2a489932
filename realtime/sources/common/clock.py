"""Stream time that rises strictly, however wrong the time stamps are."""

from __future__ import annotations

import math

_DEFAULT_INTERVAL_S = 1 / 25
_MIN_STEP_S = 0.001
_MIN_PLAUSIBLE_S = 0.0001  # no camera delivers 10 000 fps
_MAX_DRIFT_S = 2.0  # a live stream's stamps may differ by this much from the elapsed time in one step
_MAX_FILE_GAP_S = 10.0  # a recording may have a longer gap only when its frame rate is low (time lapse)
_MAX_GAP_INTERVALS = 50


class StreamClock:
    """Turns raw time stamps into seconds since the first frame; repeats, jumps and missing stamps become plausible steps.

    corrected: number of steps that do not follow the stream's own stamps.
    """

    def __init__(self, fps: float | None, is_live: bool) -> None:
        self.interval_s = 1 / fps if fps else _DEFAULT_INTERVAL_S
        self.corrected = 0
        self._is_live = is_live
        self._now_s: float | None = None
        self._raw_s: float | None = None
        self._received_s = 0.0

    def tick(self, pts_s: float | None, received_s: float) -> float:
        """The time of the next frame: 0.0 for the first, then strictly rising.

        pts_s: the stream's own stamp, or None. received_s: when it arrived, on a monotonic clock.
        """
        raw_s = pts_s if pts_s is not None and math.isfinite(pts_s) else None
        if self._now_s is None:
            self._now_s = 0.0
        else:
            self._now_s += self._step_s(raw_s, received_s - self._received_s)
        self._raw_s, self._received_s = raw_s, received_s
        return self._now_s

    def restart(self) -> None:
        """The raw stamps start again from any value (a reconnect, a loop); stream time continues."""
        self._raw_s = None

    def _step_s(self, raw_s: float | None, waited_s: float) -> float:
        if raw_s is None or self._raw_s is None:
            return self._guessed_step_s(waited_s)
        step_s = raw_s - self._raw_s
        if self._is_live:
            plausible = step_s >= _MIN_PLAUSIBLE_S and abs(step_s - waited_s) <= _MAX_DRIFT_S
        else:
            plausible = _MIN_PLAUSIBLE_S <= step_s <= max(_MAX_FILE_GAP_S, _MAX_GAP_INTERVALS * self.interval_s)
        if plausible:
            self.interval_s = step_s
            return step_s
        self.corrected += 1
        return self._guessed_step_s(waited_s)

    def _guessed_step_s(self, waited_s: float) -> float:
        return max(waited_s, _MIN_STEP_S) if self._is_live else self.interval_s
