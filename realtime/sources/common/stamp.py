"""A time written into the pixels, so that latency can be read off the picture itself, at any place in any pipeline."""

from __future__ import annotations

import binascii

import cv2
import numpy as np

from engines.types import U8, Image

_ROWS, _COLUMNS = 4, 24
_SYNC_HEAD, _SYNC_TAIL = 0b10110010, 0b01001101
_WIDTH_SHARE, _HEIGHT_SHARE = 1 / 4, 4 / 54  # at 16:9 the blocks are squares of width / 96
_MIN_CONTRAST = 40.0


def write_stamp(image: Image, stamp_ns: int) -> None:
    """Draw `stamp_ns` (a non-negative int below 2**64) into the top right corner of `image`, in place.

    A strip of 24 x 4 black and white blocks, a quarter of the width: head, 64 bits, CRC, tail. It survives H.264, JPEG,
    scaling and tinting as long as a block keeps about 3 px.
    """
    body = stamp_ns.to_bytes(8, "big")
    data = bytes([_SYNC_HEAD]) + body + binascii.crc_hqx(body, 0).to_bytes(2, "big") + bytes([_SYNC_TAIL])
    bits = np.unpackbits(np.frombuffer(data, np.uint8)).reshape(_ROWS, _COLUMNS) * 255
    strip = _strip(image)
    blocks = cv2.resize(bits.astype(np.uint8), (strip.shape[1], strip.shape[0]), interpolation=cv2.INTER_NEAREST)
    strip[:] = blocks[:, :, np.newaxis]


def read_stamp(image: Image) -> int | None:
    """The time written into `image`, or None where none can be read (the check sum guards against a wrong one)."""
    grey = cv2.cvtColor(np.ascontiguousarray(_strip(image)), cv2.COLOR_BGR2GRAY)
    # Only the middle of each block counts: its rim is mixed with its neighbours by codecs and scaling.
    fine = cv2.resize(grey, (_COLUMNS * 5, _ROWS * 5), interpolation=cv2.INTER_LINEAR)
    levels = fine.reshape(_ROWS, 5, _COLUMNS, 5)[:, 1:4, :, 1:4].mean(axis=(1, 3)).reshape(-1)
    known = np.unpackbits(np.array([_SYNC_HEAD, _SYNC_TAIL], np.uint8)).astype(bool)
    ends = np.concatenate((levels[:8], levels[-8:]))
    dark, bright = float(ends[~known].mean()), float(ends[known].mean())
    if bright - dark < _MIN_CONTRAST:
        return None
    data = np.packbits(levels > (dark + bright) / 2).tobytes()
    body, check = data[1:9], int.from_bytes(data[9:11], "big")
    if data[0] != _SYNC_HEAD or data[11] != _SYNC_TAIL or binascii.crc_hqx(body, 0) != check:
        return None
    return int.from_bytes(body, "big")


def _strip(image: Image) -> U8:
    height, width = image.shape[:2]
    return image[: round(height * _HEIGHT_SHARE), width - round(width * _WIDTH_SHARE) :]
