"""Finding TensorRT, collecting its messages, and loading plans. TensorRT reports errors only to a logger."""

import importlib
import importlib.util
import logging
import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.errors import BackendUnavailableError
from engines.plans.passport import RUNTIMES

log = logging.getLogger(__name__)

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}

OLDEST = {"tensorrt": (10, 3), "tensorrt-rtx": (1, 2)}
"""That of JetPack 6.1 (6.0 has 8.6), the first with strongly typed networks; and the first whose runs can be recorded."""

KEPT_MESSAGES = 20

OUT_OF_MEMORY = re.compile(r"out ?of ?memory|could not be allocated|allocation .*failed", re.IGNORECASE)

PLACE = re.compile(r"^\[[^\]]*\] |^[A-Za-z_:]+: (?=Error Code)|\bIn \w+ at \S+:\d+ ?")
""""[builder.cpp::build::123] ", "IBuilder::build: ", "In build at /src/builder.cpp:123": positions in TensorRT's source."""

NO_KERNEL = (
    re.compile(r"Could not find any implementation for node (.+?)(?:\. In \w+ at .*|\.\)|\.?$|\)$| due to insufficient .*)"),
    re.compile(r"No low-precision .*? kernel available .*Failing node: (.+?)\.?$"),
)
"""How TensorRT says that it has no kernel for a layer; the second only 11, of a convolution in a strongly typed network.

A layer may be several fused nodes: "a + PWN(b)", "{ForeignNode[a...z]}".
"""

TOO_LITTLE_WORKSPACE = re.compile(r"due to insuff?icient (?:memory|workspace)")

TEGRA_RELEASE = Path("/etc/nv_tegra_release")


class Messages:
    """The last errors that TensorRT logged."""

    def __init__(self) -> None:
        self._errors: deque[str] = deque(maxlen=KEPT_MESSAGES)
        self.lacks_workspace = False
        """Whether a kernel was skipped because it needs more scratch memory than allowed."""

    def add(self, error: str) -> None:
        self._errors.append(" ".join(error.split()))
        self.warn(error)

    def warn(self, text: str) -> None:
        """Of a warning only `lacks_workspace` is kept."""
        self.lacks_workspace = self.lacks_workspace or bool(TOO_LITTLE_WORKSPACE.search(text))

    def clear(self) -> None:
        self._errors.clear()
        self.lacks_workspace = False

    def without_kernel(self) -> tuple[str, ...]:
        """The layers that TensorRT has no kernel for, as it names them."""
        found = (pattern.search(text) for text in self._errors for pattern in NO_KERNEL)
        return tuple(dict.fromkeys(match[1].strip() for match in found if match))

    @property
    def has_no_workspace_for_a_layer(self) -> bool:
        """Whether a layer has no kernel within the scratch memory that is allowed."""
        return any(TOO_LITTLE_WORKSPACE.search(text) and pattern.search(text) for text in self._errors for pattern in NO_KERNEL)

    @property
    def is_out_of_memory(self) -> bool:
        """Whether an error is a lack of memory."""
        return any(OUT_OF_MEMORY.search(text) for text in self._errors)

    def reason(self) -> str:
        """The first error since `clear`, which mostly causes the others, without the position in TensorRT's source."""
        if not self._errors:
            return "TensorRT gives no reason"
        text = PLACE.sub("", self._errors[0]).strip()
        return text if len(text) <= 240 else f"{text[:237]}..."


@dataclass(frozen=True, slots=True)
class TensorRt:
    """An imported TensorRT. trt: its module. logger: to pass to the module's objects."""

    trt: Any
    name: str
    """"tensorrt" or "tensorrt-rtx"."""
    version: str
    logger: Any
    messages: Messages

    @property
    def title(self) -> str:
        """ "TensorRT 10.3.0"."""
        return f"{RUNTIMES[self.name]} {self.version}"

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])


def installed() -> tuple[str, ...]:
    """Those of "tensorrt" and "tensorrt-rtx" that are installed, in this order. Imports neither."""
    return tuple(name for name, module in MODULES.items() if importlib.util.find_spec(module) is not None)


_opened: dict[str, TensorRt] = {}
"""By name. TensorRT has one logger per process, the first that it is given, which must stay alive; a second one gets nothing."""


def open_tensorrt(name: str) -> TensorRt:
    """Import "tensorrt" or "tensorrt-rtx". Raises BackendUnavailableError if it is missing, too old or broken.

    On a machine with a GPU open an `engines.gpu.driver.Driver` first: without a driver TensorRT 11 crashes when it is used.
    """
    try:
        trt = importlib.import_module(MODULES[name])
        if name in _opened and _opened[name].trt is trt:
            return _opened[name]
        version = str(trt.__version__)
        logger_type = trt.ILogger
    except ModuleNotFoundError as error:
        raise not_installed(name) from error
    except (ImportError, OSError, AttributeError, RuntimeError) as error:  # its bindings without its libraries
        line = " ".join(str(error).split())[:160]
        what = f"{RUNTIMES[name]} is installed but cannot be loaded ({line})"
        raise BackendUnavailableError(what, how_to_install(name)) from error
    numbers = tuple(int(part) for part in version.split(".")[:2])
    if numbers < OLDEST[name]:
        oldest = ".".join(map(str, OLDEST[name]))
        what = f"{RUNTIMES[name]} {version} is too old: {oldest} or newer is required"
        is_jetson = name == "tensorrt" and TEGRA_RELEASE.exists()
        raise BackendUnavailableError(what, "Update the board to JetPack 6.1 or newer" if is_jetson else how_to_install(name))
    messages = Messages()
    _opened[name] = TensorRt(trt, name, version, _listener(trt, logger_type, messages), messages)
    return _opened[name]


def not_installed(name: str) -> BackendUnavailableError:
    """The error for a missing "tensorrt" or "tensorrt-rtx"."""
    return BackendUnavailableError(f"{RUNTIMES[name]} is not installed for this Python", how_to_install(name))


def how_to_install(name: str) -> str:
    """How to install "tensorrt" or "tensorrt-rtx" on this machine: a cure."""
    if name == "tensorrt-rtx":
        return "Run: pip install tensorrt-rtx pycuda (for GeForce RTX and RTX PRO cards)"
    if TEGRA_RELEASE.exists():
        return (
            "On a Jetson it comes with JetPack, not from pip: sudo apt install python3-libnvinfer, and create the environment "
            "with python3 -m venv --system-site-packages .venv"
        )
    return (
        "Run: pip install tensorrt-cu13 pycuda, with CUDA's nvcc on PATH (driver 580 or newer; with an older one: "
        "tensorrt-cu12). See docs/gpu.md"
    )


def load_plan(tensorrt: TensorRt, plan: bytes, dla_core: int | None = None) -> tuple[Any, Any]:
    """TensorRT's runtime, which must outlive the engine, and the engine in `plan`. A CUDA context must be current.

    Plans are native code: pass only bytes that the store has verified. Raises BackendUnavailableError with TensorRT's reason.
    """
    trt, messages = tensorrt.trt, tensorrt.messages
    messages.clear()
    try:
        runtime = trt.Runtime(tensorrt.logger)
    except TypeError as error:  # its text is only "factory function returned nullptr"
        what = f"{tensorrt.title} does not start: {messages.reason()}"
        raise BackendUnavailableError(what, "See what is wrong with it: run.py doctor gpu tensorrt") from error
    runtime.engine_host_code_allowed = False  # the default: host code in a plan is never run
    if dla_core is not None:
        runtime.DLA_core = dla_core
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        what = f"{tensorrt.title} cannot load this engine: {messages.reason()}"
        raise BackendUnavailableError(what, "Build it again: run.py build")
    return runtime, engine


def _listener(trt: Any, logger_type: Any, messages: Messages) -> Any:
    class Listener(logger_type):  # type: ignore[misc]  # known only at run time
        def __init__(self) -> None:
            logger_type.__init__(self)  # required by pybind11

        def log(self, severity: Any, text: str) -> None:
            log.debug("%s", text)
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                messages.add(text)
            else:
                messages.warn(text)

    return Listener()
