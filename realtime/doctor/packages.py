"""Packages: those that this program requires, in the versions that it requires, and those that break each other."""

import importlib
import importlib.metadata
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from realtime.doctor.common.finding import Finding, ok, problem, warning
from realtime.doctor.common.machine import PROGRAM, Machine
from realtime.doctor.common.packages import cure_of_import, first_of, installed, normal, numbers

RANK = 20
LIMIT_S = 20.0

OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
ONNXRUNTIME = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")

SAME_FOLDER = {"cv2": OPENCV, "onnxruntime": ONNXRUNTIME}
"""Module -> the packages that bring it. Two of them write over each other's files, and removing one breaks the other."""

MODULES = {"numpy": "numpy", "scipy": "scipy.optimize", "pillow": "PIL.Image", "msgspec": "msgspec", "onnx": "onnx"}
"""Package -> the module that is tried. Those with a check of their own (OpenCV, the runtimes, PyAV, Qt) are not among them."""


MANY = 3
"""So many missing requirements are not one package's fault, but another Python or an installation that was never made."""


class Requirement(NamedTuple):
    name: str
    versions: str
    """As in ">=17,<19"."""
    marker: str


def check(machine: Machine) -> Iterator[Finding]:
    versions = installed(machine)
    yield _program(versions)
    yield from _requirements(machine, versions)
    yield from _clashes(machine, versions)
    yield from _qt(machine, versions)
    for package, module in MODULES.items():
        if package in versions:
            yield from _imports(machine, package, module)


def _program(versions: dict[str, str]) -> Finding:
    return ok("program", f"version {versions[PROGRAM]}" if PROGRAM in versions else "a checkout that is not installed")


def _requirements(machine: Machine, versions: dict[str, str]) -> Iterator[Finding]:
    required = _required(machine)
    if not required:
        yield warning(
            "requirements", "unknown: neither this program's metadata nor its pyproject.toml can be read", _all(machine)
        )
        return
    holds, faults = _judge(), 0
    # Where nothing can tell which markers apply, a package has several requirements.
    lacks = list(dict.fromkeys(need.name for need in required if _have(need, versions) is None))
    if len(lacks) > MANY:
        found = f"{len(lacks)} of {len({need.name for need in required})} are not installed: {', '.join(lacks)}"
        yield problem("requirements", found, _all(machine))
        return
    for need in required:
        have = _have(need, versions)
        if have is None:
            faults += 1
            yield problem(need.name, f"is not installed, and {need.name}{need.versions} is required", _install(machine, need))
        elif holds is not None and not holds(need.versions, have[1]):
            faults += 1
            found = f"{have[1]} is installed, and {need.name}{need.versions} is required"
            yield problem(have[0], found, _install(machine, need))
    if not faults:
        shown = [
            f"{name} {versions[name]}" for name in ("numpy", "openvino", *OPENCV, *ONNXRUNTIME, "av", "pyqt6") if name in versions
        ]
        yield ok("requirements", f"all {len(required)} are installed, among them {', '.join(shown)}")


def _have(need: Requirement, versions: dict[str, str]) -> tuple[str, str] | None:
    """The package that satisfies a requirement by its name, and its version: itself, or one that brings the same module."""
    names = next((group for group in SAME_FOLDER.values() if need.name in group), (need.name,))
    return first_of(versions, names)


def _required(machine: Machine) -> list[Requirement]:
    """What the installed program requires here; for a checkout that is not installed, what its pyproject.toml says."""
    try:
        package = next(iter(importlib.metadata.distributions(name=PROGRAM, path=list(machine.paths))))
        lines = package.requires or []
    except StopIteration:
        lines = _written()
    found = [_read(line) for line in lines]
    return [need for need in found if need is not None and "extra" not in need.marker and _applies(need.marker)]


def _written(pyproject: Path = Path(__file__).parents[2] / "pyproject.toml") -> list[str]:
    toml = _first_module("tomllib", "tomli", "pip._vendor.tomli")  # Python 3.10 has none of its own
    if toml is None:
        return []
    try:
        with pyproject.open("rb") as file:
            return list(toml.load(file)["project"]["dependencies"])
    except (OSError, KeyError, ValueError):
        return []


def _read(line: str) -> Requirement | None:
    """ "av<19,>=17; python_version < '3.11'" in its parts."""
    match = re.match(r"\s*([\w.-]+)\s*(?:\[[^\]]*\])?\s*\(?([^;)]*)\)?\s*(?:;(.*))?$", line)
    if match is None:
        return None
    return Requirement(normal(match[1]), match[2].replace(" ", ""), (match[3] or "").strip())


def _applies(marker: str) -> bool:
    """Whether a requirement holds for this machine; True where nothing here can tell."""
    markers: Any = _packaging("markers")
    return not marker or markers is None or bool(markers.Marker(marker).evaluate({"extra": ""}))


def _judge() -> Any:
    """holds(">=17,<19", "18.1"); None where nothing here can tell."""
    specifiers: Any = _packaging("specifiers")
    if specifiers is None:
        return None
    return lambda versions, version: specifiers.SpecifierSet(versions).contains(version, prereleases=True)


def _packaging(part: str) -> Any:
    """A module of `packaging`, which other packages and pip bring."""
    return _first_module(f"packaging.{part}", f"pip._vendor.packaging.{part}")


def _first_module(*names: str) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def _clashes(machine: Machine, versions: dict[str, str]) -> Iterator[Finding]:
    for module, group in SAME_FOLDER.items():
        both = [name for name in group if name in versions]
        if len(both) > 1:
            keep = _kept(both)
            found = f"{' and '.join(both)} are both installed, and write over each other's files in {module}/"
            yield warning(module, found, machine.exchange(" ".join(both), keep))


def _kept(both: Sequence[str]) -> str:
    """The GPU's onnxruntime where it is there; OpenCV with its windows, which this program requires."""
    return "'onnxruntime-gpu[cuda,cudnn]'" if "onnxruntime-gpu" in both else both[0]


def _qt(machine: Machine, versions: dict[str, str]) -> Iterator[Finding]:
    """PyQt6 is compiled against one minor version of Qt, which another package brings: pip may upgrade one of them alone.

    An older Qt lacks functions. A newer one mostly works (6.7 with 6.9 does), but not where a private function has changed
    (6.6.1 with 6.6.0); the check of the window loads it.
    """
    bindings, libraries = versions.get("pyqt6", ""), versions.get("pyqt6-qt6", "")
    minor, of_qt = numbers(bindings)[:2], numbers(libraries)[:2]
    if minor and of_qt and minor != of_qt:
        found = f"PyQt6 {bindings} with the libraries of Qt {libraries} (PyQt6-Qt6)"
        wanted = ".".join(map(str, minor))
        cure = machine.pip("install", f"--force-reinstall 'PyQt6=={wanted}.*' 'PyQt6-Qt6=={wanted}.*'")
        yield problem("PyQt6", found, cure) if minor > of_qt else warning("PyQt6", found, cure)


def _imports(machine: Machine, package: str, module: str) -> Iterator[Finding]:
    machine.step(f"importing {module}")
    try:
        importlib.import_module(module)
    except Exception as error:  # an extension may raise anything
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        yield problem(package, f"is installed, and cannot be loaded ({text})", cure_of_import(machine, error, package))


def _install(machine: Machine, need: Requirement) -> str:
    return machine.pip("install", f"'{need.name}{need.versions}'")


def _all(machine: Machine) -> str:
    if (machine.prefix / "pyvenv.cfg").is_file():
        return machine.pip("install", "-e .")
    return f"{machine.environment()}  # then start the program with .venv/bin/python"
