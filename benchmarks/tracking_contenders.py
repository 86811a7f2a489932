"""The trackers to compare: those of this project, and of others where they are installed (`trackers`, `ultralytics`).

Each takes the same detections. A peer's own input types are made beforehand, so that only its own code is timed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np

from engines.types import F64, I64, Image, Segmentation
from realtime.tracking import names, open_tracker
from realtime.types import Track

Seen = tuple[I64, F64]
"""(K,) ids and (K, 4) x_min, y_min, x_max, y_max in px."""

ROBOFLOW = ("SORTTracker", "ByteTrackTracker", "OCSORTTracker", "CBIoUTracker", "BoTSORTTracker")
WITH_TIMES = " (with frame times)"
COMPENSATED = ("BoTSORTTracker",)
"""These use the image, for camera motion."""


class Follower(Protocol):
    """One tracker on one stream."""

    def prepare(self, segmentation: Segmentation) -> Any: ...

    def step(self, detections: Any, t_s: float, image: Image) -> Any:
        """The tracker's own work, which is timed."""
        ...

    def read(self, output: Any) -> Seen: ...


@dataclass(frozen=True)
class Contender:
    """A tracker by name. package: where it is from, "" for this project. open: takes a clip's frames per second."""

    name: str
    package: str
    open: Callable[[float], Follower]


class _Ours:
    def __init__(self, name: str) -> None:
        self._tracker = open_tracker(name)

    def prepare(self, segmentation: Segmentation) -> Segmentation:
        return segmentation

    def step(self, detections: Segmentation, t_s: float, image: Image) -> tuple[Track, ...]:
        return self._tracker.update(detections, t_s, image)

    def read(self, output: tuple[Track, ...]) -> Seen:
        """The rows that `--mot` writes: tracks seen in the frame."""
        seen = [track for track in output if track.row is not None]
        return np.array([track.id for track in seen], np.int64), _boxes([track.box_px for track in seen])


class _Roboflow:
    def __init__(self, name: str, fps: float, *, gives_times: bool) -> None:
        import supervision
        import trackers

        self._wrap = supervision.Detections
        self._tracker = getattr(trackers, name)(frame_rate=fps)
        self._gives_times, self._uses_image = gives_times, name in COMPENSATED

    def prepare(self, segmentation: Segmentation) -> Any:
        seen = segmentation.instances
        return self._wrap(xyxy=seen.boxes_px.copy(), confidence=seen.scores.copy(), class_id=seen.class_ids.astype(int))

    def step(self, detections: Any, t_s: float, image: Image) -> Any:
        frame, timestamp = image if self._uses_image else None, t_s if self._gives_times else None
        return self._tracker.update(detections, frame=frame, timestamp=timestamp)

    def read(self, output: Any) -> Seen:
        if output.tracker_id is None or not len(output):
            return np.zeros(0, np.int64), _boxes([])
        confirmed = output.tracker_id >= 0
        return output.tracker_id[confirmed].astype(np.int64) + 1, output.xyxy[confirmed].astype(np.float64)


class _Ultralytics:
    def __init__(self, kind: str) -> None:
        from ultralytics.engine.results import Boxes
        from ultralytics.trackers import BOTSORT, BYTETracker
        from ultralytics.utils import ROOT, YAML

        self._wrap = Boxes
        settings = SimpleNamespace(**YAML.load(ROOT / "cfg" / "trackers" / f"{kind}.yaml"))
        self._tracker = {"bytetrack": BYTETracker, "botsort": BOTSORT}[kind](settings)

    def prepare(self, segmentation: Segmentation) -> Any:
        seen = segmentation.instances
        rows = np.concatenate((seen.boxes_px, seen.scores[:, None], seen.class_ids[:, None]), axis=1, dtype=np.float32)
        return self._wrap(rows, segmentation.instances.label_map.shape)

    def step(self, detections: Any, t_s: float, image: Image) -> Any:
        return self._tracker.update(detections, image)

    def read(self, output: Any) -> Seen:
        if not len(output):
            return np.zeros(0, np.int64), _boxes([])
        return output[:, 4].astype(np.int64), output[:, :4].astype(np.float64)


def contenders() -> list[Contender]:
    """This project's trackers, and the installed peers."""
    found = [_ours(name) for name in names() if name != "none"]
    if importlib.util.find_spec("trackers"):
        found += [_roboflow(name, gives_times) for name in ROBOFLOW for gives_times in (False, True)]
    if importlib.util.find_spec("ultralytics"):
        found += [_ultralytics(kind) for kind in ("bytetrack", "botsort")]
    return found


def _ours(name: str) -> Contender:
    return Contender(f"ours {name}", "", lambda fps: _Ours(name))


def _roboflow(name: str, gives_times: bool) -> Contender:
    label = f"trackers {name.removesuffix('Tracker')}{WITH_TIMES if gives_times else ''}"
    return Contender(label, "trackers", lambda fps: _Roboflow(name, fps, gives_times=gives_times))


def _ultralytics(kind: str) -> Contender:
    return Contender(f"ultralytics {kind}", "ultralytics", lambda fps: _Ultralytics(kind))


def _boxes(boxes: list[Any]) -> F64:
    return np.array(boxes, np.float64).reshape(-1, 4)
