"""One repeat: warms up the real pipeline over a feed, runs it for some seconds, and takes all measurements."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.models.model import Model
from realtime.app import Run
from realtime.bench.card import Counts
from realtime.bench.conditions import Watch
from realtime.bench.feed import Feed
from realtime.bench.machine import Rapl, machine_cpu_s, rss_mb, slope_per_minute
from realtime.bench.power import GpuReading, PowerMeter, PowerReading
from realtime.errors import BenchError, SourceLostError
from realtime.flow.links import Latest
from realtime.flow.meter import Reading
from realtime.sessions.live import LEAST_SCREEN_PX
from realtime.settings import Settings
from realtime.streams.outlets import CanvasFormat, Delivery, FilesOutlet, Outlet, WindowOutlet
from realtime.streams.recorder import Recording
from realtime.streams.stream import StreamPlan
from realtime.types import Canvas, Source

WARM_UP_FRAMES, LEAST_FRAMES = 5, 10
"""Before a repeat's measurement begins, and during it: with a slow model it takes longer than the seconds asked for."""

PATIENCE_S = 60.0
"""The most extra time for these frames."""

TICK_S = 0.02
SAMPLE_S = 0.1
"""Between two samples of the memory."""

STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """What to measure. rate_hz: of the feed, None for the maximum. recording: opens the files to write during it."""

    settings: Settings
    model: Model
    open_source: Callable[[], Source]
    rate_hz: float | None
    seconds: float
    warm_up_s: float
    recording: Callable[[], Recording] | None = None


@dataclass(frozen=True, slots=True)
class Repeat:
    """The measurements of one repeat; None for those that this machine does not provide.

    samples_ms: the times of every stage by its name, and "age", from a frame's capture until the screen gets it. rss_peak_mb,
    rss_slope: memory in MB, and its growth in MB per minute. no_power: why `power` is None. tracks: the number of new ids.
    """

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
    no_cpu_joules: str
    tracks: int

    @property
    def cpu_ms_per_frame(self) -> float:
        """Of the whole process: the model, all stages, and the source's own work."""
        return self.cpu_s * 1e3 / self.counts.processed

    @property
    def dropped_percent(self) -> float | None:
        """Of a camera's frames: dropped before the model, or missed by the feed."""
        missed = self.counts.missed_by_the_feed
        total = self.counts.captured + missed
        return 100 * (self.counts.dropped_before_model + missed) / total if total else None

    @property
    def joules_per_frame(self) -> float | None:
        return self.power.mean_w / self.fps if self.power and self.fps else None

    @property
    def cpu_joules_per_frame(self) -> float | None:
        return None if self.cpu_joules is None else self.cpu_joules / self.counts.processed

    def percentile(self, name: str, percent: float) -> float | None:
        """Of an age. None where nothing was shown, or where all masks are of the frame shown (the overlay "locked")."""
        ages = self.samples_ms.get(name)
        return None if ages is None or not ages.any() else float(np.percentile(ages, percent))


class Drawn(Outlet):
    """Every result is drawn for it, and nothing is kept: drawing is measured also where no file is encoded."""

    def __init__(self, format: CanvasFormat) -> None:
        self._format = format

    def canvas_format(self) -> CanvasFormat:
        return self._format

    def put(self, delivery: Delivery, may_wait: bool) -> None: ...


class Bench:
    """One run with a screen. Opens the model; used once."""

    def __init__(self, job: Job, watch: Watch | None = None) -> None:
        """watch: looks at the machine from time to time while this measures."""
        self._job, self._watch = job, watch
        self._feed: Feed | None = None
        self._screen: Latest[Canvas] | None = Latest() if job.rate_hz is not None else None
        format = CanvasFormat(job.settings.width, 0 if self._screen is None else LEAST_SCREEN_PX)
        screens = [] if self._screen is None else [WindowOutlet(self._screen, format)]
        self._files = FilesOutlet(format, job.recording() if job.recording else None, survives_errors=bool(screens))
        drawn = [] if screens or job.recording else [Drawn(format)]
        self.run = Run(job.settings, lambda: job.model, [StreamPlan(job.settings, self._open, [*screens, *drawn, self._files])])

    def measure(self) -> Repeat:
        """Warm up, measure, end. Raises the run's first error."""
        screen = threading.Thread(target=self._look, name="screen")
        try:
            self.run.start()
            screen.start()
            self._warm_up()
            return self._measure()
        finally:
            self.run.stop()
            self.run.wait(STOP_TIMEOUT_S)
            if screen.ident is not None:
                screen.join(STOP_TIMEOUT_S)

    def _open(self) -> Source:
        source = self._job.open_source()
        if source.is_live:
            return source
        self._feed = Feed(source, self._job.open_source, self._job.rate_hz)
        return self._feed

    def _look(self) -> None:
        """Stands for a screen that shows each frame at once: it takes the newest whenever there is one."""
        if self._screen is not None:
            for canvas in self._screen:
                self.run.stream.meter.delivered(canvas.captured_ns)

    def _warm_up(self) -> None:
        """Wait until the first frames are processed, and caches, threads and tracks have settled."""
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
        if self._watch is not None:
            self._watch.take(power.state())
        if after.processed - before.processed < 2:
            raise BenchError(f"{self._job.model.card.name}: processed fewer than 2 frames in {seconds:.0f} s")
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
        """Wait until then, and for `LEAST_FRAMES`; the times and values of memory samples meanwhile."""
        times_s: list[float] = []
        memory_mb: list[float] = []
        last_frame = self.run.stream.reading().processed + LEAST_FRAMES
        while True:
            left_s = end_s - time.monotonic()
            if left_s <= 0 and (self.run.stream.reading().processed >= last_frame or left_s < -PATIENCE_S):
                return times_s, memory_mb
            self._check()
            if self._watch is not None:
                self._watch.look()
            used_mb = rss_mb()
            if used_mb is not None:
                times_s.append(time.monotonic())
                memory_mb.append(used_mb)
            time.sleep(min(left_s, SAMPLE_S) if left_s > 0 else TICK_S)

    def _missed(self) -> int:
        return self._feed.missed if self._feed is not None else 0

    def _check(self) -> None:
        """Raises the run's first error, or SourceLostError when it is over too soon."""
        error = self.run.error or self._files.recorder.error
        if error is not None:
            raise error
        if self.run.inference.recoveries:
            raise BenchError("the model failed and was opened again during the measurement", "See the log, and run it again")
        if not self.run.running:
            name = self.run.stream.name or "the source"
            raise SourceLostError(f"{name}: ended during the measurement", "A live source must last longer than the bench")


def _counts(before: Reading, after: Reading, shown: int, missed: int) -> Counts:
    names = ("captured", "processed", "dropped_before_model", "dropped_before_screen")
    rise = {name: getattr(after, name) - getattr(before, name) for name in names}
    in_flight = rise["captured"] - rise["processed"] - rise["dropped_before_model"]
    return Counts(**rise, in_flight=in_flight, shown=shown, missed_by_the_feed=missed)
