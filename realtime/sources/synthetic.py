"""A drawn street with known truth: the ground truth of tests and benchmarks, and a camera for machines without one."""

from __future__ import annotations

from collections.abc import Iterator

from engines.errors import did_you_mean
from engines.types import Size
from realtime.errors import SourceNotFoundError
from realtime.sources.common.base import FrameSource, Picture, now_ns
from realtime.sources.common.stamp import read_stamp, write_stamp
from realtime.sources.common.uri import Options, SourceUri
from realtime.sources.street.camera import F64
from realtime.sources.street.meetings import MAX_CROSSINGS
from realtime.sources.street.occluders import MAX_OCCLUDERS
from realtime.sources.street.scene import CLASSES, Street, SyntheticTruth

__all__ = ["CLASSES", "SyntheticSource", "SyntheticTruth", "open_uri", "read_stamp", "write_stamp"]

_SCENES = ("street",)
_MAX_OBJECTS = 200
_MAX_PAN_PX_S = 4000
_MAX_SHAKE_PX = 100


def open_uri(uri: SourceUri) -> SyntheticSource:
    """synthetic://street. Options: width=1280, height=720, fps=30, seconds=10 (0: endless), objects=8, seed=0, live=0.

    What makes tracking hard, all 0 unless given: pan= the greatest speed in px/s at which the camera pans to and fro; shake= by
    how many px it shakes; occluders= how many columns and pillars (up to 4) stand in the way; crossings= how many pairs of people
    (up to 20), besides the objects, cross each other's way.
    """
    scene = uri.target.strip("/") or _SCENES[0]
    if scene not in _SCENES:
        raise SourceNotFoundError(f"{uri.name}: no such scene; there is synthetic://street{did_you_mean(scene, _SCENES)}")
    options = Options(uri)
    size = Size(options.integer("width", 1280, 64, 7680), options.integer("height", 720, 64, 4320))
    fps = options.number("fps", 30.0, 1, 1000)
    objects = options.integer("objects", 8, 0, _MAX_OBJECTS)
    seed = options.integer("seed", 0, 0, 2**31 - 1)
    is_live = options.flag("live")
    seconds = options.number("seconds", 0.0 if is_live else 10.0, 0, 1e6)
    street = Street(
        size,
        objects,
        seed,
        pan_px_s=options.number("pan", 0.0, 0, _MAX_PAN_PX_S),
        shake_px=options.number("shake", 0.0, 0, _MAX_SHAKE_PX),
        occluders=options.integer("occluders", 0, 0, MAX_OCCLUDERS),
        crossings=options.integer("crossings", 0, 0, MAX_CROSSINGS),
    )
    options.finish()
    return SyntheticSource(uri.name, street, fps=fps, seconds=seconds, is_live=is_live)


class SyntheticSource(FrameSource):
    """Frames of a `Street`, each with its `captured_ns` in its pixels (`read_stamp`).

    Live, it runs by the clock like a camera: a reader that is late misses frames (gaps in `index`), never gets old ones.
    """

    def __init__(self, name: str, street: Street, *, fps: float, seconds: float, is_live: bool = False) -> None:
        """seconds: length; 0 never ends."""
        self.is_live = is_live
        count = round(seconds * fps) if seconds > 0 else None
        super().__init__(name, fps=fps, frame_count=count)
        self._street = street
        self._rate_fps = fps
        self._count = count
        self._detail = f"{street.size} drawn {fps:g} fps"

    def truth(self, index: int) -> SyntheticTruth:
        """What is in the frame of that index. Any time, any thread, any order."""
        return self._street.truth(index / self._rate_fps)

    def camera_between(self, from_index: int, to_index: int) -> F64:
        """(2, 3) float64: where the background's pixels of one frame are in another one, forward or back."""
        return self._street.camera_between(from_index / self._rate_fps, to_index / self._rate_fps)

    def _pictures(self) -> Iterator[Picture]:
        start_ns = now_ns()
        self._state = "live"
        index = 0
        while self._count is None or index < self._count:
            if self.is_live:
                index = max(index, self._due(start_ns))
                wait_s = index / self._rate_fps - (now_ns() - start_ns) / 1e9
                if self._closed.wait(max(0.0, wait_s)) or (self._count is not None and index >= self._count):
                    return
            image = self._street.draw(index / self._rate_fps)
            captured_ns = now_ns()
            write_stamp(image, captured_ns)
            yield Picture(image, index / self._rate_fps, captured_ns, index)
            index += 1

    def _due(self, start_ns: int) -> int:
        """The index of the newest frame whose time has come."""
        return int((now_ns() - start_ns) / 1e9 * self._rate_fps)

    def _release(self) -> None:
        """Nothing is held."""
