"""Checks run in children: what crashes, hangs, raises or prints is a line of the report like any other."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from realtime import doctor
from realtime.cli import main
from realtime.doctor import about, limit_s, load, names
from realtime.doctor.common import runner
from realtime.doctor.common.finding import VERDICTS, Finding, ok, problem, warning
from realtime.doctor.common.report import INDENT, Report, as_json, counts, lines, worst
from realtime.doctor.common.runner import run

PlugIn = Callable[[ModuleType, str, str], None]

HEAD = '''
"""A check of a test's."""

import os, signal, subprocess, time
from realtime.doctor.common.finding import ok

RANK = 500

def check(machine):
'''

BODIES = {
    "fine": "    print('noise'); os.write(1, b'{}'); yield ok('fine', 'as it should be')",
    "crashes": "    machine.step('importing cv2.dnn'); os.kill(os.getpid(), signal.SIGILL)",
    "hangs": "    machine.step('asking /dev/video0 what it delivers'); subprocess.run(['sleep', '60'])",
    "raises": "    yield ok('first', 'one'); raise ValueError('two\\nlines')",
    "lacks": "    import no_such_package",
    "refuses": "    from engines.errors import EngineError; raise EngineError('it is off', 'Switch it on')",
    "starves": "    raise MemoryError",
    "silent": "    return []",
    "aborts": "    os.write(2, b'free(): invalid pointer\\n'); os.abort()",
}


@pytest.fixture
def planted(plug_in: PlugIn) -> None:
    for name, body in BODIES.items():
        plug_in(doctor, name, HEAD + body + "\n")


def test_every_check_says_what_it_looks_at() -> None:
    assert {"python", "gpu", "tensorrt", "cameras", "engines"} <= set(names())
    assert names()[0] == "python"
    for name in names():
        assert len(about(name)) < 110
        assert 1 <= limit_s(name) <= 20
    ranks = [load(name).RANK for name in names()]
    assert len(set(ranks)) == len(ranks)


@pytest.mark.usefixtures("planted")
def test_whatever_a_check_does_the_report_is_complete() -> None:
    start_s = time.monotonic()
    reports = list(run(list(BODIES), {"hangs": 0.5}))
    assert time.monotonic() - start_s < 30
    assert [report.check for report in reports] == list(BODIES)
    found = {report.check: report.findings for report in reports}
    assert found["fine"] == (ok("fine", "as it should be"),)
    (crash,) = found["crashes"]
    assert (crash.verdict, crash.found) == ("problem", "the check crashed (SIGILL) while importing cv2.dnn")
    assert "--no-cache-dir opencv-python  # this processor lacks instructions" in crash.cure
    (late,) = found["hangs"]
    assert late.found == "no answer within 0.5 s, while asking /dev/video0 what it delivers"
    assert late.verdict == "problem"
    assert [finding.verdict for finding in found["raises"]] == ["ok", "warning"]
    assert "ValueError: two lines" in found["raises"][1].found
    assert found["lacks"][0].cure.endswith("-m pip install no_such_package")
    assert found["refuses"] == (problem("refuses", "it is off", "Switch it on"),)
    assert "close other programs" in found["starves"][0].cure
    assert found["silent"][0].verdict == "warning"
    assert found["aborts"][0].found == 'the check crashed (SIGABRT): "free(): invalid pointer"'


def test_a_working_folder_that_was_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    (report,) = run(["disk"])
    assert problem("this folder", "it was deleted: nothing can be written into it", "cd ~") in report.findings
    monkeypatch.chdir(tmp_path)


def _refuse(*_args: object, **_options: object) -> None:
    raise BlockingIOError(11, "Resource temporarily unavailable")


@pytest.mark.usefixtures("planted")
def test_a_system_that_starts_no_more_threads_or_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    assert [report.findings for report in run(["fine"])] == [(ok("fine", "as it should be"),)]
    monkeypatch.setattr(runner.subprocess, "Popen", _refuse)
    found = [finding for report in run(["fine", "silent"]) for finding in report.findings]
    assert [finding.verdict for finding in found] == ["problem", "problem"]
    assert found[0].found == "not looked at: no process can be started (Resource temporarily unavailable)"


@pytest.mark.usefixtures("planted")
def test_an_answer_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner.json, "loads", lambda line: {})
    (report,) = run(["fine"])
    assert report.findings[0].found == "not looked at: its answer could not be read"


@pytest.mark.usefixtures("planted")
def test_no_child_is_left_behind() -> None:
    list(run(["hangs", "fine"], {"hangs": 0.3}))
    deadline_s = time.monotonic() + 3
    while left := _children():
        assert time.monotonic() < deadline_s, left
        time.sleep(0.02)


def _children() -> list[str]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if words[1] == str(os.getpid()) and words[0] != "Z":
            found.append(stat.parent.name)
    return found


def test_the_report_for_people() -> None:
    report = Report("x", (ok("python", "3.11"), warning("cam", "rtsp://user:secret@host/1 is slow " * 4, "unset X  # note")), 0.1)
    text = list(lines(report))
    assert text[0] == "ok       python           3.11"
    assert text[-1] == "           cure           unset X  # note"
    assert len(text) == 3
    assert "secret" not in "".join(text)
    folded = list(lines(report, 80))
    assert all(len(line) <= 80 for line in folded)
    assert all(line.startswith(" " * INDENT) for line in folded[2:-1])


def test_verdicts_are_counted() -> None:
    reports = [Report("x", (ok("a", ""), problem("b", "", "c"), ok("d", "")), 0.1)]
    assert counts(reports) == {"ok": 2, "absent": 0, "warning": 0, "problem": 1}
    assert worst(reports) == "problem"
    assert worst([Report("x", (Finding("absent", "a", ""),), 0.1)]) == worst([]) == "ok"


SCHEMA = {"format": int, "version": str, "verdict": str, "counts": dict, "seconds": float, "findings": list}
FINDING = {"check": str, "verdict": str, "subject": str, "found": str, "cure": str}


def test_json_is_as_documented(repo_root: Path) -> None:
    page = (repo_root / "docs/doctor.md").read_text(encoding="utf-8")
    document = json.loads(as_json([Report("gpu", (Finding("absent", "gpu", "no NVIDIA GPU\nhere"),), 0.1)], 1.234, "0.1.0"))
    assert {key: type(value) for key, value in document.items()} == SCHEMA
    assert document["format"] == 1
    assert list(document["counts"]) == list(VERDICTS)
    (finding,) = document["findings"]
    assert {key: type(value) for key, value in finding.items()} == FINDING
    assert finding["found"] == "no NVIDIA GPU here"
    for key in (*SCHEMA, *FINDING):
        assert f"`{key}`" in page, f"docs/doctor.md does not explain {key}"
    for name in names():
        assert f"| `{name}` |" in page, f"docs/doctor.md does not list {name}"


def test_a_check_of_ones_own_as_the_page_shows_it(plug_in: PlugIn, repo_root: Path) -> None:
    page = (repo_root / "docs/doctor.md").read_text(encoding="utf-8")
    plug_in(doctor, "clock", page.split("```python\n")[1].split("```")[0])
    (report,) = run(["clock"])
    assert report.findings[0].subject == "clock"
    assert about("clock") == "Clock: whether this machine knows the time"


@pytest.mark.usefixtures("planted")
def test_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "fine", "lacks"]) == 0, "a warning is no problem"
    text = capfd.readouterr().out
    assert "as it should be" in text
    assert "1 ok, 0 absent, 1 warning, 0 problems, in " in text
    assert main(["doctor", "refuses", "fine", "--json"]) == 1
    document = json.loads(capfd.readouterr().out)
    assert (document["verdict"], document["counts"]["problem"]) == ("problem", 1)
    assert [finding["check"] for finding in document["findings"]] == ["fine", "refuses"], "in the order of the report"
    assert main(["doctor", "gup"]) == 2
    assert 'no check "gup". Did you mean "gpu"?' in capfd.readouterr().err


MISSING = (
    "numpy", "cv2", "av", "onnx", "onnxruntime", "openvino", "PyQt6", "msgspec", "PIL", "scipy", "platformdirs", "pycuda", "tqdm",
)  # fmt: skip

BARE = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name.partition(".")[0])
sys.meta_path.insert(0, Blocker())
"""


def test_it_works_where_nothing_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every package of others is missing in the children: they start all the same, and each check is a line."""
    import engines.backends  # its folders are a registry's, which the child is told: it must not import them for that

    assert engines.backends.ranked()
    (tmp_path / "sitecustomize.py").write_text(BARE.format(missing=MISSING))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["doctor", "--json"]) == 1
    document = json.loads(capfd.readouterr().out)
    assert {finding["check"] for finding in document["findings"]} == set(names())
    texts = [f"{finding['found']} {finding['cure']}" for finding in document["findings"]]
    assert not [text for text in texts if "the check itself failed" in text or "the check ended" in text]
    assert any("pip install --force-reinstall numpy" in text for text in texts), texts
    assert any("PyQt6" in text for text in texts)


def test_checks_import_nothing_heavy() -> None:
    """One child: the registry, the runner and all checks, where there is only Python."""
    import subprocess

    root = Path(doctor.__file__).parents[2]
    program = f"{BARE.format(missing=MISSING)}\nsys.path.insert(0, {str(root)!r})\n"
    program += "from realtime.doctor import load, names\nimport realtime.commands.common.diagnosing\nprint(*map(load, names()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
