"""F21: recordings that are cut off: by SIGKILL at a random moment, by a folder that is removed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from engines.models import zoo
from realtime.sessions.live import LiveSession
from realtime.settings import Settings
from realtime.sinks import recover

FPS = 30
LOST_S = 2.0
"""What a killed run may lose of its last film."""

WRITER = """
    import itertools, os, random, signal, sys
    from pathlib import Path
    sys.path.insert(0, {sinks!r})
    from conftest import picture
    from engines.types import Size
    from realtime.sinks import StreamFacts, open_sinks
    from realtime.sinks.common.encoders import cpus_encoder
    from realtime.types import Canvas

    pictures = [picture(index, Size(320, 240)) for index in range(30)]
    cpus_encoder()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        folder, seed, suffix = line.split()
        pid = os.fork()
        if pid:
            print(pid, flush=True)
            continue
        generator, folder = random.Random(seed), Path(folder)
        progress = os.open(folder / "progress", os.O_WRONLY | os.O_CREAT)
        for number in itertools.count():
            endings = {{"video": suffix, "jsonl": ".jsonl", "mot": ".txt"}}
            paths = {{kind: folder / f"{{number}}{{ending}}" for kind, ending in endings.items()}}
            sinks = open_sinks(paths, StreamFacts(fps={fps}))
            for index in range(generator.randint(5, 300)):
                result, canvas = pictures[index % 30]
                for sink in sinks:
                    sink.write(result, Canvas(canvas.image, index, index / {fps}, 0))
                os.pwrite(progress, f"{{number}} {{index + 1}} ".encode(), 0)
            for sink in sinks:
                sink.close()
"""

KillOne = Callable[[Path, int, str, float], tuple[int, int]]


@pytest.fixture(scope="module")
def kill_one() -> Iterator[KillOne]:
    """Starts recordings, one after the other, into a folder, and kills them after so long.

    Returns the number of the recording that was cut off, and how many frames of it had been written.
    """
    sinks = Path(__file__).parents[1] / "realtime" / "sinks"
    code = textwrap.dedent(WRITER.format(sinks=str(sinks), fps=FPS))
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def kill(folder: Path, seed: int, suffix: str, after_s: float) -> tuple[int, int]:
        assert child.stdin is not None
        assert child.stdout is not None
        print(folder, seed, suffix, file=child.stdin, flush=True)
        pid = int(child.stdout.readline())
        progress = folder / "progress"
        while not progress.exists() or not progress.stat().st_size:
            time.sleep(0.005)
        time.sleep(after_s)
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.002)
        number, count = progress.read_text().split()[:2]
        progress.unlink()
        return int(number), int(count)

    yield kill
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(20) == 0
    assert child.stdout is not None
    child.stdout.close()


def frames_in(path: Path) -> int:
    with av.open(str(path)) as film:
        return sum(1 for _ in film.decode(video=0))


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def test_what_a_killed_run_wrote_is_there_but_for_the_last_two_seconds(
    kill_one: KillOne, tmp_path: Path, rounds: Callable[[int, int], int]
) -> None:
    """Complete files are whole, and the last one is finished by one call."""
    generator = random.Random(21)
    for attempt in range(rounds(4, 100)):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        suffix = (".mp4", ".mov", ".mkv")[attempt % 3]
        number, count = kill_one(folder, attempt, suffix, generator.uniform(0, 1.5))
        last = folder / f"{number}{suffix}"
        for film in folder.glob(f"[0-9]*{suffix}"):
            assert film == last or frames_in(film) == lines_in(film.with_suffix(".jsonl")) - 1
        whole = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        texts = recover(folder)
        assert not [path for path in folder.iterdir() if path.name.startswith(".")], texts
        assert len(texts) <= 6, "of the last recording, or of it and the next"
        written = sum(map(frames_in, folder.glob(f"{number}*{suffix}")))
        assert written >= count - LOST_S * FPS, f"{written} of {count} frames, {texts}"
        for name in (f"{number}.jsonl", f"{number}.txt"):
            path = folder / name if name in whole else folder / name.replace(".", "-recovered.")
            assert lines_in(path) >= count
            if path.suffix == ".jsonl":
                assert json.loads(path.read_text().splitlines()[-1])["objects"], "its last line is whole"
        shutil.rmtree(folder)


@pytest.mark.usefixtures("no_thread_is_left")
def test_a_folder_that_is_removed_ends_the_recording_and_not_the_picture(
    tiny_model: Path, tmp_path: Path, MemorySource: Any, wait_until: Callable[..., None]
) -> None:
    settings = Settings(model=str(tiny_model), backend="ort", width=160)
    source, out = MemorySource(None, is_live=True, fps=100), tmp_path / "out"
    session = LiveSession(settings, "memory", lambda: source, lambda: zoo.find(settings.model), lambda: None, out)
    try:
        wait_until(lambda: session.state().phase == "running")
        session.start_recording()
        wait_until(lambda: session._files.recorder.frames_written > 10)
        shutil.rmtree(out)
        wait_until(lambda: "no longer in its folder" in session.state().warning, timeout_s=5)
        shown = session.reading().processed
        wait_until(lambda: session.reading().processed > shown + 10)
        path = session.start_recording()
        written = session._files.recorder.frames_written
        wait_until(lambda: session._files.recorder.frames_written > written + 10)
        session.stop_recording()
        wait_until(path.exists)
    finally:
        session.close()
