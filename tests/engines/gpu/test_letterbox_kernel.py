"""The letterbox kernel equals InputFiller: letterbox.cu, run on the CPU, against engines/models/fit.py."""

from __future__ import annotations

import itertools
import platform
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.gpu.letterbox import BLOCK, LAYOUT, parameters
from engines.models.card import InputSpec
from engines.models.fit import InputFiller, fit
from engines.pictures.raw import PictureLike, as_image, pixels_of, planes_of, size_of
from engines.types import Image

from ...fakes import host_kernels

pytestmark = pytest.mark.skipif(not host_kernels.is_available(), reason="needs g++, to run the CUDA kernel on the CPU")

Array = npt.NDArray[np.generic]

FRAMES = [
    (641, 361), (361, 641), (853, 479), (479, 853), (999, 333), (333, 999),
    (639, 641), (517, 389), (389, 517), (701, 437), (437, 701), (963, 541),
]  # fmt: skip
SMALL_FRAMES = [(37, 23), (23, 37), (91, 7), (101, 151)]
THIN_FRAMES = [(1, 1), (1, 77), (77, 1), (2, 1), (1, 300)]
NET = (190, 126)
"""Not a multiple of a block's threads."""

FITS = ("letterbox", "letterbox_top_left", "stretch")
ZERO_TO_ONE = {"mean": (0.0, 0.0, 0.0), "std": (255.0, 255.0, 255.0)}
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
UNCHANGED = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
NORMALISATIONS = [("uint8", UNCHANGED), *itertools.product(("float32", "float16"), (ZERO_TO_ONE, IMAGENET))]

SHARE_A_LEVEL_OFF = 0.01 if platform.machine() in ("x86_64", "AMD64") else 0.2
"""The largest share of values of noise that may differ by one level. Measured on x86-64: 0.0064 in the worst frame, 0.001 in
most. OpenCV for ARM has its own resizing code, which may round in another way than its generic code and the kernel."""

GUARD = 256
"""Bytes around each buffer that must not change."""


def spec_of(how: str, layout: str, dtype: str, channels: str, numbers: dict[str, tuple[float, ...]], net: tuple[int, int] = NET):
    return InputSpec("x", net, layout, dtype, channels, how, **numbers)  # type: ignore[arg-type]


@lru_cache(maxsize=100)
def noise(width: int, height: int) -> Image:
    return np.random.default_rng(width * 10007 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def run_kernel(spec: InputSpec, picture: PictureLike, around: int = 0xA5) -> Array:
    """The kernel's input tensor for this frame. Fails if it wrote outside. around: the bytes before and after the frame."""
    packed = np.concatenate([plane.ravel() for plane in planes_of(picture)])
    frame = np.full(packed.nbytes + 2 * GUARD, around, np.uint8)
    frame[GUARD:-GUARD] = packed
    shape = (1, 3, spec.size.height, spec.size.width) if spec.layout == "nchw" else (1, spec.size.height, spec.size.width, 3)
    size = int(np.prod(shape)) * np.dtype(spec.dtype).itemsize
    buffer = np.full(size + 2 * GUARD, 0xA5, np.uint8)
    grid = (-(-spec.size.width // BLOCK[0]), -(-spec.size.height // BLOCK[1]))
    params = parameters(fit(size_of(picture), spec.size, spec.fit), spec, pixels_of(picture))

    host_kernels.launch(f"letterbox_{spec.dtype}", frame.ctypes.data + GUARD, buffer.ctypes.data + GUARD, params, grid, BLOCK[:2])

    assert (buffer[:GUARD] == 0xA5).all(), "it wrote before the input"
    assert (buffer[-GUARD:] == 0xA5).all(), "it wrote behind the input"
    return buffer[GUARD:-GUARD].view(spec.dtype).reshape(shape)


def levels(tensor: Array, spec: InputSpec) -> npt.NDArray[np.float64]:
    """The pixel values, 0..255 but for rounding, that a (1, ...) input holds; (3, height, width) in its channel order."""
    planes = tensor[0] if spec.layout == "nchw" else tensor[0].transpose(2, 0, 1)
    return np.stack([plane.astype(np.float64) * std + mean for plane, std, mean in zip(planes, spec.std, spec.mean, strict=True)])


def share_a_level_off(spec: InputSpec, picture: PictureLike) -> float:
    """Of the values, those another pixel value than InputFiller's. Fails where one is more than one level off."""
    expected, found = levels(InputFiller(spec)(as_image(picture))[0], spec), levels(run_kernel(spec, picture), spec)
    off = np.abs(found - expected)
    rounding = {"uint8": 0.0, "float32": 1e-4, "float16": 0.15}[spec.dtype]  # of a level: the last digit of a value, two in fp16
    assert off.max() <= 1 + rounding
    is_off = off > 0.5
    assert off[~is_off].max(initial=0) <= rounding
    return float(is_off.mean())


@pytest.mark.parametrize(
    ("layout", "channels", "frames"),
    [("nchw", "rgb", FRAMES), ("nhwc", "bgr", FRAMES), ("nchw", "bgr", FRAMES[:1]), ("nhwc", "rgb", FRAMES[:1])],
    ids=["nchw-rgb", "nhwc-bgr", "nchw-bgr", "nhwc-rgb"],
)
@pytest.mark.parametrize("how", FITS)
@pytest.mark.parametrize(("dtype", "numbers"), NORMALISATIONS)
def test_the_kernel_fills_the_input_like_the_cpu(
    dtype: str, numbers: dict[str, tuple[float, ...]], how: str, layout: str, channels: str, frames: list[tuple[int, int]]
) -> None:
    spec = spec_of(how, layout, dtype, channels, numbers)

    shares = [share_a_level_off(spec, noise(*size)) for size in frames + SMALL_FRAMES + THIN_FRAMES]

    assert max(shares) <= SHARE_A_LEVEL_OFF


@pytest.mark.parametrize("how", FITS)
@pytest.mark.parametrize("size", [(1920, 1080), *FRAMES[:4], (150, 301)])
@pytest.mark.parametrize("net", [(640, 640), (1030, 770)])
def test_large_inputs_scaled_up_and_down(net: tuple[int, int], size: tuple[int, int], how: str) -> None:
    spec = spec_of(how, "nhwc", "uint8", "rgb", UNCHANGED, net)

    assert share_a_level_off(spec, noise(*size)) <= SHARE_A_LEVEL_OFF


@settings(deadline=None, max_examples=75)
@given(st.tuples(*[st.integers(1, 400)] * 2), st.tuples(*[st.integers(1, 200)] * 2), st.sampled_from(FITS))
def test_any_frame_in_any_input_differs_by_at_most_one_level(size: tuple[int, int], net: tuple[int, int], how: str) -> None:
    share_a_level_off(spec_of(how, "nchw", "uint8", "rgb", UNCHANGED, net), noise(*size))


@pytest.mark.parametrize("how", FITS)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_without_resizing_every_pixel_equals_the_cpus(channels: str, layout: str, how: str) -> None:
    size = NET if how == "stretch" else (NET[0], NET[1] - 9)
    for dtype, numbers in NORMALISATIONS:
        spec = spec_of(how, layout, dtype, channels, numbers)
        expected, found = InputFiller(spec)(noise(*size))[0], run_kernel(spec, noise(*size))

        assert share_a_level_off(spec, noise(*size)) == 0
        if dtype == "uint8":
            np.testing.assert_array_equal(found, expected)
        else:  # the CPU rounds (pixel - mean) / std once, the GPU its factor and offset too: the last digit may differ
            size_of_values = 1.0 if numbers is ZERO_TO_ONE else 2.7
            assert np.abs(found - expected).max() <= 2 * size_of_values * np.finfo(dtype).eps


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("numbers", [ZERO_TO_ONE, IMAGENET, {"mean": (0.0, 0.0, 0.0), "std": (2e6, 5e8, 3e-3)}])
def test_float16_is_float32_rounded_bit_for_bit(numbers: dict[str, tuple[float, ...]], layout: str) -> None:
    """The last of them gives denormals, zeros and infinities."""
    singles = run_kernel(spec_of("letterbox", layout, "float32", "rgb", numbers), noise(641, 361))

    halves = run_kernel(spec_of("letterbox", layout, "float16", "rgb", numbers), noise(641, 361))

    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(halves.view(np.uint16), singles.astype(np.float16).view(np.uint16))


def test_the_cpu_rounds_to_half_like_the_gpu() -> None:
    exact = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    exact = exact[np.isfinite(exact)]
    between = np.nextafter(exact, np.float32(np.inf)), np.nextafter(exact, np.float32(-np.inf))
    ties = ((exact[:-1].astype(np.float64) + exact[1:]) / 2).astype(np.float32)
    any_bits = np.random.default_rng(0).integers(0, 1 << 32, 100_000, dtype=np.uint32).view(np.float32)
    values = np.concatenate([exact, *between, ties, any_bits])
    is_nan = np.isnan(values)

    found = host_kernels.halves(values)

    with np.errstate(all="ignore"):
        expected = values.astype(np.float16)
    np.testing.assert_array_equal(found[~is_nan].view(np.uint16), expected[~is_nan].view(np.uint16))
    assert np.isnan(found[is_nan]).all()


@pytest.mark.parametrize(("dtype", "numbers"), NORMALISATIONS)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_padding_equals_a_pixel_of_its_value(layout: str, dtype: str, numbers: dict[str, tuple[float, ...]]) -> None:
    spec = spec_of("letterbox", layout, dtype, "rgb", numbers)
    tensor = run_kernel(spec, np.full((40, 300, 3), spec.pad, np.uint8))[0]
    pixels = (tensor.transpose(1, 2, 0) if layout == "nchw" else tensor).reshape(-1, 3)

    assert len(np.unique(pixels, axis=0)) == 1
    np.testing.assert_allclose(pixels[0], (spec.pad - np.array(spec.mean)) / spec.std, rtol=1e-3 if dtype == "float16" else 1e-5)


@pytest.mark.parametrize("how", FITS)
@pytest.mark.parametrize("size", [*FRAMES, *SMALL_FRAMES, *THIN_FRAMES])
def test_padding_is_at_the_same_place_as_on_the_cpu(size: tuple[int, int], how: str) -> None:
    spec = spec_of(how, "nhwc", "uint8", "rgb", UNCHANGED)
    black = np.zeros((size[1], size[0], 3), np.uint8)

    np.testing.assert_array_equal(run_kernel(spec, black), InputFiller(spec)(black)[0])


@pytest.mark.parametrize("how", FITS)
@pytest.mark.parametrize("size", [*FRAMES[:3], *SMALL_FRAMES, *THIN_FRAMES])
def test_memory_around_the_frame_has_no_effect(size: tuple[int, int], how: str) -> None:
    spec = spec_of(how, "nhwc", "uint8", "bgr", UNCHANGED)

    np.testing.assert_array_equal(run_kernel(spec, noise(*size), around=0), run_kernel(spec, noise(*size), around=255))


def test_both_sides_agree_on_the_parameters() -> None:
    assert host_kernels.params_bytes() == LAYOUT.size == 136
    with pytest.raises(ValueError, match="136 bytes, not 135"):
        host_kernels.launch("letterbox_uint8", 0, 0, bytes(135), (1, 1), (1, 1))
    with pytest.raises(ValueError, match='no kernel "letterbox_int4"'):
        host_kernels.launch("letterbox_int4", 0, 0, bytes(136), (1, 1), (1, 1))
