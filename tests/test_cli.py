"""The program as people start it: a child process, its exit code, its words and its files."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from realtime.cli import main
from realtime.commands import commands

from .engines.spots import spots

RUN = Path(__file__).parent.parent / "run.py"
HEAVY = ("numpy", "cv2", "av", "onnx", "onnxruntime", "openvino", "PyQt6", "torch", "scipy", "PIL", "tqdm", "msgspec")

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(RUN), *map(str, arguments)]


SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")


def headless_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in SCREENS}


def hears_ctrl_c() -> None:
    """Runs in the child: children of tests in the background ignore Ctrl-C otherwise."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Runs the program in an empty folder, without a display."""

    def run(*arguments: object, timeout_s: float = 50) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            cwd=tmp_path, env=headless_environment(), capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """The same in this process, which spares two seconds of imports: for what is the same however the program was started."""
    monkeypatch.chdir(tmp_path)
    for name in SCREENS:
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = [str(argument) for argument in arguments]
        capfd.readouterr()
        code = main(words)
        return subprocess.CompletedProcess(words, code, *capfd.readouterr())

    return run


def write_clip(path: Path, count: int = 30, size: tuple[int, int] = (96, 72)) -> Path:
    """A grey car that drives to the right over dark ground, at 25 fps."""
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(count):
            image = np.full((height, width, 3), 30, np.uint8)
            left = 4 + index % (width // 2)
            image[height // 2 : height // 2 + 20, left : left + 24] = 125
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "car.mp4")


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that reports a mistake."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


# Help


def test_help_answers_at_once() -> None:
    """CPU time, which a busy machine stretches less than time on the wall."""
    taken_s = []
    for _ in range(5):
        child = subprocess.Popen(command("--help"), stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        taken_s.append(usage.ru_utime + usage.ru_stime)
    assert statistics.median(taken_s) < 0.4


def test_help_imports_nothing_heavy() -> None:
    """Nor does the version, nor any command's own help."""
    program = f"""
import sys
sys.path.insert(0, {str(RUN.parent)!r})
from realtime.cli import main
from realtime.commands import commands
for arguments in (["--help"], ["--version"], *([name, "--help"] for name in commands())):
    try:
        main(arguments)
    except SystemExit as end:
        assert not end.code, end.code
    print("HEAVY", sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("HEAVY []") == 2 + len(commands())
    assert done.stdout.count("usage: run.py") == 1 + len(commands())


def test_help_lists_the_commands_as_a_newcomer_meets_them(cli: Cli) -> None:
    shown = cli("--help").stdout
    listed = shown.split("positional arguments:")[1].split("options:")[0].splitlines()[2:]
    names = [line.split()[0] for line in listed if line.startswith("    ") and line[4] != " "]
    assert names == list(commands())
    assert names[:3] == ["view", "process", "models"]


# Mistakes


MISTAKES = [
    (["proces", "CLIP"], 'no command "proces". Did you mean "process"?'),
    (["process", "CLIP", "--outt", "o.mp4"], 'Did you mean "--out"?'),
    (["process", "CLIP", "--modl=x", "--out", "o.mp4"], 'unknown option "--modl". Did you mean "--model"?'),
    (["view", "CLIP", "--frames", "3"], 'no option "--frames"'),
    (["process"], "source"),
    (["process", "CLIP"], "--out FILE.mp4"),
    (["process", "CLIP", "--out", "o.mp4", "--frames", "0"], "--frames"),
    (["process", "CLIP", "--out", "o.mp4", "--width", "wide"], "--width"),
    (["process", "CLIP", "--out", "o.mp4", "--width", "9"], "Expected `int` >= 160, at key `width`"),
    (["process", "CLIP", "--out", "o.mp4", "--threshold", "2"], "Expected `float` <= 1.0, at key `threshold`"),
    (["process", "CLIP", "--out", "o.mp4", "--model", "tinny.onnx"], "tinny.onnx"),
    (["process", "CLIP", "--out", "o.mp4", "--model", "MODEL_FOLDER/tinny.onnx"], 'Did you mean "tiny.onnx"?'),
    (["process", "CLIP", "--out", "o.mp4", "--model", "raod"], 'Did you mean "road"?'),
    (["process", "CLIP", "--out", "o.mp4", "--model", "CLIP"], "car.mp4"),
    (["process", "CLIP", "--out", "o.mp4", "--backend", "openvno"], 'Did you mean "openvino"?'),
    (["process", "CLIP", "--out", "o.mp4", "--backend", "zzz"], "Known: auto, openvino, ort, ort-cuda, trt"),
    (["process", "CLIP", "--out", "o.mp4", "--tracker", "bytetrak"], 'Did you mean "bytetrack"?'),
    (["process", "CLIP", "--out", "o.mp4", "--preset", "dashcm"], 'Did you mean "dashcam"?'),
    (["process", "CLIP", "--mot", "o.txt", "--tracker", "none"], "--tracker auto"),
    (["process", "CLIP", "--out", "o.avi"], ".mp4"),
    (["process", "CLIP", "--out", "CLIP"], "car.mp4"),
    (["process", "nothing.mp4", "--out", "o.mp4"], "nothing.mp4: no such file"),
    (["process", "CLIP_FOLDER/carr.mp4", "--out", "o.mp4"], 'Did you mean "car.mp4"?'),
    (["process", "sample://bike", "--out", "o.mp4"], 'Did you mean "bikes"?'),
    (["process", "rstp://host/1", "--out", "o.mp4"], 'Did you mean "rtsp"?'),
    (["process", "RUN", "--out", "o.mp4"], "run.py"),
    (["models", "--model", "nothing.onnx"], "nothing.onnx"),
    (["models", "info", "raod"], 'Did you mean "road"?'),
    (["models", "add", "nothing.onnx"], "nothing.onnx"),
    (["models", "add", "CLIP"], "car.mp4: not a readable ONNX file"),
    (["models", "add", "MODEL", "--name", "road"], "bundled"),
    (["models", "get", "no-such-model"], "no-such-model"),
    (["models", "remove", "road"], "is a bundled model"),
    (["models", "verify", "raod"], 'Did you mean "road"?'),
    (["models", "ad", "x.onnx"], "add"),
    (["models", "add", "x.onnx", "--nmae", "x"], 'Did you mean "--name"?'),
    (["view", "CLIP", "--model", "MODEL"], "no screen"),
    (["--model", "nothing.onnx", "CLIP"], "nothing.onnx"),
]
"""What is typed, and a part of the answer. Words in capitals stand for places."""

ONE_BY_ONE = """
import contextlib, io, json, os, sys
sys.path.insert(0, sys.argv[1])
from realtime.cli import main
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code
    files = sorted(os.path.join(folder, name) for folder, _, names in os.walk(".") for name in names)
    print(json.dumps([code, out.getvalue(), err.getvalue(), files]))
"""


def spelled(arguments: list[str], clip: Path, model: Path) -> list[str]:
    places = {"CLIP_FOLDER": clip.parent, "MODEL_FOLDER": model.parent, "CLIP": clip, "MODEL": model, "RUN": RUN}
    words = []
    for word in arguments:
        for name, place in places.items():
            word = word.replace(name, str(place))
        words.append(word)
    return [*words, "--model", str(model)] if arguments[0] == "process" and "--model" not in arguments else words


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, clip: Path, tiny_model: Path) -> list[tuple[int, str, str, list[str]]]:
    """Code, stdout, stderr and files left for every mistake. One child makes them all: each start would take a second."""
    done = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE, str(RUN.parent)],
        cwd=tmp_path_factory.mktemp("mistakes"), text=True, timeout=50, check=True,
        env=headless_environment() | {"XDG_DATA_HOME": str(tmp_path_factory.mktemp("data"))},
        input=json.dumps([spelled(arguments, clip, tiny_model) for arguments, _ in MISTAKES]), stdout=subprocess.PIPE,
    )  # fmt: skip
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=[" ".join(arguments) for arguments, _ in MISTAKES])
def test_a_mistake_gets_one_line_with_the_cure_and_leaves_no_file(
    answers: list[tuple[int, str, str, list[str]]], clip: Path, number: int
) -> None:
    code, stdout, stderr, files = answers[number]
    assert (code, stdout, files) == (2, "", [])
    assert stderr.startswith("error: ")
    assert len(stderr.splitlines()) == 1, stderr
    assert MISTAKES[number][1] in stderr
    assert frames_in(clip) == 30, "nor is the input touched"


@pytest.mark.parametrize("number", [0, 1, 20], ids=["command", "option", "source"])
def test_a_mistake_ends_the_program_with_code_2(cli: Cli, clip: Path, tiny_model: Path, number: int) -> None:
    arguments, words = MISTAKES[number]
    assert words in error_of(cli(*spelled(arguments, clip, tiny_model)))


def test_a_file_that_is_not_a_video_is_an_error(here: Cli, tiny_model: Path, tmp_path: Path) -> None:
    fake = tmp_path / "fake.mp4"
    fake.write_bytes(b"this is not a video" * 100)
    assert "fake.mp4" in error_of(here("process", fake, "--out", "o.mp4", "--model", tiny_model))
    assert files_in(tmp_path) == ["fake.mp4"]


def test_a_corrupt_model_is_an_error(here: Cli, clip: Path, tmp_path: Path, make_tiny_model: Callable[..., Path]) -> None:
    model = make_tiny_model(tmp_path)
    model.write_bytes(model.read_bytes()[:200])
    assert "tiny.onnx" in error_of(here("process", clip, "--out", "o.mp4", "--model", model))
    assert files_in(tmp_path) == ["tiny.onnx", "tiny.toml"]


def test_a_password_in_a_source_is_never_printed(cli: Cli, tiny_model: Path) -> None:
    """F28, through the whole program: nothing listens on that port."""
    done = cli("process", "rtsp://ada:s3cr3t@127.0.0.1:9/live?token=t0ps3cr3t", "--out", "o.mp4", "--model", tiny_model)
    assert done.returncode == 2
    for secret in ("s3cr3t", "t0ps3cr3t"):
        assert secret not in done.stdout + done.stderr


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_before_the_work(here: Cli, clip: Path, tmp_path: Path, tiny_model: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert "locked" in error_of(here("process", clip, "--out", locked / "o.mp4", "--model", tiny_model))


def test_a_place_where_no_file_can_be_is_refused_before_the_work(here: Cli, clip: Path, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    start_s = time.monotonic()
    assert "file" in error_of(here("process", clip, "--out", "file/o.mp4", "--model", tiny_model))
    assert "folder.mp4" in error_of(here("process", clip, "--out", make_folder(tmp_path / "folder.mp4"), "--model", tiny_model))
    assert time.monotonic() - start_s < 20
    assert files_in(tmp_path) == ["file"]


def make_folder(path: Path) -> Path:
    path.mkdir()
    return path


# Work


def test_process_writes_every_frame_to_every_file(cli: Cli, clip: Path, tmp_path: Path, tiny_model: Path) -> None:
    outputs = ("--out", "new/o.mp4", "--mot", "o.txt", "--jsonl", "o.jsonl")
    done = cli("process", clip, *outputs, "--model", tiny_model, "--backend", "ort", "--width", "160")
    assert done.returncode == 0, done.stderr
    assert files_in(tmp_path) == ["new/o.mp4", "o.jsonl", "o.txt"]
    assert frames_in(tmp_path / "new/o.mp4") == 30
    records = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    frames = [record for record in records if "frame" in record or "index" in record]
    assert len(frames) == 30
    rows = [line.split(",") for line in (tmp_path / "o.txt").read_text().splitlines()]
    assert {int(row[0]) for row in rows} >= set(range(5, 31))
    assert {int(row[1]) for row in rows} == {1}, "one car, one id"
    for text in (
        "tiny on ONNX Runtime",
        "car.mp4",
        "30 in",
        "dropped  0 of 30",
        "inference",
        "1 car",
        "o.mp4",
        "o.txt",
        "o.jsonl",
    ):
        assert text in done.stdout


def test_an_output_is_replaced_only_where_that_is_asked_for(here: Cli, clip: Path, tmp_path: Path, tiny_model: Path) -> None:
    for count, force in ((30, []), (12, ["--force"])):
        arguments = ["process", clip, "--out", "o.mp4", "--model", tiny_model, "--frames", count]
        done = here(*arguments, *force)
        assert done.returncode == 0, done.stderr
        assert frames_in(tmp_path / "o.mp4") == count
        assert "o.mp4: exists. Name another file, or replace it with --force" in error_of(here(*arguments))
        assert frames_in(tmp_path / "o.mp4") == count
        assert files_in(tmp_path) == ["o.mp4"]


def test_the_input_s_size_and_its_reason_are_one_line(here: Cli, tmp_path: Path) -> None:
    wide = write_clip(tmp_path / "wide.mp4", count=3, size=(192, 108))
    model = spots(tmp_path).path
    done = here("process", wide, "--mot", "o.txt", "--model", model, "--backend", "ort")
    assert "input    96x128: the padding around 192x108 is left out (128x128 with it)" in done.stdout.splitlines()
    again = here("process", wide, "--mot", "o.txt", "--model", model, "--backend", "ort", "--force", "--size", "model")
    assert "input    128x128" in again.stdout.splitlines()


def test_a_truncated_video_is_processed_as_far_as_it_goes(here: Cli, tmp_path: Path, tiny_model: Path) -> None:
    whole = write_clip(tmp_path / "whole.mkv", 60)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    done = here("process", cut, "--out", "o.mp4", "--model", tiny_model)
    assert done.returncode == 0, done.stderr
    count = frames_in(tmp_path / "o.mp4")
    assert 10 <= count < 60
    source = next(line for line in done.stdout.splitlines() if line.startswith("source"))
    assert source.split("(")[-1] not in ("ended)", ")"), "it says how the clip ended"
    assert f"frames   {count} in" in done.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)], ids=["ctrl-c", "hang-up"])
def test_an_interrupted_run_ends_soon_with_a_playable_file(tmp_path: Path, tiny_model: Path, number: int, code: int) -> None:
    source = "synthetic://street?width=320&height=180&seconds=0"
    child = subprocess.Popen(
        command("process", source, "--out", "o.mp4", "--jsonl", "o.jsonl", "--model", tiny_model),
        cwd=tmp_path, env=headless_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=hears_ctrl_c,
    )  # fmt: skip
    try:
        deadline_s = time.monotonic() + 30
        while not any(path.stat().st_size > 20_000 for path in tmp_path.glob(".o*.part*.jsonl")):
            assert child.poll() is None, child.communicate()[1]
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        sent_s = time.monotonic()
        child.send_signal(number)
        stdout, stderr = child.communicate(timeout=20)
        took_s = time.monotonic() - sent_s
    finally:
        child.kill()
        child.wait()
    assert child.returncode == code, stderr
    assert took_s < 2.5, "two seconds, and a busy machine"
    assert "Traceback" not in stderr
    assert "interrupted" in stdout
    assert files_in(tmp_path) == ["o.jsonl", "o.mp4"]
    assert frames_in(tmp_path / "o.mp4") > 0


def test_models_lists_what_there_is(here: Cli) -> None:
    done = here("models")
    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["NAME", "FROM", "FAMILY", "CLASSES", "INPUT", "SIZE", "LICENCE", "BACKENDS", "HERE"]
    road = next(row for row in rows if row.startswith("road"))
    assert "panoptic" in road
    assert any(row.startswith("people") for row in rows)
    assert "MB" in road
    assert "openvino" in road
    assert "ort" in road


def test_models_prints_all_facts_of_one(here: Cli, tiny_model: Path) -> None:
    done = here("models", "--model", tiny_model)
    assert done.returncode == 0, done.stderr
    for text in ("tiny", "semantic", "64x48 uint8 nhwc", "ground, car, person", "objects  car, person", "MIT"):
        assert text in done.stdout


@pytest.mark.slow
def test_nothing_but_run_py_writes_a_demo_where_there_is_no_display(cli: Cli, tmp_path: Path) -> None:
    done = cli()
    assert done.returncode == 0, done.stderr
    assert files_in(tmp_path) == ["out/demo.mp4"]
    assert frames_in(tmp_path / "out/demo.mp4") >= 100
    for text in ("people on", "sample://carphone", "stage", "p95", "tracks", "out/demo.mp4"):
        assert text in done.stdout
    assert "No display here" in done.stderr
