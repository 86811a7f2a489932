"""F35: two runs with one output. The second gets one clear line, and the first one's file is whole."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engines.types import Size
from realtime.cli import main
from realtime.errors import SinkError
from realtime.sinks import StreamFacts, check_outputs, names, open_sinks, recover

from ..realtime.sinks.conftest import picture

FILES = {"video": "o.mp4", "mot": "o.txt", "jsonl": "o.jsonl"}
FACTS = StreamFacts(fps=30)

every_kind = pytest.mark.parametrize("kind", names())

OTHER = """
    import sys
    from pathlib import Path
    from realtime.sinks.common.output_file import LineFile

    file = LineFile(Path({path!r}))
    file.write(b"a line\\n")
    print("writing", flush=True)
    sys.stdin.read()
    file.close()
"""


@every_kind
def test_two_writers_of_one_file(kind: str, tmp_path: Path) -> None:
    path, size = tmp_path / FILES[kind], Size(160, 120)
    first, second, late = (open_sinks({kind: path}, FACTS)[0] for _ in range(3))
    first.write(*picture(0, size))
    for refused in (lambda: check_outputs({kind: path}), lambda: open_sinks({kind: path}, FACTS)):
        with pytest.raises(SinkError, match=r"another run is writing it\. Name another file"):
            refused()
    with pytest.raises(SinkError, match="another run is writing it"):
        second.write(*picture(1, size))
    second.write(*picture(2, size))
    second.close()
    first.write(*picture(3, size))
    first.close()
    written = path.read_bytes()
    late.write(*picture(0, size))
    with pytest.raises(SinkError, match="another program has written it meanwhile"):
        late.close()
    assert path.read_bytes() == written
    assert (tmp_path / f"{path.stem}-2{path.suffix}").stat().st_size


@pytest.fixture
def other_run(tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Another process that writes o.jsonl until it is told to finish, or killed."""
    code = textwrap.dedent(OTHER.format(path=str(tmp_path / "o.jsonl")))
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "writing\n"
        yield child
        child.kill()


def test_another_process_is_seen_while_it_lives(
    other_run: Any, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "o.jsonl"
    arguments = ["process", "synthetic://street?seconds=1", "--jsonl", str(path), "--model", str(tiny_model), "--backend", "ort"]
    assert main(arguments) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: {path}: another run is writing it. Name another file, or wait until that run has ended"
    ]
    assert recover(tmp_path) == []
    other_run.kill()
    other_run.wait()
    (text,) = recover(tmp_path)
    assert text.startswith(f"{path}: a run was killed while it wrote this file")
    assert (tmp_path / "o-recovered.jsonl").read_bytes() == b"a line\n"


def test_the_first_run_finishes_its_file(other_run: Any, tmp_path: Path) -> None:
    with pytest.raises(SinkError):
        check_outputs({"jsonl": tmp_path / "o.jsonl"})
    other_run.communicate(timeout=20)
    assert (tmp_path / "o.jsonl").read_bytes() == b"a line\n"
    assert [path.name for path in tmp_path.iterdir()] == ["o.jsonl"]
