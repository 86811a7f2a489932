"""CSI cameras, as far as they go without a Jetson: the pipeline that is run, and what the camera service's errors become."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import pytest

from realtime.errors import SourceError, SourceNotFoundError, SourceOpenError
from realtime.sources import open_source
from realtime.sources.csi import pipeline

without_opencvs_gstreamer = pytest.mark.skipif(
    sys.platform != "linux" or cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER),
    reason="the pipe is read on Linux only, and where OpenCV has no GStreamer",
)


def test_the_pipeline_scales_and_turns_in_hardware() -> None:
    assert pipeline(1, 1920, 1080, 60) == (
        "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1920,height=1080,framerate=60/1 "
        "! nvvidconv flip-method=0 ! video/x-raw,format=BGRx,width=1920,height=1080"
    )


@pytest.mark.parametrize(
    ("flip", "size"), [(0, (1280, 720)), (1, (720, 1280)), (2, (1280, 720)), (3, (720, 1280)), (7, (720, 1280))]
)
def test_a_quarter_turn_swaps_width_and_height(flip: int, size: tuple[int, int]) -> None:
    assert pipeline(0, 1280, 720, 30, flip).endswith(
        f"flip-method={flip} ! video/x-raw,format=BGRx,width={size[0]},height={size[1]}"
    )


@pytest.mark.parametrize(
    ("uri", "kind", "message"),
    [
        ("csi://front", SourceNotFoundError, "Give the number of its connector, as in csi://0"),
        ("csi://0?flip=8", SourceOpenError, "flip=8 is not valid. Give a number from 0 to 7"),
        ("csi://0?widht=640", SourceOpenError, 'no option "widht". Did you mean "width"'),
    ],
)
def test_a_wrong_uri_raises_one_clear_line(uri: str, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        open_source(uri)


def _fake(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A gst-launch-1.0 that writes its arguments to a file and does as `script` says."""
    shell = shutil.which("sh")
    assert shell is not None
    program, called = folder / "gst-launch-1.0", folder / "called"
    program.write_text(f"#!{shell}\nprintf '%s\\n' \"$@\" > '{called}'\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return called


@without_opencvs_gstreamer
def test_the_options_of_the_address_reach_the_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = _fake(tmp_path, monkeypatch, "exit 1")
    source = open_source("csi://1?width=640&height=480&fps=60&flip=2")
    with pytest.raises(SourceOpenError, match=r"^csi://1"):
        next(iter(source))
    words = called.read_text().splitlines()
    assert words[:8] == [
        "-v", "nvarguscamerasrc", "sensor-id=1", "!", "video/x-raw(memory:NVMM),width=640,height=480,framerate=60/1",
        "!", "nvvidconv", "flip-method=2",
    ]  # fmt: skip
    assert words[9] == "video/x-raw,format=BGRx,width=640,height=480"
    assert "identity name=frames_pace sync=false" in " ".join(words), "a camera waits for nobody"


@without_opencvs_gstreamer
@pytest.mark.parametrize(
    ("said", "code", "message"),
    [
        (
            "Error generated. gstnvarguscamerasrc.cpp, execute:751 No cameras available",
            0,
            "No cameras available. Check the ribbon",
        ),
        ("Error generated. gstnvarguscamerasrc.cpp, execute:656 Failed to create CaptureSession", 0, "restart nvargus-daemon"),
        ("(Argus) Error FileOperationFailed: Connecting to nvargus-daemon failed: No such file", 0, "restart nvargus-daemon"),
        ("(Argus) Error Timeout:  (propagating from src/rpc/socket/client)", 0, "Error Timeout. .*restart nvargus-daemon"),
        ("ERROR: from element /GstPipeline:pipeline0/GstNvArgusCameraSrc:nvarguscamerasrc0: TIMEOUT", 1, "TIMEOUT. Restart"),
        ('WARNING: erroneous pipeline: no element "nvarguscamerasrc"', 1, "need a Jetson.*nvidia-l4t-gstreamer"),
        ('WARNING: erroneous pipeline: no element "nvvidconv"', 1, "need a Jetson.*nvidia-l4t-gstreamer"),
    ],
)
def test_an_error_of_the_camera_service_becomes_one_line_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, code: int, message: str
) -> None:
    _fake(tmp_path, monkeypatch, f"echo '{said}' >&2\nexit {code}")
    with pytest.raises(SourceError, match=message) as caught:
        next(iter(open_source("csi://0")))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("csi://0: ")
