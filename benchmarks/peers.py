"""This project compared with Ultralytics `track` and supervision + trackers: same clip, same ONNX file, alternately in one run.

    python benchmarks/peers.py --shared FOLDER [--rounds 5] [--seconds 4] [--runtimes ort openvino] [--json OUT.json]

Also needs ultralytics (AGPL-3.0; only measured, not part of this project), supervision and trackers; missing ones are reported
and left out. FOLDER has tracks/ (TUD clips) and models/yolo11n-seg-coco. Each contender loads once in its own process and then
runs its rounds in turn, so that other programs' load affects all of them. Two threads for the network.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.peers_contenders import CONTENDERS, THREADS, Round, make_clip
from realtime.bench.machine import facts, machine_cpu_s

ROOT = Path(__file__).resolve().parent.parent

NEEDS = {"ours": (), "ours tight": (), "ultralytics": ("ultralytics",), "supervision": ("supervision", "trackers")}
TARGETS = {"ultralytics": 6.0, "supervision": 2.5}
MODEL = "models/yolo11n-seg-coco/yolo11n-seg_coco_640.onnx"


class Contender:
    """A process that has loaded one contender, and runs a round on request."""

    def __init__(self, name: str, runtime: str, model: Path, clip: Path) -> None:
        self.name, self.runtime = name, runtime
        self.rounds: list[Round] = []
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(THREADS),
            "YOLO_AUTOINSTALL": "false",
            "YOLO_CONFIG_DIR": str(clip.parent),
            "PEERS_FOLDER": str(clip.parent),
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--child", name, runtime, str(model), str(clip)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=clip.parent,
        )
        self._ask("ready")

    def round(self, seconds: float) -> Round:
        self.rounds.append(self._ask(str(seconds)))
        return self.rounds[-1]

    def close(self) -> None:
        self._process.communicate()

    def _ask(self, line: str) -> Round:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which is reported below
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        for answer in self._process.stdout:
            if answer.startswith("ROUND "):  # libraries print as well
                found: Round = json.loads(answer.removeprefix("ROUND "))
                return found
        raise SystemExit(f"{self.name} on {self.runtime} ended: see its words above")


def child(name: str, runtime: str, model: str, clip: str) -> None:
    """In the process of one contender: load, then run a round for each line with its seconds."""
    go = CONTENDERS[name](model, clip, runtime)
    for line in sys.stdin:
        print("ROUND", json.dumps({} if line.strip() == "ready" else go(float(line))), flush=True)


def measure(contenders: list[Contender], rounds: int, seconds: float) -> str:
    """Run all rounds in turn. Returns a description of other programs' load meanwhile."""
    busy_s, start_s = machine_cpu_s(), time.monotonic()
    for number in range(rounds):
        for contender in contenders:
            facts = contender.round(seconds)
            line = f"{number + 1}/{rounds} {contender.runtime:<9}{contender.name:<12}"
            print(f"{line}{facts['fps']:6.1f} FPS {facts['cpu_ms']:7.1f} ms CPU", file=sys.stderr, flush=True)
    end_s, took_s = machine_cpu_s(), time.monotonic() - start_s
    if busy_s is None or end_s is None:
        return "unknown here"
    own_s = sum(one["cpu_ms"] * one["frames"] for contender in contenders for one in contender.rounds) / 1e3
    return f"{(end_s - busy_s - own_s) / took_s:.1f} cores (opening models and warming up between rounds is part of that)"


def report(contenders: list[Contender]) -> dict[str, Any]:
    """Per runtime: each contender's medians and ranges, and ours against each peer, as medians of the rounds' own ratios."""
    result: dict[str, Any] = {}
    for runtime in dict.fromkeys(contender.runtime for contender in contenders):
        here = {contender.name: contender for contender in contenders if contender.runtime == runtime}
        table: dict[str, Any] = {name: _summary(contender.rounds) for name, contender in here.items()}
        for mine, name in ((mine, name) for mine in here if not NEEDS[mine] for name in here if NEEDS[name]):
            pairs = list(zip(here[mine].rounds, here[name].rounds, strict=True))
            fps = statistics.median(us["fps"] / them["fps"] for us, them in pairs)
            cpu = statistics.median(them["cpu_ms"] / us["cpu_ms"] for us, them in pairs)
            target = TARGETS[name]
            table[f"{mine} against {name}"] = {
                "fps_ratio": round(fps, 2),
                "cpu_ratio": round(cpu, 2),
                "target_fps_ratio": target,
                "met": fps >= target,
            }
        result[runtime] = table
    return result


def _summary(rounds: list[Round]) -> dict[str, Any]:
    """Medians over the rounds, and the values of each."""
    medians = {key: round(statistics.median(one[key] for one in rounds), 2) for key in rounds[0]}
    each = {f"{key}_rounds": [round(one[key], 2) for one in rounds] for key in ("fps", "cpu_ms")}
    return {**medians, **each}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--runtimes", nargs="+", default=["ort", "openvino"], choices=("ort", "openvino"))
    parser.add_argument("--note", default="", help="a remark for readers, such as what else was running")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.child:
        return child(*options.child)
    names = [name for name, needs in NEEDS.items() if all(importlib.util.find_spec(package) for package in needs)]
    for name in NEEDS.keys() - set(names):
        print(f"{name} is not installed, so it is left out", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "street.mp4"
        what = make_clip(options.shared / "tracks", clip)
        model = (options.shared / MODEL).resolve()
        contenders = [Contender(name, runtime, model, clip) for runtime in options.runtimes for name in names]
        before = facts()
        busy = measure(contenders, options.rounds, options.seconds)
        for contender in contenders:
            contender.close()
    packages = ("ultralytics", "supervision", "trackers", "torch")
    versions = {name: importlib.metadata.version(name) for name in packages if importlib.util.find_spec(name)}
    result = {
        "machine": {**before, **versions},
        "clip": what,
        "model": f"{Path(MODEL).name}, scores from 0.25",
        "method": f"{options.rounds} rounds of {options.seconds:g} s in turns; {THREADS} threads for the network; CPU of all",
        "other programs": busy,
        **({"note": options.note} if options.note else {}),
        "runtimes": report(contenders),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
