"""One file per thing: a toy one is added from outside, as a contributor would, and used end to end."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from realtime.cli import main

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
"""`run.py count`: how many objects are in a video."""

from typing import NamedTuple

from realtime.commands.common.options import Command, argument, option


class Options(NamedTuple):
    source: str = argument("SOURCE", "what to look at")
    most: int = option("N", "count no further", int, 10)


def run(options: Options) -> int:
    print(options.source, options.most + 1)
    return 7


COMMAND = Command("count", Options, run, help="count objects", example=("run.py count in.mp4", "how many objects"))
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
    import numpy as np

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
