"""The live overlay: how well masks fit their objects in the frame shown, when the model is slower than the camera.

    python benchmarks/overlay.py [CLIP.mp4 ...] [--model FILE.onnx] [--tracker NAME] [--json OUT.json]

A model of `--model-fps` (8) is simulated: its result for a frame is available one period later; then it takes the newest frame.
Each camera frame is combined with the latest result, unchanged ("old masks") and moved to that frame ("carried"), and compared
with the ground truth of that frame: exact masks of synthetic streets; for clips, the model's own result for the same frame.
Printed are the mean IoU of masks over objects, and the CPU ms per frame for moving them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engines.families import DecodeSettings
from engines.models import zoo
from engines.segmenter import Segmenter
from engines.types import U8, Instances, Segmentation
from realtime.bench.machine import facts
from realtime.process.tuning import prepare
from realtime.settings import Settings
from realtime.sources import open_source
from realtime.sources.synthetic import SyntheticSource, SyntheticTruth
from realtime.streams.overlay import Anchor, carried
from realtime.tracking import names, open_tracker
from realtime.types import Frame, Result

LEAST_SCORE, SURE_SCORE = 0.1, 0.4
STREETS = {
    "street": "synthetic://street?objects=14&seconds=8&seed={}",
    "street, panned and shaken": "synthetic://street?objects=14&seconds=8&pan=40&shake=3&seed={}",
}
SEEDS = (1, 2, 3)

Seen = tuple[Frame, Segmentation, "tuple[int, ...] | None"]
"""A frame, the result for it, and the ground truth's id of each row where it is known."""


def of_street(uri: str) -> Iterator[Seen]:
    source = open_source(uri)
    assert isinstance(source, SyntheticSource)
    for frame in source:
        truth = source.truth(frame.index)
        yield frame, _segmentation(truth), tuple(truth.ids.tolist())


def _segmentation(truth: SyntheticTruth) -> Segmentation:
    scores = np.full(len(truth.ids), 0.9, np.float32)
    return Segmentation(Instances(truth.boxes_px, scores, truth.class_ids, truth.label_map))


def of_clip(path: str, model: str) -> Iterator[Seen]:
    with Segmenter(zoo.find(model)) as segmenter:
        for frame in open_source(path):
            yield frame, segmenter(frame.image, DecodeSettings(score_threshold=LEAST_SCORE)), None


def overlaps(found: U8, ids: tuple[int, ...] | None, truth: Seen) -> list[float]:
    """IoU of each certain object of the ground truth with the mask of the same id; without ids, with the best mask."""
    _, segmentation, true_ids = truth
    true_map, count = segmentation.instances.label_map, len(segmentation.instances)
    pairs = np.bincount(true_map.ravel().astype(np.intp) * 256 + found.ravel(), minlength=65536).reshape(256, 256)
    shared = pairs[1 : count + 1, 1:].astype(np.float64)
    union = pairs.sum(axis=1)[1 : count + 1, None] + pairs.sum(axis=0)[None, 1:] - shared
    iou = shared / np.maximum(union, 1)
    sure = np.flatnonzero(segmentation.instances.scores >= SURE_SCORE)
    if ids is None or true_ids is None:
        return [float(iou[row].max()) for row in sure]
    return [float(iou[row, ids.index(true_ids[row])]) for row in sure if true_ids[row] in ids]


def measure(frames: Iterator[Seen], tracker_name: str, model_fps: float) -> dict[str, float]:
    tracker = open_tracker(tracker_name)
    old, moved, spent_ms = [], [], []
    asked: Seen | None = None
    answer: tuple[Anchor, Seen] | None = None
    due_s = 0.0
    for seen in frames:
        frame, _, _ = seen
        if asked is None or frame.pts_s >= due_s - 1e-6:
            if asked is not None:
                asked_frame, segmentation, _ = asked
                tracks = tracker.update(segmentation, asked_frame.pts_s, asked_frame.image)
                answer = Anchor.of(Result(asked_frame, segmentation, tracks), asked_frame.pts_s), asked
            asked, due_s = seen, frame.pts_s + 1 / model_fps
        if answer is None:
            continue
        anchor, (_, before, ids) = answer
        began_ns = time.process_time_ns()
        result = carried(anchor, frame, frame.pts_s)
        spent_ms.append((time.process_time_ns() - began_ns) / 1e6)
        old += overlaps(before.instances.label_map, ids, seen)
        moved += overlaps(result.segmentation.instances.label_map, ids, seen)
    if not old:
        raise SystemExit("error: no object in any frame that was shown: take a longer clip, or a model that knows what is in it")
    return {
        "old_masks_iou": round(float(np.mean(old)), 4),
        "carried_iou": round(float(np.mean(moved)), 4),
        "objects": len(old),
        "cpu_ms_median": round(float(np.median(spent_ms)), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*")
    parser.add_argument("--model", default="people", help="for the clips")
    parser.add_argument("--tracker", default=Settings().tracker, choices=names())
    parser.add_argument("--model-fps", type=float, default=8.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    prepare()
    figures: dict[str, dict[str, float]] = {}
    for name, uri in STREETS.items():
        for seed in SEEDS:
            figures[f"{name}, seed {seed}"] = measure(of_street(uri.format(seed)), options.tracker, options.model_fps)
    for clip in options.clips:
        name = f"{Path(clip).stem} by {Path(options.model).stem}"
        figures[name] = measure(of_clip(clip, options.model), options.tracker, options.model_fps)
    for name, row in figures.items():
        print(f"{name:<40} old {row['old_masks_iou']:.3f}  carried {row['carried_iou']:.3f}  {row['cpu_ms_median']:.2f} ms CPU")
    report = {"machine": facts(), "tracker": options.tracker, "model_fps": options.model_fps, "clips": figures}
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
