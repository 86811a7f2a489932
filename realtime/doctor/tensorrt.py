"""TensorRT: from apt or pip, whether it loads, and what its version cannot do here."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import BackendUnavailableError, BuildError
from realtime.bench import gpus
from realtime.doctor.common.driver import gpu_facts
from realtime.doctor.common.finding import Finding, absent, ok, problem, warning
from realtime.doctor.common.machine import Machine
from realtime.doctor.common.packages import installed, numbers
from realtime.process.jetson import package_version

if TYPE_CHECKING:
    from engines.gpu.driver import GpuFacts
    from engines.trt.runtime import TensorRt

RANK = 130
LIMIT_S = 20.0

DLA_BOARDS = ("Orin NX", "AGX Orin", "Xavier")
"""Boards with deep-learning accelerators, by parts of their names. Source: NVIDIA's data sheets."""

NO_DLA = ((10, 8), (11, 4, 1))
"""From the first of these versions of TensorRT to below the second there is no DLA. Source: TensorRT's release notes."""

NO_FLAGS = (11,)
"""BuilderFlag.FP16 and its like are gone from here on: programs that set them where they exist get FP32, without an error
(rf-detr#1453)."""

CUDA_13_NEEDS = 13

THOR = "Thor"


def check(machine: Machine) -> Iterator[Finding]:
    from engines.trt.runtime import installed as present

    names, packages = present(), installed(machine)
    seen, facts = gpus.seen(machine.root), gpu_facts(machine)
    yield from _two_cudas(machine, packages)
    yield from _other_libraries(machine)
    if not names or (machine.is_jetson and "tensorrt" not in names):
        yield _missing(machine, seen)
    for name in names:
        yield from _runtime(machine, name, packages, facts)


def _runtime(machine: Machine, name: str, packages: dict[str, str], facts: "GpuFacts | None") -> Iterator[Finding]:
    from engines.trt.runtime import open_tensorrt

    origin = _origin(name)
    if machine.is_jetson and (finding := _not_for_jetsons(machine, name, packages)) is not None:
        yield finding
        return
    machine.step(f"importing {name.replace('-', '_')}")
    try:
        tensorrt = open_tensorrt(name)
    except BackendUnavailableError as error:
        yield problem(name, error.what, _cure_of_loading(machine, name, error, packages))
        return
    limits = _limits(machine, tensorrt, facts, packages)
    if limits is not None:
        yield limits
    else:
        yield ok(name, f"{tensorrt.title} from {origin}{_notes(machine, tensorrt)}")


def _origin(name: str) -> str:
    """ "apt" or "pip", which for the system's Python has a folder of its own below /usr/local."""
    from engines.trt.runtime import MODULES

    spec = importlib.util.find_spec(MODULES[name])
    return "apt" if spec is not None and (spec.origin or "").startswith("/usr/lib/") else "pip"


def _not_for_jetsons(machine: Machine, name: str, packages: dict[str, str]) -> Finding | None:
    """PyPI's packages, which are for other machines. Wheels of JetPack's own, as in containers, have no CUDA in their names."""
    theirs = sorted(package for package in packages if package == name or package.startswith(f"{name}-cu"))
    uninstall = machine.pip("uninstall", f"-y {' '.join(theirs)}")
    if name == "tensorrt-rtx":
        return warning(name, "TensorRT-RTX is for GeForce RTX and RTX PRO cards, not for a Jetson", uninstall)
    if theirs in ([], [name]):
        return None
    found = "TensorRT comes from pip, whose packages are for PCs and servers, and hides JetPack's"
    cure = f"{uninstall} && sudo apt-get install -y python3-libnvinfer"
    if THOR in machine.board:  # whose CUDA is that of servers
        return warning(name, f"{found}; on a Thor it may run, which nobody has tried with this program", cure)
    return problem(name, found, cure)


def _missing(machine: Machine, seen: str) -> Finding:
    if not seen:
        return absent("tensorrt", "not needed: no NVIDIA GPU here")
    if machine.is_jetson:
        libraries = package_version(r"libnvinfer\d+", machine.root)
        if libraries and not package_version("python3-libnvinfer", machine.root):
            found = f"JetPack's libraries are here (libnvinfer {libraries}), their Python package is not"
            return problem("tensorrt", found, "sudo apt-get install -y python3-libnvinfer")
        if libraries:
            again = "python3 -m venv --system-site-packages .venv && .venv/bin/pip install -e '.[tensorrt]'"
            found = f"JetPack's TensorRT ({libraries}) is installed, and this environment does not see it"
            return problem("tensorrt", found, f"rm -r .venv && /usr/bin/{again}")
        return problem("tensorrt", "is not installed", "sudo apt-get install -y nvidia-jetpack python3-libnvinfer")
    return problem(
        "tensorrt", "is not installed: no model runs on the GPU through it", machine.pip("install", "-e '.[tensorrt]'")
    )


def _cure_of_loading(machine: Machine, name: str, error: BackendUnavailableError, packages: dict[str, str]) -> str:
    """Its bindings without its libraries, mostly; or a version that is too old."""
    is_old = "too old" in error.what
    if machine.is_jetson and is_old:
        return "sdkmanager  # on a PC, to flash the board with JetPack 6.1 or newer"
    if machine.is_jetson:
        return "sudo apt-get install --reinstall -y nvidia-jetpack python3-libnvinfer"
    theirs = [package for package in sorted(packages) if package.startswith(name) and ("rtx" in package) == ("rtx" in name)]
    bindings = next((package for package in theirs if package.endswith("-bindings")), "")
    if bindings and bindings.removesuffix("-bindings") + "-libs" not in packages:
        return machine.pip("install", f"{bindings.removesuffix('-bindings')}=={packages[bindings]}")
    if is_old:
        whole = [package for package in theirs if not package.endswith(("-bindings", "-libs"))]
        return machine.pip("install", f"--upgrade {' '.join(whole) or name}")
    return machine.pip("install", f"--force-reinstall {' '.join(theirs) or name}")


def _two_cudas(machine: Machine, packages: dict[str, str]) -> Iterator[Finding]:
    both = [name for name in ("tensorrt-cu12", "tensorrt-cu13") if name in packages]
    if len(both) > 1:
        found = f"{' and '.join(both)} are both installed, and write over each other's files in tensorrt/"
        theirs = " ".join(sorted(name for name in packages if name.startswith("tensorrt") and "rtx" not in name))
        wanted = "tensorrt-cu13  # needs a driver of 580 or newer; tensorrt-cu12 with an older one"
        yield warning("tensorrt", found, machine.exchange(theirs, wanted))


def _other_libraries(machine: Machine) -> Iterator[Finding]:
    """TensorRT#2041: engines "of another version", since programs and bindings load different libraries."""
    for folder in machine.environ.get("LD_LIBRARY_PATH", "").split(":"):
        if folder and any(Path(folder).glob("libnvinfer.so*")):
            found = f"LD_LIBRARY_PATH leads to another TensorRT first ({folder})"
            yield warning("tensorrt", found, "unset LD_LIBRARY_PATH")


def _limits(machine: Machine, tensorrt: "TensorRt", facts: "GpuFacts | None", packages: dict[str, str]) -> Finding | None:
    """What of this version does not go with this GPU or its driver; None for nothing."""
    if facts is None:
        return None
    if tensorrt.name == "tensorrt-rtx":
        from engines.trt.builder import check_target

        try:
            check_target(tensorrt, facts.compute_capability.replace(".", ""))
        except BuildError as error:
            found = f"{tensorrt.title} is not made for this GPU (compute capability {facts.compute_capability}). {error.cure}"
            wanted = (
                "sudo apt-get install -y python3-libnvinfer" if machine.is_jetson else machine.pip("install", "-e '.[tensorrt]'")
            )
            return warning(tensorrt.name, found, f"{wanted}  # TensorRT itself is")
    if any(f"{tensorrt.name}-cu13" in name for name in packages) and numbers(facts.cuda_version)[0] < CUDA_13_NEEDS:
        found = f"{tensorrt.title} for CUDA 13 needs a driver of 580 or newer, and this one supports CUDA {facts.cuda_version}"
        old = " ".join(name for name in sorted(packages) if name.startswith(tensorrt.name) and "cu13" in name)
        return problem(tensorrt.name, found, machine.exchange(old, f"{tensorrt.name}-cu12"))
    return None


def _notes(machine: Machine, tensorrt: "TensorRt") -> str:
    version = numbers(tensorrt.version)
    board = machine.board
    if tensorrt.name == "tensorrt" and any(name in board for name in DLA_BOARDS) and NO_DLA[0] <= version < NO_DLA[1]:
        return "; this version has no DLA support: --dla does not work"
    if tensorrt.name == "tensorrt" and version >= NO_FLAGS:
        return "; its flags for FP16 and INT8 are gone, and run.py build writes the precision into the network instead"
    return ""
