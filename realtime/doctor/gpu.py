"""GPU and driver: seen, allowed, loaded, new enough."""

from collections.abc import Iterator

from engines.errors import NoGpuError
from realtime.bench import gpus
from realtime.doctor.common.finding import Finding, absent, ok, problem, warning
from realtime.doctor.common.machine import Machine

RANK = 110
LIMIT_S = 20.0
"""The first call of a driver that was not loaded takes seconds."""

INSTALL = "sudo ubuntu-drivers install && sudo reboot"

NODES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/nvmap", "/dev/nvhost-gpu")
"""Of the driver on PCs, and on a Jetson."""


def check(machine: Machine) -> Iterator[Finding]:
    seen = gpus.seen(machine.root)
    yield from _hidden(machine, seen)
    machine.step("starting the CUDA driver")
    try:
        from engines.gpu.driver import Driver

        facts = Driver().facts()
    except NoGpuError as error:
        if not seen and "libcuda" in error.what:
            yield absent("gpu", "no NVIDIA GPU here: models run on the CPU")
        else:
            yield problem("gpu", error.what + (f", though there is {seen}" if seen else ""), _cure(machine, error))
        return
    capability = f"compute capability {facts.compute_capability}"
    yield ok("gpu", f"{facts.name}, {capability}, {facts.total_bytes / 2**30:.1f} GiB")
    version = f"{facts.driver_version}, " if facts.driver_version else ""
    yield ok("driver", f"{version}for programs of CUDA up to {facts.cuda_version}")
    yield from _in_use(machine)


def _hidden(machine: Machine, seen: str) -> Iterator[Finding]:
    """Environment variables that take the GPU away."""
    visible = machine.environ.get("CUDA_VISIBLE_DEVICES")
    if seen and visible is not None and visible.strip().lower() in ("", "-1", "none", "nodevfiles"):
        yield problem("gpu", f'CUDA_VISIBLE_DEVICES="{visible}" hides the GPU', "unset CUDA_VISIBLE_DEVICES")
    if stubs := [folder for folder in machine.environ.get("LD_LIBRARY_PATH", "").split(":") if "stubs" in folder.split("/")]:
        found = f"LD_LIBRARY_PATH leads to libraries that are only for linking: {', '.join(stubs)}"
        yield problem("driver", found, "unset LD_LIBRARY_PATH")


def _cure(machine: Machine, error: NoGpuError) -> str:
    """A command for what the driver refuses. Where nothing here knows better, the driver's own cure."""
    if "only a stub" in error.what:
        return "unset LD_LIBRARY_PATH"
    if machine.is_container:
        options = "--runtime nvidia" if machine.is_jetson else "--gpus all"
        return f"docker run {options} IMAGE  # the container was started without the GPU"
    if machine.is_wsl:
        return "export LD_LIBRARY_PATH=/usr/lib/wsl/lib  # and no NVIDIA driver inside WSL: Windows has it"
    if nodes := [node for node in NODES if machine.at(node).exists() and not _may_use(machine, node)]:
        return f"sudo usermod -aG video,render $USER  # then log in again: no permission to use {', '.join(nodes)}"
    if "different versions" in error.what:
        return "sudo reboot  # the driver was updated while it ran"
    if "too old" in error.what:
        return "sdkmanager  # on a PC, to flash the board with JetPack 6.1 or newer" if machine.is_jetson else INSTALL
    if machine.is_jetson:
        return "sudo apt-get install --reinstall nvidia-l4t-core nvidia-l4t-cuda && sudo reboot"
    if "nouveau " in machine.read("/proc/modules"):
        return f"{INSTALL}  # the free driver nouveau is in use"
    if "libcuda" in error.what:
        return INSTALL
    if not machine.at("/proc/driver/nvidia/version").exists():
        return "sudo modprobe nvidia  # its module is not loaded; if it is refused: mokutil --sb-state (Secure Boot)"
    return error.cure


def _may_use(machine: Machine, node: str) -> bool:
    import os

    return os.access(machine.at(node), os.R_OK | os.W_OK)


def _in_use(machine: Machine) -> Iterator[Finding]:
    """Memory of the graphics card that other programs have taken, where nvidia-smi knows."""
    said = machine.ask("nvidia-smi", "--query-gpu=memory.used,memory.total", "--format=csv,noheader,nounits", "--id=0")
    numbers = said.text.split(",") if said is not None and said.code == 0 else []
    if len(numbers) == 2 and all(number.strip().isdigit() for number in numbers):
        used_mib, total_mib = (int(number) for number in numbers)
        if used_mib > 0.8 * total_mib:
            yield warning("gpu memory", f"{used_mib} of {total_mib} MiB are in use by other programs", "nvidia-smi  # lists them")
