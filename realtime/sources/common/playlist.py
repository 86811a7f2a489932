"""HLS playlists: which variant to open, so that FFmpeg, which opens all of them, fetches only that one; whether it goes on."""

from __future__ import annotations

import re
from typing import NamedTuple

MOST_BYTES = 1 << 20
START = b"#EXTM3U"

_LONGEST = re.compile(rb"#EXT-X-TARGETDURATION:\s*(\d{1,6})")
_LONGEST_S = 20.0
_VARIANT = "#EXT-X-STREAM-INF:"
_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)')
_VIDEO_CODECS = ("avc", "hvc", "hev", "dvh", "dva", "av01", "vp0", "vp8", "vp9", "mp4v", "mp2v", "jpeg")


class Variant(NamedTuple):
    """One quality of a stream. pixels: 0 where the playlist does not say. uri: as written, mostly relative."""

    has_video: bool
    pixels: int
    bits_per_s: int
    uri: str


def variants(data: bytes) -> list[Variant]:
    """The variants of a master playlist, best first: most pixels, then most bits per second. Empty for any other text."""
    if not data.lstrip(b"\xef\xbb\xbf").startswith(START):
        return []
    found: list[Variant] = []
    facts: dict[str, str] | None = None
    for line in (line.strip() for line in data.decode("utf-8", "replace").splitlines()):
        if line.startswith(_VARIANT):
            facts = {key: value.strip('"') for key, value in _ATTRIBUTE.findall(line.removeprefix(_VARIANT))}
        elif line and not line.startswith("#") and facts is not None:
            found.append(_variant(facts, line))
            facts = None
    return sorted(found, key=lambda variant: variant[:3], reverse=True)


def is_complete(data: bytes) -> bool:
    """Whether a media playlist is a recording's: nothing is added to it any more."""
    return any(line.strip() == b"#EXT-X-ENDLIST" for line in data.splitlines())


def newest_piece(data: bytes) -> str:
    """The last piece that a media playlist lists, as written; empty where it lists none."""
    pieces = [line for line in data.decode("utf-8", "replace").split("\n") if line.strip() and not line.startswith("#")]
    return pieces[-1].strip() if pieces else ""


def piece_s(data: bytes) -> float:
    """How long its pieces are at the most; 6 s, which Apple recommends, where the playlist does not say."""
    found = _LONGEST.search(data)
    return min(float(found[1]), _LONGEST_S) if found else 6.0


def _variant(facts: dict[str, str], uri: str) -> Variant:
    width, _, height = facts.get("RESOLUTION", "").partition("x")
    pixels = int(width) * int(height) if width.isdecimal() and height.isdecimal() else 0
    bandwidth = facts.get("BANDWIDTH", "")
    codecs = facts.get("CODECS", "")
    has_video = bool(pixels) or not codecs or any(codec.strip().startswith(_VIDEO_CODECS) for codec in codecs.split(","))
    return Variant(has_video, pixels, int(bandwidth) if bandwidth.isdecimal() else 0, uri)
