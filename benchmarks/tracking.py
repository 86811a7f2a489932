"""CPU time of one tracker update with 20, 50, 200 and 500 moving objects: prints one JSON object, milliseconds.

    python benchmarks/tracking.py [--tracker bytetrack] [--frames 200]

Objects move at constant velocities over a 1920x1080 picture with noisy boxes, one detection in twenty missing, one in ten
faint, so that all stages of the association have work.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import facts
from engines.types import Instances, Segmentation
from realtime.tracking import names, open_tracker

FPS = 30


def frames(objects: int, count: int, seed: int = 0) -> list[Segmentation]:
    """`count` frames of the same objects, bouncing off the picture's borders."""
    rng = np.random.default_rng(seed)
    centre, velocity = rng.uniform(0, (1920, 1080), (objects, 2)), rng.uniform(-150, 150, (objects, 2))
    size = rng.uniform((20, 30), (60, 90), (objects, 2))
    label_map = np.zeros((1, 1), np.uint8)
    made = []
    for _ in range(count):
        centre += velocity / FPS
        velocity = np.where((centre < 0) | (centre > (1920, 1080)), -velocity, velocity)
        found = rng.random(objects) >= 0.05
        corners = np.concatenate((centre - size / 2, centre + size / 2), axis=1)[found]
        noisy = corners + rng.normal(0, 0.02, corners.shape) * np.tile(size[found], 2)
        scores = np.where(rng.random(len(noisy)) < 0.1, 0.25, 0.9).astype(np.float32)
        made.append(Segmentation(Instances(noisy.astype(np.float32), scores, np.zeros(len(noisy), np.int32), label_map)))
    return made


def cpu_ms(tracker_name: str, objects: int, count: int) -> dict[str, float]:
    """Median and 95th percentile of an update's CPU time; the first second is not counted."""
    tracker, image = open_tracker(tracker_name), np.zeros((1, 1, 3), np.uint8)
    spent_ms = []
    for index, seen in enumerate(frames(objects, count + FPS)):
        began_ns = time.process_time_ns()
        tracker.update(seen, index / FPS, image)
        spent_ms.append((time.process_time_ns() - began_ns) / 1e6)
    median, p95 = np.percentile(spent_ms[FPS:], (50, 95))
    return {"median_ms": round(float(median), 3), "p95_ms": round(float(p95), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of one tracker update")
    parser.add_argument("--tracker", default="bytetrack", choices=names())
    parser.add_argument("--frames", type=int, default=200)
    options = parser.parse_args()
    figures = {str(objects): cpu_ms(options.tracker, objects, options.frames) for objects in (20, 50, 200, 500)}
    print(json.dumps({"machine": facts(), "tracker": options.tracker, "objects": figures}, indent=2))


if __name__ == "__main__":
    main()
