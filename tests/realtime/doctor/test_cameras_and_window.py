"""Cameras, GStreamer, the window and FFmpeg."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from realtime.doctor.display import missing_libraries
from realtime.sources.common import v4l2
from realtime.sources.common.v4l2 import Mode, describe

from .conftest import Lab
from .v4l2_camera import FakeV4l2

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="devices of Linux")

GOOD = {"MJPG": {(1280, 720): [30, 15], (1920, 1080): [30]}, "YUYV": {(640, 480): [30], (1280, 720): [10]}}
YUYV_ONLY = {"YUYV": {(640, 480): [30], (1280, 720): [10], (320, 240): [30]}}


def plug(lab: Lab, camera: FakeV4l2, number: int = 0) -> None:
    lab.write({f"dev/video{number}": "", f"sys/class/video4linux/video{number}/name": "HD Cam\n"})
    lab.options["ioctl"] = camera


def test_the_modes_of_a_camera(tmp_path: Path) -> None:
    (tmp_path / "video0").write_text("")
    device = describe(tmp_path / "video0", FakeV4l2("HD Cam", GOOD))
    assert (device.card, device.driver, device.is_capture) == ("HD Cam", "uvcvideo", True)
    assert set(device.modes) == {
        Mode("MJPG", 1280, 720, 30), Mode("MJPG", 1920, 1080, 30), Mode("YUYV", 640, 480, 30), Mode("YUYV", 1280, 720, 10)
    }  # fmt: skip
    assert describe(tmp_path / "video0", FakeV4l2("HD Cam", GOOD, is_capture=False)).modes == ()


LAYOUT = r"""
#include <cstddef>
#include <cstdio>
#include <linux/videodev2.h>
int main() {
  printf("%lu %lu %lu %lu ", 0ul + VIDIOC_QUERYCAP, 0ul + VIDIOC_ENUM_FMT, 0ul + VIDIOC_ENUM_FRAMESIZES,
         0ul + VIDIOC_ENUM_FRAMEINTERVALS);
  printf("%zu %zu %zu %zu ", sizeof(v4l2_capability), sizeof(v4l2_fmtdesc), sizeof(v4l2_frmsizeenum), sizeof(v4l2_frmivalenum));
  printf("%zu %zu %zu %zu %zu %zu", offsetof(v4l2_capability, capabilities), offsetof(v4l2_fmtdesc, pixelformat),
         offsetof(v4l2_frmsizeenum, type), offsetof(v4l2_frmsizeenum, discrete), offsetof(v4l2_frmivalenum, type),
         offsetof(v4l2_frmivalenum, discrete));
}
"""


@pytest.mark.skipif(not Path("/usr/include/linux/videodev2.h").exists(), reason="the kernel's headers are not installed")
def test_requests_and_structures_are_those_of_the_kernels_header(tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++")
    (tmp_path / "layout.cpp").write_text(LAYOUT)
    subprocess.run([compiler, "-o", str(tmp_path / "layout"), str(tmp_path / "layout.cpp")], check=True)
    said = subprocess.run([str(tmp_path / "layout")], capture_output=True, text=True, check=True).stdout
    assert list(map(int, said.split())) == [
        *(v4l2.QUERYCAP, v4l2.ENUM_FMT, v4l2.ENUM_FRAMESIZES, v4l2.ENUM_FRAMEINTERVALS),
        *(v4l2.CAPABILITY_BYTES, v4l2.FMT_BYTES, v4l2.FRAMESIZE_BYTES, v4l2.FRAMEINTERVAL_BYTES),
        *(v4l2.CAPABILITIES_AT, v4l2.PIXELFORMAT_AT, v4l2.SIZE_TYPE_AT, v4l2.SIZE_AT, v4l2.INTERVAL_TYPE_AT, v4l2.INTERVAL_AT),
    ]


def test_a_good_camera(lab: Lab) -> None:
    plug(lab, FakeV4l2("HD Cam", GOOD))
    (found,) = lab.look("cameras")
    assert found.verdict == "ok"
    assert found.found == "HD Cam: 1280x720 MJPG at 30 fps; largest 1920x1080 MJPG at 30 fps"


def test_a_camera_that_is_slow_at_the_usual_size(lab: Lab) -> None:
    """lerobot#4084: 5 fps at 1080p, uncompressed."""
    plug(lab, FakeV4l2("Old Cam", YUYV_ONLY), 3)
    (found,) = lab.look("cameras")
    assert found.verdict == "warning"
    assert found.cure.endswith("run.py view 'webcam://3?width=640&height=480'")


def test_no_permission(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may open everything, so the system's answers are replaced."""
    plug(lab, FakeV4l2("HD Cam", GOOD))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(Path, "group", lambda path: "video")
    (found,) = lab.look("cameras")
    assert (found.verdict, found.cure) == ("problem", "sudo usermod -aG video $USER  # then log in again")
    lab.write({"run/.containerenv": ""})
    assert lab.look("cameras")[0].cure.startswith("docker run --device /dev/video0 --group-add ")


@pytest.mark.parametrize(("number", "verdict"), [(errno.EBUSY, "warning"), (errno.EIO, "problem"), (errno.ENODEV, "problem")])
def test_a_camera_that_does_not_answer(lab: Lab, number: int, verdict: str) -> None:
    plug(lab, FakeV4l2("HD Cam", {}, error=number))
    (found,) = lab.look("cameras")
    assert found.verdict == verdict


def test_a_camera_in_use_names_the_program(lab: Lab) -> None:
    plug(lab, FakeV4l2("HD Cam", GOOD))
    with (lab.root / "dev/video0").open() as device, subprocess.Popen(["sleep", "60"], stdin=device) as other:
        try:
            (found,) = lab.look("cameras")
        finally:
            other.kill()
    assert (found.verdict, found.found) == ("warning", "HD Cam is in use by sleep")


def test_cameras_that_only_seem_to_be_missing(lab: Lab) -> None:
    assert lab.look("cameras")[0].verdict == "absent"
    lab.write({"sys/class/video4linux/video0/name": "HD Cam\n", ".dockerenv": ""})
    (found,) = lab.look("cameras")
    assert (found.verdict, found.cure) == ("problem", "docker run --device /dev/video0 IMAGE")


def test_a_csi_sensor_is_not_a_webcam(lab: Lab) -> None:
    plug(lab, FakeV4l2("vi-output, imx219 9-0010", {"RG10": {(3280, 2464): [21]}}))
    lab.jetson()
    (found,) = lab.look("cameras")
    assert found.verdict == "absent"
    assert found.cure.endswith("view csi://0")


def test_a_camera_of_colours_is_no_sensor(lab: Lab) -> None:
    """v4l2loopback, which OBS and others write into."""
    plug(lab, FakeV4l2("OBS Virtual Camera", {"RGB3": {(1280, 720): [30]}, "BGR3": {(1280, 720): [30]}}))
    assert lab.look("cameras")[0].verdict == "ok"


def gstreamer(lab: Lab, *elements: str) -> None:
    lab.program("gst-launch-1.0", "echo 'gst-launch-1.0 version 1.20.3'; echo 'GStreamer 1.20.3'; echo https://launchpad.net")
    known = "|".join(elements) or "none"
    lab.program("gst-inspect-1.0", f'case "$2" in {known}) exit 0;; *) exit 1;; esac')


BASICS = ("fdsink", "videoconvert", "v4l2src")
PARSERS = ("h264parse", "h265parse", "jpegparse", "gdppay", "gdpdepay")
NVIDIA = ("nvarguscamerasrc", "nvvidconv", "nvv4l2decoder")


def test_gstreamer_on_a_pc(lab: Lab) -> None:
    (found,) = lab.look("gstreamer")
    assert (found.verdict, "gstreamer1.0-tools" in found.cure) == ("absent", True)
    gstreamer(lab, *BASICS)
    (found,) = lab.look("gstreamer")
    assert (found.verdict, found.found) == ("ok", "1.20.3, with what pipelines need")
    gstreamer(lab, *BASICS[:2])
    assert lab.one("gstreamer", "gstreamer").cure == "sudo apt-get install -y gstreamer1.0-plugins-good"


def test_gstreamer_on_a_jetson(lab: Lab) -> None:
    lab.jetson()
    assert lab.one("gstreamer", "gstreamer").verdict == "problem"
    gstreamer(lab, *BASICS)
    assert "nvidia-l4t-camera" in lab.one("gstreamer", "plugins").cure
    gstreamer(lab, *BASICS, *NVIDIA)
    assert lab.one("gstreamer", "plugins").verdict == "ok"
    assert lab.one("gstreamer", "parsers").cure == "sudo apt-get install -y gstreamer1.0-plugins-bad"
    gstreamer(lab, *BASICS, *NVIDIA, *PARSERS)
    assert not [finding for finding in lab.look("gstreamer") if finding.subject == "parsers"]
    assert lab.one("gstreamer", "argus").cure == "sudo systemctl restart nvargus-daemon"
    assert "no hardware encoder" in lab.one("gstreamer", "encoding").found
    lab.write({"proc/812/comm": "nvargus-daemon\n"})
    assert lab.one("gstreamer", "argus").verdict == "ok"


def test_argus_in_a_container(lab: Lab) -> None:
    lab.jetson("NVIDIA Jetson AGX Orin Developer Kit")
    gstreamer(lab, *BASICS, *NVIDIA, "nvv4l2h264enc")
    lab.write({".dockerenv": ""})
    assert "-v /tmp/argus_socket:/tmp/argus_socket" in lab.one("gstreamer", "argus").cure
    assert lab.one("gstreamer", "encoding").verdict == "ok"


def test_libraries_that_the_window_lacks(lab: Lab, tmp_path: Path) -> None:
    """opencv-python#736, #447: could not load the Qt platform plugin "xcb"."""
    plugin = tmp_path / "libqxcb.so"
    plugin.write_text("")
    assert missing_libraries(lab.machine, plugin) == [], "without ldd nothing is known"
    lines = "libxcb-cursor.so.0 => not found\n\tlibX11.so.6 => /lib/libX11.so.6 (0x1)\n\tlibxcb-xkb.so.1 => not found"
    lab.program("ldd", f"printf '\\t{lines}\\n'")
    assert missing_libraries(lab.machine, plugin) == ["libxcb-cursor.so.0", "libxcb-xkb.so.1"]
    assert lab.one("display", "qt libraries").verdict == "absent", "without a screen nothing needs them"
    lab.environ["DISPLAY"] = ":0"
    found = lab.one("display", "qt libraries")
    assert (found.verdict, found.cure) == ("problem", "sudo apt-get install -y libxcb-cursor0 libxcb-xkb1")


def test_a_qt_that_does_not_load(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "PyQt6").mkdir()
    (tmp_path / "PyQt6/__init__.py").write_text("")
    (tmp_path / "PyQt6/QtWidgets.py").write_text("raise ImportError('libQt6Core.so.6: version `Qt_6.8\\' not found')\n")
    for name in [name for name in sys.modules if name.split(".")[0] == "PyQt6"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    found = lab.one("display", "window")
    monkeypatch.undo()
    sys.modules.pop("PyQt6", None)
    assert found.verdict == "problem"
    assert found.cure.endswith("-m pip install --force-reinstall PyQt6 PyQt6-Qt6")


def test_no_screen_is_no_problem(lab: Lab) -> None:
    (found,) = lab.look("display")
    assert (found.verdict, found.subject) == ("absent", "screen")


def test_a_window_that_nobody_sees_and_plugins_of_another_qt(lab: Lab, tmp_path: Path) -> None:
    lab.environ |= {"QT_QPA_PLATFORM": "offscreen", "QT_PLUGIN_PATH": f"/opt/none:{tmp_path}"}
    assert [finding.cure for finding in lab.look("display")] == ["unset QT_QPA_PLATFORM"], "there is nothing to load"
    (tmp_path / "platforms").mkdir()
    (tmp_path / "platforms/libqxcb.so").write_text("")
    assert [finding.cure for finding in lab.look("display")] == ["unset QT_PLUGIN_PATH", "unset QT_QPA_PLATFORM"]


def test_a_display_that_does_not_answer(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", ":77")
    lab.environ["DISPLAY"] = ":77"
    found = lab.one("display", "screen")
    assert found.verdict == "problem"
    assert found.cure.startswith("unset DISPLAY")
    lab.write({".dockerenv": ""})
    assert "/tmp/.X11-unix" in lab.one("display", "screen").cure
    monkeypatch.setenv("QT_QPA_PLATFORM", "nonsense")
    lab.environ["QT_QPA_PLATFORM"] = "nonsense"
    assert lab.one("display", "screen").cure == "unset QT_QPA_PLATFORM"
    monkeypatch.delenv("QT_QPA_PLATFORM")
    monkeypatch.delenv("DISPLAY")
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-77")
    lab.environ["WAYLAND_DISPLAY"] = "wayland-77"
    assert lab.one("display", "screen").cure.startswith("unset WAYLAND_DISPLAY")


def test_ffmpeg_decodes_and_encodes(lab: Lab) -> None:
    found = {finding.subject: finding for finding in lab.look("ffmpeg")}
    assert found["decoders"].verdict == "ok"
    assert found["encoder"].verdict in ("ok", "warning")


def test_an_ffmpeg_that_lacks_codecs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    real = av.Codec
    without = {"hevc", "libx264", "libopenh264"}

    def codec(name: str, mode: str) -> Any:
        if name in without:
            raise ValueError(name)
        return real(name, mode)

    monkeypatch.setattr(av, "Codec", codec)
    found = {finding.subject: finding for finding in lab.look("ffmpeg")}
    assert (found["decoders"].verdict, found["encoder"].verdict) == ("warning", "warning")
    assert "hevc (newer cameras)" in found["decoders"].found
    lab.pci_gpu()
    for reason, verdict in (("", "ok"), ("the driver has none", "warning")):
        monkeypatch.setattr("realtime.doctor.ffmpeg.driver_lacks", lambda library, reason=reason: reason)
        assert lab.one("ffmpeg", "gpu codecs").verdict == verdict
    without.add("mpeg4")
    assert lab.one("ffmpeg", "encoder").verdict == "problem"
    monkeypatch.setitem(sys.modules, "av", None)
    assert lab.one("ffmpeg", "pyav").cure.endswith("-m pip install 'av>=17,<19'")
