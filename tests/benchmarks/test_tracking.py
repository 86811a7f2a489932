"""The comparison of trackers, with trackers whose figures are known, and each real one on a short drawn street."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tracking import ALL, HALF, HALF_SEEDS, SECOND, _merged, compare, losses, markdown, thinnings
from benchmarks.tracking_contenders import Contender, contenders
from benchmarks.tracking_scenes import SyntheticStreet, View, renumbered
from benchmarks.tracking_speed import cpu_ms
from engines.types import Instances, Segmentation
from realtime.judging.files import TrackRows

FRAMES = 40


class TwoBoxes:
    """Two objects that stand still, seen as they are. An object's class id is its true id less one."""

    name, fps, frame_count = "two boxes", 10.0, FRAMES
    boxes = np.array(((0, 0, 10, 10), (50, 0, 60, 10)), np.float32)

    def frames(self) -> Iterator[View]:
        seen = Instances(self.boxes, np.full(2, 0.9, np.float32), np.arange(2, dtype=np.int32), np.zeros((8, 8), np.uint8))
        for index in range(FRAMES):
            yield View(index, index / self.fps, Segmentation(seen), np.zeros((8, 8, 3), np.uint8))

    def truth(self) -> TrackRows:
        frames, ids = np.repeat(np.arange(1, FRAMES + 1), 2), np.tile((1, 2), FRAMES)
        boxes = np.tile(np.array(((0, 0, 10, 10), (50, 0, 10, 10)), np.float64), (FRAMES, 1))
        return TrackRows(Path("truth"), frames, ids, boxes, np.ones(2 * FRAMES), None)


class Numbering:
    """Ids by class, or new ones in each frame."""

    def __init__(self, *, forgets: bool) -> None:
        self._forgets, self._count = forgets, 0

    def prepare(self, segmentation: Segmentation) -> Instances:
        return segmentation.instances

    def step(self, detections: Instances, t_s: float, image: object) -> Instances:
        self._count += self._forgets
        return detections

    def read(self, output: Instances) -> tuple[np.ndarray, np.ndarray]:
        return output.class_ids.astype(np.int64) + 1 + 2 * self._count, output.boxes_px.astype(np.float64)


KNOWN = [
    Contender("keeps", "", lambda fps: Numbering(forgets=False)),
    Contender("forgets", "", lambda fps: Numbering(forgets=True)),
]


def test_trackers_are_scored_on_the_frames_that_were_kept() -> None:
    kept = thinnings(FRAMES)
    result = compare([(TwoBoxes(), kept)], KNOWN)
    for name, figures in result["keeps"]["together"].items():
        assert (figures["hota"], figures["idf1"], figures["mota"], figures["switches"]) == (1, 1, 1, 0), name
    forgets = result["forgets"]["together"]
    assert forgets[ALL]["switches"] == 2 * (FRAMES - 1)
    assert forgets[SECOND]["frames"] == FRAMES / 2
    assert forgets[SECOND]["switches"] == 2 * (FRAMES // 2 - 1)
    halves = [int(kept[f"{HALF} {seed}"].sum()) for seed in range(HALF_SEEDS)]
    assert forgets[HALF]["switches"] == pytest.approx(np.mean([2 * (count - 1) for count in halves]))
    assert forgets[HALF]["switches_sd"] == pytest.approx(np.std([2 * count for count in halves], ddof=1), abs=1e-4)

    lines = markdown("two boxes", result).splitlines()
    assert lines[0].startswith("### two boxes: HOTA / IDF1 / MOTA, id switches")
    assert lines[4].startswith("| keeps | 100.0 / 100.0 / 100.0, 0 |")


def test_lost_frames_are_reproducible_and_have_the_given_share() -> None:
    for name, kept in losses(4000, 1).items():
        assert kept[0]
        assert (kept == losses(4000, 1)[name]).all()
        assert 1 - kept.mean() == pytest.approx({ALL: 0.0, "10% lost": 0.1, "30% lost": 0.3, "60% lost": 0.6}[name], abs=0.03)
    assert not (losses(4000, 1)["30% lost"] == losses(4000, 2)["30% lost"]).all()


def test_a_label_map_follows_its_rows() -> None:
    label_map = np.array(((0, 1), (2, 3)), np.uint8)
    assert renumbered(label_map, np.array((2, 0))).tolist() == [[0, 2], [0, 1]]


@pytest.mark.parametrize("name", [one.name for one in contenders() if not one.package])
def test_ours_follow_a_synthetic_street(name: str) -> None:
    (ours,) = [one for one in contenders() if one.name == name]
    street = SyntheticStreet("width=320&height=180&objects=3&seconds=1", seed=1)
    figures = compare([(street, losses(street.frame_count, 0))], [ours])[name]["together"]
    assert figures[ALL]["frames"] == 30
    assert figures[ALL]["idf1"] > 0.8
    assert 0 < cpu_ms([ours], 5, 3)[name]["median_ms"] < 1000


def test_results_that_are_not_measured_again_are_kept() -> None:
    known = {"trackers": {"a": 1, "b": 1}}
    assert _merged(known, {"trackers": {"b": 2, "c": 2}})["trackers"] == {"a": 1, "b": 2, "c": 2}
    kinds = _merged({"kinds": {"street": known}}, {"kinds": {"street": {"trackers": {"b": 2}}}})
    assert kinds["kinds"]["street"]["trackers"] == {"a": 1, "b": 2}


@pytest.mark.parametrize("package", ["trackers", "ultralytics"])
def test_peers_follow_two_boxes(package: str) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed: other people's trackers are compared where they are")
    entered = [one for one in contenders() if one.package == package]
    assert len(entered) >= 2
    for name, result in compare([(TwoBoxes(), {ALL: np.ones(FRAMES, bool)})], entered).items():
        assert result["together"][ALL]["idf1"] > 0.85, name
