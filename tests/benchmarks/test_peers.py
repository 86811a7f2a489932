"""What peers.py makes of its rounds, and the part of a contender that is ours to get right."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.peers import report
from benchmarks.peers_contenders import _letterboxed, _masks


def contender(name: str, fps: list[float], cpu_ms: list[float], runtime: str = "ort") -> SimpleNamespace:
    rounds = [{"fps": one, "cpu_ms": cpu, "frames": 10.0} for one, cpu in zip(fps, cpu_ms, strict=True)]
    return SimpleNamespace(name=name, runtime=runtime, rounds=rounds)


def test_ratios_are_medians_of_the_rounds_and_listed_with_their_targets() -> None:
    ours = contender("ours", [30.0, 15.0, 33.0], [50.0, 60.0, 50.0])
    theirs = contender("ultralytics", [5.0, 2.5, 5.0], [250.0, 600.0, 300.0])
    slow = contender("supervision", [20.0, 10.0, 11.0], [100.0, 60.0, 100.0])
    table = report([ours, theirs, slow, contender("ours", [1.0], [1.0], "openvino")])
    against = table["ort"]["ours against ultralytics"]
    assert against == {"fps_ratio": 6.0, "cpu_ratio": 6.0, "target_fps_ratio": 6.0, "met": True}
    assert table["ort"]["ours against supervision"]["met"] is False
    assert table["ort"]["ours"]["fps"] == 30.0
    assert list(table["openvino"]) == ["ours"], "a runtime without peers has one row"


def test_supervision_s_masks_are_inside_their_boxes() -> None:
    """A frame of 1280x720 in the network's 640x640: 140 rows of padding above, half the size."""
    blob, scale, left, top = _letterboxed(np.full((720, 1280, 3), 200, np.uint8))
    assert (blob.shape, scale, left, top) == ((1, 3, 640, 640), 0.5, 0, 140)
    assert blob[0, 0, 0, 0] == pytest.approx(114 / 255)
    assert blob[0, 0, 320, 320] == pytest.approx(200 / 255)
    coefficients, prototypes = np.ones((1, 2), np.float32), np.full((2, 160, 160), 3.0, np.float32)
    box_net = np.array([[100.0, 240.0, 200.0, 340.0]])  # in the frame 200..400 and 200..400
    (mask,) = _masks(coefficients, prototypes, box_net, left, top, (720, 1280))
    rows, columns = np.nonzero(mask)
    assert mask.shape == (720, 1280)
    assert [rows.min(), rows.max(), columns.min(), columns.max()] == pytest.approx([200, 399, 200, 399], abs=4)
