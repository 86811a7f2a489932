"""The facts that a figure needs beside it: machine, versions, commit, date."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import date
from pathlib import Path

PACKAGES = ("numpy", "opencv-python", "av", "onnxruntime", "openvino", "PyQt6", "pycuda", "tensorrt", "tensorrt-rtx")


def facts() -> dict[str, str]:
    """Machine, versions and commit, by name."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "date": date.today().isoformat(),
        "commit": commit or "unknown",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "load before": f"{os.getloadavg()[0]:.2f}",
        "python": platform.python_version(),
        **versions,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        text = cpuinfo.read_text(encoding="utf-8")
        name = next((line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")), "")
        wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {flag}" in text]
        return f"{name} ({', '.join(wide)})" if name else platform.machine()
    return platform.processor() or platform.machine()
