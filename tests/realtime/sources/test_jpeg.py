from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.sources.common.jpeg import MAX_JPEG_BYTES, JpegSplitter, decoded


def _jpeg(seed: int, *flags: int) -> bytes:
    image = np.random.default_rng(seed).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", image, list(flags))[1].tobytes()


PICTURES = [_jpeg(0), _jpeg(1, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), _jpeg(2, cv2.IMWRITE_JPEG_RST_INTERVAL, 2), _jpeg(3)]


def _with_thumbnail(picture: bytes) -> bytes:
    thumbnail = b"Exif\0\0" + _jpeg(9)
    return picture[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + picture[2:]


@given(st.lists(st.integers(1, 4000), min_size=1), st.binary(max_size=300).filter(lambda noise: b"\xff" not in noise))
def test_pictures_are_whole_however_the_stream_is_split(cuts: list[int], noise: bytes) -> None:
    pictures = [*PICTURES, _with_thumbnail(PICTURES[0])]
    stream = noise + b"".join(picture + b"\r\n--b\r\nContent-Length: 2147483648\r\n\r\n" for picture in pictures)
    splitter, found, at, turn = JpegSplitter(), [], 0, 0
    while at < len(stream):
        splitter.feed(stream[at : at + cuts[turn % len(cuts)]])
        at, turn = at + cuts[turn % len(cuts)], turn + 1
        while (picture := splitter.take()) is not None:
            found.append(picture)
    assert found == pictures


def test_a_picture_is_returned_at_its_last_byte() -> None:
    splitter = JpegSplitter()
    splitter.feed(PICTURES[0][:-1])
    assert splitter.take() is None
    splitter.feed(PICTURES[0][-1:])
    assert splitter.take() == PICTURES[0]


@given(st.binary(max_size=2000))
def test_noise_neither_crashes_nor_is_kept(noise: bytes) -> None:
    splitter = JpegSplitter()
    splitter.feed(noise + PICTURES[0])
    found = []
    while (picture := splitter.take()) is not None:
        found.append(picture)
    assert all(picture.startswith(b"\xff\xd8") for picture in found)


def test_memory_is_bounded() -> None:
    splitter = JpegSplitter()
    for _ in range(64):  # endless headers are dropped as they come
        splitter.feed(b"X-Header: 1\r\n" * 80_000)
        assert splitter.take() is None
        assert len(splitter.rest) <= 256
    splitter.feed(PICTURES[0][:-2])
    splitter.take()
    for _ in range(MAX_JPEG_BYTES // 1_000_000):
        splitter.feed(bytes(1_000_000))
        assert splitter.take() is None
    with pytest.raises(ValueError, match="more than 16 MB"):
        splitter.feed(bytes(1_000_000))


def test_damaged_pictures_never_crash_the_decoder() -> None:
    rng = np.random.default_rng(0)
    for picture in PICTURES:
        for _ in range(150):
            broken = np.frombuffer(picture, np.uint8).copy()
            broken[rng.integers(20, len(broken), 3)] ^= 0x55
            image = decoded(broken.tobytes()[: int(rng.integers(2, len(broken)))])
            assert image is None or image.dtype == np.uint8
