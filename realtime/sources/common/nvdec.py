"""NVIDIA's decoder on a PC, through FFmpeg."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
from av.codec.hwaccel import HWAccel, HWDeviceType

from realtime.codecs.presence import driver_lacks
from realtime.sources.common.hardware import HardwareError

LIBRARY = "libnvcuvid.so.1"
_ON_THE_GPU = "cuda"  # FFmpeg's name of the pixel format


def lacks(codec: str) -> str:
    """Why this codec cannot be decoded so; "" where it may be: the driver may still refuse a profile or a size."""
    if why := driver_lacks(LIBRARY):
        return why
    try:
        is_known = any(config.device_type == HWDeviceType.cuda for config in av.codec.Codec(codec, "r").hardware_configs)
    except av.codec.codec.UnknownCodecError:
        is_known = False
    return "" if is_known else f"FFmpeg decodes no {codec} on an NVIDIA GPU"


class Nvdec:
    """A decoder of its own, fed with the packets of a stream. Its frames are in ordinary memory, as NV12 or P010 mostly."""

    name = "NVDEC"

    @property
    def aspect(self) -> Fraction | None:
        stated: Fraction | None = self._context.sample_aspect_ratio
        return stated

    def __init__(self, stream: av.VideoStream, options: dict[str, str]) -> None:
        """Raises HardwareError: no GPU, or one that another program has for itself."""
        known: Any = stream.codec_context
        try:
            # Not FFmpeg's own fallback: it would decode on one thread, and not say why.
            accelerator = HWAccel(HWDeviceType.cuda, allow_software_fallback=False)
            self._context: Any = av.CodecContext.create(known.codec.canonical_name, "r", accelerator)
        except (av.error.FFmpegError, OSError, ValueError, RuntimeError) as error:
            raise HardwareError(
                f"the NVIDIA GPU cannot be used: FFmpeg reports {getattr(error, 'strerror', '') or error}"
            ) from error
        context = self._context
        context.extradata = known.extradata
        context.options = dict(options)
        context.thread_count = 1  # the GPU decodes; more threads would hold back pictures and surfaces
        if hasattr(known, "reorder_depth"):  # newer than PyAV 17.0
            context.reorder_depth = known.reorder_depth

    def decode(self, packet: Any) -> list[av.VideoFrame]:
        """Raises what PyAV raises, and HardwareError where FFmpeg has left the GPU."""
        frames: list[av.VideoFrame] = self._context.decode(packet)
        if frames and self._context.pix_fmt != _ON_THE_GPU:
            raise HardwareError("the GPU does not decode this kind of stream")
        return frames

    def close(self) -> None:
        self._context = None  # the last reference frees the decoder and its CUDA context
