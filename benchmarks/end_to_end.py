"""End to end: source → model → tracks → drawing → encoded file, by the real pipeline.

    python benchmarks/end_to_end.py [SOURCE] [--model NAME|FILE.onnx] [--backend NAME] [--json OUT.json]

Reports frames per second, percentiles of every stage, CPU per frame of the whole process and of the model alone (the same
engine, called in a loop on one frame), and how memory grows after the first 100 frames.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.machine import facts
from engines import zoo
from engines.segmenter import Segmenter
from realtime.app import Run
from realtime.live import sinks_for
from realtime.process import prepare
from realtime.recorder import Recording
from realtime.settings import Settings
from realtime.sources import open_source

SETTLED_FRAMES = 100
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def rss_mb() -> float:
    """Resident memory of this process in megabytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES / 1e6


def model_alone(settings: Settings, source: str, rounds: int = 60) -> dict[str, float]:
    """CPU and wall milliseconds of fitting and inference alone, on the source's first frame."""
    frame = next(iter(open_source(source)))
    with Segmenter(zoo.find(settings.model), settings.backend) as segmenter:
        for _ in range(5):
            segmenter.choice.engine.infer(frame.image)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(rounds):
            segmenter.choice.engine.infer(frame.image)
        return {
            "wall_ms": round((time.perf_counter() - wall) / rounds * 1e3, 2),
            "cpu_ms": round((time.process_time() - cpu) / rounds * 1e3, 2),
        }


def measure(settings: Settings, source: str) -> dict[str, object]:
    """One run over the whole source, recorded to a temporary video."""
    alone = model_alone(settings, source)
    with tempfile.TemporaryDirectory() as folder:
        paths = {"video": Path(folder) / "out.mp4"}
        run = Run(settings, lambda: open_source(source), lambda: zoo.find(settings.model), recording=Recording(sinks_for(paths)))
        memory_mb: list[tuple[int, float]] = []
        run.start()
        while run.recorder.frames_written < 2:  # opening and warming up is no part of a frame's cost
            time.sleep(0.005)
        first, cpu = run.recorder.frames_written, time.process_time()
        while threading.active_count() > 1 and not run.pipeline.wait(0.1):
            memory_mb.append((run.recorder.frames_written, rss_mb()))
        cpu_s, frames = time.process_time() - cpu, run.recorder.frames_written - first
    reading = run.reading()
    cpu_ms = cpu_s / frames * 1e3
    settled = [mb for count, mb in memory_mb if count >= SETTLED_FRAMES]
    assert run.model is not None
    return {
        "source": source,
        "model": run.model.card.name,
        "backend": run.model.backend,
        "frames": reading.processed,
        "fps": round(reading.mean_fps, 1),
        "cpu_ms_per_frame": round(cpu_ms, 2),
        "model_alone": alone,
        "cpu_ms_per_frame_all_but_model": round(cpu_ms - alone["cpu_ms"], 2),
        "stages_ms": {name: {"p50": round(q.p50_ms, 2), "p95": round(q.p95_ms, 2)} for name, q in reading.stages.items()},
        "rss_mb_after_100_frames": round(settled[0], 1) if settled else None,
        "rss_mb_at_end": round(settled[-1], 1) if settled else None,
        "objects": dict(run.objects.by_class),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default="synthetic://street?objects=20&seconds=20")
    parser.add_argument("--model", default="road")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    prepare()
    report = {"machine": facts(), **measure(Settings(model=options.model, backend=options.backend), options.source)}
    text = json.dumps(report, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
