"""The JPEG pictures of a camera: decoded by a Jetson's decoder where it works, else by the CPU."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from engines.errors import PictureError
from engines.pictures.raw import RawPicture
from engines.pictures.reading import decode
from engines.types import Image, Size
from realtime.codecs.presence import LEAST_PX, gstreamer_lacks
from realtime.sources.common.base import Picture
from realtime.sources.common.feed import HopelessError
from realtime.sources.common.uri import Decode

if TYPE_CHECKING:
    from realtime.sources.common.nvv4l2 import Nvv4l2

log = logging.getLogger(__name__)

_WARM_UP_S = 10.0
_TIME_BASE = Fraction(1, 1_000_000)
_FULL_RANGE, _BT601 = 2, 6  # of JPEG (JFIF), as FFmpeg numbers them


class _Sent(NamedTuple):
    """A picture that is in the hardware."""

    data: bytes
    received_ns: int
    number: int


class JpegDecoder:
    """Decodes pictures in order. One thread, also to close it.

    Until the hardware has returned the first picture, and it equals the CPU's, the CPU decodes: the first picture comes at once.
    Where the hardware fails, the CPU decodes what is still in it. decoder: what decodes now.
    """

    def __init__(self, name: str, choice: Decode) -> None:
        """Raises HopelessError where the GPU must decode and there is none that does."""
        self.decoder = "CPU"
        self._name, self._must = name, choice == "gpu"
        self._hardware: Nvv4l2 | None = None
        self._inside: deque[_Sent] = deque()
        self._count = 0
        self._first: Image | None = None  # as the CPU has decoded it, until the hardware has shown that it does the same
        self._began_s = 0.0
        lacks = jpeg_hardware_lacks() if choice != "cpu" else ""
        self._may = choice != "cpu" and not lacks
        if self._must and lacks:
            raise self._impossible(lacks)
        if choice != "cpu":
            log.info("%s: JPEG decoded by %s", name, "nvv4l2decoder" if self._may else f"the CPU ({lacks})")

    def pictures(self, data: bytes, received_ns: int) -> Iterator[Picture]:
        """What is ready once this JPEG file has come. Raises HopelessError where the GPU must decode and cannot."""
        from realtime.sources.common.hardware import HardwareError

        if not self._may:
            yield _by_cpu(data, received_ns)
            return
        try:
            found = self._by_hardware(data, received_ns)
        except HardwareError as error:
            yield from self._fall_back(error.what, _Sent(data, received_ns, -1))
            return
        yield from found

    def close(self) -> None:
        if self._hardware is not None:
            self._hardware.close()
            self._hardware = None

    def _by_hardware(self, data: bytes, received_ns: int) -> list[Picture]:
        if self._hardware is None:
            return [self._begin(data, received_ns)]
        if self._first is None:
            return [self._shown(frame) for frame in self._put(data, received_ns)]
        if not self._is_right(self._hardware.ready()):  # it is still starting
            return [_by_cpu(data, received_ns)]
        return [self._shown(frame) for frame in self._put(data, received_ns)]

    def _begin(self, data: bytes, received_ns: int) -> Picture:
        from realtime.sources.common.nvv4l2 import Nvv4l2  # PyAV loads only for it

        picture = _by_cpu(data, received_ns)
        if not isinstance(picture.image, np.ndarray):
            return picture
        size = Size.of(picture.image)
        if not self._must and size.width * size.height < LEAST_PX:
            self._may = False
            return picture
        self._hardware = Nvv4l2("mjpeg", None, is_live=True, reorders=False)
        self._first, self._began_s = picture.image, time.monotonic()
        self._put(data, received_ns)
        return picture

    def _put(self, data: bytes, received_ns: int) -> list[Any]:
        from realtime.sources.common.nvv4l2 import packet_of

        assert self._hardware is not None
        self._count += 1
        packet = packet_of(data, self._count * 1000, _TIME_BASE)
        self._inside.append(_Sent(data, received_ns, self._count))
        frames: list[Any] = self._hardware.decode(packet)
        return frames

    def _is_right(self, frames: list[Any]) -> bool:
        """Whether the first picture has come out, as the CPU decodes it. Raises HardwareError where it is another."""
        from realtime.sources.common.colour import to_bgr
        from realtime.sources.common.hardware import HardwareError, check_first

        if not frames:
            if time.monotonic() - self._began_s > _WARM_UP_S:
                raise HardwareError("it gives nothing")
            return False
        assert self._first is not None
        check_first(to_bgr(_dressed(frames[0])), self._first)
        self._first = None
        self._inside.clear()  # delivered already
        self.decoder = "nvv4l2decoder"
        return True

    def _shown(self, frame: Any) -> Picture:
        from realtime.sources.common.colour import raw_of, to_bgr

        while self._inside and self._inside[0].number < frame.pts // 1000:
            self._inside.popleft()  # it did not decode
        sent = self._inside.popleft()
        dressed = _dressed(frame)
        image: RawPicture | Any = raw_of(dressed)
        return Picture(image if image is not None else to_bgr(dressed), None, sent.received_ns)

    def _fall_back(self, why: str, latest: _Sent) -> Iterator[Picture]:
        self.close()
        was_checked, self._may, self.decoder = self.decoder != "CPU", False, "CPU"
        if self._must and not was_checked:
            raise self._impossible(f"nvv4l2decoder: {why}")
        log.warning("%s: nvv4l2decoder fails (%s); the CPU decodes from here on", self._name, why)
        left = [sent for sent in self._inside if was_checked]
        if not left or left[-1].data is not latest.data:
            left.append(latest)
        self._inside.clear()
        for sent in left:
            yield _by_cpu(sent.data, sent.received_ns)

    def _impossible(self, why: str) -> HopelessError:
        return HopelessError(f"{self._name}: its JPEG pictures cannot be decoded on a GPU ({why})", "Use --decode auto")


def jpeg_hardware_lacks() -> str:
    """Why no hardware decodes JPEG here; "" where it may."""
    return gstreamer_lacks("nvv4l2decoder", "nvvidconv", "jpegparse", "gdppay", "gdpdepay")


def _by_cpu(data: bytes, received_ns: int) -> Picture:
    try:
        return Picture(np.asarray(decode(data), np.uint8), None, received_ns)
    except PictureError as error:
        return Picture(None, None, received_ns, why=error.what)


def _dressed(frame: Any) -> Any:
    frame.color_range, frame.colorspace = _FULL_RANGE, _BT601
    return frame
