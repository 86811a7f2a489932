"""F23: signals at random moments. The program ends by one within two seconds, with its code, and whatever it leaves is complete.

The long form (`pytest --long`) makes 200 tries each of `process` and `view`, and 50 each with two signals. SIGNAL_LOAD=2 in the
environment adds two busy loops.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import pytest

RUN = Path(__file__).parents[2] / "run.py"
SOURCE = "synthetic://street?width=320&height=180&seconds=0"
NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CODES = (0, *(128 + number for number in NUMBERS))

LIMIT_S = 2.0
LONG_S = 3
"""The latest moment of a signal in the long form; it is 1 in the short one."""

AT_ONCE = 3
"""Programs at a time: more than two cores can serve."""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@dataclass(frozen=True)
class Try:
    """kind: "process", "view" without a screen, or "xvfb". after_s: the wait before each signal. runs: the first is counted from
    the moment the model runs; otherwise from that at which the program takes signals."""

    kind: str
    numbers: tuple[signal.Signals, ...]
    after_s: tuple[float, ...]
    runs: bool


@dataclass(frozen=True)
class Outcome:
    """handlers_s: from the start of the process until it takes signals. took_s: from the last signal to its end."""

    handlers_s: float
    took_s: float
    faults: tuple[str, ...]


def tries(kinds: tuple[str, ...], count: int, most_s: float, seed: int, signals: int = 1) -> list[Try]:
    chance = random.Random(seed)
    return [
        Try(
            kinds[number % len(kinds)],
            tuple(chance.choices(NUMBERS, k=signals)),
            (chance.uniform(0, most_s), *(chance.uniform(0, 0.3) for _ in range(signals - 1))),
            runs=number // len(kinds) % 2 == 1,
        )
        for number in range(count)
    ]


def attempt(one: Try, model: Path, folder: Path, display: str) -> Outcome:
    folder.mkdir()
    outputs = ("--out", "o.mp4", "--jsonl", "o.jsonl") if one.kind == "process" else ()
    options = ("--model", str(model), "--backend", "ort", "--log", "log")
    command = [sys.executable, str(RUN), "process" if outputs else "view", SOURCE, *options]
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment |= {"DISPLAY": display, "QT_QPA_PLATFORM": "xcb"} if one.kind == "xvfb" else {"QT_QPA_PLATFORM": "offscreen"}
    shared = set(Path("/dev/shm").iterdir())
    start_s = time.monotonic()
    with (folder / "stderr").open("w+") as complaints:
        child = subprocess.Popen(
            [*command, *outputs], cwd=folder, env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=complaints, start_new_session=True, preexec_fn=hear_all,
        )  # fmt: skip
        try:
            handlers_s = wait_until_it_takes_signals(child, start_s)
            while one.runs and child.poll() is None and " runs on " not in log_of(folder):
                time.sleep(0.02)
            for number, wait_s in zip(one.numbers, one.after_s, strict=True):
                time.sleep(wait_s)
                child.send_signal(number)
            sent_s = time.monotonic()
            try:
                child.wait(timeout=30)
            except subprocess.TimeoutExpired:
                return Outcome(handlers_s, 30.0, ("hangs",))
            took_s = time.monotonic() - sent_s
        finally:
            child.kill()
            child.wait()
        complaints.seek(0)
        text = complaints.read()
    faults = []
    if child.returncode not in CODES:
        faults.append(f"code {child.returncode}")
    if "Traceback" in text or "Exception ignored" in text or "Fatal" in text:
        faults.append(f"stderr: {text[-800:]}")
    if orphans := processes_of_session(child.pid):
        faults.append(f"orphans: {orphans}")
    faults += [f"left: {path}" for path in set(Path("/dev/shm").iterdir()) - shared if str(child.pid) in path.name]
    return Outcome(handlers_s, took_s, (*faults, *faults_of_files(folder)))


def log_of(folder: Path) -> str:
    path = folder / "log"
    return path.read_text() if path.exists() else ""


def hear_all() -> None:
    """In the child: where the tests run in the background, or under nohup, it would ignore some."""
    for number in NUMBERS:
        signal.signal(number, signal.SIG_DFL)


def wait_until_it_takes_signals(child: subprocess.Popen[bytes], start_s: float) -> float:
    """Until its handlers are set: before that, it is Python's interpreter that starts. Seconds since `start_s`."""
    while child.poll() is None and time.monotonic() < start_s + 30:
        caught = next(line for line in Path(f"/proc/{child.pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) >> (signal.SIGHUP - 1) & 1:  # the last that is set
            break
        time.sleep(0.001)
    return time.monotonic() - start_s


def processes_of_session(leader: int) -> list[str]:
    """The processes that are still there of the session that a program began."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = status.read_text().rpartition(")")
            command = (status.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        state, _, _, session = rest.split()[:4]
        if session == str(leader) and state != "Z":
            found.append(f"{name}) {command}")
    return found


def faults_of_files(folder: Path) -> list[str]:
    """What is half written, or cannot be read."""
    faults = []
    for path in folder.rglob("*"):
        if path.name.startswith(".") or path.suffix not in (".mp4", ".jsonl", ""):
            faults.append(f"left: {path.name}")
        elif path.suffix == ".mp4":
            try:
                with av.open(str(path)) as container:
                    if not sum(1 for _ in container.decode(video=0)):
                        faults.append("a video without a picture")
            except av.FFmpegError as error:
                faults.append(f"{path.name} does not play: {error}")
        elif path.suffix == ".jsonl":
            try:
                lines = [json.loads(line) for line in path.read_text().splitlines()]
            except ValueError as error:
                faults.append(f"{path.name}: {error}")
            else:
                faults += [] if len(lines) > 1 else [f"{path.name} has {len(lines)} lines"]
    if (folder / "o.mp4").exists() != (folder / "o.jsonl").exists():
        faults.append("one of two files")
    return faults


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """An X server, or "" where there is none to start."""
    if not shutil.which("Xvfb"):
        yield ""
        return
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-noreset"],
        pass_fds=(write,), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read) as numbers:
        yield f":{numbers.readline().strip()}"
    server.terminate()
    server.wait()


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(count):
            loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(loop.wait)
            stack.callback(loop.kill)
        yield


def judge(all_of_them: list[Try], model: Path, tmp_path: Path, display: str, limit_s: float) -> None:
    """Make the tries, print what came, and fail with every fault."""
    usable = [one for one in all_of_them if display or one.kind != "xvfb"]

    def numbered(item: tuple[int, Try]) -> Outcome:
        outcome = attempt(item[1], model, tmp_path / str(item[0]), display)
        print(item[0], item[1], outcome)
        return outcome

    with busy_loops(int(os.environ.get("SIGNAL_LOAD", "0"))), ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(numbered, enumerate(usable)))
    for kind in dict.fromkeys(one.kind for one in usable):
        times_s = sorted(outcome.took_s for one, outcome in zip(usable, outcomes, strict=True) if one.kind == kind)
        handlers_s = sorted(outcome.handlers_s for one, outcome in zip(usable, outcomes, strict=True) if one.kind == kind)
        print(
            f"{kind}: {len(times_s)} tries, ended after {times_s[len(times_s) // 2]:.2f} s (median), {times_s[-1]:.2f} s (most), "
            f"{sum(took_s > LIMIT_S for took_s in times_s)} over {LIMIT_S} s; takes signals after {handlers_s[-1]:.3f} s (most)"
        )
    faults = [f"{one}: {fault}" for one, outcome in zip(usable, outcomes, strict=True) for fault in outcome.faults]
    faults += [
        f"{one}: {outcome.took_s:.1f} s" for one, outcome in zip(usable, outcomes, strict=True) if outcome.took_s > limit_s
    ]
    print(Counter(fault.split(": ")[1] for fault in faults))
    assert not faults, "\n".join(faults)


@pytest.mark.timeout(120)
def test_a_signal_at_any_moment_ends_the_program_in_order(
    tiny_model: Path, tmp_path: Path, display: str, rounds: Callable[[int, int], int]
) -> None:
    count = rounds(12, 400)
    judge(tries(("process", "view", "process", "xvfb"), count, rounds(1, LONG_S), 23), tiny_model, tmp_path, display, 2 * LIMIT_S)


@pytest.mark.timeout(120)
def test_a_second_signal_hurries_and_breaks_nothing(
    tiny_model: Path, tmp_path: Path, display: str, rounds: Callable[[int, int], int]
) -> None:
    both = tries(("process", "view"), rounds(4, 100), rounds(1, LONG_S), 24, signals=2)
    judge(both, tiny_model, tmp_path, display, 2 * LIMIT_S)
