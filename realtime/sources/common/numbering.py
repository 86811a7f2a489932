"""Which picture of a recording is which, where some of its packets do not decode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import av

_VP8_SHOWN = 0x10  # of a frame's first byte; a reference that is not shown is a packet of its own


class Numbering:
    """Numbers pictures as a decoder would that fails on none of their packets. Used on one thread.

    A picture's number is its place in presentation order: before it came those of smaller time stamps. A packet that gives no
    picture takes no number, unless its decoder reported an error. Packets before the first key frame are not counted.

    start: the time stamp of picture 0, once a picture has come.
    """

    def __init__(self) -> None:
        self.start: int | None = None
        self._next = 0
        self._errors = 0  # not yet found among the missing
        self._waiting: set[int] = set()  # time stamps of packets whose pictures have not come
        self._has_begun = False

    def feed(self, packet: av.Packet[Any]) -> None:
        """A packet goes to the decoder."""
        self._has_begun = self._has_begun or packet.is_keyframe
        if self._has_begun and packet.pts is not None and packet.size and not packet.is_discard and not _is_hidden(packet):
            self._waiting.add(packet.pts)

    def fail(self) -> None:
        """The decoder reports an error: one of the packets that it was fed gives no picture."""
        self._errors += self._has_begun

    def number(self, pts: int | None) -> int:
        """The number of the picture that the decoder gives next."""
        if pts is None:
            missing: list[int] = []
            skipped = self._errors
        else:
            missing = [earlier for earlier in self._waiting if earlier < pts]
            skipped = min(self._errors, len(missing))
            self._waiting.difference_update(missing)
            self._waiting.discard(pts)
            if self.start is None:
                self.start = min(missing) if skipped else pts
        self._errors -= skipped
        number = self._next + skipped
        self._next = number + 1
        return number

    @property
    def left(self) -> int:
        """How many packets have given neither a picture nor an error: in the end, pictures that are lost."""
        return max(0, len(self._waiting) - self._errors)


def _is_hidden(packet: av.Packet[Any]) -> bool:
    return packet.stream.codec_context.name == "vp8" and not memoryview(packet)[0] & _VP8_SHOWN
