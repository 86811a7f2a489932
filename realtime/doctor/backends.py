"""Backends: which can run a model here, and why the others cannot."""

import re
from collections.abc import Iterator
from pathlib import Path

from engines.backends import names, ranked
from engines.loading import load_module
from realtime.bench import gpus
from realtime.doctor.common.finding import Finding, absent, ok, problem, warning
from realtime.doctor.common.machine import Machine

RANK = 150
LIMIT_S = 20.0

MODULES = {"ort": "onnxruntime", "openvino": "openvino"}
"""Backend of the CPU -> what it imports."""

ON_GPU = ("trt", "ort-cuda")
"""The first that can run makes the other superfluous."""


def check(machine: Machine) -> Iterator[Finding]:
    lacking = {}
    for name in names():
        machine.step(f"importing {MODULES[name]}" if name in MODULES else f"asking the backend {name}")
        lacking[name] = _missing(name)
    able = [name for name in ranked() if not lacking[name]]
    for name in ranked():
        if not lacking[name]:
            yield ok(
                f"backend {name}", "can run models" + (", and is what --backend auto takes first" if name == able[0] else "")
            )
        elif name not in ON_GPU or not gpus.seen(machine.root) or any(other in able for other in ON_GPU):
            yield absent(f"backend {name}", lacking[name])
        else:
            yield warning(f"backend {name}", lacking[name], f"{machine.run} doctor gpu cuda tensorrt pycuda")
    if "ort-cuda" in able and (lacks := _libraries_of_ort_cuda(machine)):
        found = f"ONNX Runtime would fall back to the CPU, since {', '.join(lacks)} cannot be found"
        yield warning("ort-cuda libraries", found, machine.pip("install", "'onnxruntime-gpu[cuda,cudnn]'"))
    if not able:
        yield problem("backends", "none can run a model here", machine.pip("install", "--force-reinstall onnxruntime"))


def _missing(name: str) -> str:
    """What a backend lacks; "" for nothing. A runtime that is there and does not load is lacking as well."""
    from engines import loading

    try:
        found: str | None = load_module("engines.backends", name.replace("-", "_")).missing()
        if found is None and name in MODULES:  # which look for the package alone, to be quick
            (loading.import_onnxruntime if name == "ort" else loading.import_openvino)()
    except Exception as error:  # an extension may raise anything
        return "its runtime cannot be loaded (" + " ".join(f"{type(error).__name__}: {error}".split())[:200] + ")"
    return found or ""


def _libraries_of_ort_cuda(machine: Machine) -> list[str]:
    """CUDA's libraries that ONNX Runtime's CUDA provider needs, and that neither the system nor a package of pip has."""
    provider = next((path for path in _in_packages(machine, "onnxruntime/capi/libonnxruntime_providers_cuda.so")), None)
    said = machine.ask("ldd", str(provider)) if provider is not None else None
    lacks = re.findall(r"^\s*(lib\S+) => not found", said.text, re.MULTILINE) if said is not None else []
    own = ("libonnxruntime", "libcuda.so")  # loaded before; the driver's, which has a check
    return [name for name in lacks if not name.startswith(own) and not any(_in_packages(machine, f"nvidia/*/lib/{name}"))]


def _in_packages(machine: Machine, pattern: str) -> Iterator[Path]:
    for folder in machine.paths:
        yield from Path(folder).glob(pattern)
