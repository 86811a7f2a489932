"""Models that a maker's exporter makes, in an environment of its own: here a stand-in's, from a folder of packages."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import filelock
import pytest

from engines.errors import DownloadError
from engines.models.collection.environment import environments_folder, make, steps_of, takes_mb
from engines.models.collection.exporters import Export, Maker, bundled_exporters, check_python, read_exporters

pytestmark = pytest.mark.timeout(180)  # an environment is made in a second or two, on a machine that does nothing else

EXPORT = Export(maker="stand-in", argument="tiny", weights="nowhere", size_mb=1, description="A file.")

MAKER = Maker(
    steps=(("standin==1.0",),),
    python=("3.10", "3.13"),
    download_mb=1,
    disk_mb=50,
    licence="MIT",
    licence_url="",
    environment={"STANDIN_HOME": "weights"},
    script="import sys, standin; standin.export(*sys.argv[1:])",
)

STAND_IN = """
import os, pathlib, sys

def export(path, argument):
    here = pathlib.Path.cwd()
    assert pathlib.Path(os.environ["HOME"]).parent == here, os.environ["HOME"]
    assert pathlib.Path(sys.prefix).parent == here, sys.prefix
    assert os.environ["STANDIN_HOME"] == "weights" and os.environ["DO_NOT_TRACK"] == "1"
    assert "PYTHONPATH" not in os.environ
    print("makes", argument)
    if argument == "offline":
        raise ConnectionError("HTTPSConnectionPool(host='example.org', port=443): Max retries exceeded with url: /weights.pt")
    if argument == "broken":
        raise ValueError("Unsupported operator")
    if argument != "nothing":
        pathlib.Path(path).write_text(argument)
"""


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip's only source: a folder with the stand-in's wheel. The cache is empty."""
    folder = tmp_path / "packages"
    folder.mkdir()
    facts = "standin-1.0.dist-info"
    with zipfile.ZipFile(folder / "standin-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("standin.py", STAND_IN)
        wheel.writestr(f"{facts}/METADATA", "Metadata-Version: 2.1\nName: standin\nVersion: 1.0\n")
        wheel.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{facts}/RECORD", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return folder


def left() -> list[str]:
    return sorted(path.name for path in environments_folder().iterdir() if path.name != ".lock")


def changed(maker: Maker, **keys: object) -> Maker:
    return Maker(**{key: getattr(maker, key) for key in maker.__struct_fields__} | keys)  # type: ignore[arg-type]


def failure(maker: Maker = MAKER, argument: str = "tiny") -> DownloadError:
    export = Export(maker="stand-in", argument=argument, weights="nowhere", size_mb=1, description="A file.")
    with pytest.raises(DownloadError) as caught:
        make("mine", export, maker, environments_folder() / "model.onnx")
    assert "\n" not in str(caught.value)
    return caught.value


def test_the_file_is_made_and_nothing_else_stays(tmp_path: Path) -> None:
    seen: list[str] = []
    make("mine", EXPORT, MAKER, tmp_path / "model.onnx", lambda title, seconds: seen.append(title))
    assert (tmp_path / "model.onnx").read_text() == "tiny"
    assert left() == []
    steps = ["make an environment", "install standin==1.0", "export it with standin==1.0"]
    assert list(dict.fromkeys(seen)) == steps


def test_a_package_that_cannot_be_installed_is_one_line(packages: Path) -> None:
    error = failure(changed(MAKER, steps=(("standin==2.0",),)))
    assert error.what == "mine: could not install standin==2.0 (No matching distribution found for standin==2.0)"
    assert error.cure.startswith("Check the connection, and run the same command again. All that was said is in ")
    log = Path(error.cure.split()[-1])
    assert "--python" in log.read_text() or "pip install" in log.read_text()
    assert "from versions: 1.0" in log.read_text()
    assert left() == ["mine.log"]


def test_weights_that_cannot_be_downloaded_are_one_line() -> None:
    error = failure(argument="offline")
    assert error.what.startswith(
        "mine: its weights could not be downloaded (ConnectionError: HTTPSConnectionPool(host='example.org'"
    )
    assert "Check the connection" in error.cure
    assert "Traceback" in Path(error.cure.split()[-1]).read_text(), "the maker's own words are in the log"
    assert left() == ["mine.log"]


@pytest.mark.parametrize(
    ("argument", "what"),
    [
        ("broken", "mine: could not export it with standin==1.0 (ValueError: Unsupported operator)"),
        ("nothing", "mine: standin==1.0 wrote no file"),
    ],
)
def test_an_exporter_that_fails_is_one_line(argument: str, what: str) -> None:
    error = failure(argument=argument)
    assert error.what == what
    assert error.cure.startswith("All that was said is in ")


def test_what_is_quoted_was_said_by_the_step_that_failed() -> None:
    """Not the last line of its script, and no error of a step before, which went well."""
    silent = 'import os\nERROR: int = 3\nos._exit(3)\n"weights.pt"'
    error = failure(changed(MAKER, script=silent))
    assert error.what == "mine: could not export it with standin==1.0 (exit code 3)"


def test_space_is_looked_at_first(tmp_path: Path) -> None:
    error = failure(changed(MAKER, disk_mb=10**9))
    assert "its exporter needs 1200000.0 GB in " in error.what
    assert error.cure == "Free some space, or choose another folder with XDG_CACHE_HOME"
    assert left() == []


def test_cuda_is_counted_where_pytorch_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with_torch = changed(MAKER, steps=(("torch==2.13.0", "torchvision==0.28.0"), ("standin==1.0",)))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    assert takes_mb(with_torch) == (2541, 4040)
    assert takes_mb(MAKER) == (1, 50)
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://example.org/cpu")
    assert takes_mb(with_torch) == (1, 50)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert takes_mb(with_torch) == (1, 50)


def test_one_model_is_made_at_a_time_and_leftovers_are_removed(tmp_path: Path) -> None:
    root = environments_folder()
    (root / "environment-killed" / "python").mkdir(parents=True)
    with filelock.FileLock(str(root / ".lock")):
        assert failure().what == "another process is making a model with an exporter"
        assert left() == ["environment-killed"], "it may be in use"
    failure(changed(MAKER, disk_mb=10**9))
    assert left() == []


KILLED = """
import sys
from pathlib import Path
sys.path[:] = sys.argv[2:]
from tests.engines.models.collection.test_environment import EXPORT, MAKER
from engines.models.collection.environment import make
make("mine", EXPORT, MAKER, Path(sys.argv[1]))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "Ctrl-C"])
def test_nothing_stays_when_the_program_is_ended(tmp_path: Path, repo_root: Path, number: signal.Signals) -> None:
    path = [str(repo_root), *(entry for entry in sys.path if entry)]
    program = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "model.onnx"), *path], stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # the tests may run where it is ignored
    )  # fmt: skip
    root = environments_folder()
    while not list(root.glob("environment-*/python/*")):
        assert program.poll() is None
        time.sleep(0.02)
    os.kill(program.pid, number)
    program.wait()
    while list(root.glob("environment-*")):
        time.sleep(0.02)
    assert not (tmp_path / "model.onnx").exists()
    time.sleep(0.2)
    assert not list(root.glob("environment-*")), "no process writes there any more"


# The table


def test_the_bundled_table_is_well_formed() -> None:
    table = read_exporters(bundled_exporters())
    assert set(table.models) == {"rf-detr-seg-nano", "rf-detr-seg-small", "rf-detr-seg-medium", "yolo11n-seg", "yolo26n-seg"}
    assert all(maker.notice for maker in table.makers.values() if "GPL" in maker.licence), "said first"
    for maker in table.makers.values():
        compile(maker.script, "script", "exec")
    variables = table.makers["ultralytics"].environment
    assert variables["YOLO_OFFLINE"] == "true", "otherwise it sends analytics"
    assert variables["YOLO_AUTOINSTALL"] == "false"


def test_steps_pin_what_they_install_and_stay_in_their_folder(tmp_path: Path) -> None:
    table = read_exporters(bundled_exporters())
    for name, export in table.models.items():
        first, *installs, last = steps_of(table.maker_of(name), export.argument, tmp_path / "model.onnx", tmp_path)
        assert (first.command[:3], first.command[-1]) == ((sys.executable, "-m", "venv"), str(tmp_path / "python"))
        for step in (*installs, last):
            assert str(tmp_path / "python" / "bin" / "python") in step.command[:5]
        assert all("==" in step.title for step in installs)
        assert last.variables["HOME"].startswith(str(tmp_path))
        assert last.command[-1] == export.argument


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('"standin==1.0"', '"standin"'), r"\[makers.m\] standin has no version. Pin it with =="),
        (('[["standin==1.0"]]', "[]"), "steps has no version"),
        (('maker = "m"', 'maker = "n"'), r'\[models.x\] there is no maker "n"'),
        (("[models.x]", '[models."../x"]'), "cannot be the name of a model"),
        (("size_mb", "size"), "size"),
        (("[makers.m]", "[makers.m"), "is not valid TOML"),
    ],
)
def test_an_invalid_table_is_an_error(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    text = (
        '[makers.m]\nsteps = [["standin==1.0"]]\npython = ["3.10", "3.13"]\ndownload_mb = 1\ndisk_mb = 1\nlicence = "MIT"\n'
        'licence_url = ""\nscript = ""\n[models.x]\nmaker = "m"\nargument = "x"\nweights = "x"\nsize_mb = 1\ndescription = "x"\n'
    )
    path = tmp_path / "exporters.toml"
    path.write_text(text)
    read_exporters(path)
    path.write_text(text.replace(*change))
    with pytest.raises(DownloadError, match=words) as caught:
        read_exporters(path)
    assert "exporters.toml" in str(caught.value)


def test_a_python_without_its_packages_is_told_first() -> None:
    for version in ((3, 10), (3, 13)):
        check_python("mine", MAKER, version)
    with pytest.raises(DownloadError, match=r"standin==1\.0 has packages for Python 3\.10 to 3\.13, this is 3\.9\. Install"):
        check_python("mine", MAKER, (3, 9))
    with pytest.raises(DownloadError, match=r"this is 3\.14"):
        check_python("mine", MAKER, (3, 14))
