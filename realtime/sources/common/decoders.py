"""The decoders outside the CPU that may decode a stream, the best first."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from realtime.sources.common import nvdec, nvv4l2
from realtime.sources.common.hardware import Candidate

if TYPE_CHECKING:
    import av


def candidates(stream: av.VideoStream, options: dict[str, str], is_live: bool) -> list[Candidate]:
    """options: of FFmpeg's decoders."""
    context = stream.codec_context
    codec = context.codec.canonical_name

    def jetsons() -> nvv4l2.Nvv4l2:
        return nvv4l2.Nvv4l2(codec, context.extradata, is_live=is_live, reorders=context.has_b_frames)

    return [(partial(nvdec.lacks, codec), partial(nvdec.Nvdec, stream, options)), (partial(nvv4l2.lacks, codec), jetsons)]
