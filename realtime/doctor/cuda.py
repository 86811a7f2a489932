"""CUDA toolkit: what PyCUDA is compiled with."""

import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from realtime.doctor.common import gpus
from realtime.doctor.common.finding import Finding, absent, needed, ok, warning
from realtime.doctor.common.machine import Machine
from realtime.doctor.common.packages import installed, numbers

RANK = 120


def check(machine: Machine) -> Iterator[Finding]:
    has_gpu, is_built = bool(gpus.seen(machine)), "pycuda" in installed(machine)
    nvcc = machine.which("nvcc")
    is_needed = has_gpu and not is_built
    if nvcc is None:
        yield _missing(machine, is_needed, has_gpu)
    else:
        version = _version(machine)
        yield ok("cuda", f"toolkit {version or 'of unknown version'} ({nvcc})")
        if has_gpu:
            yield from _too_new(machine, version)
    if is_needed:
        yield from _compiler(machine)


def _missing(machine: Machine, is_needed: bool, has_gpu: bool) -> Finding:
    toolkits = sorted(
        (path for path in machine.at("/usr/local").glob("cuda*/bin/nvcc")), key=lambda path: numbers(path.parts[-3][5:])
    )
    if toolkits:
        folder = toolkits[-1].parent if not machine.at("/usr/local/cuda/bin/nvcc").exists() else machine.at("/usr/local/cuda/bin")
        found = f"the toolkit is in {folder.parent}, and its nvcc is not on PATH"
        cure = f"export PATH={folder}:$PATH  # only while PyCUDA is installed"
    elif machine.is_jetson:
        found, cure = "no toolkit (nvcc) is installed", "sudo apt-get install -y nvidia-jetpack"
    else:
        found, cure = (
            "no toolkit (nvcc) is installed",
            "sudo apt-get install -y cuda-toolkit  # from NVIDIA's repository: docs/gpu.md",
        )
    if not is_needed:
        return absent(
            "cuda", f"{found}; only the installation of PyCUDA needs it" if has_gpu else "not needed: no NVIDIA GPU here"
        )
    return needed(True, "cuda", f"{found}: PyCUDA cannot be compiled", cure)


def _version(machine: Machine) -> str:
    said = machine.ask("nvcc", "--version")
    match = re.search(r"release (\d+\.\d+)", said.text) if said is not None else None
    return match[1] if match else ""


def _too_new(machine: Machine, version: str) -> Iterator[Finding]:
    """What is compiled with a newer toolkit asks the driver for functions that it lacks."""
    from engines.errors import NoGpuError
    from engines.gpu.driver import Driver

    machine.step("starting the CUDA driver")
    try:
        newest = Driver().facts().cuda_version
    except NoGpuError:
        return  # the check of the GPU says why
    if version and numbers(version) > numbers(newest):
        found = f"toolkit {version} is newer than the driver, which supports CUDA {newest}: PyCUDA compiled with it may not load"
        major, minor = numbers(newest)[:2]
        yield warning(
            "cuda", found, f"sudo apt-get install -y cuda-toolkit-{major}-{minor}  # and put its bin folder first on PATH"
        )


def _compiler(machine: Machine) -> Iterator[Finding]:
    lacks = []
    if machine.which("g++") is None:
        lacks.append("g++")
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file():
        lacks.append("python3-dev")
    if lacks:
        yield needed(
            True,
            "compiler",
            f"PyCUDA cannot be compiled without {' and '.join(lacks)}",
            f"sudo apt-get install -y {' '.join(lacks)}",
        )
