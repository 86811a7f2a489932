"""JSON lines: everything that was seen, a line per frame.

The first line describes the file:
    {"format": "segmentation-jsonl/1", "source", "model", "classes", "frame_size_px": [w, h], "map_size": [w, h], "versions"}
of a live source also "began_at", the time of day (UTC) at "pts_s" 0 by this machine's clock;
and each other line is a frame:
    {"index", "pts_s", "objects": [{"id", "class_id", "class", "score", "box_px": [x_min, y_min, x_max, y_max], "rle"}]}
`id` is the track's, or null for an object without a track. `rle` is the mask as uncompressed COCO run lengths, {"size": [h,
w], "counts"}, on a grid of `size` that covers the whole frame: scale it up to lay it over the picture. A detector's masks
are empty; a matte's are the pixels more than half opaque. Where there were more objects than a frame holds, it also has
    "cut_off": how many more, of lower scores
and where observers report something
    "events": [{"kind", "observer", "t_s", "track_id", "facts"}], and with observers named in the settings also
    "numbers": {observer: {track id, class id or another whole number: value}}
A frame that the model gave no result for has no objects, and "error" says why.
"""

import itertools
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

import cv2
import msgspec
import numpy as np

from engines.types import I64, U8, Size
from realtime.sinks import StreamFacts
from realtime.sinks.common.output_file import LineFile, mend_lines
from realtime.types import Canvas, Event, Result

SUFFIXES = (".jsonl", ".ndjson")
OPTION = "--jsonl"
HELP = "objects, tracks and masks, one JSON object per frame (.jsonl)"
FORMAT = "segmentation-jsonl/1"


class Header(msgspec.Struct, frozen=True, omit_defaults=True):
    """The first line."""

    format: str
    source: str
    model: str
    classes: tuple[str, ...]
    frame_size_px: tuple[int, int]
    map_size: tuple[int, int]
    versions: dict[str, str]
    began_at: str = ""


class RunLengths(msgspec.Struct, frozen=True):
    """A mask as `pycocotools.mask.frPyObjects` reads it; size is (height, width)."""

    size: tuple[int, int]
    counts: list[int]


class SeenObject(msgspec.Struct, frozen=True):
    """One object of one frame."""

    id: int | None
    class_id: int
    class_name: str = msgspec.field(name="class")
    score: float
    box_px: list[float]
    rle: RunLengths


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One frame."""

    index: int
    pts_s: float
    objects: list[SeenObject]
    cut_off: int = 0
    events: tuple[Event, ...] = ()
    numbers: dict[str, Mapping[int, float]] = {}
    error: str = ""


class JsonlSink:
    """Writes every object of each result."""

    def __init__(self, path: Path, facts: StreamFacts) -> None:
        self._file = LineFile(path)
        self._facts = facts
        self._encoder = msgspec.json.Encoder()
        self._has_header = False
        self._early: list[bytes] = []
        """Lines of frames before the first one with a result: only that tells `map_size`."""
        self._early_header: Header | None = None

    def write(self, result: Result, canvas: Canvas | None) -> None:
        """Append this frame's line. Raises SinkError once, when the disk fails."""
        numbers = {name: result.numbers[name] for name in self._facts.observers if name in result.numbers}
        objects = [] if result.error else self._objects(result)  # a screen's result holds those of an earlier frame
        cut_off = 0 if result.error else result.segmentation.instances.cut_off
        index, pts_s = result.frame.index, round(result.frame.pts_s, 6)
        line = Line(index, pts_s, objects, cut_off, result.events, numbers, result.error)
        encoded = self._encoder.encode(line) + b"\n"
        if not self._has_header and result.error:
            self._early.append(encoded)
            self._early_header = self._early_header or self._header(result)
            return
        if not self._has_header:
            self._begin(self._header(result))
        self._file.write(encoded)

    def close(self) -> None:
        """Give the file its name. Raises SinkError."""
        try:
            if not self._has_header and self._early_header is not None:  # no frame had a result
                self._begin(self._early_header)
        finally:
            self._file.close()

    def _begin(self, header: Header) -> None:
        """Write the first line, and those that waited for it."""
        self._has_header = True
        for line in (self._encoder.encode(header) + b"\n", *self._early):
            self._file.write(line)
        self._early.clear()

    def _header(self, result: Result) -> Header:
        frame, label_map = result.frame.size, Size.of(result.segmentation.instances.label_map)
        return Header(
            FORMAT,
            self._facts.source,
            self._facts.model,
            self._facts.classes,
            (frame.width, frame.height),
            (label_map.width, label_map.height),
            dict(self._facts.versions),
            _began_at(result) if self._facts.is_live else "",
        )

    def _objects(self, result: Result) -> list[SeenObject]:
        seen = result.segmentation.instances
        ids = {track.row: track.id for track in result.tracks or () if track.row is not None}
        boxes = seen.boxes_px.astype(float).round(2).tolist()  # float64 first: a rounded float32 prints all its digits
        scores = seen.scores.astype(float).round(4).tolist()
        height, width = seen.label_map.shape
        masks = [RunLengths((height, width), counts) for counts in run_lengths(seen.label_map, len(seen))]
        return [
            SeenObject(ids.get(row), class_id, self._facts.class_name(class_id), scores[row], boxes[row], masks[row])
            for row, class_id in enumerate(seen.class_ids.tolist())
        ]


def _began_at(result: Result) -> str:
    age_s = (time.monotonic_ns() - result.frame.captured_ns) / 1e9
    began = datetime.fromtimestamp(time.time() - age_s - result.frame.pts_s, timezone.utc)
    return began.isoformat(timespec="milliseconds")


def run_lengths(label_map: U8, count: int) -> list[list[int]]:
    """The masks of rows 0 .. count - 1 as uncompressed COCO run lengths.

    label_map: (H, W) uint8, i + 1 = row i. Returns per row the lengths of runs outside and inside the object, in turn,
    down each column and column after column, beginning outside (so the first may be 0); they add up to H * W.
    The map is read once for all objects. Source: pycocotools, common/maskApi.h.
    """
    flat = cv2.transpose(label_map).reshape(-1) if label_map.size else label_map.reshape(-1)
    starts = np.concatenate((np.zeros(min(1, flat.size), np.intp), np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    lengths = np.diff(starts, append=flat.size)
    labels = flat[starts]
    by_label = np.argsort(labels, kind="stable")  # stable: within one object runs stay in reading order
    bounds = np.searchsorted(labels[by_label], np.arange(1, count + 2))
    return [
        _alternating(starts[runs], lengths[runs], flat.size)
        for runs in (by_label[low:high] for low, high in itertools.pairwise(bounds.tolist()))
    ]


def _alternating(starts: I64, lengths: I64, total: int) -> list[int]:
    ends = starts + lengths
    counts = np.empty(2 * len(starts) + 1, np.int64)
    counts[0::2] = np.append(starts, total) - np.append(0, ends)  # the gaps before, between and after the runs
    counts[1::2] = lengths
    ends_inside = len(starts) > 0 and counts[-1] == 0
    run_list: list[int] = counts.tolist()
    return run_list[:-1] if ends_inside else run_list


def create(path: Path, facts: StreamFacts) -> JsonlSink:
    """A sink for `path`; nothing is on disk until the first result."""
    return JsonlSink(path, facts)


mend = mend_lines
