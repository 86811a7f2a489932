"""A drawn street with known truth, for tests, benchmarks and machines without a camera.

The capture time is written into the pixels of each frame, so that latency can be measured anywhere in any pipeline.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator

import cv2
import numpy as np

from engines.errors import choices
from engines.types import F64, U8, Image, Size
from realtime.errors import SourceNotFoundError
from realtime.sources.common.base import FrameSource, Picture, now_ns
from realtime.sources.common.uri import Options, SourceUri
from realtime.sources.street.occluders import MAX_OCCLUDERS
from realtime.sources.street.scene import Street, SyntheticTruth
from realtime.sources.street.traffic import CLASSES, MAX_CROSSINGS

__all__ = ["CLASSES", "SyntheticSource", "SyntheticTruth", "open_uri", "read_stamp", "write_stamp"]

_SCENES = ("street",)

_ROWS, _COLUMNS = 4, 24
_SYNC_HEAD, _SYNC_TAIL = 0b10110010, 0b01001101
_WIDTH_SHARE, _HEIGHT_SHARE = 1 / 4, 4 / 54  # at 16:9 the blocks are squares of width / 96
_MIN_CONTRAST = 40.0


def open_uri(uri: SourceUri) -> SyntheticSource:
    """synthetic://street. Options: width=1280, height=720, fps=30, seconds=10 (0: endless), objects=8, seed=0, live=0.

    Difficulties for trackers, 0 by default: pan=, the greatest speed in px/s at which the camera pans from side to side; shake=,
    the amplitude of its shaking in px; occluders=, the number of columns and pillars in front of the objects (up to 4);
    crossings=, the number of pairs of people (up to 20), in addition to the objects, whose paths cross.
    """
    options = Options(uri)
    size = Size(options.integer("width", 1280, 64, 7680), options.integer("height", 720, 64, 4320))
    fps = options.number("fps", 30.0, 1, 1000)
    objects = options.integer("objects", 8, 0, 200)
    seed = options.integer("seed", 0, 0, 2**31 - 1)
    is_live = options.flag("live")
    seconds = options.number("seconds", 0.0 if is_live else 10.0, 0, 1e6)
    street = Street(
        size,
        objects,
        seed,
        pan_px_s=options.number("pan", 0.0, 0, 4000),
        shake_px=options.number("shake", 0.0, 0, 100),
        occluders=options.integer("occluders", 0, 0, MAX_OCCLUDERS),
        crossings=options.integer("crossings", 0, 0, MAX_CROSSINGS),
    )
    options.finish()
    scene = uri.target.strip("/") or _SCENES[0]
    if scene not in _SCENES:
        raise SourceNotFoundError(f"{uri.name}: no such scene", choices(scene, _SCENES))
    return SyntheticSource(uri.name, street, fps=fps, seconds=seconds, is_live=is_live)


class SyntheticSource(FrameSource):
    """Frames of a `Street`, each with its `captured_ns` in its pixels (`read_stamp`).

    Live, it runs by the clock like a camera: a late reader misses frames (gaps in `index`) and never gets old ones.
    """

    def __init__(self, name: str, street: Street, *, fps: float, seconds: float, is_live: bool = False) -> None:
        """seconds: length; 0 never ends."""
        self.is_live = is_live
        self._count = round(seconds * fps) if seconds > 0 else None
        super().__init__(name, fps=fps, frame_count=self._count)
        self._street, self._rate_fps = street, fps
        self._detail = f"{street.size} drawn {fps:g} fps"

    def truth(self, index: int) -> SyntheticTruth:
        """The contents of the frame at `index`. At any time, on any thread, in any order."""
        return self._street.truth(index / self._rate_fps)

    def camera_between(self, from_index: int, to_index: int) -> F64:
        """(2, 3) float64: from the background's pixels of one frame to those of another, later or earlier."""
        return self._street.camera_between(from_index / self._rate_fps, to_index / self._rate_fps)

    def _pictures(self) -> Iterator[Picture]:
        start_ns = now_ns()
        self._state = "live"
        index = 0
        while self._count is None or index < self._count:
            if self.is_live:
                index = max(index, int((now_ns() - start_ns) / 1e9 * self._rate_fps))  # the newest that is due
                wait_s = index / self._rate_fps - (now_ns() - start_ns) / 1e9
                if self._closed.wait(max(0.0, wait_s)) or (self._count is not None and index >= self._count):
                    return
            image = self._street.draw(index / self._rate_fps)
            captured_ns = now_ns()
            write_stamp(image, captured_ns)
            yield Picture(image, index / self._rate_fps, captured_ns, index)
            index += 1


def write_stamp(image: Image, stamp_ns: int) -> None:
    """Draw `stamp_ns` (a non-negative int below 2**64) into the top right corner of `image`, in place.

    A strip of 24 x 4 black and white blocks, a quarter of the width: head, 64 bits, CRC, tail. It survives H.264, JPEG,
    scaling and tinting as long as a block has about 3 px.
    """
    body = stamp_ns.to_bytes(8, "big")
    data = bytes([_SYNC_HEAD]) + body + binascii.crc_hqx(body, 0).to_bytes(2, "big") + bytes([_SYNC_TAIL])
    bits = np.unpackbits(np.frombuffer(data, np.uint8)).reshape(_ROWS, _COLUMNS) * 255
    strip = _strip(image)
    blocks = cv2.resize(bits.astype(np.uint8), (strip.shape[1], strip.shape[0]), interpolation=cv2.INTER_NEAREST)
    strip[:] = blocks[:, :, np.newaxis]


def read_stamp(image: Image) -> int | None:
    """The time written into `image`; None where none can be read (a checksum guards against wrong ones)."""
    grey = cv2.cvtColor(np.ascontiguousarray(_strip(image)), cv2.COLOR_BGR2GRAY)
    # Only the middle of each block counts: codecs and scaling mix its rim with its neighbours.
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
