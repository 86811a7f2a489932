"""Finding TensorRT, hearing what it logs, and loading plans with it. Its errors go to a logger only; here they become words."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.errors import BackendUnavailableError

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
NAMES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}

OLDEST = (10, 3)
"""JetPack 6's. Strongly typed networks and all that is called here exist since then."""

KEPT_MESSAGES = 20

OUT_OF_MEMORY = re.compile(r"out ?of ?memory|could not be allocated|allocation .*failed", re.IGNORECASE)

PLACE = re.compile(r"^\[[^\]]*\] |^[A-Za-z_:]+: (?=Error Code)|\bIn \w+ at \S+:\d+ ?")
""""[builder.cpp::build::123] ", "IBuilder::build: ", "In build at /src/builder.cpp:123": where in TensorRT's source."""

TEGRA_RELEASE = Path("/etc/nv_tegra_release")


class Messages:
    """The newest errors and warnings that TensorRT logged."""

    def __init__(self) -> None:
        self._errors: deque[str] = deque(maxlen=KEPT_MESSAGES)
        self._warnings: deque[str] = deque(maxlen=KEPT_MESSAGES)

    def add(self, is_error: bool, text: str) -> None:
        (self._errors if is_error else self._warnings).append(" ".join(text.split()))

    def clear(self) -> None:
        self._errors.clear()
        self._warnings.clear()

    @property
    def is_out_of_memory(self) -> bool:
        """Whether it is for lack of memory that something failed."""
        return any(OUT_OF_MEMORY.search(text) for text in self._errors)

    def reason(self) -> str:
        """The first error since `clear`: those after it mostly follow from it. Without the place in TensorRT's source."""
        if not self._errors:
            return "TensorRT does not say why"
        text = PLACE.sub("", self._errors[0]).strip()
        return text if len(text) <= 240 else f"{text[:237]}..."


@dataclass(frozen=True, slots=True)
class TensorRt:
    """An imported TensorRT. trt: its module. logger: give it to whatever is made from the module."""

    trt: Any
    name: str
    """"tensorrt" or "tensorrt-rtx"."""
    version: str
    logger: Any
    messages: Messages

    @property
    def title(self) -> str:
        """ "TensorRT 10.3.0"."""
        return f"{NAMES[self.name]} {self.version}"

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])


def installed() -> tuple[str, ...]:
    """Which of "tensorrt" and "tensorrt-rtx" are installed, the former first. Imports neither."""
    return tuple(name for name, module in MODULES.items() if importlib.util.find_spec(module) is not None)


_opened: dict[str, TensorRt] = {}
"""By name. TensorRT has one logger for the whole process, the first that it is given, which must not be gone; a second one would
hear nothing."""


def open_tensorrt(name: str) -> TensorRt:
    """Import "tensorrt" or "tensorrt-rtx". Raises BackendUnavailableError: not there (how to get it), too old, or broken.

    On a machine with a GPU open an `engines.gpu.driver.Driver` first: without a driver TensorRT 11 crashes where it is used.
    """
    try:
        trt = importlib.import_module(MODULES[name])
        if name in _opened and _opened[name].trt is trt:
            return _opened[name]
        version = str(trt.__version__)
        logger_type = trt.ILogger
    except ModuleNotFoundError as error:
        raise BackendUnavailableError(how_to_install(name)) from error
    except (ImportError, OSError, AttributeError, RuntimeError) as error:  # its bindings without its libraries
        line = " ".join(str(error).split())[:160]
        raise BackendUnavailableError(f"{NAMES[name]} is installed but does not load ({line}): {how_to_install(name)}") from error
    numbers = tuple(int(part) for part in version.split(".")[:2])
    if name == "tensorrt" and numbers < OLDEST:
        raise BackendUnavailableError(f"TensorRT {version} is too old, 10.3 is the oldest that works: {how_to_install(name)}")
    messages = Messages()
    _opened[name] = TensorRt(trt, name, version, _listener(trt, logger_type, messages), messages)
    return _opened[name]


def how_to_install(name: str) -> str:
    """The line that brings it to this machine."""
    if name == "tensorrt-rtx":
        return "TensorRT-RTX is not installed: pip install tensorrt-rtx pycuda (GeForce RTX and RTX PRO cards)"
    if TEGRA_RELEASE.exists():
        return (
            "TensorRT is not installed for this Python: on a Jetson it comes with JetPack, not from pip: "
            "sudo apt install python3-libnvinfer, and make the environment with python3 -m venv --system-site-packages .venv"
        )
    return (
        "TensorRT is not installed: pip install tensorrt-cu13 pycuda, with CUDA's nvcc on PATH "
        "(driver 580 or newer; with an older one: tensorrt-cu12); see docs/gpu.md"
    )


def load_plan(tensorrt: TensorRt, plan: bytes, dla_core: int | None = None) -> tuple[Any, Any]:
    """TensorRT's runtime and the engine in `plan`; keep the first as long as the second. A CUDA context must be current.

    Plans are native code: hand over only bytes that the store has vouched for. Raises BackendUnavailableError with TensorRT's
    own reason.
    """
    trt, messages = tensorrt.trt, tensorrt.messages
    messages.clear()
    try:
        runtime = trt.Runtime(tensorrt.logger)
    except TypeError as error:  # all it says is "factory function returned nullptr"
        raise BackendUnavailableError(f"{tensorrt.title} does not start: {messages.reason()}") from error
    runtime.engine_host_code_allowed = False  # its default; code for the host that a plan brings along is never run
    if dla_core is not None:
        runtime.DLA_core = dla_core
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BackendUnavailableError(f"{tensorrt.title} does not load this engine: {messages.reason()}")
    return runtime, engine


def _listener(trt: Any, logger_type: Any, messages: Messages) -> Any:
    class Listener(logger_type):  # type: ignore[misc]  # known only now
        def __init__(self) -> None:
            logger_type.__init__(self)  # pybind11 wants it called so

        def log(self, severity: Any, text: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                messages.add(True, text)
            elif severity == trt.ILogger.WARNING:
                messages.add(False, text)

    return Listener()
