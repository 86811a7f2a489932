"""What an error that ends the program says to its user: one line, the problem and the cure, without secrets."""

from __future__ import annotations

import traceback
from pathlib import Path

from engines.errors import SegmentationError, cure_of
from engines.system.memory import CLOSE_PROGRAMS, is_lack_of_memory
from realtime.process.redact import one_line, redact

USER_CAN_HELP, UNEXPECTED = 2, 1
"""Exit codes."""

INSTALL = "Install what the program needs: pip install -e . (in a clone of it), or pip install {package}"

PACKAGES = {
    "av": "av",
    "cv2": "opencv-python",
    "filelock": "filelock",
    "msgspec": "msgspec",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "PIL": "pillow",
    "platformdirs": "platformdirs",
    "PyQt6": "PyQt6",
    "scipy": "scipy",
    "tqdm": "tqdm",
}
"""What the program imports and does not contain, by the names under which they are installed."""

SYSTEM_PACKAGES = {
    "libGL": "libgl1",
    "libgthread": "libglib2.0-0",
    "libglib": "libglib2.0-0",
    "libgomp": "libgomp1",
    "libEGL": "libegl1",
}
"""The Debian package of a library that those load, by the beginning of its name."""


def explained(error: BaseException, *, has_trace: bool = False) -> tuple[int, str]:
    """The exit code, and the line for the user. has_trace: the traceback is in a log already."""
    if isinstance(error, SegmentationError):
        cure = f". {CLOSE_PROGRAMS}" if not error.cure and is_lack_of_memory(error) else ""
        return USER_CAN_HELP, one_line(error) + cure
    if found := known(error):
        return USER_CAN_HELP, redact(". ".join(found))
    trace = "Its trace is in the log" if has_trace else "Run it again with --verbose or --log FILE for the trace"
    report = "report it with what run.py doctor says: this is a fault of the program"
    line = f"unexpected {_short(error)}{_place(error)}. {trace}, and {report}"
    return UNEXPECTED, redact(line)


def known(error: BaseException) -> tuple[str, str] | None:
    """The problem and the cure of another package's error that the user can do something about; None for any other."""
    if is_lack_of_memory(error):
        return _short(error), CLOSE_PROGRAMS
    if isinstance(error, ImportError):
        return _missing(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}", cure_of(error, "name another file or folder")
    if isinstance(error, FileNotFoundError) and "temporary directory" in str(error):
        return _short(error), "Set TMPDIR to a folder that you may write to"
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        return f"a path begins with ~, and there is no such home folder ({_short(error)})", "Write the whole path"
    return None


def _missing(error: ImportError) -> tuple[str, str] | None:
    """For a package that is missing or does not load; None where that is a fault of this program itself."""
    named = (error.name or "").partition(".")[0]
    if named in ("engines", "realtime"):
        return None
    package = named if isinstance(error, ModuleNotFoundError) else _importing(error) or named
    installed_as = PACKAGES.get(package, package)
    library, _, reason = str(error).partition(": ")
    if reason.startswith("cannot open shared object file"):
        needs = next((name for start, name in SYSTEM_PACKAGES.items() if library.startswith(start)), "")
        cure = f"Install it: sudo apt-get install -y {needs}" if needs else "Install the system package that contains it"
        return f"{installed_as} cannot be loaded: the system library {library} is missing", cure
    if isinstance(error, ModuleNotFoundError):
        return f"the package {installed_as} is not installed ({_short(error)})", INSTALL.format(package=installed_as)
    cure = f"Install it again: pip install --force-reinstall {installed_as}"
    return f"the package {installed_as} cannot be loaded ({_short(error)})", cure


def _importing(error: BaseException) -> str:
    """The package in which an import failed: that of the innermost frame in a folder of packages."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        parts = Path(frame.filename).parts
        for folder in ("site-packages", "dist-packages"):
            if folder in parts[:-1]:
                return parts[parts.index(folder) + 1].removesuffix(".py")
    return ""


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
