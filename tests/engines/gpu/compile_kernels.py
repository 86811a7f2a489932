"""For developers: compiles the kernels to PTX for drivers from CUDA 12.2 on and GPUs from Turing on. Users need no compiler.

    pip download --no-deps nvidia-cuda-nvrtc-cu12==12.2.140   (and unzip it)
    python -m tests.engines.gpu.compile_kernels path/to/libnvrtc.so.12

The compiler is old on purpose: newer ones write PTX that older drivers refuse (CUDA 13 writes ISA 9.0, JetPack 6 accepts 8.5).
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
from pathlib import Path

from engines.files import write_whole
from engines.gpu import letterbox, masks

SOURCES = tuple(kernels.PTX.with_suffix(".cu") for kernels in (letterbox, masks))
ARCHITECTURE = "compute_75"


def source_line(source: Path) -> str:
    """The PTX's first line, which identifies its source."""
    return f"// made from {source.name}, SHA-256 {hashlib.sha256(source.read_bytes()).hexdigest()}\n"


def compile_ptx(nvrtc: ctypes.CDLL, source: Path) -> str:
    """The PTX of `source`. Raises SystemExit with the compiler's log."""
    program = ctypes.c_void_p()
    _check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.read_bytes(), source.name.encode(), 0, None, None))
    options = [f"--gpu-architecture={ARCHITECTURE}".encode(), b"--std=c++14"]
    failed = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    if failed:
        sys.exit(_text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program))
    return _text(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program)


def _text(size_of: ctypes._CFuncPtr, text_of: ctypes._CFuncPtr, program: ctypes.c_void_p) -> str:  # type: ignore[name-defined]
    size = ctypes.c_size_t()
    _check(size_of(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(text_of(program, text))
    return text.value.decode()


def _check(code: int) -> None:
    if code:
        sys.exit(f"NVRTC error {code}")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    nvrtc = ctypes.CDLL(sys.argv[1])
    for source in SOURCES:
        write_whole(source.with_suffix(".ptx"), source_line(source) + compile_ptx(nvrtc, source))


if __name__ == "__main__":
    main()
