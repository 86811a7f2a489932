"""letterbox.ptx is compiled from letterbox.cu, for every GPU from Turing on."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from engines.gpu.letterbox import LAYOUT, PTX

from .compile_kernels import SOURCE, source_line

ENTRIES = ("letterbox_float32", "letterbox_float16", "letterbox_uint8")


@pytest.fixture(scope="module")
def ptx() -> str:
    return PTX.read_text(encoding="ascii")


def test_the_ptx_is_compiled_from_this_source(ptx: str) -> None:
    assert ptx.startswith(source_line(SOURCE.read_bytes())), (
        "letterbox.cu has changed since it was compiled: run python -m tests.engines.gpu.compile_kernels"
    )


def test_the_ptx_is_for_drivers_of_cuda_12_2_and_gpus_from_turing_on(ptx: str) -> None:
    assert re.findall(r"^\.version (\S+)", ptx, re.MULTILINE) == ["8.2"]
    assert re.findall(r"^\.target (\S+)", ptx, re.MULTILINE) == ["sm_75"]
    assert re.findall(r"^\.address_size (\S+)", ptx, re.MULTILINE) == ["64"]


def test_the_ptx_has_the_three_kernels_and_the_size_of_their_parameters(ptx: str) -> None:
    assert sorted(re.findall(r"\.visible \.entry (\w+)\(", ptx)) == sorted(ENTRIES)
    assert f".u32 letterbox_bytes = {LAYOUT.size};" in ptx
    assert len(re.findall(rf"_param_2\[{LAYOUT.size}\]\s*\n\)", ptx)) == len(ENTRIES)


@pytest.mark.skipif(shutil.which("ptxas") is None, reason="needs ptxas, to assemble the PTX")
@pytest.mark.parametrize("architecture", ["sm_75", "sm_87", "sm_90", "sm_121"])
def test_the_ptx_assembles(architecture: str, tmp_path: Path) -> None:
    command = ["ptxas", f"-arch={architecture}", str(PTX), "-o", str(tmp_path / "letterbox.cubin")]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    if "is not defined for option 'gpu-name'" in done.stderr:
        pytest.skip(f"this ptxas does not support {architecture}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "letterbox.cubin").stat().st_size > 1000
