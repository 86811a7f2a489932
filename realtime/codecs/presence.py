"""Whether this machine has NVIDIA's decoders and encoders, as far as can be told without opening one. Each is asked once."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from functools import lru_cache

INSPECT, LAUNCH = "gst-inspect-1.0", "gst-launch-1.0"
_INSPECT_TIMEOUT_S = 20.0  # the first start scans all plugins


@lru_cache(maxsize=8)
def driver_lacks(library: str) -> str:
    """Why FFmpeg cannot use this library of NVIDIA's driver, such as "libnvcuvid.so.1"; "" where it loads."""
    if not _loads("libcuda.so.1"):
        return "no NVIDIA driver (libcuda.so.1) on this machine"
    if not _loads(library):
        return f"the NVIDIA driver has no {library} (a container needs NVIDIA_DRIVER_CAPABILITIES with video)"
    return ""


@lru_cache(maxsize=16)
def gstreamer_lacks(*elements: str) -> str:
    """Why a GStreamer pipeline of these elements cannot be made; "" where they are all installed."""
    for program in (INSPECT, LAUNCH):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    for element in elements:
        try:
            found = subprocess.run(
                [INSPECT, "--exists", element], stdin=subprocess.DEVNULL, capture_output=True, timeout=_INSPECT_TIMEOUT_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{INSPECT} fails: {error}"
        if found.returncode:
            return f"GStreamer has no {element}"
    return ""


@lru_cache(maxsize=16)
def has_property(element: str, name: str) -> bool:
    """Whether an element that is installed has a property: they come and go between releases of JetPack."""
    try:
        done = subprocess.run([INSPECT, element], stdin=subprocess.DEVNULL, capture_output=True, timeout=_INSPECT_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return any(line.split()[:1] == [name.encode()] for line in done.stdout.splitlines())


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
