"""Which of a container's video streams is shown: the one that FFmpeg takes. The others are not read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from realtime.errors import SourceOpenError
from realtime.process.redact import redact

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

_DEFAULT_PX = 5_000_000  # FFmpeg's own bonus for a track that is marked as the default


def pick(container: InputContainer, name: str) -> av.VideoStream:
    """The video stream with the most pixels, those of a default track counting 5 million more. All others are discarded.

    Raises SourceOpenError: nothing but sound, nothing but a cover, or a codec that this FFmpeg does not have.
    """
    videos = container.streams.video
    films = [stream for stream in videos if not (_is(stream, "attached_pic") or _is(stream, "timed_thumbnails"))]
    known = [stream for stream in films if stream.codec_context is not None]
    if not videos:
        raise SourceOpenError(f"{name}: it contains no video", "Give a video file or stream")
    if not films:
        raise SourceOpenError(f"{name}: it contains no video, only a cover picture", "Give a video file or stream")
    if not known:
        codec = codec_name(container, films[0])
        raise SourceOpenError(f"{name}: no decoder here for its codec, {codec}", "Convert it: ffmpeg -i IN -c:v libx264 OUT.mp4")
    chosen = max(known, key=_score)  # of equals the first
    for stream in container.streams:
        if stream is not chosen:
            _discard(stream)
    return chosen


def heard(stream: av.AudioStream) -> str:
    """A sound track in words."""
    context = stream.codec_context
    return f"{context.name}, {context.sample_rate} Hz" if context is not None else "a sound track of an unknown codec"


def codec_name(container: InputContainer, stream: av.VideoStream) -> str:
    """The codec of a stream without decoder as FFmpeg calls it, or else the four letters that the file has."""
    import av.logging  # PyAV says it only in FFmpeg's log, which it keeps switched off

    before = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        text = getattr(container, "dumps_format", str)()
    finally:
        av.logging.set_level(before)
    found = re.search(rf"Stream #0:{stream.index}\b[^\n]*?Video: (\w+)[^\n,]*?(?:\((\S+) / 0x|,|$)", text)
    if found is None:
        return "unknown"
    return redact(found[2] if found[1] == "none" and found[2] else found[1])


def _score(stream: av.VideoStream) -> int:
    if _is(stream, "still_image"):
        return 1
    return stream.codec_context.width * stream.codec_context.height + (_DEFAULT_PX if _is(stream, "default") else 0)


def _is(stream: av.VideoStream, disposition: str) -> bool:
    return bool(stream.disposition & getattr(type(stream.disposition), disposition))


def _discard(stream: av.stream.Stream) -> None:
    """Have the demuxer skip a stream: it neither reads its data where that lies apart, nor fetches its playlist."""
    if hasattr(stream, "discard"):  # PyAV 17 cannot; there unwanted packets are read and dropped
        stream.discard = type(stream.discard).all
