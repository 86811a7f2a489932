"""CPU time of every stage but inference: 20 objects at 1280x720, one thread, medians. `python benchmarks/stages.py [OUT.json]`

The last figures are the CPU time of a whole run over a recording into a text file of tracks, without and with drawing.

The network's outputs are synthetic (with the shapes and the overlapping candidates of a YOLO11 segmentation network), so the
figures do not depend on a model, and every stage has realistic work.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from engines.families import DecodeSettings
from engines.families.yolo_seg import Family
from engines.models import zoo
from engines.models.card import InputSpec, ModelCard
from engines.models.coco import COCO_CLASSES
from engines.models.fit import InputFiller, fit
from engines.types import F32, Size
from realtime.app import Run
from realtime.bench.machine import facts
from realtime.knobs import Knobs
from realtime.process.tuning import prepare
from realtime.render import Look, compose
from realtime.settings import Settings
from realtime.sources import open_source
from realtime.streams.outlets import CanvasFormat, FilesOutlet
from realtime.streams.recorder import recording_to
from realtime.streams.stream import StreamPlan
from realtime.tracking import open_tracker
from realtime.types import Frame, Result

FRAME = Size(1280, 720)
NET = Size(640, 640)
OBJECTS = 20
BUDGETS_MS = {"preprocess": 0.5, "decode, NMS, masks": 2.0, "drawing": 1.6, "all but inference": 6.0}

SPEC = InputSpec("images", (NET.width, NET.height), "nchw", "float32", "rgb", "letterbox", std=(255.0, 255.0, 255.0))
CARD = ModelCard("made-up", "yolo_seg", SPEC, {"predictions": "rows", "prototypes": "masks"}, COCO_CLASSES, things=COCO_CLASSES)


def made_up_outputs(rng: np.random.Generator) -> dict[str, F32]:
    """Predictions (1, 116, 8400) with six candidates for each of 20 objects over a floor of low scores, and prototypes."""
    rows = np.zeros((1, 116, 8400), np.float32)
    rows[:, 4:84] = rng.random((80, 8400)) * 0.04
    prototypes = np.stack([cv2.GaussianBlur(rng.normal(size=(160, 160)).astype(np.float32), (0, 0), 6) for _ in range(32)])
    for index in range(OBJECTS):
        width, height = rng.uniform(30, 90), rng.uniform(60, 180)
        centre_x, centre_y = rng.uniform(50, 590), rng.uniform(180, 460)
        for candidate in range(6):
            column = index * 400 + candidate
            jitter_x, jitter_y = rng.normal(size=2)
            rows[0, :4, column] = centre_x + jitter_x, centre_y + jitter_y, width, height
            rows[0, 4 + index % 5, column] = 0.9 - 0.02 * candidate
            rows[0, 84:, column] = rng.normal(size=32)
    return {"rows": rows, "masks": prototypes[None] * 4}


def stages() -> dict[str, Callable[[], object]]:
    """Stage → a function that runs it once."""
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 255, (FRAME.height, FRAME.width, 3), dtype=np.uint8), (9, 9), 3)
    outputs, settings, geometry = made_up_outputs(rng), DecodeSettings(0.1), fit(FRAME, NET, "letterbox")
    family, fill, tracker, look, knobs = Family(CARD), InputFiller(SPEC), open_tracker("auto"), Look(CARD), Knobs()
    segmentation = family.decode(outputs, geometry, settings)
    assert len(segmentation.instances) == OBJECTS
    clock_s = iter(i / 30 for i in range(1_000_000))
    track = lambda: tracker.update(segmentation, next(clock_s), image)  # noqa: E731
    result = Result(Frame(image, 0, 0.0, 0), segmentation, track())
    return {
        "preprocess": lambda: fill(image),
        "decode, NMS, masks": lambda: family.decode(outputs, geometry, settings),
        "tracking": track,
        "drawing": lambda: compose(result, knobs, look),
    }


def median_ms(step: Callable[[], object], rounds: int) -> float:
    """Median CPU time of this thread over `rounds` passes, after a warm-up."""
    for _ in range(10):
        step()
    times = []
    for _ in range(rounds):
        start = time.thread_time_ns()
        step()
        times.append((time.thread_time_ns() - start) / 1e6)
    return statistics.median(times)


def whole_run_ms(needs_canvas: bool) -> float:
    """CPU time per frame, of all threads, from a synthetic street through `road-small` into a file of tracks."""
    model, settings = zoo.find("road-small"), Settings(model="road-small", backend="ort")
    with tempfile.TemporaryDirectory() as folder:
        recording = replace(recording_to({"mot": Path(folder) / "tracks.txt"}), needs_canvas=needs_canvas)
        files = FilesOutlet(CanvasFormat(settings.width), recording)
        source = f"synthetic://street?objects={OBJECTS}&seconds=3"
        run = Run(settings, lambda: model, [StreamPlan(settings, lambda: open_source(source), [files])])
        start_s = time.process_time()
        run.start()
        run.wait()
        return (time.process_time() - start_s) * 1e3 / files.recorder.frames_written


def whole_runs() -> dict[str, float]:
    """Medians of five runs each, alternately."""
    runs = [(whole_run_ms(False), whole_run_ms(True)) for _ in range(5)]
    undrawn, drawn = (round(statistics.median(side), 2) for side in zip(*runs, strict=True))
    return {"process --mot": undrawn, "the same, drawn": drawn}


def main() -> None:
    prepare()
    report: dict[str, object] = {"machine": facts(), "frame": str(FRAME), "objects": OBJECTS}
    figures = {name: round(median_ms(step, 200), 3) for name, step in stages().items()}
    figures["all but inference"] = round(sum(figures.values()), 3)
    report["cpu_ms"], report["budget_ms"] = figures, BUDGETS_MS
    for name, figure in figures.items():
        budget = BUDGETS_MS.get(name)
        print(
            f"{name:<18}{figure:7.3f} ms"
            + (f"   budget {budget} ms: {'met' if figure <= budget else 'MISSED'}" if budget else "")
        )
    report["whole_run_cpu_ms"] = whole = whole_runs()
    for name, figure in whole.items():
        print(f"{name:<18}{figure:7.2f} ms of all threads per frame, model included")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
