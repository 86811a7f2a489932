"""The size in a file's header is the size that the decoder gives, and anything else has none."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PilImage

from engines.pictures.header import declared_size
from engines.types import Size
from tests.engines.pictures.files import FORMATS, encoded, png


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 300), (301, 16)])
def test_every_format_declares_the_size_it_has(suffix: str, width: int, height: int) -> None:
    assert declared_size(encoded(suffix, width, height)) == Size(width, height)


def pillow(format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    PilImage.new("RGBA" if format_ in ("WEBP", "TIFF") else "RGB", (37, 21), 99).save(buffer, format_, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        pillow("WEBP", lossless=True),
        pillow("WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
        pillow("JPEG", progressive=True, exif=b"Exif\0\0" + b"\xff" * 300),
        pillow("TIFF", compression="tiff_lzw"),
        pillow("TIFF", big_tiff=True),
        pillow("TIFF").replace(b"II*\0", b"II*\0"),
        pillow("GIF"),
        pillow("BMP"),
        encoded(".jpg", 37, 21, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    ],
    ids=["lossless webp", "extended webp", "jpeg", "tiff lzw", "big tiff", "tiff", "gif", "bmp", "jpeg with restarts"],
)
def test_other_forms_of_the_formats(data: bytes) -> None:
    assert declared_size(data) == Size(37, 21)


def test_a_tile_larger_than_its_picture_counts() -> None:
    """The decoder makes room for a whole tile."""
    entries = [(256, 3, 1, 16), (257, 3, 1, 16), (322, 4, 1, 40_000), (323, 4, 1, 50_000)]
    data = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    assert declared_size(data) == Size(40_000, 50_000)
    motorola = b"MM\0*" + struct.pack(">IH", 8, 2) + struct.pack(">HHIHHHHIHH", 256, 3, 1, 70, 0, 257, 3, 1, 80, 0)
    assert declared_size(motorola) == Size(70, 80)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8", b"GIF89a", b"BM", b"RIFF1234WEBPVP8X", b"II*\0\xff\xff\xff\xff", b"MM\0*", png(4, 4)[:18],
     b"\x76\x2f\x31\x01", b"P6 60000 60000 255\n", b"\0\0\0\x0cjP  \r\n\x87\n", b"#?RADIANCE\n", b"<svg width='9'/>"],
)  # fmt: skip
def test_anything_else_declares_none(data: bytes) -> None:
    """Among them formats that OpenCV would decode under any suffix: EXR, PNM, JPEG 2000, Radiance."""
    assert declared_size(data) is None


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([encoded(suffix, 19, 23) for suffix in FORMATS]), st.data())
def test_no_header_is_read_otherwise_than_by_the_decoder(data: bytes, draw: st.DataObject) -> None:
    """A decoder that finds another size than the header's would evade the limit."""
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        changed[draw.draw(st.integers(0, min(len(data), 120) - 1))] = draw.draw(st.integers(0, 255))
    declared = declared_size(bytes(changed))
    if declared is not None and declared.width * declared.height < 1 << 22:
        try:
            image = cv2.imdecode(np.frombuffer(bytes(changed), np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            return
        if image is not None:
            assert image.shape[0] * image.shape[1] <= declared.width * declared.height
