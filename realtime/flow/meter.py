"""Meter: stage times, frame rates, drops and the age of frames, as percentiles."""

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from engines.types import F64

WINDOW = 4096
"""Stage times kept for percentiles: about two minutes at 30 frames per second, and 32 kB a stage whatever the run's length."""

RATE_SPAN_S = 2.0


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Percentiles of one stage's time in milliseconds, over its latest `WINDOW` passes; `count` is over the whole run."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    count: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The meter at one moment. fps: frames through the model per second; shown_fps: frames on the screen per second.

    captured = processed + failed + dropped_before_model + in flight. failed: the model gave no result for them;
    dropped_before_screen: processed, but never shown.
    """

    fps: float = 0.0
    shown_fps: float = 0.0
    mean_fps: float = 0.0
    """Over the whole run, from the first frame out of the model to the last; opening is not included."""
    stages: Mapping[str, Quantiles] = field(default_factory=dict)
    age: Quantiles | None = None
    """Capture to screen (or to file), per frame."""
    since_first_s: float = 0.0
    """Since the first frame went into the model; 0 before."""
    cut_off: tuple[int, int] = (0, 0)
    """Objects that were left out because a frame holds no more (`Instances.cut_off`), and the frames that had more."""
    mask_age: Quantiles | None = None
    """Age of the masks relative to the displayed frame; None where no screen shows them."""
    captured: int = 0
    processed: int = 0
    dropped_before_model: int = 0
    dropped_before_screen: int = 0
    rejected: int = 0
    """Pictures of the source that could not be used. They are not captured."""
    failed: int = 0
    """Frames that the model gave no result for."""


class Rate:
    """Events per second over the last two seconds: n stamps are n - 1 intervals. Falls when events stop coming."""

    def __init__(self) -> None:
        self._stamps_s: deque[float] = deque()
        self._first_s = self._last_s = 0.0
        self._count = 0

    def tick(self, now_s: float) -> None:
        if not self._count:
            self._first_s = now_s
        self._count += 1
        self._last_s = now_s
        self._stamps_s.append(now_s)
        while self._stamps_s[0] < now_s - RATE_SPAN_S and len(self._stamps_s) > 2:
            self._stamps_s.popleft()

    def per_second(self, now_s: float) -> float:
        stamps = self._stamps_s
        if len(stamps) < 2 or now_s - stamps[-1] > RATE_SPAN_S:
            return 0.0
        intervals = len(stamps) - 1
        mean_interval_s = (stamps[-1] - stamps[0]) / intervals
        # A stall longer than the mean interval counts as time that passed, so that the rate sinks during it.
        overdue_s = max(0.0, now_s - stamps[-1] - mean_interval_s)
        span_s = stamps[-1] - stamps[0] + overdue_s
        return intervals / span_s if span_s > 0 else 0.0

    def mean(self) -> float:
        """Events per second from the first to the last."""
        span_s = self._last_s - self._first_s
        return (self._count - 1) / span_s if span_s > 0 else 0.0


class Series:
    """A ring of the latest `WINDOW` times."""

    def __init__(self) -> None:
        self._ring_ms = np.zeros(WINDOW)
        self.count = 0

    def add(self, ms: float) -> None:
        self._ring_ms[self.count % WINDOW] = ms
        self.count += 1

    def samples_ms(self) -> F64:
        """(n,) float64 milliseconds, in no order; a copy."""
        return self._ring_ms[: min(self.count, WINDOW)].copy()

    def quantiles(self) -> Quantiles | None:
        if not self.count:
            return None
        p50, p95, p99 = np.percentile(self._ring_ms[: min(self.count, WINDOW)], (50, 95, 99))
        return Quantiles(float(p50), float(p95), float(p99), self.count)


class Meter:
    """Collects figures from every thread; cheap enough for several calls per frame."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Start again: what was measured so far was warm-up."""
        with self._lock:
            self._stages: dict[str, Series] = {}
            self._processed = Rate()
            self._shown = Rate()
            self._first_ns: int | None = None
            self._cut_off = (0, 0)
            self._forget_ages()

    def forget_ages(self) -> None:
        """Start again with the ages only: pictures are shown in another way from now on."""
        with self._lock:
            self._forget_ages()

    def _forget_ages(self) -> None:
        self._age = Series()
        self._mask_age = Series()

    def samples_ms(self) -> dict[str, F64]:
        """Copies of the times themselves, the latest `WINDOW` of each stage by its name, and of "age" and "mask age"."""
        with self._lock:
            series = {**self._stages, "age": self._age, "mask age": self._mask_age}
            return {name: one.samples_ms() for name, one in series.items() if one.count}

    def add(self, stage_ms: Mapping[str, float]) -> None:
        """Record how long stages took, by name, in milliseconds."""
        with self._lock:
            for stage, ms in stage_ms.items():
                series = self._stages.get(stage)
                if series is None:
                    series = self._stages[stage] = Series()
                series.add(ms)

    def begun(self) -> None:
        """A frame goes into the model."""
        if self._first_ns is None:
            self._first_ns = time.monotonic_ns()

    def processed(self) -> None:
        """A frame came out of the model."""
        with self._lock:
            self._processed.tick(time.monotonic())

    def delivered(self, captured_ns: int) -> None:
        """A frame captured at `captured_ns` (`time.monotonic_ns()`) has reached the screen, or the file."""
        now_ns = time.monotonic_ns()
        with self._lock:
            self._shown.tick(now_ns / 1e9)
            self._age.add((now_ns - captured_ns) / 1e6)

    def cut_off(self, objects: int) -> bool:
        """A frame had so many more objects than it holds. Returns whether it is the first such frame."""
        with self._lock:
            is_first = not self._cut_off[1]
            self._cut_off = (self._cut_off[0] + objects, self._cut_off[1] + 1)
        return is_first

    def masks_shown(self, age_s: float) -> None:
        """A picture was drawn whose masks are of a frame `age_s` seconds older (`Result.mask_age_s`)."""
        with self._lock:
            self._mask_age.add(age_s * 1e3)

    def reading(
        self,
        captured: int = 0,
        processed: int = 0,
        dropped_before_model: int = 0,
        dropped_before_screen: int = 0,
        rejected: int = 0,
        failed: int = 0,
    ) -> Reading:
        """All figures now. The caller gives the counts, which the links keep."""
        now_s = time.monotonic()
        with self._lock:
            stages = {name: quantiles for name, series in self._stages.items() if (quantiles := series.quantiles())}
            return Reading(
                fps=self._processed.per_second(now_s),
                shown_fps=self._shown.per_second(now_s),
                mean_fps=self._processed.mean(),
                stages=stages,
                age=self._age.quantiles(),
                mask_age=self._mask_age.quantiles(),
                since_first_s=now_s - self._first_ns / 1e9 if self._first_ns is not None else 0.0,
                cut_off=self._cut_off,
                captured=captured,
                processed=processed,
                dropped_before_model=dropped_before_model,
                dropped_before_screen=dropped_before_screen,
                rejected=rejected,
                failed=failed,
            )
