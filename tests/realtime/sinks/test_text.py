"""MOT and JSON lines read back, and masks as run lengths."""

from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engines.types import Instances, Segmentation, Size
from realtime.sinks import StreamFacts, open_sinks
from realtime.sinks.jsonl import run_lengths
from realtime.types import Event

FACTS = StreamFacts(source="clip", model="net", classes=("car",), versions={"opencv": cv2.__version__})


def mask_of(counts, height, width):
    """What pycocotools makes of uncompressed run lengths: down the columns, outside first."""
    flat = np.repeat(np.arange(len(counts)) % 2, counts)
    return flat.reshape(width, height).T.astype(bool)


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 4)), st.integers(0, 6))
@settings(max_examples=150, deadline=None)
def test_run_lengths_are_the_masks(label_map, count):
    runs = run_lengths(label_map, count)
    assert len(runs) == count
    for row, counts in enumerate(runs):
        assert sum(counts) == label_map.size
        assert all(length > 0 for length in counts[1:])
        assert np.array_equal(mask_of(counts, *label_map.shape), label_map == row + 1)


def test_run_lengths_by_hand():
    label_map = np.array([[1, 0, 2], [1, 1, 2]], np.uint8)  # down the columns: 1 1, 0 1, 2 2
    assert run_lengths(label_map, 3) == [[0, 2, 1, 1, 2], [4, 2], [6]]


def test_json_lines_tell_all_objects(tmp_path, make_picture):
    path = tmp_path / "o.jsonl"
    (sink,) = open_sinks({"jsonl": path}, FACTS)
    for index in (0, 3):
        sink.write(*make_picture(index))
    sink.close()
    header, *frames = map(json.loads, path.read_text().splitlines())
    assert header == {
        "format": "segmentation-jsonl/1",
        "source": "clip",
        "model": "net",
        "classes": ["car"],
        "frame_size_px": [160, 120],
        "map_size": [80, 60],
        "versions": {"opencv": cv2.__version__},
    }
    assert [(line["index"], line["pts_s"]) for line in frames] == [(0, 0.0), (3, 0.1)]
    seen = make_picture(3)[0].segmentation.instances
    objects = frames[1]["objects"]
    assert [(o["id"], o["class_id"], o["class"], o["score"]) for o in objects] == [(7, 0, "car", 0.9), (None, 1, "class 1", 0.5)]
    for row, item in enumerate(objects):
        assert item["box_px"] == seen.boxes_px[row].tolist()
        assert item["rle"]["size"] == [60, 80]
        assert np.array_equal(mask_of(item["rle"]["counts"], 60, 80), seen.label_map == row + 1)


def test_the_header_has_the_map_size_of_the_first_result(tmp_path, make_picture):
    """A first frame without a result has no map; the header had the frame's size."""
    for name, count in (("some.jsonl", 4), ("none.jsonl", 2)):
        (sink,) = open_sinks({"jsonl": tmp_path / name}, FACTS)
        for index in range(count):
            result, canvas = make_picture(index)
            if index < 2:
                nothing = Segmentation(Instances.none(Size(160, 120)))
                result = dataclasses.replace(result, segmentation=nothing, tracks=(), error="it failed")
            sink.write(result, canvas)
        sink.close()
        header, *frames = map(json.loads, (tmp_path / name).read_text().splitlines())
        assert header["map_size"] == ([80, 60] if count > 2 else [160, 120])
        assert [(line["index"], "error" in line) for line in frames] == [(index, index < 2) for index in range(count)]


def test_a_frame_has_events_only_where_an_observer_reports_some(tmp_path, make_picture):
    path = tmp_path / "o.jsonl"
    (sink,) = open_sinks({"jsonl": path}, FACTS)
    for index, events in enumerate(((), (Event("entered", "zones", 0.25, 7, {"zone": "gate"}),))):
        result, canvas = make_picture(index)
        sink.write(dataclasses.replace(result, events=events), canvas)
    sink.close()
    _, quiet, busy = map(json.loads, path.read_text().splitlines())
    assert list(quiet) == ["index", "pts_s", "objects"]
    assert busy["events"] == [{"kind": "entered", "observer": "zones", "t_s": 0.25, "track_id": 7, "facts": {"zone": "gate"}}]


def test_a_frame_has_the_numbers_of_the_observers_that_the_settings_name(tmp_path, make_picture):
    path = tmp_path / "o.jsonl"
    (sink,) = open_sinks({"jsonl": path}, FACTS._replace(observers=("zones", "not yet")))
    result, canvas = make_picture(0)
    sink.write(dataclasses.replace(result, numbers={"counts": {1: 3}, "zones": {7: 2.5}}), canvas)
    sink.close()
    assert json.loads(path.read_text().splitlines()[1])["numbers"] == {"zones": {"7": 2.5}}


def test_mot_lines_are_the_seen_tracks(tmp_path, make_picture):
    path = tmp_path / "o.txt"
    (sink,) = open_sinks({"mot": path}, FACTS)
    for index in (0, 3):
        sink.write(*make_picture(index))
    sink.close()
    assert path.read_text().splitlines() == ["1,7,8.00,18.00,24.00,24.00,0.9000,1,1", "4,7,14.00,18.00,24.00,24.00,0.9000,1,1"]
