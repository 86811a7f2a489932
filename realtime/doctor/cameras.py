"""Cameras: which are there, who may use them, who does, and what they deliver."""

import errno
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from realtime.doctor.common.finding import Finding, absent, ok, problem, warning
from realtime.doctor.common.machine import Machine

if TYPE_CHECKING:
    from realtime.sources.common.v4l2 import Mode

RANK = 80

WANTED = (1280, 720, 25.0)
"""What the program asks a webcam for is 1280x720 at 30 fps; cameras of PAL countries deliver 25."""

ENCODED = ("H264", "HEVC", "VP80", "VP90")
"""Formats that OpenCV's webcams do not decode."""

BAYER = re.compile(r"RGGB|GRBG|GBRG|BA81|(?:RG|GR|GB|BG|BA)\d\d|p[RBGg]\w\w")
"""Codes of raw sensor pictures, which need an image signal processor. Source: the kernel's videodev2.h."""


def check(machine: Machine) -> Iterator[Finding]:
    if sys.platform != "linux":
        yield absent("cameras", "this system has no list of cameras: run.py view 0 tries the first")
        return
    from realtime.sources.webcam import cameras

    found = cameras(machine.root)
    for camera in found:
        yield _camera(machine, camera.path, camera.stable_id)
    if not found:
        yield _none(machine)


def _none(machine: Machine) -> Finding:
    if any(machine.at("/sys/class/video4linux").glob("video*")):
        cure = (
            "docker run --device /dev/video0 IMAGE"
            if machine.is_container
            else "sudo udevadm trigger --subsystem-match=video4linux"
        )
        return problem("cameras", "the system has a camera, and no /dev/video here leads to it", cure)
    hint = "; a CSI camera is opened as csi://0" if machine.is_jetson else ""
    return absent("cameras", f"no webcam is plugged in{hint}")


def _camera(machine: Machine, path: Path, name: str) -> Finding:
    from realtime.sources.common.device_users import programs_using
    from realtime.sources.common.v4l2 import describe

    subject = f"/dev/{path.name}"
    number = path.name.removeprefix("video")
    if not os.access(path, os.R_OK | os.W_OK):
        return problem(subject, f"no permission to use {name or 'it'}", _permission(machine, path))
    machine.step(f"asking {subject} what it delivers")
    try:
        device = describe(path, machine.ioctl)
    except OSError as error:
        if error.errno == errno.EBUSY:
            return warning(subject, "another program holds it", f"sudo fuser -v {subject}")
        return problem(
            subject, f"does not answer ({error.strerror})", f"sudo dmesg | grep -i {path.name}  # then plug it in again"
        )
    title = device.card or name
    if not device.is_capture:
        return absent(subject, f"{title} takes no pictures")
    if device.modes and all(BAYER.fullmatch(mode.codec) for mode in device.modes):
        cure = f"{machine.run} view csi://0"
        if machine.is_jetson:
            return absent(subject, f"{title}: a CSI sensor with raw pictures, which is opened through GStreamer", cure)
        return warning(subject, f"{title}: a sensor with raw pictures, which OpenCV does not develop", cure)
    users = programs_using(path)
    if users:
        names = " and ".join(users)
        return warning(subject, f"{title} is in use by {names}", f"fuser -v {subject}  # then close {names}")
    if not device.modes:
        return ok(subject, f"{title}; its driver lists no formats")
    return _judged(machine, subject, number, title, device.modes)


def _judged(machine: Machine, subject: str, number: str, title: str, modes: "tuple[Mode, ...]") -> Finding:
    """Whether what the program asks for comes at a camera's usual rate."""
    width, height, fps = WANTED
    usual = [mode for mode in modes if (mode.width, mode.height) == (width, height)]
    best = max(usual, key=lambda mode: (mode.fps, mode.codec == "MJPG"), default=None)
    largest = max(modes, key=lambda mode: (mode.width * mode.height, mode.fps))
    fluent = [mode for mode in modes if mode.fps >= fps and mode.codec not in ENCODED]
    if best is None:
        return ok(subject, f"{title}: {_most(fluent) or largest}; has no {width}x{height}, the nearest is taken")
    if 0 < best.fps < fps and fluent:
        fastest = max(fluent, key=lambda mode: mode.width * mode.height)
        found = f"{title}: {best} only; {fastest} is fluent"
        return warning(subject, found, f"{machine.run} view 'webcam://{number}?width={fastest.width}&height={fastest.height}'")
    return ok(subject, f"{title}: {best}" + (f"; largest {largest}" if largest != best else ""))


def _most(modes: "list[Mode]") -> "Mode | None":
    return max(modes, key=lambda mode: mode.width * mode.height, default=None)


def _permission(machine: Machine, path: Path) -> str:
    if machine.is_container:
        return f"docker run --device /dev/{path.name} --group-add {path.stat().st_gid} IMAGE"
    try:
        group = path.group()
    except (KeyError, OSError):  # a group without a name
        group = "root"
    if group == "root":
        return f"sudo chmod a+rw /dev/{path.name}  # until the next start"
    if _is_listed(group):
        return f"newgrp {group}  # you were added to it after you logged in: log in again"
    return f"sudo usermod -aG {group} $USER  # then log in again"


def _is_listed(group: str) -> bool:
    """Whether this user belongs to the group, though this session does not yet."""
    import grp
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name in grp.getgrnam(group).gr_mem
    except KeyError:
        return False
