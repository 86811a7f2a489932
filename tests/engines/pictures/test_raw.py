"""Raw pictures become BGR once, on any thread, by one arithmetic."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest

from engines.pictures.pixels import Colours
from engines.pictures.raw import BGR, RawPicture, as_image, part_of, pixels_of, planes_of, size_of
from engines.types import Size

from ..raw_pictures import BT601, BT709, COLOURS, RAW, noise_of

SIZES = [Size(64, 48), Size(63, 47), Size(1, 1), Size(2, 1), Size(130, 7)]


def whole_numbers(picture: RawPicture) -> np.ndarray:
    """BGR by the numbers that the GPU gets."""
    if picture.format == "bgrx":
        return picture.planes[0][..., :3]
    height, width = picture.planes[0].shape
    rows, columns = np.arange(height) // 2, np.arange(width) // 2
    chroma = [plane[np.ix_(rows, columns)].astype(np.int64) for plane in picture.planes[1:]]
    cb, cr = (chroma[0][..., 0], chroma[0][..., 1]) if picture.format == "nv12" else chroma
    how = picture.pixels
    values = np.stack([np.maximum(picture.planes[0].astype(np.int64), how.least_luma), cb, cr], -1)
    mixed = values @ np.array(how.weights).reshape(3, 3).T + np.array(how.offsets)
    assert np.abs(mixed).max() < 2**31, "the kernel has 32 bits"
    return np.clip(mixed >> how.shift, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("colours", COLOURS, ids=str)
@pytest.mark.parametrize("format", ["nv12", "i420"])
def test_the_gpus_numbers_are_those_of_the_cpus_conversion(format: str, colours: Colours) -> None:
    for size in SIZES:
        picture = noise_of(format, size, colours, padding=5)
        np.testing.assert_allclose(picture.bgr().astype(int), whole_numbers(picture), atol=1)  # and 0 on x86: see below
    exact = [(noise_of(format, size, colours).bgr() == whole_numbers(noise_of(format, size, colours))).mean() for size in SIZES]
    assert min(exact) >= 0.95


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_nv12_and_i420_of_the_same_numbers_are_the_same_picture(size: Size) -> None:
    for colours in COLOURS:
        one = noise_of("i420", size, colours)
        other = RawPicture("nv12", (one.planes[0], np.stack(one.planes[1:], -1)), colours)
        np.testing.assert_array_equal(one.bgr(), other.bgr())


def test_bgrx_loses_its_fourth_byte() -> None:
    picture = noise_of("bgrx", Size(13, 7), padding=3)
    np.testing.assert_array_equal(picture.bgr(), picture.planes[0][..., :3])
    assert picture.bgr().flags.c_contiguous


@pytest.mark.parametrize("format", RAW)
def test_it_is_converted_once_whoever_asks(format: str) -> None:
    picture = noise_of(format, Size(320, 240))
    before, found = picture.nbytes, []
    threads = [threading.Thread(target=lambda: found.append(picture.bgr())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(image is found[0] for image in found)
    assert picture.nbytes == before + found[0].nbytes


def test_a_picture_keeps_its_pixels_when_the_next_one_is_converted() -> None:
    pictures = [noise_of("i420", size, colours, seed) for seed, (size, colours) in enumerate(zip(SIZES, COLOURS, strict=False))]
    copies = [picture.bgr().copy() for picture in pictures]
    for picture, copy in zip(pictures, copies, strict=True):
        np.testing.assert_array_equal(picture.bgr(), copy)


@pytest.mark.parametrize("format", RAW)
@pytest.mark.parametrize("step", [1, 3, 8])
def test_a_part_is_that_of_the_whole_picture(format: str, step: int) -> None:
    for size in SIZES:
        picture, whole = noise_of(format, size, BT709), noise_of(format, size, BT709).bgr()
        middle = size.height // 2
        every, one_row = slice(None, None, step), slice(middle, middle + 1)
        for rows, columns in ((every, every), (one_row, slice(None)), (slice(1, 9), slice(3, 8))):
            if whole[rows, columns].size:
                np.testing.assert_array_equal(part_of(picture, rows, columns), whole[rows, columns])
        before = picture.nbytes
        picture.bgr()
        assert picture.nbytes > before, "the parts have not converted all of it"
        np.testing.assert_array_equal(picture.part(slice(0, 1), slice(0, 1)), whole[:1, :1])


@pytest.mark.parametrize("format", ["nv12", "i420"])
def test_a_part_of_limited_bt601_is_the_wholes_but_for_a_level(format: str) -> None:
    """Also of luma that no such picture should have."""
    picture, every = noise_of(format, Size(128, 96), BT601), slice(None, None, 3)
    assert np.abs(picture.part(every, every).astype(int) - picture.bgr()[every, every]).max() <= 1


def test_planes_must_be_those_of_the_format() -> None:
    good = noise_of("nv12", Size(6, 4))
    for format, planes, colours in (
        ("nv12", good.planes[:1], BT601), ("i420", good.planes, BT601), ("nv12", good.planes, None), ("yuyv", good.planes, BT601),
        ("bgrx", (np.zeros((4, 4, 3), np.uint8),), None), ("bgrx", (np.zeros((4, 4, 4), np.uint16),), None),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="with planes of"):
            RawPicture(format, planes, colours)


def test_bgr_is_a_picture_too() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    assert (as_image(image) is image, size_of(image), pixels_of(image), planes_of(image)) == (True, Size(6, 4), BGR, (image,))
    raw = noise_of("nv12", Size(6, 4))
    assert (as_image(raw) is raw.bgr(), size_of(raw), planes_of(raw)) == (True, Size(6, 4), raw.planes)


def test_limited_bt601_is_opencvs_own_conversion() -> None:
    picture = noise_of("i420", Size(64, 48), BT601)
    whole = np.concatenate([plane.ravel() for plane in picture.planes]).reshape(72, 64)
    np.testing.assert_array_equal(picture.bgr(), cv2.cvtColor(whole, cv2.COLOR_YUV2BGR_I420))
