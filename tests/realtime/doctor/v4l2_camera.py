"""A V4L2 camera without one: answers ioctl requests as the kernel's headers describe them."""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping, Sequence

QUERYCAP, ENUM_FMT, ENUM_FRAMESIZES, ENUM_FRAMEINTERVALS = range(4)
NUMBERS = {0: QUERYCAP, 2: ENUM_FMT, 74: ENUM_FRAMESIZES, 75: ENUM_FRAMEINTERVALS}
SIZES_BYTES = {QUERYCAP: 104, ENUM_FMT: 64, ENUM_FRAMESIZES: 44, ENUM_FRAMEINTERVALS: 52}
DIRECTIONS = {QUERYCAP: 2, ENUM_FMT: 3, ENUM_FRAMESIZES: 3, ENUM_FRAMEINTERVALS: 3}

CAPTURE, METADATA, STREAMING, DEVICE_CAPS = 0x1, 0x00800000, 0x04000000, 0x80000000

Modes = Mapping[str, Mapping[tuple[int, int], Sequence[int]]]
"""Format -> size -> frame rates."""


class FakeV4l2:
    """modes: what it lists. is_capture: a webcam's second node delivers metadata instead. error: of every request."""

    def __init__(self, card: str, modes: Modes, *, is_capture: bool = True, error: int = 0) -> None:
        self._card, self._modes, self._is_capture, self._error = card, modes, is_capture, error

    def __call__(self, handle: int, request: int, facts: bytearray) -> int:
        direction, size_bytes, kind, number = request >> 30, request >> 16 & 0x3FFF, request >> 8 & 0xFF, request & 0xFF
        if self._error:
            raise OSError(self._error, "as asked for")
        name = NUMBERS.get(number)
        if kind != ord("V") or name is None:
            raise OSError(errno.ENOTTY, "no such request")
        assert (direction, size_bytes) == (DIRECTIONS[name], SIZES_BYTES[name]), "the request's number says another structure"
        assert len(facts) == size_bytes, "the kernel would write beyond the structure"
        (self._capabilities, self._format, self._size, self._interval)[name](facts)
        return 0

    def _capabilities(self, facts: bytearray) -> None:
        own = (CAPTURE if self._is_capture else METADATA) | STREAMING
        everything = CAPTURE | METADATA | STREAMING | DEVICE_CAPS
        struct.pack_into(
            "=16s32s32sIII", facts, 0, b"uvcvideo", self._card.encode(), b"usb-0000:00:14.0-1", 0x60100, everything, own
        )

    def _format(self, facts: bytearray) -> None:
        index, kind = struct.unpack_from("=II", facts)
        if kind != 1:
            raise OSError(errno.EINVAL, "another type of buffer")
        code = self._at(list(self._modes), index)
        struct.pack_into("=32s4s", facts, 12, code.encode(), code.encode())

    def _size(self, facts: bytearray) -> None:
        index, code = struct.unpack_from("=I4s", facts)
        struct.pack_into("=III", facts, 8, 1, *self._at(list(self._modes[code.decode()]), index))

    def _interval(self, facts: bytearray) -> None:
        index, code, width, height = struct.unpack_from("=I4sII", facts)
        struct.pack_into("=III", facts, 16, 1, 1, self._at(list(self._modes[code.decode()][width, height]), index))

    @staticmethod
    def _at(things: list, index: int):  # type: ignore[no-untyped-def, type-arg]
        if index >= len(things):
            raise OSError(errno.EINVAL, "no more of them")
        return things[index]
