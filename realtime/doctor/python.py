"""Python: its version, its environment, and what leads it to other packages."""

import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from realtime.doctor.common.finding import Finding, ok, problem, warning
from realtime.doctor.common.machine import Machine

RANK = 10

NEWEST = (3, 13)
"""The last that the program is tested with, as pyproject.toml's classifiers say. Older ones than its first do not get here."""


def check(machine: Machine) -> Iterator[Finding]:
    yield _version(machine, sys.version_info[:2])
    yield from _environment(machine)
    yield from _leads(machine)


def _version(machine: Machine, version: tuple[int, int]) -> Finding:
    text = (
        f"{platform.python_version()}, {_kind(machine)}, {platform.machine()}, {' '.join(platform.libc_ver()) or 'unknown libc'}"
    )
    if version > NEWEST:
        cure = f"python{_dotted(NEWEST)} -m venv .venv && .venv/bin/pip install -e ."
        return warning("python", f"{text}: newer than {_dotted(NEWEST)}, the last that this program is tested with", cure)
    if sys.maxsize < 2**32:
        cure = "python3 -m venv .venv && .venv/bin/pip install -e .  # with a 64-bit Python"
        return problem("python", f"{text}: 32-bit, for which the runtimes have no packages", cure)
    return ok("python", text)


def _kind(machine: Machine) -> str:
    config = machine.prefix / "pyvenv.cfg"
    if not config.is_file():
        return "without an environment of its own"
    return f"environment {machine.prefix}{' with the packages of the system' if _sees_system(machine) else ''}"


def _sees_system(machine: Machine) -> bool:
    """Whether this environment was made with --system-site-packages."""
    settings = (line.partition("=") for line in _text(machine.prefix / "pyvenv.cfg").splitlines())
    return any(key.strip() == "include-system-site-packages" and value.strip() == "true" for key, _, value in settings)


def _environment(machine: Machine) -> Iterator[Finding]:
    """JetPack installs TensorRT for the system's Python: an environment sees it only if made for that, with that Python."""
    if not (machine.prefix / "pyvenv.cfg").is_file():
        yield from _outside(machine)
        return
    if not machine.is_jetson:
        return
    again = "rm -r .venv && /usr/bin/python3 -m venv --system-site-packages .venv && .venv/bin/pip install -e '.[tensorrt]'"
    if not _sees_system(machine):
        yield problem("environment", "made without --system-site-packages: it does not see JetPack's TensorRT", again)
    elif (system := _system_version(machine)) and system != _dotted(sys.version_info[:2]):
        found = f"Python {_dotted(sys.version_info[:2])}, and JetPack's TensorRT is for the system's {system}"
        yield problem("environment", found, again)


def _outside(machine: Machine) -> Iterator[Finding]:
    """The system's Python, into which pip installs nothing, or the wrong one beside an environment that is there. PEP 668."""
    if (machine.prefix / "conda-meta").is_dir():
        if machine.is_jetson:
            options = "--system-site-packages .venv && .venv/bin/pip install -e '.[tensorrt]'"
            yield problem("environment", "conda's Python does not see JetPack's TensorRT", f"/usr/bin/python3 -m venv {options}")
    elif Path(".venv/bin/python").exists():
        found = "this is not the Python of the environment .venv, which is here"
        yield warning("environment", found, ".venv/bin/python run.py doctor")
    elif machine.is_managed:
        yield warning("environment", "this is the system's Python, into which pip installs nothing", machine.environment())


def _system_version(machine: Machine) -> str:
    """ "3.10" of /usr/bin/python3, a link to python3.10; "" if unknown."""
    try:
        name = machine.at("/usr/bin/python3").resolve().name
    except OSError:
        return ""
    return name.removeprefix("python") if "." in name else ""


def _leads(machine: Machine) -> Iterator[Finding]:
    if foreign := [entry for entry in machine.environ.get("PYTHONPATH", "").split(":") if entry and _has_packages(Path(entry))]:
        found = f"PYTHONPATH leads to other packages first: {', '.join(foreign)}"
        yield warning("PYTHONPATH", found, "unset PYTHONPATH  # ROS sets it, for one")
    if machine.environ.get("PYTHONHOME"):
        yield warning("PYTHONHOME", f"set to {machine.environ['PYTHONHOME']}: another Python's library", "unset PYTHONHOME")


def _has_packages(folder: Path) -> bool:
    """Whether packages that this program imports could come from there instead."""
    return any((folder / name).exists() for name in ("cv2", "numpy", "PyQt6", "onnxruntime", "av", "tensorrt"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
