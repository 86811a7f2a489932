"""The kernels of engines/gpu/letterbox.cu, run by the CPU: the same source through g++ (host_kernels.cpp), thread after thread.

It has the GPU's arithmetic and memory accesses, but not its order or speed. Pointers are host addresses.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

SHIM = Path(__file__).with_name("host_kernels.cpp")
KERNELS = Path(__file__).parents[2] / "engines" / "gpu"
COMPILER = "g++"
OPTIONS = ("-O2", "-ffp-contract=off", "-std=c++14", "-w", "-shared", "-fPIC")

SHARED_FOLDER = "HOST_KERNELS_FOLDER"
"""Environment variable: the folder where all processes of a test run, also builds' children, share the compiled library."""


def is_available() -> bool:
    """Whether this machine can compile the kernels; if not, the other functions raise FileNotFoundError."""
    return shutil.which(COMPILER) is not None


def launch(name: str, frame: int, target: int, params: bytes, grid: tuple[int, int], block: tuple[int, int]) -> None:
    """Run the kernel `name` over grid x block threads, (x, y) each, on the frame and the input at these addresses.

    params: the bytes of struct Letterbox. Raises ValueError for an unknown kernel or a struct of another size.
    """
    if len(params) != params_bytes():
        raise ValueError(f"struct Letterbox has {params_bytes()} bytes, not {len(params)}")
    if _library().launch(name.encode(), frame, target, params, *grid, *block):
        raise ValueError(f'letterbox.cu has no kernel "{name}"')


def params_bytes() -> int:
    """The size of struct Letterbox in the .cu."""
    return ctypes.c_uint.in_dll(_library(), "letterbox_bytes").value


def halves(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """float32 to float16 with the rounding of the float16 kernel; a new array."""
    values = np.ascontiguousarray(values, np.float32)
    rounded = np.empty(values.shape, np.float16)
    _library().halves(values.ctypes.data, rounded.ctypes.data, values.size)
    return rounded


def compiled(shim: Path) -> ctypes.CDLL:
    """The library of a .cpp next to this file, compiled once per shared folder. Raises FileNotFoundError without a compiler."""
    shared = os.environ.get(SHARED_FOLDER)
    with tempfile.TemporaryDirectory(prefix="host_kernels_", dir=shared) as folder:
        library_path = Path(shared or folder) / f"{shim.stem}.so"
        if not library_path.exists():
            # Complete or absent: other processes may look for it.
            _compile(shim, Path(folder) / "compiled.so").replace(library_path)
        return ctypes.CDLL(str(library_path))  # once loaded, it does not need its file


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    library = compiled(SHIM)
    library.launch.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, *[ctypes.c_uint] * 4]
    library.launch.restype = ctypes.c_int
    library.halves.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_longlong]
    library.halves.restype = None
    return library


def _compile(shim: Path, library_path: Path) -> Path:
    """Raises FileNotFoundError without a compiler, RuntimeError with the compiler's log if it fails."""
    compiler = shutil.which(COMPILER)
    if compiler is None:
        raise FileNotFoundError(f"{COMPILER}, which compiles the kernels for the CPU, is not on PATH: install it, or skip this")
    command = [compiler, *OPTIONS, f"-I{KERNELS}", str(shim), "-o", str(library_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{COMPILER} cannot compile {shim.name}:\n{done.stderr}")
    return library_path
