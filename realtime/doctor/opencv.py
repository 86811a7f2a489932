"""OpenCV: whether it loads, and what it was built with."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from realtime.doctor.common.finding import Finding, ok, problem
from realtime.doctor.common.machine import Machine
from realtime.doctor.common.packages import cure_of_import

RANK = 30
LIMIT_S = 15.0


def check(machine: Machine) -> Iterator[Finding]:
    machine.step("importing cv2")
    try:
        cv2 = importlib.import_module("cv2")
        version, built = str(cv2.__version__), str(cv2.getBuildInformation())
    except Exception as error:  # an extension may raise anything; a broken installation is a folder without content
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        package = "opencv-python"
        if isinstance(error, AttributeError):  # the folder is there, its content is not
            names = "opencv-python opencv-python-headless opencv-contrib-python"
            cure = machine.exchange(names, package)
        elif isinstance(error, ModuleNotFoundError) and error.name == "cv2":
            cure = machine.pip("install", package)
        else:
            cure = cure_of_import(machine, error, package)
        yield problem("opencv", f"cannot be loaded ({text})", cure)
        return
    has = re.search(r"^\s*GStreamer:\s*YES", built, re.MULTILINE)
    gstreamer = "with GStreamer" if has else "without GStreamer (pipelines run in gst-launch-1.0 instead)"
    yield ok("opencv", f"{version}, {gstreamer}, from {Path(str(cv2.__file__)).parent}")
