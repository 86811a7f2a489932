"""CUDA toolkit: what PyCUDA is compiled with."""

import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from realtime.bench import gpus
from realtime.doctor.common.driver import gpu_facts
from realtime.doctor.common.finding import Finding, absent, ok, problem, warning
from realtime.doctor.common.machine import Machine
from realtime.doctor.common.packages import installed, numbers

RANK = 120

HEADERS = ("include/cuda.h", "targets/*/include/cuda.h")
"""Below the toolkit's folder, which PyCUDA's setup takes to be the one above nvcc's."""


def check(machine: Machine) -> Iterator[Finding]:
    if not gpus.seen(machine.root):
        yield absent("cuda", "not needed: no NVIDIA GPU here")
        return
    nvcc, version = machine.which("nvcc"), ""
    if nvcc is not None:
        version = _version(machine)
        yield ok("cuda", f"toolkit {version or 'of unknown version'} ({nvcc})")
        yield from _too_new(machine, version)
    if "pycuda" not in installed(machine):
        yield from (_missing(machine) if nvcc is None else _misleading(machine, Path(nvcc)))
        yield from _compiler(machine)
    elif nvcc is None:
        yield absent("cuda", "no toolkit (nvcc) on PATH, which only the installation of PyCUDA needs")


def _missing(machine: Machine) -> Iterator[Finding]:
    folder = _toolkit(machine)
    if folder is not None:
        unread = next((f"; PyCUDA does not read {name}" for name in ("CUDA_ROOT", "CUDA_HOME") if name in machine.environ), "")
        found = f"the toolkit is in {folder}, and its nvcc is not on PATH, where PyCUDA looks for it{unread}"
        yield problem("cuda", found, f"export PATH={folder}/bin:$PATH  # only while PyCUDA is installed")
        return
    cure = "sudo apt-get install -y cuda-toolkit  # from NVIDIA's repository: docs/gpu.md"
    if machine.is_jetson:
        cure = "sudo apt-get install -y nvidia-jetpack"
    yield problem("cuda", "no toolkit (nvcc) is installed: PyCUDA cannot be compiled", cure)


def _toolkit(machine: Machine) -> Path | None:
    """The folder of an installed toolkit: the one that the system names, or else the newest."""
    found = [path.parents[1] for path in machine.at("/usr/local").glob("cuda*/bin/nvcc")]
    return max(found, key=lambda folder: (folder.name == "cuda", numbers(folder.name[5:])), default=None)


def _misleading(machine: Machine, nvcc: Path) -> Iterator[Finding]:
    """An nvcc on PATH that PyCUDA's setup cannot find the headers from: a wrapper, or a compiler without its toolkit."""
    place = nvcc.resolve().parents[1]
    if any(any(place.glob(header)) for header in HEADERS):
        return
    folder = _toolkit(machine)
    cure = f"export PATH={folder}/bin:$PATH" if folder is not None else "sudo apt-get install -y cuda-toolkit  # docs/gpu.md"
    yield problem("cuda.h", f"there is none beside {nvcc} (in {place}): PyCUDA cannot be compiled", cure)


def _version(machine: Machine) -> str:
    said = machine.ask("nvcc", "--version")
    match = re.search(r"release (\d+\.\d+)", said.text) if said is not None else None
    return match[1] if match else ""


def _too_new(machine: Machine, version: str) -> Iterator[Finding]:
    """What is compiled with a newer toolkit asks the driver for functions that it lacks."""
    facts = gpu_facts(machine)
    newest = "" if facts is None else facts.cuda_version
    if version and newest and numbers(version) > numbers(newest):
        found = f"toolkit {version} is newer than the driver, which supports CUDA {newest}: PyCUDA compiled with it may not load"
        major, minor = numbers(newest)[:2]
        cure = f"sudo apt-get install -y cuda-toolkit-{major}-{minor}  # and put its bin folder first on PATH"
        yield warning("cuda version", found, cure)


def _compiler(machine: Machine) -> Iterator[Finding]:
    lacks = [] if machine.which("g++") else ["g++"]
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file():
        lacks.append("python3-dev")
    if lacks:
        found = f"PyCUDA cannot be compiled without {' and '.join(lacks)}"
        yield problem("compiler", found, f"sudo apt-get install -y {' '.join(lacks)}")
