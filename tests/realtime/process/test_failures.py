"""What an error that ends the program says: one line with the cure, whatever raised it."""

from __future__ import annotations

import errno

import cv2
import pytest

from engines.errors import InferenceError
from realtime.errors import SinkError
from realtime.process.failures import explained


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        cv2.error("OpenCV(4.13) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 99 bytes"),
        RuntimeError("std::bad_alloc"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 8"),
    ],
)
def test_a_lack_of_memory_is_not_a_lack_of_space(error: BaseException) -> None:
    code, line = explained(raised(error))
    assert code == 2
    assert "There is not enough memory" in line
    assert "--size" in line
    assert "space" not in line


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModuleNotFoundError("No module named 'cv2'", name="cv2"), "pip install opencv-python"),
        (ModuleNotFoundError("No module named 'PIL.Image'", name="PIL.Image"), "pip install pillow"),
        (ModuleNotFoundError("No module named 'scipy'", name="scipy"), "pip install -e ."),
        (ImportError("libGL.so.1: cannot open shared object file: No such file or directory"), "apt-get install -y libgl1"),
        (ImportError("libxyz.so.3: cannot open shared object file", name="av"), "the system library libxyz.so.3 is missing"),
        (ImportError("numpy._core.multiarray failed to import", name="cv2"), "pip install --force-reinstall opencv-python"),
    ],
)
def test_a_missing_package_comes_with_the_line_that_installs_it(error: ImportError, words: str) -> None:
    code, line = explained(raised(error))
    assert code == 2
    assert words in line
    assert "\n" not in line


def test_files_that_the_system_refuses() -> None:
    code, line = explained(raised(PermissionError(errno.EACCES, "Permission denied", "/etc/x")))
    assert (code, line) == (2, "/etc/x: Permission denied. Name another file or folder, where you may read and write")
    assert "Free some space" in explained(raised(OSError(errno.ENOSPC, "No space left on device", "x.png")))[1]
    assert "ulimit -n" in explained(raised(OSError(errno.EMFILE, "Too many open files", "x.png")))[1]


def test_a_fault_of_the_program_is_one_line_and_says_where_the_trace_is() -> None:
    error = raised(ValueError("two\nlines of rtsp://me:secret@host/x"))
    code, line = explained(error)
    assert code == 1
    assert line.startswith("unexpected ValueError: two lines of rtsp://***@host/x (test_failures.py, line ")
    assert "--log FILE" in line
    assert "in the log" in explained(error, has_trace=True)[1]
    assert explained(raised(ImportError("cannot import name 'x' from 'engines.types'", name="engines.types")))[0] == 1


def test_the_errors_of_the_program_stay_as_they_are() -> None:
    assert explained(SinkError("o.mp4: no", "Name another")) == (2, "o.mp4: no. Name another")
    assert "There is not enough memory" in explained(InferenceError("ONNX Runtime failed while running: std::bad_alloc"))[1]
