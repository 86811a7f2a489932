"""GStreamer: for CSI cameras, pipelines of your own, and a Jetson's hardware decoder."""

import re
from collections.abc import Iterator

from realtime.doctor.common.finding import Finding, absent, ok, problem, warning
from realtime.doctor.common.machine import Machine

RANK = 70
LIMIT_S = 20.0
"""A first start of GStreamer looks at all its plugins."""

LAUNCH, INSPECT = "gst-launch-1.0", "gst-inspect-1.0"
ASKING_S = 8.0

BASICS = {"fdsink": "gstreamer1.0-tools", "videoconvert": "gstreamer1.0-plugins-base", "v4l2src": "gstreamer1.0-plugins-good"}
"""Element -> the Debian package that brings it."""

OF_JETSON = {
    "nvarguscamerasrc": ("CSI cameras", "nvidia-l4t-camera nvidia-l4t-gstreamer"),
    "nvvidconv": ("CSI cameras", "nvidia-l4t-gstreamer"),
    "nvv4l2decoder": ("hardware decoding", "nvidia-l4t-gstreamer"),
}
"""Element -> what needs it, and NVIDIA's packages that bring it."""

PARSERS = ("h264parse", "h265parse", "jpegparse", "gdppay", "gdpdepay")
"""What a Jetson's decoder and encoder are reached through, from Debian's gstreamer1.0-plugins-bad."""

NO_ENCODER = "Orin Nano"
"""Has no hardware encoder. Source: NVIDIA's data sheet."""

ARGUS_SOCKET = "/tmp/argus_socket"


def check(machine: Machine) -> Iterator[Finding]:
    install = f"sudo apt-get install -y {' '.join(dict.fromkeys(BASICS.values()))}"
    if machine.which(LAUNCH) is None:
        if machine.is_jetson:
            yield problem("gstreamer", f"{LAUNCH} is not installed: no CSI camera can be opened", install)
        else:
            yield absent("gstreamer", "not installed; only csi:// and pipelines need it", install)
        return
    version = _version(machine)
    if machine.which(INSPECT) is None:
        yield ok("gstreamer", f"{version}; {INSPECT} is not installed, so its plugins are unknown")
        return
    lacks = [element for element in BASICS if not _has(machine, element)]
    if lacks:
        packages = " ".join(dict.fromkeys(BASICS[element] for element in lacks))
        yield warning("gstreamer", f"{version}, without {', '.join(lacks)}", f"sudo apt-get install -y {packages}")
    else:
        yield ok("gstreamer", f"{version}, with what pipelines need")
    if machine.is_jetson:
        yield from _jetson(machine)


def _version(machine: Machine) -> str:
    said = machine.ask(LAUNCH, "--version")
    match = re.search(r"^GStreamer (\S+)", said.text, re.MULTILINE) if said is not None else None
    return match[1] if match else "of unknown version"


def _has(machine: Machine, element: str) -> bool:
    said = machine.ask(INSPECT, "--exists", element, limit_s=ASKING_S)
    return said is not None and said.code == 0


def _jetson(machine: Machine) -> Iterator[Finding]:
    lacks = [element for element in OF_JETSON if not _has(machine, element)]
    if lacks:
        uses = ", no ".join(dict.fromkeys(OF_JETSON[element][0] for element in lacks))
        packages = " ".join(dict.fromkeys(name for element in lacks for name in OF_JETSON[element][1].split()))
        cure = f"sudo apt-get install --reinstall -y {packages} && rm -rf ~/.cache/gstreamer-1.0"
        if machine.is_container:
            cure = "docker run --runtime nvidia IMAGE  # which brings NVIDIA's plugins into the container"
        yield warning("plugins", f"NVIDIA's {', '.join(lacks)} are missing: no {uses}", cure)
    else:
        yield ok("plugins", f"NVIDIA's {', '.join(OF_JETSON)}")
    if parsers := [element for element in PARSERS if not _has(machine, element)]:
        found = f"{', '.join(parsers)} are missing: video is decoded and encoded on the CPU"
        yield warning("parsers", found, "sudo apt-get install -y gstreamer1.0-plugins-bad")
    if "nvarguscamerasrc" not in lacks:
        yield _argus(machine)
    board = machine.board
    if NO_ENCODER in board:
        yield absent("encoding", f"{board} has no hardware encoder: recordings are encoded on the CPU")
    elif _has(machine, "nvv4l2h264enc"):
        yield ok("encoding", "NVIDIA's nvv4l2h264enc")


def _argus(machine: Machine) -> Finding:
    """The service that opens CSI cameras, for all programs and containers."""
    runs = any(machine.read(f"/proc/{process.name}/comm") == "nvargus-daemon" for process in machine.at("/proc").glob("[0-9]*"))
    if runs or machine.at(ARGUS_SOCKET).exists():
        return ok("argus", "the camera service answers for CSI cameras")
    if machine.is_container:
        cure = f"docker run --runtime nvidia -v {ARGUS_SOCKET}:{ARGUS_SOCKET} IMAGE"
        return warning(
            "argus", f"the container does not see the camera service ({ARGUS_SOCKET}): no CSI camera can be opened", cure
        )
    return warning(
        "argus", "the camera service does not run: no CSI camera can be opened", "sudo systemctl restart nvargus-daemon"
    )
