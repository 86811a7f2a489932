"""One file per thing: a toy one is added from outside, as a contributor would, and used end to end."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from realtime.cli import main
from realtime.errors import SourceOpenError
from realtime.sources import open_source, shows_people

Add = Callable[[str, str, str], None]


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Add]:
    """Adds a module to a registry: package, name, source text. Takes it away again at the end."""
    added: list[str] = []

    def add_module(package: str, name: str, source: str) -> None:
        folder = tmp_path / "plugins" / package
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(source)
        registry = importlib.import_module(package)
        monkeypatch.setattr(registry, "__path__", [*registry.__path__, str(folder)])
        importlib.invalidate_caches()
        added.append(f"{package}.{name}")

    yield add_module
    for name in added:
        sys.modules.pop(name, None)


COMMAND = '''
"""Count objects."""

from typing import NamedTuple

from realtime.commands.common.options import Command, argument, option


class Options(NamedTuple):
    source: str = argument("SOURCE", "what to look at")
    most: int = option("N", "count no further", int, 10)


def run(options: Options) -> int:
    print(options.source, options.most + 1)
    return 7


COMMAND = Command("count", Options, run, __doc__, example=("run.py count in.mp4", "how many objects"))
'''


def test_a_command(add: Add, capsys: pytest.CaptureFixture[str]) -> None:
    add("realtime.commands", "count", COMMAND)
    assert main(["count", "in.mp4", "--most", "3", "--verbose"]) == 7
    assert capsys.readouterr().out == "in.mp4 4\n"
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert "run.py count in.mp4" in shown
    assert shown.splitlines()[-9].split() == ["count", "count", "objects"], "after those that come with the program"
    with pytest.raises(SystemExit):
        main(["count", "in.mp4", "--mots", "3"])
    assert capsys.readouterr().err == 'error: unknown option "--mots". Did you mean "--most"?\n'


SINK = '''
"""The number of objects in each frame, a line per frame."""

from realtime.sinks.common.output_file import LineFile

SUFFIXES = (".counts",)
OPTION = "--counts"
HELP = "number of objects, a line per frame (.counts)"


class CountSink:
    def __init__(self, path):
        self._file = LineFile(path)

    def write(self, result, canvas):
        assert canvas is None, "nothing is drawn for a sink that needs no pictures"
        self._file.write(b"%d\\n" % len(result.segmentation.instances))

    def close(self):
        self._file.close()


def create(path, facts):
    return CountSink(path)
'''


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three pictures: a car on the ground."""
    import cv2

    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(3):
        image = np.full((48, 64, 3), 30, np.uint8)
        image[20:40, 10 + index : 40 + index] = 125
        cv2.imwrite(str(folder / f"{index}.png"), image)
    return folder


def test_a_sink(add: Add, pictures: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add("realtime.sinks", "counts", SINK)
    outputs = ["--counts", str(tmp_path / "o.counts"), "--jsonl", str(tmp_path / "o.jsonl")]
    assert main(["process", str(pictures), *outputs, "--model", str(tiny_model), "--backend", "ort"]) == 0
    assert (tmp_path / "o.counts").read_text() == "1\n1\n1\n"
    frames = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()[1:]]
    assert [len(frame["objects"]) for frame in frames] == [1, 1, 1]
    with pytest.raises(SystemExit):
        main(["process", "--help"])
    assert "--counts FILE" in capsys.readouterr().out


SOURCE = '''
"""toy://N: N pictures of a car on the ground. Options: level=125, the car's brightness."""

import numpy as np

from realtime.sources.common.base import FrameSource, Picture, now_ns
from realtime.sources.common.uri import Options

ALIASES = ("toys",)
SHOWS_PEOPLE = True


def open_uri(uri):
    options = Options(uri)
    level = options.integer("level", 125, 0, 255)
    options.finish()
    return ToySource(uri.name, int(uri.target), level)


class ToySource(FrameSource):
    def __init__(self, name, count, level):
        super().__init__(name, fps=10, frame_count=count)
        self._level = level

    def _pictures(self):
        for index in range(self.frame_count):
            image = np.full((48, 64, 3), 30, np.uint8)
            image[20:40, 10 + index : 40 + index] = self._level
            yield Picture(image, index / self.fps, now_ns())

    def _release(self):
        pass
'''

NETWORK_SOURCE = SOURCE.replace("int(uri.target)", "len(uri.target)").replace('ALIASES = ("toys",)', 'FORM = "url"')


def test_a_source(add: Add, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add("realtime.sources", "toy", SOURCE)
    assert [int(frame.image.max()) for frame in open_source("toy://3?level=99")] == [99] * 3
    assert [frame.pts_s for frame in open_source("toys://2")] == pytest.approx([0, 0.1])
    arguments = ["--jsonl", str(tmp_path / "o.jsonl"), "--model", str(tiny_model), "--backend", "ort"]
    assert main(["process", "toy://4", *arguments]) == 0
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 1 + 4
    assert main(["process", "toy://4?levle=1", "--force", *arguments]) == 2
    assert capsys.readouterr().err == 'error: toy://4?levle=***: toy:// has no option "levle". Did you mean "level"?\n'
    assert [shows_people(uri) for uri in ("toys://2", "synthetic://street", "nothing.mp4")] == [True, False, False]
    with pytest.raises(SourceOpenError, match=r"Known: .*toy://"):
        open_source("zzzzzz://4")


def test_a_source_of_the_network(add: Add) -> None:
    add("realtime.sources", "toy", NETWORK_SOURCE)
    source = open_source("toy://ada:s3cret@camera/1?x=2#level=99")
    assert (source.name, source.frame_count) == ("toy://***@camera/1?x=2#level=***", len("toy://ada:s3cret@camera/1?x=2"))
    assert next(iter(source)).image.max() == 99


TRACKER = '''
"""Gives each object of a frame its row as an id."""

from dataclasses import dataclass

from realtime.types import Track


@dataclass(frozen=True, slots=True)
class Settings:
    first_id: int = 1


class ToyTracker:
    def __init__(self, settings):
        self._first_id = settings.first_id

    def update(self, segmentation, t_s, image):
        seen = segmentation.instances
        return tuple(
            Track(self._first_id + row, int(seen.class_ids[row]), float(seen.scores[row]), box, row, box[None, 2:])
            for row, box in enumerate(seen.boxes_px)
        )


def create(settings):
    return ToyTracker(settings)
'''


def test_a_tracker(add: Add, pictures: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add("realtime.tracking", "toy", TRACKER)
    preset = tmp_path / "mine.toml"
    preset.write_text('tracker = "toy"\n[tracking]\nfirst_id = 7\n')
    for options, track_id in ((["--tracker", "toy"], 1), (["--preset", str(preset)], 7)):
        mot = tmp_path / f"{track_id}.txt"
        arguments = ["--mot", str(mot), "--model", str(tiny_model), "--backend", "ort", *options]
        assert main(["process", str(pictures), *arguments]) == 0
        assert [line.split(",")[:2] for line in mot.read_text().splitlines()] == [[str(n), str(track_id)] for n in (1, 2, 3)]
    capsys.readouterr()
    preset.write_text('tracker = "toy"\n[tracking]\nfirst_if = 7\n')
    assert main(["process", str(pictures), "--mot", str(tmp_path / "o.txt"), "--preset", str(preset)]) == 2
    assert capsys.readouterr().err == 'error: no setting of tracker toy is called "first_if". Did you mean "first_id"?\n'
    arguments = ["process", str(pictures), "--mot", str(tmp_path / "o.txt"), "--preset", str(preset)]
    assert main([*arguments, "--tracker", "bytetrack"]) == 2
    assert capsys.readouterr().err == 'error: no setting of a tracker is called "first_if". Did you mean "first_id"?\n'


BACKEND = '''
"""ONNX's own reference implementation: slow, and the same everywhere."""

import time
from importlib.util import find_spec

from engines.backends import Inference
from engines.backends.common.opening import at_size
from engines.models.fit import InputFiller

RANK = 90
OPTIONS = ("input_px",)
TAKES_SIDE_INPUTS = False


def missing():
    return None if find_spec("onnx") else "onnx is not installed"


def open_engine(model, options):
    with at_size(model, options) as sized:
        return ReferenceEngine(sized)


class ReferenceEngine:
    def __init__(self, model):
        from onnx.reference import ReferenceEvaluator

        self.card, self.description = model.card, "ONNX reference, CPU, fp32"
        self._fill, self._network = InputFiller(model.card.input), ReferenceEvaluator(str(model.path))

    def infer(self, image):
        start = time.perf_counter()
        tensor, geometry = self._fill(image)
        filled = time.perf_counter()
        names = list(self.card.outputs.values())
        arrays = self._network.run(names, {self.card.input.tensor: tensor})
        done = time.perf_counter()
        return Inference(dict(zip(names, arrays)), geometry, (filled - start) * 1e3, (done - filled) * 1e3)

    def close(self):
        del self._network
'''


def test_a_backend(add: Add, pictures: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add("engines.backends", "reference_onnx", BACKEND)
    from engines import Segmenter, backends

    assert backends.ranked()[-1] == "reference-onnx"
    image = np.full((48, 64, 3), 30, np.uint8)
    image[20:40, 10:40] = 125
    with Segmenter.open(tiny_model, "reference-onnx") as slow, Segmenter.open(tiny_model, "ort") as fast:
        assert slow.choice.engine.description == "ONNX reference, CPU, fp32"
        np.testing.assert_array_equal(slow(image).class_map, fast(image).class_map)
    command = ["process", str(pictures), "--jsonl", str(tmp_path / "o.jsonl"), "--model", str(tiny_model)]
    assert main([*command, "--backend", "reference-onnx"]) == 0
    frames = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()[1:]]
    assert [len(frame["objects"]) for frame in frames] == [1, 1, 1]
    capsys.readouterr()
    assert main([*command, "--backend", "reference-onnx", "--inflight", "2"]) == 2
    assert capsys.readouterr().err == "error: --inflight: not with --backend reference-onnx. Add --backend trt\n"
    assert main(["models"]) == 0
    assert "ort, reference-onnx" in capsys.readouterr().out


FAMILY = '''
"""Hot spots: one map of heat in 0..1, and a box around what is above a half."""

import numpy as np

from engines.errors import CardError
from engines.families.common.recognising import Recognised
from engines.types import Instances, Segmentation

SUPPORTED = "heat [1,1,h,w]"


class Family:
    def __init__(self, card):
        if "heat" not in card.outputs:
            raise CardError(f"{card.name}: a hot_spots card needs outputs.heat")
        self._output = card.outputs["heat"]

    def decode(self, outputs, geometry, settings):
        heat = geometry.cut(outputs[self._output][0, 0])
        rows, columns = np.nonzero(heat > 0.5)
        if not len(rows):
            return Segmentation(Instances.none(geometry.content))
        box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
        step = np.array([geometry.net.width / heat.shape[1], geometry.net.height / heat.shape[0]] * 2, np.float32)
        labels = (heat > 0.5).astype(np.uint8)
        scores, class_ids = np.array([heat.max()], np.float32), np.zeros(1, np.int32)
        return Segmentation(Instances(geometry.to_frame(box * step), scores, class_ids, labels))


def recognise(network):
    names = [tensor.name for tensor in network.facts.outputs]
    return Recognised({"heat": "heat"}, 1, is_named=True) if names == ["heat"] else None


def card_keys(network, outputs, names, written):
    return {"classes": ["spot"], "things": ["spot"], "input": {"mean": [0, 0, 0], "std": [255, 255, 255]}}
'''


def test_a_family(add: Add, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnx
    from onnx import TensorProto, helper

    from engines import Segmenter

    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 48, 64])
        for name, channels in (("image", 3), ("heat", 1))
    ]
    node = helper.make_node("ReduceMean", ["image"], ["heat"], axes=[1], keepdims=1)
    graph = helper.make_graph([node], "spots", values[:1], values[1:])
    path = tmp_path / "spots.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    image = np.zeros((96, 128, 3), np.uint8)
    image[20:40, 30:70] = 255
    add("engines.families", "hot_spots", FAMILY)
    with Segmenter.open(path, "ort") as segmenter:
        segmentation = segmenter(image)
    assert (segmenter.card.family, segmenter.card.classes) == ("hot_spots", ("spot",))
    assert segmentation.instances.boxes_px.tolist() == [[30, 20, 70, 40]]
    np.testing.assert_array_equal(segmentation.mask(0), image[..., 0] > 0)
    assert main(["models", "info", str(path)]) == 0
    assert "hot_spots" in capsys.readouterr().out
