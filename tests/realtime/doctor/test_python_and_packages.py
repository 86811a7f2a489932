"""Python and its packages: what people's installations look like when they ask for help."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from realtime.doctor.common.machine import Machine
from realtime.doctor.common.packages import cure_of_import

from .conftest import Lab

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


def venv(lab: Lab, folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "pyvenv.cfg").write_text(text)
    lab.options["prefix"] = folder


def test_this_python_is_fine(lab: Lab, tmp_path: Path) -> None:
    venv(lab, tmp_path / "venv", "home = /usr/bin\ninclude-system-site-packages = false\n")
    (found,) = lab.look("python")
    assert found.verdict == "ok"
    assert "environment" in found.found


def test_a_python_that_is_too_old_is_told_at_the_door(repo_root: Path) -> None:
    """JetPack 5 and Ubuntu 20.04 have 3.8: an error of syntax or types somewhere inside would be all that is seen."""
    program = "import runpy, sys; sys.version_info = (3, 8, 10); runpy.run_path(sys.argv[1], run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program, str(repo_root / "run.py")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: this is Python 3.8, and 3.10 or newer is required. On a Jetson: JetPack 6 or newer\n"


def test_a_python_that_is_newer_than_those_tested(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 15, 0))
    found = lab.one("python", "python")
    assert found.verdict == "warning"
    assert "-m venv .venv" in found.cure


def test_on_a_jetson_the_environment_must_see_the_systems_packages(lab: Lab, tmp_path: Path) -> None:
    """TensorRT#3936, jetson-containers#1576."""
    lab.jetson()
    venv(lab, tmp_path / "venv", "include-system-site-packages = false\n")
    found = lab.one("python", "environment")
    assert found.verdict == "problem"
    assert "python3 -m venv --system-site-packages .venv" in found.cure
    (tmp_path / "venv/pyvenv.cfg").write_text("include-system-site-packages = true\n")
    assert [finding.subject for finding in lab.look("python")] == ["python"]


def test_conda_on_a_jetson(lab: Lab, tmp_path: Path) -> None:
    lab.options["prefix"] = tmp_path
    (tmp_path / "conda-meta").mkdir()
    assert [finding.subject for finding in lab.look("python")] == ["python"]
    lab.jetson()
    assert lab.one("python", "environment").verdict == "problem"


def test_on_a_jetson_it_must_be_the_systems_python(lab: Lab, tmp_path: Path) -> None:
    lab.jetson()
    venv(lab, tmp_path / "venv", "include-system-site-packages = true\n")
    lab.write({"usr/bin/python3.9": ""})
    (lab.root / "usr/bin/python3").symlink_to("python3.9")
    assert lab.one("python", "environment").verdict == "problem"


def test_pythonpath_to_other_packages_is_named(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "ros/cv2").mkdir(parents=True)
    lab.environ["PYTHONPATH"] = f"{tmp_path / 'ros'}:{tmp_path}"
    found = lab.one("python", "PYTHONPATH")
    assert (found.verdict, str(tmp_path / "ros") in found.found) == ("warning", True)
    assert found.cure.startswith("unset PYTHONPATH")


def test_the_systems_python_into_which_pip_installs_nothing(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PEP 668; and the environment that is there, and was not used."""
    monkeypatch.chdir(tmp_path)
    lab.options["prefix"] = Path("/usr")
    assert [finding.verdict for finding in lab.look("python")] == ["ok"]
    lab.write({f"usr/lib/python{HERE}/EXTERNALLY-MANAGED": ""})
    assert lab.one("python", "environment").cure == "python3 -m venv .venv && .venv/bin/pip install -e ."
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").write_text("")
    assert lab.one("python", "environment").cure == ".venv/bin/python run.py doctor"


def test_no_cure_is_a_command_that_the_systems_pip_refuses(lab: Lab) -> None:
    """PEP 668. An environment cures whatever is missing."""
    lab.package("realtime-segmentation", "0.1.0", "numpy>=1.26", "av<19,>=17")
    lab.package("opencv-python", "4.11")
    lab.package("opencv-python-headless", "4.10")
    lab.options["prefix"] = Path("/usr")
    lab.write({f"usr/lib/python{HERE}/EXTERNALLY-MANAGED": ""})
    found = {finding.subject: finding.cure for finding in lab.look("packages")}
    readme = "python3 -m venv .venv && .venv/bin/pip install -e ."
    assert (found["av"], found["cv2"]) == (readme, readme)
    assert lab.machine.pip("install", "pycuda") == "python3 -m venv .venv && .venv/bin/pip install -e '.[tensorrt]'"
    lab.options["prefix"] = Path("/usr/local")  # another Python of the same version
    assert lab.one("packages", "av").cure.endswith("-m pip install 'av<19,>=17'")
    lab.options["prefix"] = Path("/usr")
    lab.jetson()
    assert lab.one("packages", "av").cure == readme.replace("venv .venv", "venv --system-site-packages .venv")


def complete(lab: Lab) -> None:
    lab.package(
        "realtime-segmentation",
        "0.1.0",
        "numpy>=1.26",
        "av<19,>=17",
        "tomli>=2; python_version < '3.0'",
        "torch; extra == 'train'",
    )
    lab.package("numpy", "2.1.0")
    lab.package("av", "18.0")


def test_all_requirements_are_there(lab: Lab) -> None:
    complete(lab)
    assert [finding.verdict for finding in lab.look("packages")] == ["ok", "ok"]
    assert lab.one("packages", "requirements").found.startswith("all 2 are installed")


def test_a_missing_and_an_old_requirement(lab: Lab) -> None:
    lab.package("realtime-segmentation", "0.1.0", "numpy>=1.26", "av<19,>=17", "opencv-python>=4.10")
    lab.package("numpy", "1.21.5")
    lab.package("opencv-python-headless", "4.11")
    found = {finding.subject: finding for finding in lab.look("packages")}
    assert found["numpy"].verdict == "problem"
    assert found["numpy"].cure.endswith("-m pip install 'numpy>=1.26'")
    assert found["av"].found == "is not installed, and av<19,>=17 is required"
    assert "opencv-python" not in found, "the headless one brings the same module"


def test_an_installation_that_was_never_made_is_one_line(lab: Lab, tmp_path: Path) -> None:
    lab.options["prefix"] = tmp_path
    lab.package("realtime-segmentation", "0.1.0", "numpy", "av>=17", "av<19", "scipy", "pillow", "msgspec")
    lab.package("pillow", "12.0")
    found = [finding for finding in lab.look("packages") if finding.verdict == "problem"]
    assert found[0].found == "4 of 5 are not installed: numpy, av, scipy, msgspec"
    assert found[0].cure.startswith("python3 -m venv .venv && .venv/bin/pip install -e .")


def test_two_packages_in_one_folder(lab: Lab) -> None:
    complete(lab)
    lab.package("opencv-python", "4.11")
    lab.package("opencv-python-headless", "4.10")
    lab.package("onnxruntime", "1.20")
    lab.package("onnxruntime-gpu", "1.20")
    found = lab.one("packages", "cv2")
    assert found.verdict == "warning"
    assert "pip uninstall -y opencv-python opencv-python-headless && " in found.cure
    assert found.cure.endswith("-m pip install opencv-python")
    assert lab.one("packages", "onnxruntime").cure.endswith("install 'onnxruntime-gpu[cuda,cudnn]'")


@pytest.mark.parametrize(("qt", "verdict"), [("6.9.0", "warning"), ("6.5.2", "problem")])
def test_qt_of_another_minor_version_than_pyqt(lab: Lab, qt: str, verdict: str) -> None:
    complete(lab)
    lab.package("PyQt6", "6.7.1")
    lab.package("PyQt6-Qt6", qt)
    found = lab.one("packages", "PyQt6")
    assert found.verdict == verdict
    assert found.cure.endswith("--force-reinstall 'PyQt6==6.7.*' 'PyQt6-Qt6==6.7.*'")


def test_a_package_that_does_not_load(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    complete(lab)
    lab.package("msgspec", "0.19")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/msgspec.py").write_text("raise ImportError('numpy.core.multiarray failed to import')\n")
    monkeypatch.syspath_prepend(tmp_path / "broken")
    monkeypatch.delitem(sys.modules, "msgspec", raising=False)
    found = lab.one("packages", "msgspec")
    assert found.verdict == "problem"
    assert "--upgrade --force-reinstall --no-cache-dir msgspec numpy" in found.cure


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        (
            "/usr/lib/aarch64-linux-gnu/libgomp.so.1: cannot allocate memory in static TLS block",
            "export LD_PRELOAD=/usr/lib/aarch64-linux-gnu/libgomp.so.1  # ",
        ),
        ("libGL.so.1: cannot open shared object file: No such file or directory", "sudo apt-get install -y libgl1"),
        ("libodd.so.7: cannot open shared object file: No such file or directory", "apt-file search libodd.so.7  # "),
        (
            "/lib/libm.so.6: version `GLIBC_2.38' not found (required by x.so)",
            "# the installed one is for a system with GLIBC_2.38",
        ),
        ("/lib/libstdc++.so.6: version `GLIBCXX_3.4.32' not found", "unset LD_LIBRARY_PATH"),
        ("A module that was compiled using NumPy 1.x cannot be run in NumPy 2.0.1", "--no-cache-dir x numpy"),
        ("dynamic module does not define module export function", "-m pip install --force-reinstall x"),
    ],
)
def test_the_cure_follows_the_reason(text: str, cure: str) -> None:
    assert cure in cure_of_import(Machine(), ImportError(text), "x")


def test_opencv_of_which_only_the_folder_is_left(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after one of two packages that share it was uninstalled."""
    (tmp_path / "left/cv2").mkdir(parents=True)
    (tmp_path / "left/cv2/__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path / "left")
    before = importlib.import_module("cv2")
    del sys.modules["cv2"]
    try:
        (found,) = lab.look("opencv")
    finally:
        sys.modules["cv2"] = before
    assert found.verdict == "problem"
    assert "pip uninstall -y opencv-python opencv-python-headless" in found.cure


def test_opencv_loads(lab: Lab) -> None:
    (found,) = lab.look("opencv")
    assert found.verdict == "ok"
    assert "GStreamer" in found.found
