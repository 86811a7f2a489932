"""Accuracy and cost of trackers: those of this project and of others, on the same detections.

    python benchmarks/tracking.py [--clips FOLDER] [--model FILE.onnx] [--seeds 5] [--only WORD] [--json OUT.json]

Three parts. Real clips with ground truth: all frames, every second one, and five random halves; HOTA, IDF1, MOTA and id switches
by TrackEval on the frames that were kept. Synthetic streets (many objects; people who cross and pass behind columns; a camera
that pans and shakes) with 0, 10, 30 and 60 % of the frames lost. And the CPU time of an update, on the clips and with 20 to 500
objects, where the trackers take turns, so that noise affects all alike. Those of others are measured where they are installed:
pip install trackers ultralytics.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tracking_contenders import WITH_TIMES, Contender, Seen, contenders
from benchmarks.tracking_scenes import LEAST_SCORE, Clip, Scene, SyntheticStreet
from benchmarks.tracking_speed import OBJECTS, cpu_ms, cpu_ms_of_clips
from engines.types import Bools
from realtime.bench.machine import facts
from realtime.judging.files import TrackRows
from realtime.judging.scores import ClassPair, Counts, Figures, combined, count, figures

ALL, SECOND = "all frames", "every second"
HALF, HALF_SEEDS = "random half", 5
DROPS = (0.1, 0.3, 0.6)
STREETS = {"street": "", "crossings": "&crossings=6&occluders=3", "moving camera": "&crossings=2&pan=160&shake=3"}
STREET = "width=640&height=360&objects=12&seconds=10"
SHOWN = ("hota", "idf1", "mota", "switches")

Kept = dict[str, Bools]
"""The frames of a scene that are kept, by the name of the thinning."""


@dataclass
class Run:
    """The output of one tracker for one thinning of one scene."""

    frames: list[int] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    def rows(self) -> TrackRows:
        """As `--mot` writes them."""
        frames = np.repeat(np.array(self.frames, np.int64), [len(ids) for ids, _ in self.seen])
        ids = np.concatenate([ids for ids, _ in self.seen])
        corners = np.concatenate([boxes for _, boxes in self.seen])
        boxes = np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2]), axis=1)
        real = (boxes[:, 2:] > 0).all(axis=1)  # a filter may shrink a box to nothing
        return TrackRows(Path("run"), frames[real], ids[real], boxes[real], np.ones(int(real.sum())), None)


def thinnings(frame_count: int) -> Kept:
    """The thinnings of real clips."""
    kept = {ALL: np.ones(frame_count, bool), SECOND: np.arange(frame_count) % 2 == 0}
    return kept | {f"{HALF} {seed}": _drawn(frame_count, 0.5, seed) for seed in range(HALF_SEEDS)}


def losses(frame_count: int, seed: int) -> Kept:
    """The thinnings of synthetic streets."""
    return {ALL: np.ones(frame_count, bool)} | {f"{drop:.0%} lost": _drawn(frame_count, drop, seed) for drop in DROPS}


def _drawn(frame_count: int, dropped: float, seed: int) -> Bools:
    """The first frame and a random part of the others."""
    kept = np.random.default_rng(1000 + seed).random(frame_count) >= dropped
    kept[0] = True
    return kept


def play(scene: Scene, entered: Sequence[Contender], kept: Kept) -> dict[tuple[str, str], Counts]:
    """Every tracker on every thinning: counts, by tracker and thinning."""
    followers = {(one.name, thinning): one.open(scene.fps) for one in entered for thinning in kept}
    runs = {key: Run() for key in followers}
    for view in scene.frames():
        for (name, thinning), follower in followers.items():
            if kept[thinning][view.index]:
                output = follower.step(follower.prepare(view.segmentation), view.t_s, view.image)
                runs[name, thinning].frames.append(view.index + 1)
                runs[name, thinning].seen.append(follower.read(output))
    truth = scene.truth()
    return {key: count(truth, run.rows(), np.array(run.frames), (ClassPair(1, 1),)) for key, run in runs.items()}


def compare(scenes: Sequence[tuple[Scene, Kept]], entered: Sequence[Contender]) -> dict[str, Any]:
    """By tracker: the scores of each thinning, over all scenes together and of each scene."""
    played = {scene.name: play(scene, entered, kept) for scene, kept in scenes}
    names = list(scenes[0][1])
    result: dict[str, Any] = {}
    for one in entered:
        counts = {name: [played[scene][one.name, name] for scene in played] for name in names}
        result[one.name] = {
            "together": _spread({name: figures(combined(clips)) for name, clips in counts.items()}),
            "scenes": {scene: _spread({name: figures(of[one.name, name]) for name in names}) for scene, of in played.items()},
        }
    return result


def _spread(of: Mapping[str, Figures]) -> dict[str, dict[str, float]]:
    """The scores as plain values; of random halves the mean, and for those that are printed the standard deviation."""
    plain = {name: _plain(one) for name, one in of.items() if not name.startswith(HALF)}
    halves = [_plain(one) for name, one in of.items() if name.startswith(HALF)]
    if halves:
        mean = {key: round(float(np.mean([one[key] for one in halves])), 4) for key in halves[0]}
        spread = {f"{key}_sd": round(float(np.std([one[key] for one in halves], ddof=1)), 4) for key in SHOWN}
        plain[HALF] = mean | spread
    return plain


def _plain(one: Figures) -> dict[str, float]:
    return {key: round(float(value), 4) for key, value in asdict(one).items()}


def markdown(title: str, of: Mapping[str, Any]) -> str:
    """A table: a row for each tracker; HOTA / IDF1 / MOTA in per cent and switches for each thinning."""
    columns = list(next(iter(of.values()))["together"])
    lines = [
        f"### {title}: HOTA / IDF1 / MOTA, id switches",
        "",
        f"| tracker | {' | '.join(columns)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    for name, result in of.items():
        cells = []
        for column in columns:
            one = result["together"][column]
            shares = " / ".join(f"{100 * one[key]:.1f}" for key in ("hota", "idf1", "mota"))
            spread = f" ± {100 * one['hota_sd']:.1f}" if "hota_sd" in one else ""
            cells.append(f"{shares}{spread}, {one['switches']:g}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cpu_markdown(of: Mapping[str, Any]) -> str:
    columns = ["clips", *(f"{objects} objects" for objects in OBJECTS)]
    lines = ["### CPU ms of an update (median)", "", f"| tracker | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for name, one in of.items():
        cells = [f"{one[column]['median_ms']:.2f}" if column in one else "-" for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def on_clips(entered: Sequence[Contender], options: argparse.Namespace) -> dict[str, Any]:
    """All frames of every clip, every second one, random halves."""
    of = compare([(scene, thinnings(scene.frame_count)) for scene in _clips(options)], entered)
    print(markdown("real clips", of), flush=True)
    return {"detections": options.model.stem, "least_score": LEAST_SCORE, "trackers": of}


def on_streets(entered: Sequence[Contender], options: argparse.Namespace) -> dict[str, Any]:
    """Synthetic streets of each kind; of a peer that accepts frame times, only the variant with them: it is the fairer one."""
    known = {one.name for one in entered}
    chosen = [one for one in entered if f"{one.name}{WITH_TIMES}" not in known]
    kinds: dict[str, Any] = {}
    for name, more in STREETS.items():
        streets = [SyntheticStreet(STREET + more, seed, name) for seed in range(options.seeds)]
        of = compare([(street, losses(street.frame_count, seed)) for seed, street in enumerate(streets)], chosen)
        kinds[name] = {"source": f"synthetic://street?{STREET}{more}", "seeds": options.seeds, "trackers": of}
        print(markdown(kinds[name]["source"], of), flush=True)
    return {"kinds": kinds}


def on_cpu(entered: Sequence[Contender], options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds per update, on the clips and with many objects; one variant of each tracker."""
    known = [one for one in entered if not one.name.endswith(WITH_TIMES)]
    of: dict[str, Any] = {name: {"clips": times} for name, times in cpu_ms_of_clips(_clips(options), known).items()}
    for objects in OBJECTS:  # without those that use the image, which is empty here
        quick = [one for one in known if "bot" not in one.name.lower()]
        for name, times in cpu_ms(quick, objects, options.frames).items():
            of[name][f"{objects} objects"] = times
    print(cpu_markdown(of), flush=True)
    return {"trackers": of}


def _clips(options: argparse.Namespace) -> list[Clip]:
    """Every folder of --clips. Raises SystemExit where there is none."""
    folders = sorted(path.parent for path in options.clips.glob("*/gt.txt"))
    if not folders:
        raise SystemExit(
            f"error: {options.clips}: holds no NAME/gt.txt; name a folder of clips with --clips, or leave that part out"
        )
    return [Clip(folder, options.model) for folder in folders]


def _merged(known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The new results of a part, and the existing ones of trackers that were not measured again."""
    if "kinds" in new:
        before = known.get("kinds", {})
        return {**new, "kinds": {kind: _merged(before.get(kind, {}), of) for kind, of in new["kinds"].items()}}
    return {
        **new,
        "trackers": {**new["trackers"], **{n: of for n, of in known.get("trackers", {}).items() if n not in new["trackers"]}},
    }


PARTS = {"clips": on_clips, "streets": on_streets, "cpu": on_cpu}


def main() -> None:
    parser = argparse.ArgumentParser(description="Trackers compared: how well ids last, and the CPU time of an update")
    parser.add_argument("--clips", type=Path, default=Path("../shared/tracks"), help="folders with NAME.mp4 and gt.txt")
    parser.add_argument("--model", type=Path, default=Path("../shared/models/yolo11n-seg-coco/yolo11n-seg_coco_640.onnx"))
    parser.add_argument("--seeds", type=int, default=5, help="number of synthetic streets of each kind")
    parser.add_argument("--frames", type=int, default=40, help="number of frames for the CPU time with many objects")
    parser.add_argument("--only", default="", help="trackers whose name has one of these words, separated by commas")
    parser.add_argument("--parts", default=",".join(PARTS), help="which parts, separated by commas")
    parser.add_argument("--json", type=Path, help="file for the results; existing ones that are not measured again are kept")
    options = parser.parse_args()
    entered = [one for one in contenders() if any(word in one.name for word in options.only.split(","))]
    versions = {package: version(package) for package in ("trackeval", *{one.package for one in entered if one.package})}
    for part in options.parts.split(","):
        machine = {**facts(), **versions}
        figures_of_part = PARTS[part](entered, options)
        if options.json:
            known = json.loads(options.json.read_text(encoding="utf-8")) if options.json.is_file() else {}
            if part != "cpu":  # ids do not depend on machine and load; times are comparable within one run only
                figures_of_part = _merged(known.get(part, {}), figures_of_part)
            known[part] = {"machine": machine, **figures_of_part}
            options.json.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
