"""A Jetson's decoder, through a GStreamer child: packets go in with their times, pictures come out with them.

PyAV still reads the file or the network: which stream, its times, its numbers, and passwords stay in this program.
"""

from __future__ import annotations

import bisect
from fractions import Fraction
from typing import Any

import av
import numpy as np

from realtime.codecs.gdp import Buffer
from realtime.codecs.gst_codec import ChildError, GstCodec
from realtime.codecs.presence import gstreamer_lacks, has_property
from realtime.sources.common.hardware import HardwareError

DECODER, CONVERTER = "nvv4l2decoder", "nvvidconv"
PIPE = ("gdppay", "gdpdepay", "fdsrc", "fdsink")

_FORMATS = {
    "h264": ("video/x-h264, alignment=(string)au, stream-format=(string){}", "h264parse"),
    "hevc": ("video/x-h265, alignment=(string)au, stream-format=(string){}", "h265parse"),
    "vp8": ("video/x-vp8", ""),
    "vp9": ("video/x-vp9", ""),
    "mjpeg": ("image/jpeg", "jpegparse"),
}
"""FFmpeg's codec → its format in GStreamer, and the element that parses it."""

_PACKED = {"h264": "avc", "hevc": "hvc1"}  # with lengths instead of start codes, and parameter sets beside the stream
_MOST_INSIDE = 40  # a decoder holds back up to 16 pictures, and the pipes hold a few
_LIVE_WAIT_S = 0.03
_MOST_LATE = 3
_FINISH_S = 5.0
_LEAD_NS = 10_000_000_000  # pictures may come that are shown before the first key frame
_LARGEST_STEP_BACK_NS = 5_000_000_000  # more is a joint, where times begin again
_TOLERANCE_NS = 100_000  # the driver counts microseconds
_STEP_NS = 1_000_000  # from one packet without a time to the next


def lacks(codec: str) -> str:
    """Why this codec cannot be decoded so; "" where it may be."""
    if codec not in _FORMATS:
        return f"{DECODER} is given no {codec}"
    return gstreamer_lacks(DECODER, CONVERTER, *PIPE, *filter(None, [_FORMATS[codec][1]]))


class Nvv4l2:
    """A decoder of its own, fed with the packets of a stream."""

    name = DECODER

    @property
    def aspect(self) -> Fraction | None:
        return self._aspect

    def __init__(self, codec: str, extradata: bytes | None, *, is_live: bool, reorders: bool) -> None:
        """extradata: of the stream's header, or None. reorders: pictures are shown in another order than they are coded.

        Raises HardwareError.
        """
        self._aspect: Fraction | None = None
        self._is_live, self._reorders = is_live, reorders
        self._inside: list[tuple[int, int | None, int | None, Any]] = []  # time in the child; pts, dts and their base
        self._first: int | None = None
        self._shift_ns = self._latest_ns = 0
        self._held = self._late = 0  # pictures that the decoder keeps until more packets come; how often it kept more
        try:
            self._child = GstCodec(_caps(codec, extradata), pipeline(codec, is_live=is_live, reorders=reorders), _MOST_INSIDE)
        except ChildError as error:
            raise HardwareError(error.what) from error

    def decode(self, packet: Any) -> list[av.VideoFrame]:
        """Raises HardwareError."""
        try:
            if not packet.size:
                return [self._frame(buffer) for buffer in self._child.finish(_FINISH_S)]
            found = self._child.taken()
            self._held = min(self._held, self._child.inside)
            self._child.put(memoryview(packet), self._enter(packet), is_key=packet.is_keyframe)
            found += self._waited_for() if self._is_live and self._child.received else self._child.taken()
        except ChildError as error:
            raise HardwareError(error.what) from error
        return [self._frame(buffer) for buffer in found]

    def _waited_for(self) -> list[Buffer]:
        """What comes out of a live stream: the latest picture too, unless the decoder is known to hold it back."""
        found = self._child.taken(self._held, _LIVE_WAIT_S)
        self._late = self._late + 1 if self._child.inside > self._held else 0
        if self._late == _MOST_LATE:
            self._held, self._late = self._child.inside, 0
        return found

    def ready(self) -> list[av.VideoFrame]:
        """The frames that have come meanwhile. Raises HardwareError."""
        try:
            return [self._frame(buffer) for buffer in self._child.taken()]
        except ChildError as error:
            raise HardwareError(error.what) from error

    def close(self) -> None:
        self._child.close()

    def _enter(self, packet: Any) -> int:
        """The packet's time in the child, in nanoseconds, remembered with its stamp."""
        if packet.has_sidedata("new_extradata"):
            raise HardwareError("its parameter sets change")  # the child was told the first ones
        if packet.pts is None and self._reorders:
            raise HardwareError("its packets have no time stamps")
        if packet.pts is None:  # as the first ones of a network stream
            at_ns = max(_LEAD_NS, self._latest_ns + _STEP_NS)
        else:
            if self._first is None:
                self._first = packet.pts
                self._shift_ns = max(_LEAD_NS, self._latest_ns + _STEP_NS)
            at_ns = round((packet.pts - self._first) * packet.time_base * 1_000_000_000) + self._shift_ns
        is_again = at_ns < max(1, self._latest_ns - _LARGEST_STEP_BACK_NS)
        if is_again or (not self._reorders and at_ns <= self._latest_ns):
            self._shift_ns += self._latest_ns + _STEP_NS - at_ns
            at_ns = self._latest_ns + _STEP_NS
        self._latest_ns = max(self._latest_ns, at_ns)
        bisect.insort(self._inside, (at_ns, packet.pts, packet.dts, packet.time_base), key=lambda entry: entry[0])
        return at_ns

    def _leave(self, buffer: Buffer, frame: av.VideoFrame) -> None:
        """Give a picture its stamps. What was to come before it does not come any more."""
        if buffer.pts_ns is None:
            raise HardwareError("its pictures come without their times")
        at = bisect.bisect_left(self._inside, buffer.pts_ns - _TOLERANCE_NS, key=lambda entry: entry[0])
        if at == len(self._inside) or abs(self._inside[at][0] - buffer.pts_ns) > _TOLERANCE_NS:
            raise HardwareError("its pictures come with other times")
        _, frame.pts, frame.dts, frame.time_base = self._inside[at]
        del self._inside[: at + 1]

    def _frame(self, buffer: Buffer) -> av.VideoFrame:
        width, height = int(buffer.caps["width"]), int(buffer.caps["height"])
        stride, rows = -(-width // 4) * 4, -(-height // 2) * 2  # as GStreamer lays pictures out
        if width % 2 or height % 2 or buffer.data.size != stride * rows * 3 // 2:
            raise HardwareError(f"its pictures of {width}x{height} are laid out in an unknown way")
        over, _, under = buffer.caps.get("pixel-aspect-ratio", "1/1").partition("/")
        self._aspect = Fraction(int(over), int(under))
        lines = np.ascontiguousarray(buffer.data.reshape(-1, stride)[:, :width])
        frame = av.VideoFrame.from_ndarray(lines, format="nv12")
        self._leave(buffer, frame)
        return frame


def packet_of(data: bytes, stamp: int, base: Fraction) -> Any:
    """A key picture by itself, as `Nvv4l2.decode` takes it."""
    packet: Any = av.Packet(data)
    packet.pts = packet.dts = stamp
    packet.time_base, packet.is_keyframe = base, True
    return packet


def pipeline(codec: str, *, is_live: bool, reorders: bool) -> str:
    """The elements from a coded stream to NV12 in ordinary memory."""
    parser = _FORMATS[codec][1]
    facts = " mjpeg=1" if codec == "mjpeg" else ""
    # Without this the decoder holds back as many pictures as the stream could reorder, whether it does or not.
    if is_live and not reorders and codec in _PACKED and has_property(DECODER, "disable-dpb"):
        facts += " disable-dpb=1"
    return f"{parser + ' ! ' if parser else ''}{DECODER}{facts} ! {CONVERTER} ! video/x-raw,format=NV12"


def _caps(codec: str, extradata: bytes | None) -> str:
    """The format of the packets. Those of MP4 and Matroska have their parameter sets in `extradata`, which then begins with 1."""
    caps = _FORMATS[codec][0]
    if codec not in _PACKED:
        return caps
    is_packed = extradata is not None and extradata[:1] == b"\1"
    if not is_packed:
        return caps.format("byte-stream")
    return f"{caps.format(_PACKED[codec])}, codec_data=(buffer){extradata.hex()}" if extradata else caps
