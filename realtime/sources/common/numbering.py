"""Which picture of a recording is which, where some of its packets are missing or do not decode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import av

_VP8_SHOWN = 0x10  # of a frame's first byte; a reference that is not shown is a packet of its own
_EMPTY_VOP_BYTES = 8  # stands for a picture that came in the packet before
_DOUBTED_PICTURES = 32  # come out after a damaged packet before it must have shown: a decoder's delay
_GRID_TOLERANCE = 0.2  # of an interval
_LONGEST_HOLE = 10_000  # pictures; a joint between two recordings is no hole
_LEARNING = 0.1
_HEADER_BYTES = 48  # between two packets of a file without other streams


class Numbering:
    """Numbers pictures as a decoder would that fails on none of their packets. Used on one thread.

    A picture's number is its place in presentation order. Pictures that do not come keep their numbers: in a stream of constant
    rate those of packets that were read, where the time stamps leave room for them. After a sign of damage (an error of the
    decoder, a packet that is marked as corrupt, bytes between two packets that belong to none) also those of packets that were
    not read, and in any stream. A gap in time without such a sign takes no number, nor do packets before the first key frame.

    start: the time stamp of picture 0, once a picture has come. lost: pictures that did not come.
    """

    def __init__(self, interval: float | None, *, is_indexed: bool) -> None:
        """interval: from picture to picture in units of the time stamps, where the container says that it is constant.

        is_indexed: the container lists its packets, so that none can vanish.
        """
        self.start: int | None = None
        self.lost = 0
        self._interval = interval
        self._next = 0
        self._latest: tuple[int, int] | None = None  # stamp and number
        self._doubt = 0  # how many more pictures may show the damage that was noticed
        self._errors = 0  # of streams without time stamps
        self._waiting: set[int] = set()  # time stamps of packets whose pictures have not come
        self._has_begun = False
        self._has_pts = True
        self._holes = _Holes(is_indexed)

    def feed(self, packet: av.Packet[Any]) -> None:
        """A packet goes to the decoder."""
        if not packet.size:
            return
        self._has_begun = self._has_begun or packet.is_keyframe
        self._holes.feed(packet)
        if self._has_begun and packet.is_corrupt:
            self._doubt = _DOUBTED_PICTURES
        if packet.pts is None and packet.dts is not None and self._latest is None:
            self._has_pts = False
        stamp = self.stamp(packet)
        if self._has_begun and stamp is not None and not packet.is_discard and not _is_hidden(packet):
            self._waiting.add(stamp)

    def stamp(self, item: av.Packet[Any] | av.VideoFrame) -> int | None:
        """The presentation time stamp; in a stream that lacks some, the one of decoding, as FFmpeg takes it."""
        return item.pts if item.pts is not None and (self._has_pts or item.dts is None) else item.dts

    def fail(self) -> None:
        """The decoder reports an error: one of the packets that it was fed gives no picture."""
        if self._has_begun:
            self._doubt = _DOUBTED_PICTURES
            self._errors += 1

    def number(self, stamp: int | None) -> int:
        """The number of the picture that the decoder gives next."""
        self._rejoin(stamp)
        after = self._latest[0] if self._latest is not None else None
        missing = [one for one in self._waiting if stamp is not None and one < stamp and (after is None or one > after)]
        room = self._room(stamp)
        if stamp is None:
            skipped = self._errors
        elif self._doubt or self._holes.may_hold(room):
            skipped = max(len(missing), room)
        else:  # decoders also leave out pictures without an error, those whose reference is missing
            skipped = min(len(missing), room)
        number = self._next + skipped
        self._waiting.difference_update(missing)
        if stamp is not None:
            self._waiting.discard(stamp)
            if self._latest is None or stamp > self._latest[0]:
                self._latest = stamp, number
            if self.start is None:
                self.start = min(missing) if skipped else stamp
        self._doubt = max(0, self._doubt - 1)
        self._errors = 0
        self.lost += skipped
        self._next = number + 1
        return number

    def _rejoin(self, stamp: int | None) -> None:
        """Forget the latest stamp where the stamps begin again, as in two recordings that were joined."""
        if stamp is None or self._latest is None:
            return
        if stamp <= self._latest[0] - _DOUBTED_PICTURES * (self._interval or 0) and stamp < self._latest[0]:
            self._latest = None
            self._doubt = 0
            self._waiting = {one for one in self._waiting if one >= stamp}

    def is_late(self, stamp: int | None) -> bool:
        """Whether a picture comes out after its place, as decoders give them after damage. It is counted as lost."""
        if stamp is None or self._latest is None or not (self._doubt and self._interval):
            return False
        is_late = 0 < self._latest[0] - stamp < _DOUBTED_PICTURES * self._interval
        self._waiting.discard(stamp)
        return is_late

    def finish(self) -> None:
        """The decoder has given its last picture."""
        self.lost += len(self._waiting)
        self._waiting.clear()

    def _room(self, stamp: int | None) -> int:
        """How many numbers lie between the next one and this picture's, where the stream has a constant rate."""
        if stamp is None or self._latest is None or not self._interval:
            return 0
        steps = (stamp - self._latest[0]) / self._interval
        is_on_grid = abs(steps - round(steps)) < _GRID_TOLERANCE
        return max(0, self._latest[1] + round(steps) - self._next) if is_on_grid and 0 < steps < _LONGEST_HOLE else 0


class _Holes:
    """Notices damage that a demuxer has skipped: bytes between two packets that are too many for other streams."""

    def __init__(self, is_indexed: bool) -> None:
        self._is_indexed = is_indexed
        self._end_byte: int | None = None
        self._usual_bytes = 0.0  # between two packets, a moving average
        self._unexplained_bytes = 0
        self._age = 0

    def feed(self, packet: av.Packet[Any]) -> None:
        """The next packet that was read."""
        pos, end_byte = packet.pos, self._end_byte
        self._age += 1
        if self._age > _DOUBTED_PICTURES:
            self._unexplained_bytes = 0
        if self._is_indexed or pos is None or pos < 0:
            return
        self._end_byte = pos + packet.size
        between = max(0, pos - end_byte) if end_byte is not None else 0
        usual = self._usual_bytes
        if end_byte is not None:
            self._usual_bytes = usual + _LEARNING * (min(between, 4 * usual + _HEADER_BYTES) - usual)
        if between > max(self._unexplained_bytes, _HEADER_BYTES + 4 * usual):
            self._unexplained_bytes, self._age = between, 0

    def may_hold(self, pictures: int) -> bool:
        """Whether so many pictures may have been in the latest hole: other streams take fewer bytes in their time."""
        return pictures > 0 and self._unexplained_bytes > _HEADER_BYTES + 3 * self._usual_bytes * (pictures + 1)


def _is_hidden(packet: av.Packet[Any]) -> bool:
    """Whether a packet gives no picture by itself."""
    match packet.stream.codec_context.name:
        case "vp8":
            return not memoryview(packet)[0] & _VP8_SHOWN
        case "mpeg4":
            return bool(packet.size <= _EMPTY_VOP_BYTES)
    return False
