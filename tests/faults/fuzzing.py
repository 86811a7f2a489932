"""Shared by the fuzz tests: damaged bytes from a fixed seed, and a child process whose crash fails a test."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import numpy as np
import numpy.typing as npt

from ..conftest import REPO_ROOT

SEED = 20261201


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """`data` with one to four faults: bits flipped, a piece cut out, doubled, zeroed or replaced by noise, the end cut off."""
    broken = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        if len(broken) < 8:
            break
        start = int(rng.integers(0, len(broken) - 1))
        length = int(min(len(broken) - start, 2 ** rng.uniform(0, 12)))
        match int(rng.integers(0, 6)):
            case 0:
                for at in rng.integers(0, len(broken), max(1, len(broken) // 10_000)):
                    broken[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                del broken[start : start + length]
            case 2:
                broken[start:start] = broken[start : start + length]
            case 3:
                broken[start : start + length] = bytes(length)
            case 4:
                broken[start : start + length] = rng.integers(0, 256, length, np.uint8).tobytes()
            case _:
                del broken[start:]
    return bytes(broken)


def noise(size: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """(size, size, 3) uint8: smooth colours, so that coded pictures have structure to damage."""
    coarse = rng.integers(0, 256, (4, 4, 3), np.uint8)
    return np.kron(coarse, np.ones((size // 4, size // 4, 1), np.uint8))


def run_child(module: str, seconds: float, limit_s: float) -> str:
    """Run `python -m tests.faults.MODULE SECONDS SEED`; its output. Fails the test where it ends otherwise than with 0."""
    command = [sys.executable, "-X", "faulthandler", "-m", f"tests.faults.{module}", str(seconds), str(SEED)]
    with tempfile.TemporaryFile() as said:  # decoders report each fault on stderr
        done = subprocess.run(command, cwd=REPO_ROOT, stdout=subprocess.PIPE, stderr=said, timeout=limit_s)
        said.seek(max(0, said.tell() - 4000))
        assert done.returncode == 0, f"exit code {done.returncode}\n{said.read().decode(errors='replace')}"
    return done.stdout.decode()
