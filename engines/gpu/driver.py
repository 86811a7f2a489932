"""The CUDA driver (libcuda) through ctypes: facts about the GPU, and CUDA graphs, which PyCUDA lacks. Needs no package.

Call `cuInit` before any other use of CUDA: TensorRT 11 ends the process if there is no driver.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.errors import InferenceError, NoGpuError

PTX_CUDA = 12020
"""CUDA 12.2: the kernels are shipped as its PTX (ISA 8.2), which older drivers cannot read."""

OLDEST_CAPABILITY = (7, 5)
"""The kernels are compiled for this one and newer."""

INSTALL = "Install NVIDIA's driver (Ubuntu: sudo ubuntu-drivers install; on a Jetson it is part of JetPack)"

INIT_ERRORS = {
    34: ("the CUDA driver found here is only a stub for linking", "Remove its folder from LD_LIBRARY_PATH"),
    100: ("the driver finds no GPU", "Check that one is installed and available to this container or user (docker: --gpus all)"),
    101: ("there is no GPU of that number", "List them with nvidia-smi"),
    800: ("this user has no access to the GPU", "Add the user to the groups video and render"),
    802: ("the GPU is still starting", "Try again in a minute, and check that Fabric Manager runs"),
    803: ("kernel driver and CUDA library have different versions, as after an update", "Restart the machine"),
    804: ("this driver does not work with the GPU's compatibility package", "Remove cuda-compat"),
    999: (
        "the driver failed (unknown error), as after a suspended machine wakes up",
        "Run: sudo modprobe -r nvidia_uvm; sudo modprobe nvidia_uvm",
    ),
}
"""Result of cuInit -> the problem and the cure."""

RESTART = "Restart the program, and the machine if it happens again"

INTEGRATED, CAN_MAP_HOST_MEMORY, MAJOR, MINOR = 18, 19, 75, 76
"""CUdevice_attribute: of one memory with the host; host memory can be mapped; compute capability."""

CAPTURE_THREAD_LOCAL = 1
"""CUDA calls of other threads do not interrupt a capture on this one."""


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """A GPU and its driver."""

    number: int
    name: str
    compute_capability: str
    """"8.7"."""
    cuda_version: str
    """The newest CUDA that the driver supports: "13.0"."""
    driver_version: str
    """Version of the kernel driver: "580.65.06"; empty if unknown."""
    total_bytes: int
    shares_memory: bool = False
    """It has no memory of its own, and maps the host's: a Jetson's."""

    @property
    def short_name(self) -> str:
        """The name without the maker, to save space: "RTX 4060 Laptop GPU"."""
        return self.name.removeprefix("NVIDIA ").removeprefix("GeForce ")


_kept: set[int] = set()


def load_library() -> Any:
    """libcuda. Raises OSError if there is none."""
    return ctypes.CDLL("libcuda.so.1")


class Driver:
    """libcuda, initialised. Queries need no context."""

    def __init__(self) -> None:
        """Raises NoGpuError if there is no driver, no GPU, or the driver is too old."""
        try:
            self._library = load_library()
        except OSError as error:
            raise NoGpuError("no NVIDIA driver here (libcuda.so.1 is missing)", INSTALL) from error
        code = self._library.cuInit(0)
        if code:
            what, cure = INIT_ERRORS.get(code, (f"the driver failed to start ({self._name_of(code)})", RESTART))
            raise NoGpuError(f"no usable GPU: {what}", cure)
        version = ctypes.c_int()
        self._check(self._library.cuDriverGetVersion(ctypes.byref(version)), "report the driver's version")
        self.cuda = version.value
        """The newest CUDA that the driver supports: 12020 is 12.2."""
        if self.cuda < PTX_CUDA:
            raise NoGpuError(
                f"the NVIDIA driver is too old: it supports CUDA {_dotted(self.cuda)}, and {_dotted(PTX_CUDA)} is required",
                "Update it (desktop: 535 or newer; Jetson: JetPack 6 or newer)",
            )

    def facts(self, number: int = 0) -> GpuFacts:
        """Facts about GPU `number`. Raises NoGpuError if it does not exist."""
        count = ctypes.c_int()
        self._check(self._library.cuDeviceGetCount(ctypes.byref(count)), "count the GPUs")
        if not 0 <= number < count.value:
            raise NoGpuError(f"no usable GPU: there is no number {number}, only {count.value} in all", "List them: nvidia-smi")
        device = ctypes.c_int()
        self._check(self._library.cuDeviceGet(ctypes.byref(device), ctypes.c_int(number)), "open the GPU")
        capability = (self._attribute(MAJOR, device), self._attribute(MINOR, device))
        name = ctypes.create_string_buffer(256)
        self._check(self._library.cuDeviceGetName(name, ctypes.c_int(len(name)), device), "report its name")
        if capability < OLDEST_CAPABILITY:
            raise NoGpuError(
                f"no usable GPU: {name.value.decode(errors='replace')} has compute capability {capability[0]}.{capability[1]}",
                "Use a GPU with 7.5 (Turing) or newer, or the CPU: --backend ort",
            )
        total = ctypes.c_size_t()
        self._check(self._library.cuDeviceTotalMem_v2(ctypes.byref(total), device), "report its memory")
        return GpuFacts(
            number=number,
            name=name.value.decode(errors="replace"),
            compute_capability=f"{capability[0]}.{capability[1]}",
            cuda_version=_dotted(self.cuda),
            driver_version=_kernel_driver_version(),
            total_bytes=total.value,
            shares_memory=bool(self._attribute(INTEGRATED, device) and self._attribute(CAN_MAP_HOST_MEMORY, device)),
        )

    def keep_context(self, number: int) -> None:
        """Retain the primary context of GPU `number` until the process ends. Idempotent.

        Otherwise it would be destroyed with the last engine, while TensorRT and CUDA's runtime still refer to it when the next
        engine is opened.
        """
        if number in _kept:
            return
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._check(self._library.cuDeviceGet(ctypes.byref(device), ctypes.c_int(number)), "open the GPU")
        self._check(self._library.cuDevicePrimaryCtxRetain(ctypes.byref(context), device), "open its context")
        _kept.add(number)

    def current_context(self) -> int | None:
        """The handle of this thread's current context; None without one."""
        context = ctypes.c_void_p()
        self._done(self._library.cuCtxGetCurrent(ctypes.byref(context)), "report its context")
        return context.value

    def pop_context(self) -> None:
        """Remove the newest context from this thread's stack. Raises InferenceError if there is none."""
        self._done(self._library.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p())), "take a context off its stack")

    def capture(self, stream: int, enqueue: Callable[[], None]) -> ctypes.c_void_p:
        """Record the work that `enqueue` puts on `stream` (a handle) instead of running it, for `launch` and `destroy`.

        Raises InferenceError if some of it cannot be recorded, and what `enqueue` raises; the stream stays usable.
        """
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        handle = ctypes.c_void_p(stream)
        self._done(self._library.cuStreamBeginCapture_v2(handle, ctypes.c_int(CAPTURE_THREAD_LOCAL)), "begin a CUDA graph")
        try:
            enqueue()
        except BaseException:
            self._library.cuStreamEndCapture(handle, ctypes.byref(graph))  # otherwise the stream would stay unusable
            if graph:
                self._library.cuGraphDestroy(graph)
            raise
        self._done(self._library.cuStreamEndCapture(handle, ctypes.byref(graph)), "record a CUDA graph")
        try:
            flags = ctypes.c_ulonglong(0)
            self._done(self._library.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, flags), "prepare a CUDA graph")
        finally:
            self._library.cuGraphDestroy(graph)
        return executable

    def launch(self, executable: ctypes.c_void_p, stream: int) -> None:
        """Run a recorded graph on `stream` (a handle). Raises InferenceError."""
        self._done(self._library.cuGraphLaunch(executable, ctypes.c_void_p(stream)), "launch a CUDA graph")

    def destroy(self, executable: ctypes.c_void_p) -> None:
        """Free a recorded graph. Raises InferenceError."""
        self._done(self._library.cuGraphExecDestroy(executable), "free a CUDA graph")

    def _attribute(self, attribute: int, device: ctypes.c_int) -> int:
        value = ctypes.c_int()
        code = self._library.cuDeviceGetAttribute(ctypes.byref(value), ctypes.c_int(attribute), device)
        self._check(code, "report its attributes")
        return value.value

    def _check(self, code: int, what: str) -> None:
        """For queries: a GPU that does not answer is not usable."""
        if code:
            raise NoGpuError(f"no usable GPU: it could not {what} ({self._name_of(code)})", RESTART)

    def _done(self, code: int, what: str) -> None:
        """For work."""
        if code:
            raise InferenceError(f"the GPU could not {what} ({self._name_of(code)})", RESTART)

    def _name_of(self, code: int) -> str:
        text = ctypes.c_char_p()
        if self._library.cuGetErrorName(ctypes.c_int(code), ctypes.byref(text)) or not text.value:
            return f"CUDA error {code}"
        return f"{text.value.decode()}, {code}"


def _dotted(version: int) -> str:
    """12020 as "12.2"."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _kernel_driver_version(path: Path = Path("/proc/driver/nvidia/version")) -> str:
    """ "580.65.06" of "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Fri ..."; empty if unknown."""
    try:
        words = path.read_text(encoding="ascii", errors="replace").splitlines()[0].split()
    except (OSError, IndexError):
        return ""
    return next((word for word in words if word[0].isdigit() and "." in word and word.replace(".", "").isdigit()), "")
