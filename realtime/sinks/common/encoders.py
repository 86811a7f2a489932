"""H.264 encoders: pictures in, packets for a muxer out. FFmpeg's, among them a PC's NVENC; a Jetson's through a GStreamer child.

None makes B-frames of its own accord: pictures are shown in the order in which they are coded.
"""

from __future__ import annotations

import io
import logging
import subprocess
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any, Protocol, cast

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.video.frame import PictureType

from engines.types import U8, Size
from realtime.codecs.gdp import Buffer
from realtime.codecs.gst_codec import ChildError, GstCodec
from realtime.codecs.gst_errors import first_error, shortened
from realtime.codecs.presence import LAUNCH, LEAST_PX, driver_lacks, gstreamer_lacks, has_property
from realtime.errors import SinkError

log = logging.getLogger(__name__)

TICKS_PER_S = 60_000
"""Holds 24, 25, 30, 50, 60 fps and NTSC's 30000/1001 exactly, and MPEG-4 Part 2 cannot count beyond 65535."""
MAX_KEYFRAME_GAP_S = 2.0

ENCODERS: dict[str, dict[str, str]] = {
    # A frame of a 720p road clip: ultrafast 5 ms of CPU, 15 kB, 40.9 dB; superfast 11 ms, 13 kB, 41.6 dB; veryfast 18 ms, 7 kB,
    # 40.5 dB. The model needs the CPU; disk space is cheap.
    "libx264": {"preset": "ultrafast", "crf": "23", "forced-idr": "1"},
    "libopenh264": {"b": "6000000"},
    "mpeg4": {"qscale": "3"},
}
"""The CPU's encoders → their options, best first. The first that this PyAV was built with is used."""

NVENC, NVV4L2 = "h264_nvenc", "nvv4l2h264enc"
# Constant quality as libx264's: without "b" the rate would be FFmpeg's default of 2 Mbit/s.
_NVENC_OPTIONS = {"preset": "p4", "rc": "vbr", "cq": "23", "b": "0", "bf": "0", "forced-idr": "1", "delay": "0"}
_NVENC_LIBRARY = "libnvidia-encode.so.1"

_CONVERTER = "nvvidconv"
_PIPE = ("h264parse", "gdppay", "gdpdepay", "fdsrc", "fdsink")
_NVV4L2_PROPERTIES = {
    "ratecontrol-enable": "0",
    "quant-i-frames": "23",
    "quant-p-frames": "25",
    "insert-sps-pps": "1",
    "num-B-Frames": "0",
}
_KEY_FRAME_PROPERTIES = ("iframeinterval", "idrinterval")
_MOST_INSIDE = 8
_TRY_S, _FINISH_S = 15.0, 1.5  # the end of the program may take 2 s

LIMITED_RANGE, BT601 = 1, 6
"""FFmpeg's numbers for what `cv2.COLOR_BGR2YUV_I420` makes. Without them players assume BT.709 for HD and shift the colours."""
_STATE_COLOURS = f"h264_metadata=matrix_coefficients={BT601}:video_full_range_flag=0"


class Encoder(Protocol):
    """One stream of one container. One thread."""

    def encode(self, yuv: U8, tick: int, *, is_key: bool) -> list[Any]:
        """Packets that are ready. yuv: (H * 3 / 2, W) uint8, planar 4:2:0. Raises av.FFmpegError or ChildError."""
        ...

    def finish(self) -> list[Any]:
        """The last packets."""
        ...

    def close(self) -> None: ...


class FfmpegEncoder:
    """An encoder of FFmpeg's."""

    def __init__(self, name: str, container: av.container.OutputContainer, size: Size, fps: float) -> None:
        rate = Fraction(fps).limit_denominator(1001)
        self._stream = cast(av.VideoStream, container.add_stream(name, rate=rate, options=_options(name)))
        self._stream.time_base = Fraction(1, TICKS_PER_S)
        _set_up(self._stream.codec_context, size, fps)

    def encode(self, yuv: U8, tick: int, *, is_key: bool) -> list[Any]:
        frame = av.VideoFrame.from_ndarray(yuv, format="yuv420p")
        frame.pts, frame.time_base = tick, Fraction(1, TICKS_PER_S)
        if is_key:
            frame.pict_type = PictureType.I
        return list(self._stream.encode(frame))

    def finish(self) -> list[Any]:
        return list(self._stream.encode(None))

    def close(self) -> None:
        """FFmpeg frees it with the container."""


class Nvv4l2Encoder:
    """A Jetson's. Its stream is added to the container with its first packet, which has the parameter sets."""

    def __init__(self, container: av.container.OutputContainer, size: Size, fps: float) -> None:
        """Raises ChildError."""
        self._container, self._size = container, size
        self._ticks: deque[int] = deque()  # of the pictures inside: the driver's own times are not those that went in
        self._stream: Any = None
        self._filter: Any = None
        rate = Fraction(fps).limit_denominator(1001)
        caps = (
            f"video/x-raw, format=(string)I420, width=(int){size.width}, height=(int){size.height}, "
            f"framerate=(fraction){rate.numerator}/{rate.denominator}, pixel-aspect-ratio=(fraction)1/1"
        )
        self._child = GstCodec(caps, nvv4l2_pipeline(fps), _MOST_INSIDE)

    def encode(self, yuv: U8, tick: int, *, is_key: bool) -> list[Any]:
        """is_key: not heard; its own key frames come as often, in frames."""
        self._ticks.append(tick)
        self._child.put(laid_out(yuv, self._size).data, round(tick * 1_000_000_000 / TICKS_PER_S))
        return list(self._packets(self._child.taken()))

    def finish(self) -> list[Any]:
        try:
            found = list(self._packets(self._child.finish(_FINISH_S)))
        except ChildError as error:
            found = list(self._packets(self._child.left()))
            log.warning("%s: the last %d pictures are not in the file (%s)", NVV4L2, len(self._ticks), error.what)
        if self._stream is None:
            raise ChildError(f"{NVV4L2} gives no packet")
        return found

    def close(self) -> None:
        self._child.close()

    def _packets(self, buffers: list[Buffer]) -> Iterator[Any]:
        for buffer in buffers:
            packet: Any = av.Packet(buffer.data.tobytes())
            packet.is_keyframe = _begins_with_parameters(buffer.data)
            if self._filter is None:
                with _parsed(packet) as parsed:
                    self._filter = BitStreamFilterContext(_STATE_COLOURS, parsed.streams.video[0])
            for made in self._filter.filter(packet):
                if self._stream is None:
                    self._begin(made)
                made.time_base = Fraction(1, TICKS_PER_S)
                made.pts = made.dts = self._ticks.popleft()
                made.stream = self._stream
                yield made

    def _begin(self, first: Any) -> None:
        """Add a stream that says of itself what the first packet says."""
        with _parsed(first) as parsed:
            self._stream = self._container.add_stream_from_template(parsed.streams.video[0])
        self._stream.time_base = Fraction(1, TICKS_PER_S)


def cpus_encoder() -> str:
    """The first of ENCODERS that this PyAV has. Raises SinkError when it has none."""
    if not (name := next(filter(_exists, ENCODERS), "")):
        raise SinkError(f"this PyAV can write none of {', '.join(ENCODERS)}", "Install the one from PyPI: pip install av")
    return name


def _the_cpus() -> str:
    if (name := cpus_encoder()) != next(iter(ENCODERS)):
        log.warning("this PyAV has no libx264: video is written with %s, which looks worse at the same size", name)
    return name


def check_encoder(choice: str) -> None:
    """Before any work. Raises SinkError where nothing can encode, or no GPU where one must."""
    cpus_encoder()
    if choice == "gpu" and (lacks := _nvenc_lacks()) and (lacks_too := _nvv4l2_lacks()):
        raise _impossible([lacks, lacks_too])


def _impossible(reasons: list[str]) -> SinkError:
    return SinkError(f"video cannot be encoded on a GPU ({'; '.join(dict.fromkeys(reasons))})", "Use --encoder auto")


def chosen(choice: str, size: Size, fps: float) -> str:
    """The encoder for pictures of this size: the GPU's where there is one that works, else the CPU's. choice: `Settings.encoder`.

    Raises SinkError where the GPU must encode and cannot.
    """
    if choice == "cpu" or (choice == "auto" and size.width * size.height < LEAST_PX):
        return _the_cpus()
    reasons = []
    for name, lacks, fails in ((NVENC, _nvenc_lacks, _nvenc_fails), (NVV4L2, _nvv4l2_lacks, _nvv4l2_fails)):
        if not (why := lacks()):
            if not (why := fails(size, fps)):
                log.info("encoded by %s", name)
                return name
            if choice == "auto":
                log.warning("%s does not encode (%s); the CPU does", name, why)
        reasons.append(why)
    if choice == "gpu":
        raise _impossible(reasons)
    log.info("encoded by the CPU (%s)", "; ".join(dict.fromkeys(reasons)))
    return _the_cpus()


def opened(name: str, container: av.container.OutputContainer, size: Size, fps: float) -> Encoder:
    """Raises av.FFmpegError or ChildError."""
    return Nvv4l2Encoder(container, size, fps) if name == NVV4L2 else FfmpegEncoder(name, container, size, fps)


def nvv4l2_pipeline(fps: float) -> str:
    """The elements from I420 to H.264, each packet a picture, parameter sets before each key frame."""
    gap = str(max(1, round(fps * MAX_KEYFRAME_GAP_S)))
    wanted = {**_NVV4L2_PROPERTIES, **dict.fromkeys(_KEY_FRAME_PROPERTIES, gap)}
    facts = "".join(f" {key}={value}" for key, value in wanted.items() if has_property(NVV4L2, key))
    return (
        f"{_CONVERTER} ! video/x-raw(memory:NVMM),format=NV12 ! {NVV4L2}{facts} "
        "! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au"
    )


def laid_out(yuv: U8, size: Size) -> U8:
    """(H * 3 / 2, W) planar 4:2:0 as GStreamer has it, rows padded to four bytes; the same array where they need no padding."""
    width, height = size.width, size.height
    if width % 8 == 0:
        return yuv
    luma, chroma = -(-width // 4) * 4, -(-(width // 2) // 4) * 4
    found = np.zeros(luma * height + chroma * height, np.uint8)
    flat, half = yuv.ravel(), height // 2
    at, to = width * height, luma * height
    found[:to].reshape(height, luma)[:, :width] = flat[:at].reshape(height, width)
    for plane in range(2):
        rows = flat[at + plane * half * (width // 2) :][: half * (width // 2)].reshape(half, width // 2)
        found[to + plane * half * chroma :][: half * chroma].reshape(half, chroma)[:, : width // 2] = rows
    return found


def _set_up(codec: Any, size: Size, fps: float) -> None:
    codec.width, codec.height, codec.pix_fmt = size.width, size.height, "yuv420p"
    codec.color_range, codec.colorspace = LIMITED_RANGE, BT601
    codec.time_base = Fraction(1, TICKS_PER_S)
    codec.gop_size = max(1, round(fps * MAX_KEYFRAME_GAP_S))
    codec.thread_count = 2  # enough for 1080p at 60 fps; each thread holds back a picture and takes memory


def _options(name: str) -> dict[str, str]:
    return _NVENC_OPTIONS if name == NVENC else ENCODERS[name]


def _exists(name: str) -> bool:
    try:
        av.codec.Codec(name, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def _nvenc_lacks() -> str:
    return driver_lacks(_NVENC_LIBRARY) or ("" if _exists(NVENC) else f"this PyAV has no {NVENC}")


def _nvenc_fails(size: Size, fps: float) -> str:
    """Why it does not open, although it is there: a GPU without an encoder, all sessions in use, a size; "" where it does."""
    try:
        codec: Any = av.CodecContext.create(NVENC, "w")
        _set_up(codec, size, fps)
        codec.options = _NVENC_OPTIONS
        codec.open()
    except (av.error.FFmpegError, OSError, ValueError) as error:
        return f"FFmpeg reports {getattr(error, 'strerror', '') or error}"
    return ""


def _nvv4l2_lacks() -> str:
    return gstreamer_lacks(NVV4L2, _CONVERTER, *_PIPE)


@lru_cache(maxsize=8)
def _nvv4l2_fails(size: Size, fps: float) -> str:
    """Why it does not encode, although its element is there, as on an Orin Nano, which has no encoder; "" where it does."""
    words = f"videotestsrc num-buffers=8 ! video/x-raw,format=I420,width={size.width},height={size.height},framerate=30/1"
    line = [LAUNCH, "-q", *f"{words} ! {nvv4l2_pipeline(fps)} ! fakesink".split()]
    try:
        done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TRY_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "no answer" if isinstance(error, subprocess.TimeoutExpired) else str(error)
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
    return shortened(first_error(lines) or (lines or ["without a message"])[-1].strip()) if done.returncode else ""


def _parsed(packet: Any) -> av.container.InputContainer:
    """What FFmpeg reads out of one key picture with its parameter sets."""
    return av.open(io.BytesIO(bytes(packet)), "r", format="h264")


def _begins_with_parameters(data: U8) -> bool:
    """Whether an H.264 picture in byte-stream format has a sequence parameter set before it: those of key frames have."""
    head = data[:64].tobytes()
    return 7 in {head[at + 3] & 31 for at in range(len(head) - 3) if head[at : at + 3] == b"\0\0\1"}
