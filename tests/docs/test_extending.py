"""docs/extending.md is true: its files are written and its commands run, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from engines.types import Instances, Segmentation
from realtime.types import Canvas, Frame, Result, Track

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
TEXT = PAGE.read_text(encoding="utf-8")


class Block(NamedTuple):
    """A fenced block of the page, and the section that it is in."""

    section: str
    language: str
    text: str


def blocks() -> list[Block]:
    found = []
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        found += [Block(title, *match) for match in re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file of the page under the name in its first line."""
    folder = tmp_path_factory.mktemp("extending")
    for block in blocks():
        if block.language != "sh":
            name = re.match(r"# ([\w/.]+\.(?:py|toml))\n", block.text)
            assert name, f"the first line of a file is its name: {block.text[:40]!r}"
            path = folder / name[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    return folder


def run(line: str, folder: Path) -> str:
    """What a command of the page prints."""
    words = shlex.split(line)
    words[0] = {"python": sys.executable}.get(words[0], words[0])
    environment = {**os.environ, "PYTHONPATH": str(PAGE.parents[1]), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


EXPECTED = {"In a folder of your own": r"sizes", "A source": r"", "A tracker": r"", "A sink": r"\ds  crowded  {'count': \d}"}
"""Section → what its commands print, as far as it is fixed."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("section", dict.fromkeys(block.section for block in blocks() if block.language == "sh"))
def test_the_commands_of_a_section_do_what_it_says(section: str, folder: Path) -> None:
    lines = [line for block in blocks() if (block.section, block.language) == (section, "sh") for line in block.text.splitlines()]
    said = "\n".join(run(line, folder) for line in lines)
    check = CHECKS.get(section)
    if check:
        check(said, folder)


def _rows(path: Path) -> list[list[str]]:
    return [line.split(",") for line in path.read_text().splitlines()]


def _check_tracker(said: str, folder: Path) -> None:
    rows = _rows(folder / "tracks.txt")
    assert {int(row[0]) for row in rows} <= set(range(1, 21))
    assert {row[1] for row in rows if int(row[0]) <= 5} == {"1"}, "one person, who keeps the id"


def _check_models(said: str, folder: Path) -> None:
    assert "reference" in said


CHECKS = {
    "In a folder of your own": lambda said, folder: _has(said, r"sizes +show the input sizes"),
    "A source": lambda said, folder: _has_bytes(folder / "noise.mp4"),
    "A tracker": _check_tracker,
    "A sink": lambda said, folder: _has(said, r"s  crowded  \{'count': 1\}"),
    "A backend": _check_models,
    "A family": lambda said, folder: _has_bytes(folder / "bright.mp4"),
    "A command": lambda said, folder: _has(said, r"road 448x256 114688"),
    "An outlet": lambda said, folder: _has(said, r"0\.00 s: \d tracks"),
}


def _has(said: str, pattern: str) -> None:
    assert re.search(pattern, said), said


def _has_bytes(path: Path) -> None:
    assert path.stat().st_size > 1000


def test_every_kind_in_the_table_has_a_section_and_a_folder() -> None:
    rows = re.findall(r"^\| .*?\[(\w+)\]\(#([\w-]+)\).*? \| `?([\w/]+)`? \|", TEXT, re.MULTILINE)
    assert len(rows) == 8
    titles = {title.lower().replace(" ", "-") for title in re.findall(r"^## (.*)$", TEXT, re.MULTILINE)}
    assert {anchor for _, anchor, _ in rows} <= titles
    folders = [PAGE.parents[1] / folder for _, _, folder in rows if folder != "anywhere"]
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_the_table_of_values_names_their_fields() -> None:
    kinds = {kind.__name__: kind for kind in (Frame, Segmentation, Instances, Track, Result, Canvas)}
    rows = re.findall(r"^\| `([A-Z]\w+)` \| (.*) \|$", TEXT, re.MULTILINE)
    assert [name for name, _ in rows] == list(kinds)
    for name, fields in rows:
        known = getattr(kinds[name], "_fields", None) or list(kinds[name].__dataclass_fields__)
        made = [member for member in dir(kinds[name]) if isinstance(getattr(kinds[name], member), property)]
        assert set(re.findall(r"`(\w+)`", fields)) <= {*known, *made}
