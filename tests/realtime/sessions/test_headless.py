"""What a run without a window says at its end: figures that a reader can check, and what became of each output."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

import realtime.sinks
from engines.models import zoo
from realtime.app import Run
from realtime.commands.common.running import run_to_files
from realtime.errors import SourceLostError
from realtime.sessions.headless import run_headless
from realtime.settings import Settings
from realtime.sources import open_source
from realtime.sources.common.container_feed import ContainerFeed
from realtime.sources.common.feed import Timeouts
from realtime.sources.common.live import LiveSource
from realtime.streams.outlets import CanvasFormat, FilesOutlet
from realtime.streams.recorder import recording_to
from realtime.streams.stream import StreamPlan

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

Process = Callable[..., str]


@pytest.fixture
def process(tiny_model: Path) -> Process:
    """Runs a source through a model to files; the summary."""

    def run(source: Any, outputs: dict[str, Path], stop_after_s: float | None = None, **settings: Any) -> str:
        chosen = Settings(**{"model": str(tiny_model), "backend": "ort", **settings})
        files = FilesOutlet(CanvasFormat(320), recording_to(outputs))
        plan = StreamPlan(chosen, lambda: source, [files])
        run = Run(chosen, lambda: zoo.find(chosen.model), [plan])
        if stop_after_s is not None:
            threading.Timer(stop_after_s, run.stop).start()
        return run_headless(run, files, outputs).text

    return run


def write_detector(folder: Path, count: int) -> Path:
    """A network that finds `count` boxes side by side in every picture, whatever it shows."""
    rows = np.zeros((1, count, 6), np.float32)
    columns, size, top = 20, 16, 40  # above it and 240 px below, a picture of 4 to 3 is padded
    for i in range(count):
        x, y = i % columns * size, top + i // columns * size
        rows[0, i] = x, y, x + size - 2, y + size - 2, 0.9 - i * 0.001, 0
    weights = [numpy_helper.from_array(rows, "rows"), numpy_helper.from_array(np.array(0, np.float32), "zero")]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["rows", "nothing"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "boxes",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 320, 320])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, count, 6])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    for key, value in {"task": "detect", "names": "{0: 'car'}", "imgsz": "[320, 320]", "stride": "32"}.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    save(model, str(folder / "boxes.onnx"))
    return folder / "boxes.onnx"


@pytest.mark.parametrize("is_live", [False, True], ids=["file", "camera"])
def test_frames_seconds_and_frames_per_second_agree(process: Process, MemorySource: Any, tmp_path: Path, is_live: bool) -> None:
    """`120 in 6.5 s, 21.6 FPS` was the frames, the time with the opening of the model, and the rate without it."""
    text = process(MemorySource(40, is_live=is_live, fps=100), {"jsonl": tmp_path / "o.jsonl"})
    found = re.search(r"^frames   (\d+) in ([\d.]+) s, ([\d.]+) FPS; ([\d.]+) s before the first$", text, re.MULTILINE)
    assert found, text
    frames, seconds, rate = int(found[1]), float(found[2]), float(found[3])
    assert rate == pytest.approx(frames / seconds, abs=0.051)
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 1 + frames


def test_objects_that_a_frame_does_not_hold_are_counted(
    process: Process, MemorySource: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """More than 100 were cut off in silence."""
    outputs = {"jsonl": tmp_path / "o.jsonl", "mot": tmp_path / "o.txt"}
    caplog.set_level(logging.WARNING)
    text = process(MemorySource(4), outputs, model=str(write_detector(tmp_path, 300)), threshold=0.5)
    assert "cut off  184 objects in 4 frames that had more than the 254 that are kept" in text
    frames = [json.loads(line) for line in outputs["jsonl"].read_text().splitlines()[1:]]
    assert [(len(frame["objects"]), frame["cut_off"]) for frame in frames] == [(254, 46)] * 4
    assert [text for text in caplog.messages if "has 300 objects" in text] == [
        "frame 0 has 300 objects, more than the 254 that are kept"
    ], "once"
    assert len({line.split(",")[1] for line in outputs["mot"].read_text().splitlines() if line.startswith("4,")}) == 254


def test_two_hundred_objects_are_all_kept(process: Process, MemorySource: Any, tmp_path: Path) -> None:
    output = tmp_path / "o.jsonl"
    text = process(MemorySource(2), {"jsonl": output}, model=str(write_detector(tmp_path, 200)), threshold=0.5)
    assert "cut off" not in text
    assert [len(json.loads(line)["objects"]) for line in output.read_text().splitlines()[1:]] == [200, 200]


def test_a_live_source_has_its_time_of_day(process: Process, MemorySource: Any, tmp_path: Path) -> None:
    for is_live in (True, False):
        output = tmp_path / f"{is_live}.jsonl"
        process(MemorySource(3, is_live=is_live, fps=50), {"jsonl": output})
        header = json.loads(output.read_text().splitlines()[0])
        assert bool(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", header.get("began_at", ""))) == is_live


def test_what_was_not_written_is_not_said_to_be(process: Process, MemorySource: Any, tmp_path: Path) -> None:
    outputs = {"video": tmp_path / "o.mp4", "mot": tmp_path / "o.txt"}
    assert f"written  {outputs['video']}\nwritten  {outputs['mot']}" in process(MemorySource(3), outputs)


def test_a_source_without_a_frame_is_an_error(process: Process, MemorySource: Any, tmp_path: Path) -> None:
    """It ended with exit code 0 and no file."""
    with pytest.raises(SourceLostError, match="memory: ended without a frame, so nothing was written"):
        process(MemorySource(0), {"mot": tmp_path / "o.txt"})
    assert list(tmp_path.iterdir()) == []


def write_film_with_sound(path: Path) -> Path:
    with av.open(str(path), "w") as film:
        pictures, sound = film.add_stream("mpeg4", rate=10), film.add_stream("aac", rate=48000)
        pictures.width, pictures.height = 96, 72
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((72, 96, 3), 20 * index, np.uint8), "bgr24")
            frame.pts = index
            film.mux(pictures.encode(frame))
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 48000), np.float32), "fltp", "stereo")
        silence.sample_rate = 48000
        film.mux(sound.encode(silence))
        for stream in (pictures, sound):
            film.mux(stream.encode(None))
    return path


def test_sound_that_is_left_out_is_said_to_be(process: Process, tmp_path: Path) -> None:
    film = str(write_film_with_sound(tmp_path / "film.mp4"))
    text = process(open_source(film), {"video": tmp_path / "o.mp4"})
    assert "sound    not written: aac, 48000 Hz" in text
    assert "sound    " not in process(open_source(film), {"mot": tmp_path / "o.txt"}), "nobody expects sound in a text file"


@pytest.mark.parametrize("is_live", [False, True], ids=["file", "camera"])
def test_a_limit_counts_results_not_frames_that_a_camera_dropped(
    tiny_model: Path, MemorySource: Any, tmp_path: Path, is_live: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A camera of 400 frames per second outruns the model: of `--frames 12`, twelve frames that were read gave two results."""
    source = MemorySource(None if is_live else 40, is_live=is_live, fps=400)
    settings = Settings(model=str(tiny_model), backend="ort", tracker="none")
    assert run_to_files(settings, lambda: source, {"jsonl": tmp_path / "o.jsonl"}, 12) == 0
    records = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    indices = [record["index"] for record in records if "index" in record]
    assert len(indices) == 12
    assert indices == sorted(set(indices))
    assert source.produced > 12 if is_live else source.produced == 12
    said = capsys.readouterr().out
    assert f"the first 12 {'results' if is_live else 'frames'}" in said


def test_the_sound_of_a_live_stream_is_known_too(tmp_path: Path) -> None:
    film = str(write_film_with_sound(tmp_path / "film.mp4"))
    source = LiveSource("camera", lambda: ContainerFeed(film, "camera", {}, Timeouts(5, 5)))
    next(iter(source))
    assert source.status.sound == "aac, 48000 Hz"
    source.close()


def test_what_an_interrupted_run_has_processed_and_not_written_is_told(
    process: Process, MemorySource: Any, tmp_path: Path, plug_in: Callable[..., None]
) -> None:
    """Up to 64 results wait for the files; nobody said that they are not in them."""
    plug_in(realtime.sinks, "slow", SLOW_SINK)
    text = process(MemorySource(None), {"slow": tmp_path / "o.slow"}, stop_after_s=2.0)
    processed = int(re.search(r"^frames   (\d+) ", text, re.MULTILINE)[1])  # type: ignore[index]
    unwritten = int(re.search(r"(\d+) processed and not written", text)[1])  # type: ignore[index]
    assert processed - unwritten == len((tmp_path / "o.slow").read_text().splitlines())


SLOW_SINK = '''
"""A line per frame, slowly."""

import time
from realtime.sinks.common.output_file import LineFile

SUFFIXES = (".slow",)
OPTION = "--slow"
HELP = "slow"


class SlowSink:
    def __init__(self, path):
        self._file = LineFile(path)

    def write(self, result, canvas):
        time.sleep(0.1)
        self._file.write(b"%d\\n" % result.frame.index)

    def close(self):
        self._file.close()


def create(path, facts):
    return SlowSink(path)
'''
