"""Each .ptx is compiled from the .cu of its name, for every GPU from Turing on."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from engines.gpu.letterbox import LAYOUT
from engines.gpu.masks import CUT_NUMBERS, MAP_NUMBERS

from .compile_kernels import SOURCES, source_line

ENTRIES = {
    "letterbox": ("letterbox_float32", "letterbox_float16", "letterbox_uint8"),
    "masks": ("mask_cells_float32", "mask_cells_float16", "mask_labels"),
}
STRUCTS = {
    "letterbox": {"letterbox_bytes": LAYOUT.size},
    "masks": {"mask_cut_bytes": 4 * CUT_NUMBERS, "mask_map_bytes": 4 * MAP_NUMBERS},
}
PASSED = {"letterbox": LAYOUT.size, "masks": 4 * MAP_NUMBERS}
"""Bytes of the struct that is each kernel's last parameter."""


@pytest.fixture(params=SOURCES, ids=lambda source: source.stem)
def source(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture
def ptx(source: Path) -> str:
    return source.with_suffix(".ptx").read_text(encoding="ascii")


def test_the_ptx_is_compiled_from_this_source(source: Path, ptx: str) -> None:
    assert ptx.startswith(source_line(source)), (
        f"{source.name} has changed since it was compiled: run python -m tests.engines.gpu.compile_kernels"
    )


def test_every_kernel_is_compiled() -> None:
    assert sorted(SOURCES) == sorted(SOURCES[0].parent.glob("*.cu"))


def test_the_ptx_is_for_drivers_of_cuda_12_2_and_gpus_from_turing_on(ptx: str) -> None:
    assert re.findall(r"^\.version (\S+)", ptx, re.MULTILINE) == ["8.2"]
    assert re.findall(r"^\.target (\S+)", ptx, re.MULTILINE) == ["sm_75"]
    assert re.findall(r"^\.address_size (\S+)", ptx, re.MULTILINE) == ["64"]


def test_the_ptx_has_the_kernels_and_the_sizes_of_their_structs(source: Path, ptx: str) -> None:
    assert sorted(re.findall(r"\.visible \.entry (\w+)\(", ptx)) == sorted(ENTRIES[source.stem])
    for name, size_bytes in STRUCTS[source.stem].items():
        assert f".u32 {name} = {size_bytes};" in ptx
    assert len(re.findall(rf"_param_\d\[{PASSED[source.stem]}\]\s*\n\)", ptx)) == len(ENTRIES[source.stem])


def test_masks_are_multiplied_and_added_as_on_the_cpu() -> None:
    """One rounding where the source says fmaf, no other; a division that rounds correctly; denormals kept."""
    masks = next(source for source in SOURCES if source.stem == "masks").with_suffix(".ptx").read_text(encoding="ascii")
    operations = set(re.findall(r"\b((?:fma|mul|mad|add|sub|div|rcp|ex2)\.[a-z.]*f32)\b", masks))
    assert operations == {"fma.rn.f32", "sub.f32", "div.rn.f32"}


@pytest.mark.skipif(shutil.which("ptxas") is None, reason="needs ptxas, to assemble the PTX")
@pytest.mark.parametrize("architecture", ["sm_75", "sm_87", "sm_90", "sm_121"])
def test_the_ptx_assembles(source: Path, architecture: str, tmp_path: Path) -> None:
    assembled = tmp_path / "kernels.cubin"
    command = ["ptxas", f"-arch={architecture}", str(source.with_suffix(".ptx")), "-o", str(assembled)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    if "is not defined for option 'gpu-name'" in done.stderr:
        pytest.skip(f"this ptxas does not support {architecture}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert assembled.stat().st_size > 1000
