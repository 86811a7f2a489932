"""One repeat: the real pipeline over a feed for some seconds, warmed up first, and everything that can be read meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from engines.models.model import Model
from realtime.app import Run
from realtime.bench.energy import Rapl
from realtime.bench.feed import Feed
from realtime.bench.gauges import machine_cpu_s, rss_mb, slope_per_minute
from realtime.bench.power import GpuReading, PowerMeter, PowerReading
from realtime.errors import BenchError, SourceLostError
from realtime.flow.links import Latest
from realtime.flow.meter import Meter, Reading
from realtime.flow.pipeline import Pipeline
from realtime.sessions.live import LEAST_SCREEN_PX
from realtime.settings import Settings
from realtime.streams.outlets import CanvasFormat, Delivery, FilesOutlet, WindowOutlet
from realtime.streams.recorder import Recording
from realtime.streams.stream import StreamPlan
from realtime.types import Canvas, Source

WARM_UP_FRAMES, LEAST_FRAMES = 5, 10
"""Before a repeat's measuring begins, and before it may end: a slow model is given longer than was asked for."""

PATIENCE_S = 60.0
"""For those, beyond what was asked for."""

TICK_S = 0.02
LOOK_S = 0.1
"""Between two looks at the memory."""

STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """What is measured. rate_hz: of the feed, None for the maximum; recording: what opens files that are written meanwhile."""

    settings: Settings
    model: Model
    open_source: Callable[[], Source]
    rate_hz: float | None
    seconds: float
    warm_up_s: float
    recording: Callable[[], Recording] | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Frames of a stretch of time: captured = processed + dropped_before_model + in_flight (how many more than at its begin).

    missed: the feed's own (see `Feed`); they were never captured. dropped_before_screen were processed, but never shown.
    """

    captured: int
    processed: int
    dropped_before_model: int
    dropped_before_screen: int
    shown: int
    missed: int

    @property
    def in_flight(self) -> int:
        return self.captured - self.processed - self.dropped_before_model


@dataclass(frozen=True, slots=True)
class Repeat:
    """What one repeat told. samples_ms: the times of every stage by its name, and "age": from a picture's capture to the screen's
    hand. Memory in MB, its slope in MB a minute; None is what this machine does not tell."""

    seconds: float
    fps: float
    counts: Counts
    samples_ms: dict[str, npt.NDArray[Any]]
    cpu_s: float
    others_cores: float | None
    rss_peak_mb: float | None
    rss_slope: float | None
    power: PowerReading | None
    gpu: GpuReading | None
    cpu_joules: float | None
    no_power: str
    """Why `power` is None."""
    no_cpu_joules: str
    tracks: int
    """Ids that were given."""

    @property
    def cpu_ms_per_frame(self) -> float:
        """Of the whole process: the model, all stages, and the source's own work."""
        return self.cpu_s * 1e3 / self.counts.processed


class Drawn:
    """An outlet that has every result drawn, and keeps nothing: where no file is encoded, drawing is measured all the same."""

    is_screen, dropped = False, 0

    def __init__(self, format: CanvasFormat) -> None:
        self._format = format

    def join(self, pipeline: Pipeline, meter: Meter) -> None: ...

    def canvas_format(self) -> CanvasFormat:
        return self._format

    def put(self, delivery: Delivery, may_wait: bool) -> None: ...


class Bench:
    """One run and who looks at its pictures. Opens the model anew; used once."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._feed: Feed | None = None
        self._screen: Latest[Canvas] | None = Latest() if job.rate_hz is not None else None
        format = CanvasFormat(job.settings.width, 0 if self._screen is None else LEAST_SCREEN_PX)
        screens = [] if self._screen is None else [WindowOutlet(self._screen, format)]
        self._files = FilesOutlet(format, job.recording() if job.recording else None, survives_errors=bool(screens))
        drawn = [] if screens or job.recording else [Drawn(format)]
        self.run = Run(job.settings, lambda: job.model, [StreamPlan(job.settings, self._open, [*screens, *drawn, self._files])])

    def measure(self) -> Repeat:
        """Warm up, measure, end. Raises the run's first error."""
        looker = threading.Thread(target=self._look, name="screen")
        try:
            self.run.start()
            looker.start()
            self._warm_up()
            return self._measure()
        finally:
            self.run.stop()
            self.run.wait(STOP_TIMEOUT_S)
            if looker.ident is not None:
                looker.join(STOP_TIMEOUT_S)

    def _open(self) -> Source:
        source = self._job.open_source()
        if source.is_live:
            return source
        self._feed = Feed(source, self._job.open_source, self._job.rate_hz)
        return self._feed

    def _look(self) -> None:
        """Stands in for a screen that shows each picture at once: it takes the newest whenever there is one."""
        if self._screen is not None:
            for canvas in self._screen:
                self.run.stream.meter.delivered(canvas.captured_ns)

    def _warm_up(self) -> None:
        """Wait until the first frames are through, and caches, threads and tracks are as they stay."""
        first_s: float | None = None
        while True:
            self._check()
            processed, now_s = self.run.stream.reading().processed, time.monotonic()
            if processed and first_s is None:
                first_s = now_s
            if first_s is not None and processed >= WARM_UP_FRAMES and now_s - first_s >= self._job.warm_up_s:
                return
            time.sleep(TICK_S)

    def _measure(self) -> Repeat:
        rapl, stream = Rapl(), self.run.stream
        with PowerMeter() as power:
            stream.meter.forget()
            before, missed = stream.reading(), self._missed()
            tracks = sum(stream.counts.values())
            counters, machine_s = rapl.counters(), machine_cpu_s()
            start_s, cpu_s = time.monotonic(), time.process_time()
            times_s, memory_mb = self._wait(start_s + self._job.seconds)
            cpu_s, seconds = time.process_time() - cpu_s, time.monotonic() - start_s
            after, samples_ms = stream.reading(), stream.meter.samples_ms()
            joules, machine_end_s = rapl.joules_since(counters), machine_cpu_s()
        self._check()
        if after.processed - before.processed < 2:
            raise BenchError(f"{self._job.model.card.name}: fewer than 2 frames came out of it in {seconds:.0f} s")
        others_s = None if machine_s is None or machine_end_s is None else max(0.0, machine_end_s - machine_s - cpu_s)
        shown = after.age.count if after.age else 0
        return Repeat(
            seconds=seconds,
            fps=after.mean_fps,
            counts=_counts(before, after, shown, self._missed() - missed),
            samples_ms=samples_ms,
            cpu_s=cpu_s,
            others_cores=None if others_s is None else others_s / seconds,
            rss_peak_mb=max(memory_mb, default=None),
            rss_slope=slope_per_minute(times_s, memory_mb),
            power=power.reading(),
            gpu=power.gpu(),
            cpu_joules=joules,
            no_power=power.why_not,
            no_cpu_joules=rapl.why_not,
            tracks=int(sum(stream.counts.values()) - tracks),
        )

    def _wait(self, end_s: float) -> tuple[list[float], list[float]]:
        """Until then and `LEAST_FRAMES` have come, looking at the memory: when, and how much of it there was."""
        times_s: list[float] = []
        memory_mb: list[float] = []
        last_frame = self.run.stream.reading().processed + LEAST_FRAMES
        while True:
            left_s = end_s - time.monotonic()
            if left_s <= 0 and (self.run.stream.reading().processed >= last_frame or left_s < -PATIENCE_S):
                return times_s, memory_mb
            self._check()
            taken_mb = rss_mb()
            if taken_mb is not None:
                times_s.append(time.monotonic())
                memory_mb.append(taken_mb)
            time.sleep(min(left_s, LOOK_S) if left_s > 0 else TICK_S)

    def _missed(self) -> int:
        return self._feed.missed if self._feed is not None else 0

    def _check(self) -> None:
        """Raises the run's first error, or SourceLostError when it is over too soon."""
        error = self.run.error or self._files.error
        if error is not None:
            raise error
        if not self.run.running:
            name = self.run.stream.name or "the source"
            raise SourceLostError(f"{name}: ended while it was measured; a live source has to last longer than the bench")


def _counts(before: Reading, after: Reading, shown: int, missed: int) -> Counts:
    names = ("captured", "processed", "dropped_before_model", "dropped_before_screen")
    rose = {name: getattr(after, name) - getattr(before, name) for name in names}
    return Counts(**rose, shown=shown, missed=missed)
