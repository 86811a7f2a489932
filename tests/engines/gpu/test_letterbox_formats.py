"""The kernel reads BGRx, NV12 and I420 as the CPU converts them: letterbox.cu, run on the CPU, against raw.py and InputFiller."""

from __future__ import annotations

import platform

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.gpu.letterbox import parameters
from engines.models.fit import fit
from engines.pictures.pixels import Colours
from engines.pictures.raw import BGR
from engines.types import Size

from ...fakes import host_kernels
from ..raw_pictures import BT601, BT709, COLOURS, RAW, noise_of
from .test_letterbox_kernel import FITS, NET, NORMALISATIONS, SHARE_A_LEVEL_OFF, UNCHANGED, run_kernel, share_a_level_off, spec_of

pytestmark = pytest.mark.skipif(not host_kernels.is_available(), reason="needs g++, to run the CUDA kernel on the CPU")

IS_X86 = platform.machine() in ("x86_64", "AMD64")
"""OpenCV for ARM may round a conversion in another way than the arithmetic that the kernel repeats."""

SIZES = [Size(320, 180), Size(333, 251), Size(64, 35), Size(35, 64), Size(1, 1), Size(2, 1), Size(1, 7)]


@pytest.mark.parametrize("colours", COLOURS, ids=str)
@pytest.mark.parametrize("format", ["nv12", "i420"])
def test_every_matrix_and_range_is_converted_bit_for_bit(format: str, colours: Colours) -> None:
    """Without a resize, the input is the picture."""
    picture = noise_of(format, Size(*NET), colours)
    found = run_kernel(spec_of("stretch", "nhwc", "uint8", "bgr", UNCHANGED), picture)[0]
    off = np.abs(found.astype(int) - picture.bgr().astype(int))
    assert off.max() <= (0 if IS_X86 else 1)


@pytest.mark.parametrize("how", FITS)
@pytest.mark.parametrize("format", RAW)
@pytest.mark.parametrize(("dtype", "numbers"), NORMALISATIONS)
def test_a_raw_picture_fills_the_input_as_its_bgr_does(
    format: str, dtype: str, numbers: dict[str, tuple[float, ...]], how: str
) -> None:
    spec = spec_of(how, "nchw", dtype, "rgb", numbers)
    for seed, size in enumerate(SIZES):
        picture = noise_of(format, size, (BT709, BT601)[seed % 2], seed)
        if not IS_X86:
            assert share_a_level_off(spec, picture) <= SHARE_A_LEVEL_OFF
        else:  # and the kernel's way with BGR has tests of its own
            np.testing.assert_array_equal(run_kernel(spec, picture), run_kernel(spec, picture.bgr()))


@settings(deadline=None, max_examples=25)
@given(
    st.tuples(*[st.integers(1, 300)] * 2), st.tuples(*[st.integers(1, 150)] * 2), st.sampled_from(RAW), st.sampled_from(COLOURS)
)
def test_any_raw_frame_in_any_input_differs_by_at_most_one_level(
    size: tuple[int, int], net: tuple[int, int], format: str, colours: Colours
) -> None:
    share_a_level_off(spec_of("letterbox", "nchw", "uint8", "rgb", UNCHANGED, net), noise_of(format, Size(*size), colours))


@pytest.mark.parametrize("format", RAW)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_memory_around_a_raw_frame_has_no_effect(format: str, size: Size) -> None:
    spec, picture = spec_of("letterbox", "nhwc", "uint8", "bgr", UNCHANGED), noise_of(format, size)

    np.testing.assert_array_equal(run_kernel(spec, picture, around=0), run_kernel(spec, picture, around=255))


def test_the_parameters_of_bgr_name_no_conversion() -> None:
    spec, size = spec_of("letterbox", "nhwc", "uint8", "bgr", UNCHANGED), Size(64, 48)
    geometry = fit(size, spec.size, spec.fit)

    assert parameters(geometry, spec) == parameters(geometry, spec, BGR)
    assert parameters(geometry, spec)[-60:] == bytes(60)
    assert parameters(geometry, spec, noise_of("i420", size).pixels)[-60:-56] == (3).to_bytes(4, "little")
