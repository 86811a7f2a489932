"""Video through PyAV: one container's video stream, decoded picture by picture. Here `av` is imported, and its errors end."""

import logging
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import av
import av.error
import numpy.typing as npt

from engines.pictures.pixels import Scratch
from engines.pictures.raw import RawPicture
from engines.pictures.reading import MAX_PIXELS
from engines.types import Size
from realtime.errors import SourceLostError, SourceOpenError
from realtime.sources.common.base import Picture, counted, described, now_ns, unexpected
from realtime.sources.common.colour import colour_notes, raw_of, to_bgr
from realtime.sources.common.decoders import candidates
from realtime.sources.common.feed import RefusedError, Timeouts
from realtime.sources.common.ffmpeg_errors import explain, reason_of
from realtime.sources.common.geometry import (
    UPRIGHT,
    FrameAspect,
    plausible_aspect,
    square_size,
    turn_of,
    turned,
    with_square_pixels,
)
from realtime.sources.common.hardware import StreamDecoder
from realtime.sources.common.numbering import Numbering
from realtime.sources.common.picking import heard, pick
from realtime.sources.common.uri import Decode

log = logging.getLogger(__name__)

_MAX_BASE_FPS = 120  # more is no rate, but the unit of stamps that never repeat a step
_EASY_PX = 1280 * 720  # decoded in a few milliseconds by one thread
_GENPTS = 0x0001  # AVFMT_FLAG_GENPTS
_LIMITS = {"max_pixels": str(MAX_PIXELS)}  # a decoder makes room for what a damaged header declares
_SWALLOWED_S = 1.0
_KEY_FRAME_WITHIN_S = 30.0  # a stream that is joined between two of them shows nothing until the next
_NO_MEMORY = -4  # cv2.error.code
_MAX_READ_ERRORS = 50  # in a row; a damaged file has a few, an unreadable one has nothing else

# FFmpeg's own limits are 10 s for formats that may be joined from pieces with different clocks, and 30 h for all others. A camera
# that records on motion may stand still for minutes in either, while a joint jumps by any time up to 26 h.
_MAX_GAP_S, _MAX_JOINED_GAP_S = 30 * 3600.0, 3600.0
_INDEXED_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "avi")
_JOINED_FORMATS = ("mpegts", "mpeg", "hls", "rtsp")


class VideoStream:
    """The best video stream of a file or URL; nothing else of it is read. Used on one thread.

    fps, frame_count, duration_s: from the container, or None. description: "1280x720 h264 25 fps".
    damaged: packets and pictures that did not decode.
    broken:  why reading ended before the container's end, or "".
    sound:   the sound tracks, "aac, 48000 Hz", or "".
    end_s:   stream time at which the last picture ends.
    max_gap_s: a longer gap between two time stamps is no time that passed.
    """

    def __init__(
        self,
        location: str,
        name: str,
        *,
        is_live: bool,
        options: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        decode: Decode = "auto",
    ) -> None:
        """Open and probe. Raises SourceOpenError: not found, not a video, refused, no answer in time, no GPU that must decode."""
        self._name, self._is_live = name, is_live
        self._read_timeout_s = timeouts.read_s if timeouts else None
        open_timeout_s = timeouts.open_s if timeouts else None
        self.damaged = 0
        self.broken = ""
        self.end_s = 0.0
        self._first_damage_s: float | None = None
        self._noted: set[str] = set()
        self._scratch: Scratch = {}
        started_s = time.monotonic()
        try:
            given = {**_LIMITS, **(options or {})}
            self._container = av.open(location, options=given, timeout=timeouts, metadata_errors="replace")
        except (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError):
            raise RefusedError(name) from None
        except Exception as error:  # also IndexError, UnicodeDecodeError, MemoryError ...
            # An interrupted open returns with any of several errors; only the elapsed time identifies a time-out.
            timed_out = open_timeout_s is not None and time.monotonic() - started_s > 0.95 * open_timeout_s
            reason = TimeoutError() if timed_out else error
            raise SourceOpenError(*explain(name, reason, open_timeout_s)) from None
        try:
            self._stream = pick(self._container, name)
            if not is_live:
                # PyAV has FFmpeg invent presentation times that a container lacks (AVI with B-frames): in the wrong order.
                self._container.flags &= ~_GENPTS
            # Frame threads are fastest, but delay by as many frames as there are threads, and after an error in the last packets
            # PyAV gives up what they hold. Slice threads delay by none.
            context = self._stream.codec_context
            self._stream.thread_type = "SLICE" if is_live or context.width * context.height <= _EASY_PX else "AUTO"
            self._stream.codec_context.options = dict(_LIMITS)
            self._read_facts()
            self._decoder = StreamDecoder(
                self._stream, name, decode, partial(candidates, self._stream, _LIMITS, is_live), self._numbering.stamp
            )
        except SourceOpenError:
            self._container.close()
            raise
        except Exception as error:
            self._container.close()
            raise SourceOpenError(*explain(name, error, open_timeout_s)) from None

    def _read_facts(self) -> None:
        stream, container = self._stream, self._container
        context = stream.codec_context
        if context.width * context.height > MAX_PIXELS:
            what = (
                f"{self._name}: declares {context.width}x{context.height} pixels; read are at most {MAX_PIXELS / 1e6:.0f} million"
            )
            raise SourceOpenError(what, "Scale it down")
        average, base = stream.average_rate or context.framerate, stream.base_rate
        # A gap lowers the average. Half of the base rate is an interlaced stream's, two fifths are a film's on television.
        has_gap = bool(average and base and average < 0.35 * base and base <= _MAX_BASE_FPS)
        rate = base if has_gap else average
        self.fps = float(rate) if rate and 0 < rate <= 1000 else None
        duration_s = float(container.duration / 1_000_000) if container.duration else 0.0
        if container.format.name == "matroska,webm":  # which counts from zero, also where the pictures begin later
            duration_s -= max(0.0, (container.start_time or 0) / 1_000_000)
        if stream.duration and stream.time_base:
            duration_s = float(stream.duration * stream.time_base)
        self.duration_s = duration_s if duration_s > 0 else None
        guessed = round(duration_s * float(average or 0)) if self.duration_s else 0
        self.frame_count: int | None = stream.frames or guessed or None
        interval: float | None = None
        if average and base and stream.time_base and abs(average - base) < 0.01 * base:
            interval = float(1 / average / stream.time_base)
        self._numbering = Numbering(interval, is_indexed=container.format.name in _INDEXED_FORMATS)
        self.max_gap_s = _MAX_JOINED_GAP_S if container.format.name in _JOINED_FORMATS else _MAX_GAP_S
        aspect = plausible_aspect(stream.sample_aspect_ratio)
        self._aspects = FrameAspect(aspect)
        # Where the two differ, it is the container's, which players prefer.
        self._container_aspect = aspect if aspect != plausible_aspect(context.sample_aspect_ratio) else None
        shown = square_size(Size(context.width, context.height), aspect)
        self.sound = ", ".join(heard(one) for one in container.streams.audio)
        stored = f", stored as {context.width}x{context.height}" if shown != Size(context.width, context.height) else ""
        self.description = described(shown.width, shown.height, context.name, self.fps) + stored

    def pictures(self) -> Iterator[Picture]:
        """The pictures that decode, in order, to the end. Undecodable packets are counted in `damaged` and skipped.

        A recording's have their numbers, and seconds from picture 0; a live stream's have the stream's own seconds, and are
        without an image for packets that do not decode.
        Raises SourceLostError when a network stream delivers nothing for the read time-out, no key frame within 30 s,
        breaks, or needs more memory than there is. A damaged file only ends; `broken` has the reason.
        """
        begun_ns = last_ns = now_ns()
        has_begun = False
        for packet in self._packets():
            received_ns = now_ns()
            self._numbering.feed(packet)
            if self._container_aspect is None:
                self._aspects.feed(packet)
            damaged = self.damaged
            has_begun = has_begun or packet.is_keyframe
            for frame in self._decoded(packet):
                picture = self._picture(frame, received_ns)
                if picture is not None:
                    last_ns, has_begun = received_ns, True
                    yield picture
            if self._is_live and not has_begun:  # joined between two key frames: what comes before the next is no damage
                self._wait_for_key_frame((received_ns - begun_ns) / 1e9)
                last_ns = received_ns
                continue
            # A decoder may also swallow packets without a word, but not its first few.
            if self._is_live and (self.damaged > damaged or received_ns - last_ns > _SWALLOWED_S * 1e9):
                yield Picture(None, None, received_ns, why="a packet that does not decode")
        self._numbering.finish()

    @property
    def decoder(self) -> str:
        """What decodes now: "CPU", or the GPU's decoder by name."""
        return self._decoder.name

    def close(self) -> None:
        self._decoder.close()
        self._container.close()

    def _wait_for_key_frame(self, waited_s: float) -> None:
        if waited_s > _KEY_FRAME_WITHIN_S:
            what = f"{self._name}: no key frame within {_KEY_FRAME_WITHIN_S:g} s"
            raise SourceLostError(what, "Set a shorter key frame interval in the camera")
        note = "waiting for a key frame"
        if waited_s > _SWALLOWED_S and note not in self._noted:
            self._noted.add(note)
            log.warning("%s: %s", self._name, note)

    def _decoded(self, packet: Any) -> list[av.VideoFrame]:
        try:
            frames = self._decoder.decode(packet)
        except EOFError:  # it has been flushed
            return []
        except SourceOpenError:
            raise
        except Exception as error:
            self._numbering.fail()
            self._note_damage(f"packet at byte {packet.pos}", error)
            frames = []
        return frames

    def _picture(self, frame: av.VideoFrame, received_ns: int) -> Picture | None:
        stamp, base, pts_s = self._numbering.stamp(frame), frame.time_base, None
        if self._numbering.is_late(stamp):
            return None
        number = self._numbering.number(stamp)
        if stamp is not None and base is not None:
            pts_s = float((stamp - (self._numbering.start or 0)) * base)
            self.end_s = pts_s + (1 / self.fps if self.fps else 0.0)
            if self._is_live:
                pts_s = float(stamp * base)
        try:
            image = self._shown(frame)
        except Exception as error:
            self._note_damage(f"picture {number}", error)
            return None
        return Picture(image, pts_s, received_ns, None if self._is_live else number)

    def _shown(self, frame: av.VideoFrame) -> npt.NDArray[Any] | RawPicture:
        """One decoded frame as players show it, with square pixels, upright; raw, if it needs no change for that."""
        look = self._decoder.look(frame)
        for note in (*colour_notes(frame), *(["interlaced video is not deinterlaced"] if look.interlaced_frame else [])):
            if note not in self._noted:
                self._noted.add(note)
                log.warning("%s: %s", self._name, note)
        aspect = self._container_aspect
        if aspect is None:
            aspect = self._aspects.of(frame.pts, self._decoder.aspect)
        turn, stored = turn_of(look), Size(frame.width, frame.height)
        if turn == UPRIGHT and square_size(stored, aspect) == stored and (raw := raw_of(frame)) is not None:
            return raw
        return turned(with_square_pixels(to_bgr(frame, self._scratch), aspect), turn)

    def _note_damage(self, place: str, error: Exception) -> None:
        if isinstance(error, MemoryError) or getattr(error, "code", None) == _NO_MEMORY:  # of FFmpeg or Python, of OpenCV
            raise SourceLostError(*unexpected(self._name, MemoryError())) from None
        self.damaged += 1
        if self._first_damage_s is None:
            self._first_damage_s = self.end_s
        log.debug("%s: %s does not decode, after %.2f s: %s", self._name, place, self.end_s, reason_of(error)[0])

    def _packets(self) -> Iterator[Any]:
        """The stream's packets, and an empty one at the end, which flushes the decoder."""
        errors = 0
        last_s = time.monotonic()
        while True:
            try:
                for packet in self._container.demux(self._stream):
                    errors = 0
                    yield packet
                    last_s = time.monotonic()
                return
            except Exception as error:  # damage; also IndexError, where a stream appears that was not in the header
                is_damage = isinstance(error, av.error.InvalidDataError) or not isinstance(error, (OSError, av.error.FFmpegError))
                limit_s = self._read_timeout_s
                if limit_s is not None and (not is_damage or time.monotonic() - last_s > 0.95 * limit_s):
                    raise SourceLostError(*explain(self._name, TimeoutError() if is_damage else error, limit_s)) from None
                errors += 1
                self._note_damage("a piece of the container", error)
                if errors > _MAX_READ_ERRORS or isinstance(error, OSError):
                    self.broken = reason_of(error)[0]
            if self.broken:
                flush = av.Packet()
                flush.stream = self._stream
                yield flush
                return

    def damage_report(self) -> str:
        """The damage found in the stream, as one line; empty when there was none."""
        parts = []
        missing_s = (self.duration_s or 0.0) - self.end_s
        is_short = self.duration_s is not None and missing_s > max(0.5, 0.03 * self.duration_s)
        if is_short or self.broken:
            reason = f" ({self.broken})" if self.broken else ""
            parts.append(f"ended early: at {self.end_s:.1f} of {self.duration_s or 0.0:.1f} s{reason}")
        if self.damaged:
            place = f", the first after {self._first_damage_s:.1f} s" if self._first_damage_s is not None else ""
            parts.append(f"{counted(self.damaged, 'damaged packet')} skipped{place}")
        if self._numbering.lost:
            parts.append(f"{counted(self._numbering.lost, 'picture')} lost")
        return ", ".join(parts)
