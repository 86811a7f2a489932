"""What a V4L2 camera can deliver, asked from its driver without starting it. Linux only.

Source: the kernel's include/uapi/linux/videodev2.h.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

Ioctl = Callable[[int, int, bytearray], int]

QUERYCAP, ENUM_FMT, ENUM_FRAMESIZES, ENUM_FRAMEINTERVALS = 0x80685600, 0xC0405602, 0xC02C564A, 0xC034564B
"""Request numbers: direction, size of the structure, "V", number."""

CAPABILITY_BYTES, FMT_BYTES, FRAMESIZE_BYTES, FRAMEINTERVAL_BYTES = 104, 64, 44, 52
CAPABILITIES_AT, PIXELFORMAT_AT, SIZE_TYPE_AT, SIZE_AT, INTERVAL_TYPE_AT, INTERVAL_AT = 84, 44, 8, 12, 16, 20
"""Offsets in these structures."""

CAPTURE, CAPTURE_MPLANE, HAS_DEVICE_CAPS = 0x1, 0x1000, 0x80000000
BUFFER_CAPTURE, BUFFER_CAPTURE_MPLANE = 1, 9
DISCRETE = 1

MOST_LISTED = 256
"""Of formats, of sizes and of rates each: a driver may count for ever."""


class Mode(NamedTuple):
    """Pictures that a camera delivers. fps: the fastest; 0 where the driver does not say."""

    codec: str
    """"MJPG", "YUYV"."""
    width: int
    height: int
    fps: float

    def __str__(self) -> str:
        return f"{self.width}x{self.height} {self.codec}" + (f" at {self.fps:.3g} fps" if self.fps else "")


class Device(NamedTuple):
    card: str
    driver: str
    is_capture: bool
    modes: tuple[Mode, ...]


def describe(path: Path, ioctl: Ioctl = fcntl.ioctl) -> Device:
    """A video device and its modes. Raises OSError: no permission, unplugged, not a video device."""
    handle = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = bytearray(CAPABILITY_BYTES)
        ioctl(handle, QUERYCAP, facts)
        driver, card = (facts[start:end].split(b"\0")[0].decode(errors="replace") for start, end in ((0, 16), (16, 48)))
        all_caps, device_caps = struct.unpack_from("=II", facts, CAPABILITIES_AT)
        caps = device_caps if all_caps & HAS_DEVICE_CAPS else all_caps
        is_capture = bool(caps & (CAPTURE | CAPTURE_MPLANE))
        kind = BUFFER_CAPTURE if caps & CAPTURE else BUFFER_CAPTURE_MPLANE
        return Device(card, driver, is_capture, tuple(_modes(handle, kind, ioctl)) if is_capture else ())
    finally:
        os.close(handle)


def _modes(handle: int, kind: int, ioctl: Ioctl) -> Iterator[Mode]:
    for facts in _listed(handle, ENUM_FMT, lambda index: struct.pack("=II", index, kind), FMT_BYTES, ioctl):
        code = bytes(facts[PIXELFORMAT_AT : PIXELFORMAT_AT + 4])
        letters = code.decode("latin-1")
        codec = letters.strip() if letters.isprintable() else code.hex()
        for width, height in _sizes(handle, code, ioctl):
            yield Mode(codec, width, height, _fastest(handle, code, width, height, ioctl))


def _sizes(handle: int, code: bytes, ioctl: Ioctl) -> Iterator[tuple[int, int]]:
    """Every size; of a range the largest."""
    for facts in _listed(handle, ENUM_FRAMESIZES, lambda index: struct.pack("=I", index) + code, FRAMESIZE_BYTES, ioctl):
        (kind,) = struct.unpack_from("=I", facts, SIZE_TYPE_AT)
        if kind == DISCRETE:
            yield struct.unpack_from("=II", facts, SIZE_AT)
        else:  # least width, greatest, step, least height, greatest, step
            _, width, _, _, height, _ = struct.unpack_from("=6I", facts, SIZE_AT)
            yield width, height
            return


def _fastest(handle: int, code: bytes, width: int, height: int, ioctl: Ioctl) -> float:
    start = code + struct.pack("=II", width, height)
    rates = [0.0]
    for facts in _listed(handle, ENUM_FRAMEINTERVALS, lambda index: struct.pack("=I", index) + start, FRAMEINTERVAL_BYTES, ioctl):
        # An interval, or the least one of a range, as a fraction of a second.
        numerator, denominator = struct.unpack_from("=II", facts, INTERVAL_AT)
        if numerator:
            rates.append(denominator / numerator)
        if struct.unpack_from("=I", facts, INTERVAL_TYPE_AT)[0] != DISCRETE:
            break
    return max(rates)


def _listed(handle: int, request: int, begin: Callable[[int], bytes], size_bytes: int, ioctl: Ioctl) -> Iterator[bytearray]:
    """The driver's answers for index 0, 1, 2, until it has no more."""
    for index in range(MOST_LISTED):
        facts = bytearray(begin(index).ljust(size_bytes, b"\0"))
        try:
            ioctl(handle, request, facts)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY):  # no more of them; not known to this driver
                return
            raise
        yield facts
