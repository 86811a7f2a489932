"""What of an address may be shown: an allow-list. Everything that is not known to be harmless is hidden.

Cameras and servers take passwords under any key, in any part of a path and after `#`; a list of what is secret is never complete.
"""

import re
from collections.abc import Callable

HIDDEN = "***"

_NUMBERS = """
width height fps seed seconds flip timeout_s open_timeout_s objects pan shake crossings occluders wait w h x y q
compression bitrate maxbitrate rate framerate interval duration start end rotation rotate latency buffer listen pkt_size
maxbw ttl timestamp index page
"""
_WORDS_AND_NUMBERS = """
loop live transport size res resolution quality channel channels channelno ch chn stream streamtype stream_type subtype
substream sub profile profileid camera cam cameraid camid camno input view preset track mode type proto protocol
protocols unicast multicast mcast codec vcodec acodec videocodec audiocodec audio video format fmt container encoding
color mirror reconnect tcp udp action cmd command overlay date time enablesrtp
"""
_PROPERTIES = """
device location uri name sync drop max-buffers max-size-buffers max-size-bytes max-size-time leaky is-live num-buffers
pattern sensor-id sensor-mode flip-method method io-mode do-timestamp drop-on-latency ntp-sync tcp-timeout blocksize fd
caps enable-max-performance skip-to-first-frame add-borders n-threads max-threads max-errors qos throttle-time
interlace-mode pixel-aspect-ratio colorimetry stream-type port auto-multicast retry exposuretimerange gainrange wbmode
background emit-signals silent media clock-rate encoding-name payload config-interval byte-stream alignment
"""
_VALUES = """
tcp udp udp_multicast unicast multicast mcast http https rtsp rtp srtp main sub subs mainstream substream first second third
primary secondary high medium mid low hd fhd uhd qhd sd full half best worst auto default none any all true false yes no on off
live replay playback stream streaming start stop play preview snapshot image jpeg jpg mjpeg mjpg mpeg png gif bmp webp h h264 h265
hevc avc av vp aac mp opus pcm pcmu pcma g ulaw alaw ts mkv flv mov webm hls dash raw yuv yuyv nv rgb bgr gray grey color colour
left right top bottom front back rear door in out inside outside indoor outdoor north south east west day night cam camera channel
ch profile track preset view video audio text date time vga qvga cif qcif d p i x k fps kbps media
"""
NUMBER_KEYS = frozenset(_NUMBERS.split())
HARMLESS_KEYS = NUMBER_KEYS | frozenset(_WORDS_AND_NUMBERS.split())
"""Keys of a query, of options and of a path whose values are shown, in lower case; of the first only numbers."""

PIPELINE_KEYS = HARMLESS_KEYS | frozenset(_PROPERTIES.split())
"""Properties of GStreamer's elements, and fields of caps, that are shown."""

LOCAL_SCHEMES = frozenset({"file", "images", "sample", "synthetic", "webcam", "csi"})
"""Their paths are of this machine, and shown."""

STREAM_KEY_SCHEMES = frozenset({"rtmp", "rtmps", "rtmpt", "rtmpe", "rtmpte", "srt"})
"""The last parts of their paths are the key to the stream."""

_MARKERS = re.compile(
    r"(?:^|[^a-z])(?:access|share|stream|api|auth|private|session)?[-_]?(?:token|secret|passw(?:or)?d|passcode|pass|pwd|psw|key|keys|auth"
    r"|hdnts|hdnea|sig|signature|jwt|sess|session|credentials?)(?:$|[^a-z])|^j?sessionid|^token|^secret|^passw"
)
_HARMLESS_VALUES = frozenset(_VALUES.split())
_SHOWN_VALUE = re.compile(r"[\w.,:+/-]{0,24}", re.ASCII)
_SHOWN_NUMBER = re.compile(r"[\d.,:x+-]{0,24}", re.ASCII)
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_JOINERS = re.compile(r"[._\-+,()\[\]~!* %]+")
_LONGEST_WORD, _LONGEST_NUMBER, _LONGEST_PART, _MOST_WORDS = 16, 8, 48, 4
_ALWAYS_PLAIN = 5
"""Characters: `m3u8` is no secret."""
_PARAMETER = re.compile(r"[&;,_]")


def shown_address(address: str, on_hidden: Callable[[str], None] = lambda _: None) -> str:
    """One whole address, "scheme://...", as it may be shown. on_hidden: called with each text that is left out.

    Shown are scheme, host and port, ordinary parts of the path, and the values of harmless keys.
    """
    scheme, mark, rest = address.partition("://")
    is_local = scheme.lower() in LOCAL_SCHEMES
    user, at, rest = rest.rpartition("@") if not is_local else ("", "", rest)
    if at and user != HIDDEN:
        for part in (user, *user.split(":", 1)[1:]):
            on_hidden(part)
    before, hash_mark, fragment = rest.partition("#")
    before, question, query = before.partition("?")
    host, slash, path = before.partition("/")
    if not is_local:
        path = _path(path, on_hidden, is_key=scheme.lower() in STREAM_KEY_SCHEMES)
    return "".join(
        (
            scheme + mark,
            HIDDEN + at if at else "",
            _host(host, on_hidden) if not is_local else host,
            slash + path,
            question + shown_pairs(query, on_hidden),
            hash_mark + shown_pairs(fragment, on_hidden),
        )
    )


def shown_pipeline(text: str, on_hidden: Callable[[str], None] = lambda _: None) -> str:
    """A GStreamer pipeline as it may be shown: of its properties only the harmless, addresses as `shown_address` shows them."""

    def shown(match: re.Match[str]) -> str:
        key, value = match[1], match[2]
        bare = value.strip("\"'")
        if "://" in bare:
            return f"{key}={shown_address(bare, on_hidden)}"
        if key.lower() in PIPELINE_KEYS:
            return match[0]
        on_hidden(bare)
        return f"{key}={HIDDEN}"

    return re.sub(r"""(?<![\w-])([A-Za-z][\w-]*)\s*=\s*("(?:\\.|[^"])*"|'[^']*'|[^\s"',!;]+)""", shown, text)


def _host(host: str, on_hidden: Callable[[str], None]) -> str:
    """A host may be followed by parameters, as in `camera;token=1`; behind its colon is a number, or half of a login."""
    name, mark, rest = host.partition(";")
    start = name.rfind("]") + 1  # of what follows an IPv6 address
    before, colon, port = name[start:].partition(":")
    if colon and port != HIDDEN and not (port.isascii() and (port.isdigit() or not port)):
        on_hidden(port)
        port = HIDDEN
    return name[:start] + before + colon + port + mark + shown_pairs(rest, on_hidden)


def _path(path: str, on_hidden: Callable[[str], None], *, is_key: bool) -> str:
    parts = path.split("/")
    shown: list[str] = []
    is_after_marker = False
    for index, part in enumerate(parts):
        if part and (is_after_marker or (is_key and index)):
            on_hidden(part)
            shown.append(HIDDEN)
            is_after_marker = False
        else:
            shown.append(_part(part, on_hidden))
            is_after_marker = bool(part) and bool(_MARKERS.search(part.lower()))
    return "/".join(shown)


def _part(part: str, on_hidden: Callable[[str], None]) -> str:
    """A part of a path. `;key=value` and `user=a_password=b` in it are treated as pairs, `user:password` as what it is."""
    if part in ("", HIDDEN):
        return part
    plain, semicolon, parameters = part.partition(";")
    if semicolon:
        return _part(plain, on_hidden) + semicolon + shown_pairs(parameters, on_hidden)
    if "=" in part:
        return shown_pairs(part, on_hidden, within=_PARAMETER)
    if ":" in part or not _is_plain(part):
        on_hidden(part)
        return HIDDEN
    return part


def _is_plain(part: str) -> bool:
    """Whether a part is made of words and numbers, as names are: `h264Preview_01_main`, not `tJ7xQ2mB9zR`."""
    if len(part) > _LONGEST_PART or "%" in part:
        return False
    for word in filter(None, _JOINERS.split(part)):
        pieces = _WORDS.findall(word)
        if len(word) > _ALWAYS_PLAIN and (len(pieces) > _MOST_WORDS or len(word) < 2 * len(pieces)):
            return False
        limits = ((_LONGEST_NUMBER if piece.isdigit() else _LONGEST_WORD) for piece in pieces)
        if any(len(piece) > limit for piece, limit in zip(pieces, limits, strict=True)):
            return False
    return not _has_marker_with_more(part)


def _has_marker_with_more(part: str) -> bool:
    """`token-abc` and `key_abc` have their secret with them; `token` alone announces it."""
    match = _MARKERS.search(part.lower())
    return match is not None and len(match[0].strip("-_.")) < len(part)


def _is_harmless(value: str) -> bool:
    """Whether a value is made of numbers and of words that cameras use: `main`, `Profile_1`, `640x480`; not `hunter`."""
    return all(word in _HARMLESS_VALUES for word in re.findall(r"[a-z]+", value.lower()))


def shown_pairs(text: str, on_hidden: Callable[[str], None] = lambda _: None, within: re.Pattern[str] | None = None) -> str:
    """key=value&key=value, each value only if the key is harmless; what is no pair only if it is a harmless word."""
    if not text:
        return ""
    pieces = re.split(f"({within.pattern if within else '[&;]'})", text)
    shown: list[str] = []
    is_hiding = False
    for piece in pieces:
        if (within or re.compile("[&;]")).fullmatch(piece):
            shown.append("" if is_hiding and within else piece)
            continue
        key, equals, value = piece.partition("=")
        if not equals and within and is_hiding:
            on_hidden(piece)  # of a hidden value that has the separator in it
            continue
        if within and is_hiding and shown and shown[-1] == "":
            shown[-1] = "&"
        form = _SHOWN_NUMBER if key.lower() in NUMBER_KEYS else _SHOWN_VALUE
        is_shown = key.lower() in HARMLESS_KEYS and form.fullmatch(value) is not None and _is_harmless(value)
        if is_shown or not piece or piece == HIDDEN or (equals and value in ("", HIDDEN)):
            shown.append(piece)
            is_hiding = False
            continue
        on_hidden(value if equals else piece)
        shown.append(f"{key}={HIDDEN}" if equals and re.fullmatch(r"[\w.\-\[\]]{1,40}", key) else HIDDEN)
        is_hiding = True
    return "".join(shown)
