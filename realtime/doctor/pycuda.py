"""PyCUDA: installed, loading, and compiled for which CUDA."""

from collections.abc import Iterator

from engines.errors import BackendUnavailableError
from realtime.bench import gpus
from realtime.doctor.common.driver import gpu_facts
from realtime.doctor.common.finding import Finding, absent, ok, problem, warning
from realtime.doctor.common.machine import Machine
from realtime.doctor.common.packages import installed, numbers

RANK = 140


def check(machine: Machine) -> Iterator[Finding]:
    from engines.gpu.device import import_pycuda

    version = installed(machine).get("pycuda", "")
    again = (
        f"export PATH=/usr/local/cuda/bin:$PATH && {machine.pip('install', '--force-reinstall --no-cache-dir --no-deps pycuda')}"
    )
    machine.step("importing pycuda.driver")
    try:
        cuda = import_pycuda()
    except BackendUnavailableError as error:
        if not gpus.seen(machine.root):
            yield absent("pycuda", "not needed: no NVIDIA GPU here")
        elif "cannot be loaded" in error.what:
            yield problem("pycuda", error.what, again)
        else:
            yield problem("pycuda", f"{error.what}: no model runs on the GPU", _install(machine))
        return
    except Exception as error:  # compiled for another NumPy: the import raises what NumPy raises
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        yield problem("pycuda", f"is installed, and cannot be loaded ({text})", again)
        return
    compiled = ".".join(map(str, cuda.get_version()[:2]))
    facts = gpu_facts(machine)
    newest = "" if facts is None else facts.cuda_version
    text = f"{version} compiled for CUDA {compiled}".strip()
    if newest and numbers(compiled) > numbers(newest):
        found = f"{text}, and the driver supports CUDA {newest}: calls that are newer than the driver fail"
        yield warning("pycuda", found, again)
    else:
        yield ok("pycuda", text)


def _install(machine: Machine) -> str:
    return f"export PATH=/usr/local/cuda/bin:$PATH && {machine.pip('install', 'pycuda')}"
