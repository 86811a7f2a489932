"""CPU time of drawing: 20 and 50 objects of the synthetic street at 1280x720, one thread.

    python benchmarks/drawing.py [OUT.json]

Scores change from frame to frame, as in practice, so that labels do not all come from a cache. Each part is drawn on a copy of
the frame, whose cost "nothing" shows, or on a larger camera frame that is scaled down. Next to the median is the least of many
rounds (other programs only add time), or the second least, as the clock of a shared machine may stop for a moment.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from engines.models.card import InputSpec, ModelCard
from engines.types import Instances, Segmentation, Size
from realtime.bench.machine import facts
from realtime.knobs import Knobs
from realtime.process.tuning import prepare
from realtime.render import Look, Painter
from realtime.render.layout import Wish, lay_out
from realtime.sources import open_source
from realtime.sources.synthetic import CLASSES, SyntheticSource
from realtime.types import Result, Track

TIME_INDEX, TRAIL_FRAMES = 180, 24
ROUNDS, WARM_UP = 80, 5
BUDGET_MS = {"50 objects": 3.0, "500 labels": 5.0}

SPEC = InputSpec("image", (64, 48), "nchw", "float32", "rgb", "stretch")
CARD = ModelCard("drawn", "yolo_seg", SPEC, {"predictions": "p", "prototypes": "q"}, CLASSES, things=CLASSES)
NOTHING = Knobs(masks=False, boxes=False, labels=False, trails=False)


def street(objects: int) -> Result:
    """A frame with its ground truth as the output of a model and a tracker, the nearest object first."""
    source = open_source(f"synthetic://street?objects={objects}&seed=1")
    assert isinstance(source, SyntheticSource)
    frame = next(frame for frame in source if frame.index == TIME_INDEX)
    truth = source.truth(TIME_INDEX)
    feet: dict[int, list[tuple[float, float]]] = {}
    for index in range(TIME_INDEX - TRAIL_FRAMES + 1, TIME_INDEX + 1):
        then = source.truth(index)
        for (x0, _, x1, y1), track_id in zip(then.boxes_px.tolist(), then.ids.tolist(), strict=True):
            feet.setdefault(track_id, []).append(((x0 + x1) / 2, y1))
    nearest = np.arange(len(truth.ids))[::-1]
    rows = np.zeros(256, np.uint8)
    rows[nearest + 1] = np.arange(1, len(nearest) + 1)
    scores = np.linspace(0.95, 0.35, len(nearest)).astype(np.float32)
    classes = truth.class_ids[nearest].astype(np.int32)
    boxes, ids = truth.boxes_px[nearest], truth.ids[nearest].tolist()
    instances = Instances(boxes, scores, classes, cv2.LUT(truth.label_map, rows))
    tracks = tuple(
        Track(ids[row], int(classes[row]), float(scores[row]), boxes[row], row, np.array(feet[ids[row]], np.float32))
        for row in range(len(ids))
    )
    return Result(frame, Segmentation(instances), tracks)


def cpu_ms(step: Callable[[], object]) -> dict[str, float]:
    """CPU time of this thread in one call: the median, and the second least, of `ROUNDS`."""
    times = []
    for _ in range(ROUNDS + WARM_UP):
        start = time.thread_time_ns()
        step()
        times.append((time.thread_time_ns() - start) / 1e6)
    ordered = sorted(times[WARM_UP:])
    return {"median": round(statistics.median(ordered), 2), "least": round(ordered[ROUNDS // 20], 2)}


def drawing_ms(result: Result) -> dict[str, dict[str, float]]:
    dice, look, painter = np.random.default_rng(0), Look(CARD), Painter()
    lively = [
        replace(
            result,
            tracks=tuple(
                track._replace(score=float(np.clip(track.score + dice.normal(0, 0.05), 0.3, 0.99)))
                for track in result.tracks or ()
            ),
        )
        for _ in range(ROUNDS + WARM_UP)
    ]
    turn = 0

    def one(knobs: Knobs, freshness: float = 1.0) -> None:
        nonlocal turn
        turn += 1
        chosen = lively[turn % len(lively)]
        painter(chosen if freshness == 1 else replace(chosen, freshness=freshness), knobs, look)

    parts = {
        name: cpu_ms(lambda name=name: one(replace(NOTHING, **{name: True}))) for name in ("masks", "trails", "boxes", "labels")
    }
    return {
        "nothing": cpu_ms(lambda: one(NOTHING)),
        **parts,
        "all": cpu_ms(lambda: one(Knobs())),
        "all, one selected": cpu_ms(lambda: one(Knobs(selected_id=result.tracks[0].id if result.tracks else None))),
        "all, half faded": cpu_ms(lambda: one(Knobs(), 0.5)),
    }


def shrinking_ms(result: Result) -> dict[str, float]:
    """CPU time from a frame of 1920x1080 to the canvas, without drawing."""
    look = Look(CARD)
    large = replace(result.frame, picture=cv2.resize(result.frame.image, (1920, 1080), interpolation=cv2.INTER_CUBIC))
    return cpu_ms(lambda: Painter()(replace(result, frame=large), NOTHING, look))


def layout_ms(labels: int) -> dict[str, float]:
    corners = np.random.default_rng(1).integers((0, 0), (1200, 600), (labels, 2)).tolist()
    wishes = [Wish(key, (x, y, x + 40, y + 60), 100, 22) for key, (x, y) in enumerate(corners)]
    before = {key: spot.place for key, spot in enumerate(lay_out(wishes, Size(1280, 720), {})) if spot is not None}
    return cpu_ms(lambda: lay_out(wishes, Size(1280, 720), before))


def main() -> None:
    prepare()
    report = {
        "machine": facts(),
        "frame": "1280x720",
        "budget_ms": BUDGET_MS,
        "cpu_ms": {f"{count} objects": drawing_ms(street(count)) for count in (5, 20, 50)}
        | {"500 labels": layout_ms(500), "nothing, from 1920x1080": shrinking_ms(street(5))},
    }
    text = json.dumps(report, indent=2)
    print(text)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
