"""One stream's decoder: the GPU's where there is one that works, else the CPU's, which also takes over where the GPU's fails."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from engines.errors import SegmentationError
from engines.types import Image
from realtime.codecs.presence import LEAST_PX
from realtime.sources.common.colour import to_bgr
from realtime.sources.common.feed import HopelessError
from realtime.sources.common.uri import Decode

if TYPE_CHECKING:
    import av

log = logging.getLogger(__name__)

CPU = "CPU"
_KEPT_BYTES = 64 << 20
_KEPT_STAMPS = 4096
_MOST_SKIPPED = 300
_LARGEST_DIFFERENCE = 4.0  # levels, mean: H.264 and its successors are exact, JPEG decoders differ by less than one
_JPEG = 2  # AVColorRange: full
_UNSPECIFIED = 2  # AVColorSpace, AVColorPrimaries and AVColorTransferCharacteristic


class HardwareError(SegmentationError):
    """The GPU cannot decode this stream, or no longer."""


class Hardware(Protocol):
    """A decoder outside the CPU. One thread."""

    name: str

    @property
    def aspect(self) -> Fraction | None:
        """A pixel's width by its height, as the latest picture states it; None where it does not say."""
        ...

    def decode(self, packet: Any) -> list[av.VideoFrame]:
        """The frames that are ready, in presentation order; of an empty packet all that are left.

        Raises HardwareError where it cannot go on; PyAV's errors for packets that it cannot decode.
        """
        ...

    def close(self) -> None: ...


Candidate = tuple[Callable[[], str], Callable[[], Hardware]]
"""Why it is not possible, or ""; and what opens it. Raises HardwareError."""


class StreamDecoder:
    """Decodes the packets of one stream, in order. One thread.

    The GPU's first key picture is compared with the CPU's. Packets are kept until nothing that is to come refers to them: where
    the GPU's decoder fails, the CPU decodes them again, and goes on with the picture after the last one that was delivered.

    name: what decodes, "CPU" or the hardware's name. why: why it is the CPU; "" where that was chosen.
    """

    def __init__(
        self,
        stream: av.VideoStream,
        source: str,
        choice: Decode,
        candidates: Callable[[], Sequence[Candidate]],
        stamp: Callable[[Any], int | None],
    ) -> None:
        """stamp: the presentation time stamp of a packet or a frame. Raises HopelessError: the GPU must decode, and cannot."""
        self._stream, self._source, self._stamp = stream, source, stamp
        self._must = choice == "gpu"
        self._hardware: Hardware | None = None
        self.why = ""
        self._template: av.VideoFrame | None = None  # the first key picture, decoded by the CPU
        self._is_checked = False
        self._kept: list[Any] = []
        self._kept_bytes = 0
        self._let_go = 0  # packets that are no longer kept
        self._skipped = 0  # before the first key frame
        self._delivered: deque[int | None] = deque(maxlen=_KEPT_STAMPS)
        self._count = 0
        self._waiting: list[av.VideoFrame] = []  # decoded beside an error that was raised
        if choice != "cpu":
            self._choose(candidates)
        if self._hardware is None:
            log.info("%s: decoded by the CPU%s", source, f" ({self.why})" if self.why else "")

    @property
    def name(self) -> str:
        return self._hardware.name if self._hardware is not None else CPU

    def look(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame that says how this one is to be laid: its rotation and whether it is interlaced."""
        return self._template if self._template is not None else frame

    @property
    def aspect(self) -> Fraction | None:
        """A pixel's width by its height, as the decoder states it now."""
        stated = self._hardware.aspect if self._hardware is not None else None
        return stated or self._stream.codec_context.sample_aspect_ratio

    def close(self) -> None:
        if self._hardware is not None:
            self._hardware.close()

    def decode(self, packet: Any) -> list[av.VideoFrame]:
        """The frames that are ready; of an empty packet the last ones. Raises what PyAV raises for a damaged packet."""
        if self._hardware is None:
            frames: list[av.VideoFrame] = packet.decode()
            waiting, self._waiting = self._waiting, []
            return waiting + frames
        if packet.size and not self._begins(packet):
            self._skipped += 1
            no_key_frame = HardwareError("no key frame comes")  # a stream may refresh its pictures bit by bit instead
            return self._fall_back(no_key_frame, packet) if self._skipped > _MOST_SKIPPED else []
        self._keep(packet)
        try:
            if self._template is None:
                self._make_template(packet)
            frames = self._checked(self._hardware.decode(packet))
        except EOFError:
            raise
        except Exception as error:
            if self._is_checked and _is_damage(error):
                raise
            return self._fall_back(error, packet)
        for frame in frames:
            self._dress(frame)
            self._delivered.append(self._stamp(frame))
        self._count += len(frames)
        return frames

    def _choose(self, candidates: Callable[[], Sequence[Candidate]]) -> None:
        context = self._stream.codec_context
        reasons = []
        if not self._must and context.width * context.height < LEAST_PX:
            self.why = "its pictures are small"
            return
        for lacking, make in candidates():
            try:
                if not (lacks := lacking()):
                    self._hardware = make()
                    log.info("%s: decoded by %s", self._source, self._hardware.name)
                    return
            except HardwareError as error:
                lacks = error.what
                if not self._must:
                    log.warning("%s: %s; the CPU decodes", self._source, lacks)
            reasons.append(lacks)
        self.why = "; ".join(dict.fromkeys(reasons))
        if self._must:
            raise self._impossible(self.why)

    def _impossible(self, why: str) -> HopelessError:
        return HopelessError(f"{self._source}: cannot be decoded on a GPU ({why})", "Use --decode auto")

    def _begins(self, packet: Any) -> bool:
        """Whether the hardware has begun, or begins with this packet: before the first key frame nothing decodes."""
        return bool(self._kept or self._let_go or packet.is_keyframe)

    def _keep(self, packet: Any) -> None:
        if packet.size and packet.is_keyframe:
            self._forget(self._needless())
        self._kept.append(packet)
        self._kept_bytes += packet.size
        if self._kept_bytes > _KEPT_BYTES:
            self._forget(len(self._kept) - 1)

    def _needless(self) -> int:
        """How many of the kept packets come before the last two key frames that the pictures still to come refer to."""
        latest = self._delivered[-1] if self._delivered else None
        keys, needless = [0, 0], 0
        for index, packet in enumerate(self._kept):
            if packet.is_keyframe:
                keys = [keys[1], index]
                needless = keys[0]
            stamp = self._stamp(packet)
            if latest is None or (stamp is not None and stamp > latest):
                break
        return needless

    def _forget(self, count: int) -> None:
        self._kept_bytes -= sum(packet.size for packet in self._kept[:count])
        del self._kept[:count]
        self._let_go += count

    def _make_template(self, packet: Any) -> None:
        context: Any = self._stream.codec_context
        depth = getattr(context, "reorder_depth", None)
        frames = packet.decode() + context.decode(None)
        context.flush_buffers()  # for when it must take over
        if depth is not None:
            context.reorder_depth = depth
        if not frames:
            raise HardwareError("its first picture is damaged")
        self._template = frames[0]

    def _checked(self, frames: list[av.VideoFrame]) -> list[av.VideoFrame]:
        """The frames from the first key picture on, which must be the one that the CPU has decoded."""
        while frames and not self._is_checked:
            assert self._template is not None
            wanted, stamp = self._stamp(self._template), self._stamp(frames[0])
            if wanted is not None and stamp is not None and stamp < wanted:  # it refers to what was before
                frames = frames[1:]
                continue
            if stamp != wanted:
                raise HardwareError("its first picture does not come")
            self._dress(frames[0])
            check_first(to_bgr(frames[0]), to_bgr(self._template))
            self._is_checked = True
        known = self._template
        if known is not None and any((frame.width, frame.height) != (known.width, known.height) for frame in frames):
            raise HardwareError("the size of its pictures changes")
        return frames

    def _dress(self, frame: av.VideoFrame) -> None:
        """Give a frame what the container says of colours, where the hardware has not heard of it."""
        known = self._template
        if known is None:
            return
        frame.color_range = frame.color_range or (_JPEG if known.format.name.startswith("yuvj") else known.color_range)
        for fact in ("colorspace", "color_primaries", "color_trc"):
            if getattr(frame, fact) == _UNSPECIFIED:
                setattr(frame, fact, getattr(known, fact))

    def _fall_back(self, error: Exception, packet: Any) -> list[av.VideoFrame]:
        """Let the CPU go on from here. Raises its error for this packet; HopelessError where the GPU must decode."""
        assert self._hardware is not None
        reason = error.what if isinstance(error, SegmentationError) else getattr(error, "strerror", "") or str(error)
        if not self._is_checked and _is_damage(error):
            context = self._stream.codec_context
            reason = f"it does not take this kind of stream: {context.name} {context.width}x{context.height} {context.pix_fmt}"
        name = self._hardware.name
        self.close()
        self._hardware, self._template = None, None
        self.why = f"{name} failed: {reason}"
        if self._must and not self._is_checked:
            raise self._impossible(f"{name}: {reason}")
        log.warning("%s: %s fails (%s); the CPU decodes from here on", self._source, name, reason)
        found, failure = self._again(packet)
        if failure is not None:
            self._waiting = found
            raise failure
        return found

    def _again(self, latest: Any) -> tuple[list[av.VideoFrame], Exception | None]:
        """What is kept, decoded by the CPU: the frames that were not delivered, and what is wrong with the latest packet."""
        frames: list[av.VideoFrame] = []
        failure: Exception | None = None
        for packet in self._kept:
            try:
                frames += packet.decode()
            except Exception as error:
                failure = error if packet is latest else None  # the others' were raised when they were new
        skipped = max(0, self._count - self._let_go)
        delivered = set(self._delivered)
        new = [
            frame
            for index, frame in enumerate(frames)
            if (index >= skipped if (stamp := self._stamp(frame)) is None else stamp not in delivered)
        ]
        self._kept.clear()
        self._delivered.clear()
        return new, failure


def check_first(image: Image, cpus: Image) -> None:
    """Raises HardwareError where the GPU's first picture is another than the CPU's."""
    difference = float(np.abs(image.astype(np.int16) - cpus).mean()) if image.shape == cpus.shape else 255.0
    if difference > _LARGEST_DIFFERENCE:
        raise HardwareError(f"its first picture differs from the CPU's by {difference:.0f} levels")


def _is_damage(error: Exception) -> bool:
    """Whether an error is the packet's, not the decoder's."""
    from av.error import InvalidDataError  # PyAV is loaded: a decoder of it has raised

    return isinstance(error, InvalidDataError)
