"""CPU time of one tracker update: on clips, and with 20, 50, 200 and 500 moving objects.

The objects move at constant velocities over a 1920x1080 frame with noisy boxes, one detection in twenty missing, one in ten with
a low score, so that all stages of the association have work. The image is one pixel, so camera motion cannot be estimated.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from benchmarks.tracking_contenders import Contender
from benchmarks.tracking_scenes import Scene
from engines.types import Image, Instances, Segmentation

FPS = 30
OBJECTS = (20, 50, 200, 500)
ROUNDS, UNCOUNTED = 2, 10


def frames(objects: int, count: int, seed: int = 0) -> list[Segmentation]:
    """`count` frames of the same objects, which bounce off the borders."""
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


def cpu_ms(contenders: Sequence[Contender], objects: int, count: int) -> dict[str, dict[str, float]]:
    """CPU time of each tracker's update with this number of objects, measured once all tracks are confirmed."""
    image = np.zeros((1, 1, 3), np.uint8)
    made = [(seen, index / FPS, image) for index, seen in enumerate(frames(objects, count + UNCOUNTED))]
    return _in_turn(contenders, FPS, [made], uncounted=UNCOUNTED)


def cpu_ms_of_clips(scenes: Sequence[Scene], contenders: Sequence[Contender]) -> dict[str, dict[str, float]]:
    """CPU time of each tracker's update on all frames of the clips."""
    clips = [[(view.segmentation, view.t_s, view.image) for view in scene.frames()] for scene in scenes]
    return _in_turn(contenders, scenes[0].fps, clips)


def _in_turn(
    contenders: Sequence[Contender], fps: float, clips: Sequence[Sequence[tuple[Segmentation, float, Image]]], uncounted: int = 0
) -> dict[str, dict[str, float]]:
    """Median and 95th percentile, by name. In each of `ROUNDS` rounds, every contender runs through all clips."""
    spent_ms: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(ROUNDS):
        for contender in contenders:
            for clip in clips:
                follower, times = contender.open(fps), []
                for segmentation, t_s, image in clip:
                    detections = follower.prepare(segmentation)
                    began_ns = time.process_time_ns()
                    follower.step(detections, t_s, image)
                    times.append((time.process_time_ns() - began_ns) / 1e6)
                spent_ms[contender.name] += times[uncounted:]
    result = {}
    for name, all_ms in spent_ms.items():
        median, p95 = np.percentile(all_ms, (50, 95))
        result[name] = {"median_ms": round(float(median), 3), "p95_ms": round(float(p95), 3)}
    return result
