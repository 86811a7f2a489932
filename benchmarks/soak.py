"""A long run of the window: does memory grow, do threads and files pile up, does it become slower?

    python benchmarks/soak.py [--minutes 26] [--model road] [--source synthetic://...] [--births] [--loops 2] [OUT.json]

The window runs offscreen on a drawn street at 60 frames per second. Memory, threads and open files are sampled once a second.
Slopes are medians over all pairs of samples (Theil, Sen), from minutes 5 and 10 on, and over the second half. `heap` is what the
program holds of malloc's memory; `rss` holds as well what malloc keeps for the next picture. --births: every object gets another
track id each second.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PyQt6.QtCore import QTimer
from PyQt6.QtWidgets import QApplication

from engines.models import zoo
from engines.types import F64, Image, Segmentation
from realtime.bench.machine import facts, rss_mb, slope_per_minute
from realtime.commands.common.options import Running, parsed
from realtime.commands.common.running import settings_of
from realtime.flow.meter import Reading
from realtime.process.tuning import prepare
from realtime.sessions.live import LiveSession
from realtime.sources import open_source
from realtime.streams import composer
from realtime.types import Track, Tracker
from realtime.viewer.run import check_qt
from realtime.viewer.style import STYLE_SHEET, dark_palette
from realtime.viewer.window import MainWindow

STREET = "synthetic://street?fps=60&live=1&seconds=0&objects=20"
WARM_UP_MINUTES = (5, 10)
SAMPLE_MS = 1000
FILES = Path("/proc/self/fd")
MOST_SAMPLES = 200
"""Of the curves in the file."""

COLUMNS = ("s", "rss_mb", "heap_mb", "python_blocks", "threads", "files")


class _MallInfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def heap_mb() -> float | None:
    """What the program holds of malloc's memory, in MB; None where malloc is not glibc's. Source: mallinfo(3)."""
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError, TypeError):
        return None
    mallinfo.restype = _MallInfo
    info = mallinfo()
    return float(info.uordblks + info.hblkhd) / 1e6


class Samples:
    """One row a second, in memory that is there from the beginning: what samples would add must not look like a leak."""

    def __init__(self, minutes: float) -> None:
        self.begin()
        self._rows = np.zeros((int(minutes * 60 * 1000 / SAMPLE_MS * 1.2) + 60, len(COLUMNS)))
        self._count = 0
        self.early: Reading | None = None
        self.last = Reading()

    def begin(self) -> None:
        """The time counts from now on."""
        self._started_s = time.monotonic()

    @property
    def at_s(self) -> float:
        return time.monotonic() - self._started_s

    def take(self, reading: Reading) -> None:
        files = len(list(FILES.iterdir())) if FILES.is_dir() else 0
        row = (self.at_s, rss_mb() or 0.0, heap_mb() or 0.0, sys.getallocatedblocks(), threading.active_count(), files)
        self._rows[min(self._count, len(self._rows) - 1)] = row
        self._count += 1
        self.last = reading
        if self.early is None and self.at_s >= 60 * min(WARM_UP_MINUTES):
            self.early = reading

    def since(self, minute: float) -> dict[str, F64]:
        """Column → its values from that minute on."""
        rows = self._rows[: self._count]
        return dict(zip(COLUMNS, rows[rows[:, 0] >= 60 * minute].T, strict=True))


class Reborn:
    """A tracker whose tracks all get new ids once a second: as many births in a minute as a street has in hours."""

    def __init__(self, inner: Tracker) -> None:
        self._inner = inner

    def update(self, segmentation: Segmentation, t_s: float, image: Image) -> tuple[Track, ...]:
        tracks = self._inner.update(segmentation, t_s, image)
        return tuple(track._replace(id=int(t_s) * 100_000 + track.id) for track in tracks)


def soak(model: str, source: str, minutes: float) -> Samples:
    """Samples of one run of the window."""
    check_qt()
    settings = settings_of(parsed(Running)._replace(model=model), source)
    prepare()
    app = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(app, QApplication)
    app.setStyle("Fusion")
    app.setPalette(dark_palette())
    app.setStyleSheet(STYLE_SHEET)
    name = settings.model

    def open_session(source: str, wake: Callable[[], None]) -> LiveSession:
        return LiveSession(settings, source, lambda: open_source(source), lambda: zoo.find(name), wake, Path("out"))

    window = MainWindow(open_session, "soak")
    samples = Samples(minutes)

    def take() -> None:
        state = window.host.state()
        if state.phase == "starting":
            samples.begin()
            return
        samples.take(window.host.reading())
        if samples.at_s >= 60 * minutes or state.phase in ("ended", "failed"):
            print(state.phase, state.message, file=sys.stderr)
            app.quit()

    try:
        window.host.open(source)
        window.show()
        timer = QTimer(window)
        timer.timeout.connect(take)
        timer.start(SAMPLE_MS)
        app.exec()
    finally:
        window.close()
    return samples


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """While entered, so many other processes take all the time they get."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def slopes(samples: Samples, from_minute: float) -> dict[str, float | None]:
    """What grows from that minute on, per hour."""
    late = samples.since(from_minute)
    found = {name: slope_per_minute(late["s"], late[name]) for name in ("rss_mb", "heap_mb", "python_blocks")}
    return {f"{name}_per_hour": None if slope is None else round(60 * slope, 2) for name, slope in found.items()}


def p99_ms(reading: Reading | None) -> dict[str, float]:
    return {name: round(times.p99_ms, 2) for name, times in reading.stages.items()} if reading else {}


def report(samples: Samples, arguments: argparse.Namespace) -> dict[str, object]:
    whole, last = samples.since(0), samples.last
    minutes = float(whole["s"][-1]) / 60
    warm = samples.since(min(*WARM_UP_MINUTES, minutes / 2))
    every = slice(None, None, max(1, len(whole["s"]) // MOST_SAMPLES))
    return {
        "machine": facts() | {"load after": f"{os.getloadavg()[0]:.2f}"},
        "source": arguments.source,
        "model": arguments.model,
        "births": arguments.births,
        "busy loops": arguments.loops,
        "minutes": round(minutes, 1),
        "slopes": {f"from minute {minute:.0f}": slopes(samples, minute) for minute in (*WARM_UP_MINUTES, minutes / 2)},
        "rss_mb": {"first": whole["rss_mb"][0], "after warm-up": warm["rss_mb"][0], "last": whole["rss_mb"][-1]},
        "threads": sorted({int(count) for count in warm["threads"]}),
        "files": sorted({int(count) for count in warm["files"]}),
        "frames": {
            "captured": last.captured,
            "processed": last.processed,
            "dropped before the model": last.dropped_before_model,
            "fps": round(last.mean_fps, 1),
        },
        "age_ms": None if last.age is None else {name: round(getattr(last.age, name)) for name in ("p50_ms", "p95_ms", "p99_ms")},
        "p99_ms": {"at the end of the warm-up": p99_ms(samples.early), "at the end": p99_ms(last)},
        "curve": {name: [round(float(value), 1) for value in whole[name][every]] for name in ("s", "rss_mb", "heap_mb")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=26.0)
    parser.add_argument("--model", default="road")
    parser.add_argument("--source", default=STREET)
    parser.add_argument("--births", action="store_true")
    parser.add_argument("--loops", type=int, default=0, help="so many programs that compute without end run beside it")
    parser.add_argument("out", nargs="?", type=Path)
    arguments = parser.parse_args()
    if arguments.births:
        open_tracker = composer.open_tracker
        composer.open_tracker = lambda *args, **kwargs: Reborn(open_tracker(*args, **kwargs))
    with busy(arguments.loops):
        samples = soak(arguments.model, arguments.source, arguments.minutes)
    text = json.dumps(report(samples, arguments), indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
