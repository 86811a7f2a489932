"""Whether this machine has NVIDIA's decoders and encoders, as far as can be told without opening one.

Only on a Jetson is GStreamer asked, and once: its first start scans all plugins, which takes seconds.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from realtime.process import jetson

ROOT = jetson.ROOT
"""Tests replace it."""

LEAST_PX = 640 * 360
"""The CPU decodes and encodes smaller pictures in a millisecond or two."""

INSPECT, LAUNCH = "gst-inspect-1.0", "gst-launch-1.0"
_INSPECT_TIMEOUT_S = 20.0  # the first start scans all plugins
_ELEMENT = re.compile(rb"^[^:]+:  ([\w-]+): ", re.MULTILINE)  # "gdp:  gdppay: GDP Payloader"


@lru_cache(maxsize=8)
def driver_lacks(library: str) -> str:
    """Why FFmpeg cannot use this library of NVIDIA's driver, such as "libnvcuvid.so.1"; "" where it loads."""
    if not _loads("libcuda.so.1"):
        return "no NVIDIA driver (libcuda.so.1) on this machine"
    if not _loads(library):
        return f"the NVIDIA driver has no {library} (a container needs NVIDIA_DRIVER_CAPABILITIES with video)"
    return ""


def gstreamer_lacks(*elements: str) -> str:
    """Why a GStreamer pipeline of these elements cannot be made; "" where they are all installed.

    Elements named "nv..." are a Jetson's: elsewhere nothing is started.
    """
    if any(element.startswith("nv") for element in elements) and not _is_jetson(ROOT):
        return "this is not a Jetson"
    programs = {program: shutil.which(program) for program in (INSPECT, LAUNCH)}
    for program, path in programs.items():
        if path is None:
            return f"{program} is not installed"
    installed, failure = _installed(programs[INSPECT] or INSPECT)
    return failure or next((f"GStreamer has no {element}" for element in elements if element not in installed), "")


@lru_cache(maxsize=16)
def has_property(element: str, name: str) -> bool:
    """Whether an element that is installed has a property: they come and go between releases of JetPack."""
    try:
        done = subprocess.run([INSPECT, element], stdin=subprocess.DEVNULL, capture_output=True, timeout=_INSPECT_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return any(line.split()[:1] == [name.encode()] for line in done.stdout.splitlines())


@lru_cache(maxsize=8)
def _installed(inspect: str) -> tuple[frozenset[str], str]:
    """The elements that this program lists, and why it lists none."""
    try:
        done = subprocess.run([inspect], stdin=subprocess.DEVNULL, capture_output=True, timeout=_INSPECT_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return frozenset(), f"{INSPECT} fails: {error}"
    return frozenset(name.decode() for name in _ELEMENT.findall(done.stdout)), ""


@lru_cache(maxsize=8)
def _is_jetson(root: Path) -> bool:
    return jetson.is_jetson(root)


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
