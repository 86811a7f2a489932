"""Facts that results depend on: machine, versions, commit, date."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import date
from pathlib import Path

from realtime.bench.gauges import usable_cores
from realtime.process.version import installed

PACKAGES = ("numpy", "opencv-python", "av", "scipy", "onnxruntime", "openvino", "PyQt6", "pycuda", "tensorrt", "tensorrt-rtx")

VECTORS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
"""The processor flags that matter for the speed of networks."""

TIMEOUT_S = 5.0


def facts() -> dict[str, str]:
    """Machine, versions and commit, as one flat table for a benchmark's file."""
    return {
        "date": date.today().isoformat(),
        "commit": commit(),
        **hardware(),
        "load before": f"{os.getloadavg()[0]:.2f}",
        **versions(),
    }


def hardware() -> dict[str, str]:
    """Processor, cores, memory, and board and GPU where there are any."""
    found = {"processor": _processor(), "cores": str(len(usable_cores())), "memory": _memory()}
    board = Path("/proc/device-tree/model")
    if board.is_file():
        found["board"] = board.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    gpu = _nvidia_gpus()
    return {**found, "gpu": gpu} if gpu else found


def versions() -> dict[str, str]:
    """Python, the system, and the installed ones of `PACKAGES`."""
    system = {"python": platform.python_version(), "system": f"{platform.system()} {platform.release()}"}
    return {**system, **installed(PACKAGES)}


def commit() -> str:
    """The checkout's, with "-dirty" where files differ from it; "unknown" for an installed package."""
    folder = Path(__file__).parents[2]
    return _output("git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*") or "unknown"


def _nvidia_gpus() -> str:
    lines = _output("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader").splitlines()
    return "; ".join(line.strip() for line in lines if "," in line)


def _output(program: str, *arguments: str) -> str:
    """The output of a program; "" where it is not installed, fails or hangs."""
    path = shutil.which(program)
    if path is None:
        return ""
    try:
        done = subprocess.run([path, *arguments], capture_output=True, check=False, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""


def _memory() -> str:
    try:
        total_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return "unknown"
    return f"{total_bytes / 2**30:.0f} GiB"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
        pairs = [line.split(":", 1) for line in text.splitlines() if ":" in line]
        facts = {key.strip(): value.strip() for key, value in pairs}
        flags = f"{facts.get('flags', '')} {facts.get('Features', '')}".split()
        wide = [flag for flag in VECTORS if flag in flags]
        name = facts.get("model name", "")
        return f"{name} ({', '.join(wide)})" if name and wide else name or platform.machine()
    return platform.processor() or platform.machine()
