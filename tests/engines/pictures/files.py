"""Picture files made for tests: bombs, whose few bytes declare many pixels, and files of every format."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

FORMATS = (".png", ".jpg", ".bmp", ".webp", ".tif", ".gif")


def encoded(suffix: str, width: int, height: int, *options: int) -> bytes:
    image = np.random.default_rng(width).integers(0, 255, (height, width, 3), np.uint8)
    done, data = cv2.imencode(suffix, image, list(options))
    assert done
    return bytes(data.tobytes())


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, extra: bytes = b"", *, colour: int = 2, bits: int = 8) -> bytes:
    """A black PNG. colour, bits: as in IHDR. extra: whole chunks before the pixels."""
    channels = {0: 1, 2: 3, 3: 1, 6: 4}[colour]
    row, packer = bytes((width * channels * bits + 7) // 8 + 1), zlib.compressobj(9)
    packed = [packer.compress(row * min(1000, height - start)) for start in range(0, height, 1000)]
    packed.append(packer.flush())
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + palette + chunk(b"IDAT", b"".join(packed)) + chunk(b"IEND", b"")


def claiming(suffix: str, side: int) -> bytes:
    """A small picture whose header claims `side` x `side` pixels instead."""
    data = bytearray(encoded(suffix, 24, 16))
    if suffix == ".png":
        return png(24, 16).replace(png(24, 16)[8:33], chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)))
    if suffix == ".jpg":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    elif suffix == ".bmp":
        data[18:26] = struct.pack("<ii", side, -side)
    elif suffix == ".gif":
        data[6:10] = struct.pack("<HH", side, side)
    elif suffix == ".webp":
        extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (side - 1).to_bytes(3, "little") * 2
        data[8:12] = b"WEBP" + extended
    else:
        for tag in (256, 257):
            at = data.index(struct.pack("<HH", tag, 3))
            data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, side)
    return bytes(data)
