"""Video over HTTP: MJPEG cameras (live), other live streams, and plain files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from http.client import HTTPException, HTTPResponse
from urllib.parse import urljoin, urlsplit

from engines.pictures.raw import size_of
from realtime.errors import SourceError, SourceLostError, SourceOpenError
from realtime.sources.common.base import Picture, now_ns
from realtime.sources.common.detached_feed import DetachedFeed, detached_if_slow
from realtime.sources.common.feed import EndedError, Feed, HopelessError, Timeouts
from realtime.sources.common.jpeg import JpegSplitter
from realtime.sources.common.jpeg_decoding import JpegDecoder
from realtime.sources.common.live import LiveSource
from realtime.sources.common.paced_feed import PacedFeed
from realtime.sources.common.playlist import MOST_BYTES, is_complete, newest_piece, piece_s, variants
from realtime.sources.common.uri import Decode, Options, SourceUri
from realtime.sources.common.wire import Wire, explain, request
from realtime.types import Source

log = logging.getLogger(__name__)

FORM = "url"
ALIASES = ("https",)
DECODES = True

_CHUNK_BYTES = 64 << 10
_PLAYLISTS = ("mpegurl", "dash+xml")


def open_uri(uri: SourceUri) -> Source:
    """http(s)://host/path: MJPEG (multipart) and streams without a length are live, anything with a length is a file.

    Options, after "#": open_timeout_s=5, timeout_s=1.8 (a longer silence is a loss). Connects at once; where it may wait for its
    camera and none answers, it is a live stream that is yet to come.
    """
    options = Options(uri)
    timeouts = Timeouts.given(options)
    options.finish()
    address = _Address(uri, timeouts)
    source = LiveSource(uri.name, address.connect, waits=uri.waits)
    try:
        feed, url = address.ask()
    except SourceOpenError as error:
        if not uri.waits or isinstance(error, HopelessError):
            raise
        return source
    return _recording(url, uri, timeouts) if feed is None else source.adopt(feed)


class _Address:
    """What the server has at an address, each time it is asked."""

    def __init__(self, uri: SourceUri, timeouts: Timeouts) -> None:
        self._url, self._name, self._timeouts = uri.target, uri.name, timeouts
        self._decode = uri.decode
        self._newest = ""

    def connect(self) -> Feed:
        """The feed of a live stream. Raises SourceOpenError; EndedError where a live stream's playlist is complete now."""
        feed, _ = self.ask()
        if feed is None:
            if self._newest:
                raise EndedError(f"{self._name}: the stream has ended")
            raise HopelessError(f"{self._name}: this is a recording, not a live stream", "Open it again: its server answers now")
        return feed

    def ask(self) -> tuple[Feed | None, str]:
        """A live stream's feed, None for a recording; and the address, which is another after a redirect.

        Raises SourceOpenError.
        """
        wire, name, timeouts = Wire(), self._name, self._timeouts
        answer, url = request(self._url, name, wire, timeouts.open_s)
        kind = answer.headers.get_content_type().lower()
        if kind.startswith("multipart/"):
            return MjpegFeed(answer, wire, name, timeouts.read_s, self._decode), url
        is_playlist = kind.endswith(_PLAYLISTS) or urlsplit(url).path.endswith((".m3u8", ".m3u"))
        is_file = not is_playlist and answer.headers.get("Content-Length") is not None
        data = b""
        if is_playlist:
            url, data = _best_variant(url, name, answer, wire, timeouts)
            is_file = is_complete(data)
        answer.close()
        wire.close()
        if kind == "text/html":
            raise HopelessError(f"{name}: this is a web page, not a video", "Give the address of the stream itself")
        if is_file:
            return None, url
        return self._live(url, data, is_playlist=is_playlist)

    def _live(self, url: str, playlist: bytes, *, is_playlist: bool) -> tuple[Feed | None, str]:
        # Not at the top: an MJPEG camera needs no FFmpeg.
        from realtime.sources.common.container_feed import ContainerFeed

        timeouts = self._timeouts
        if is_playlist:
            if (newest := newest_piece(playlist)) and newest == self._newest:  # or its last pieces would be shown again and again
                raise SourceOpenError(
                    f"{self._name}: its playlist has nothing new", "Check that the server still receives the stream"
                )
            self._newest = newest
            timeouts = timeouts._replace(read_s=max(timeouts.read_s, 3 * piece_s(playlist)))
        feed = ContainerFeed(url, self._name, {}, timeouts, self._decode)
        if feed.duration_s is None:
            if not is_playlist:
                return detached_if_slow(feed, timeouts), url
            # Its read time-out is that of pieces: closing must not wait for it.
            return PacedFeed(DetachedFeed(feed), lambda: self._is_complete(url)), url
        feed.close()  # a playlist of a recording
        return None, url

    def _is_complete(self, url: str) -> bool:
        wire = Wire()
        try:
            answer, _ = request(url, self._name, wire, self._timeouts.open_s)
            return is_complete(_text(answer, wire, self._name, self._timeouts))
        except SourceOpenError:
            return False


def _best_variant(url: str, name: str, answer: HTTPResponse, wire: Wire, timeouts: Timeouts) -> tuple[str, bytes]:
    """The address and the text of a playlist's best variant that answers, or the playlist's own."""
    data = _text(answer, wire, name, timeouts)
    for variant in variants(data):
        found = urljoin(url, variant.uri)
        if not variant.has_video or urlsplit(found).scheme not in ("http", "https"):
            continue
        try:
            answer, found = request(found, name, wire, timeouts.open_s)
            return found, _text(answer, wire, name, timeouts)
        except SourceError as error:
            log.warning("%s; trying the next best variant", error)
    return url, data


def _text(answer: HTTPResponse, wire: Wire, name: str, timeouts: Timeouts) -> bytes:
    """The whole body of a playlist's answer, which is closed. Raises SourceOpenError."""
    wire.allow(timeouts.open_s)
    try:
        return answer.read(MOST_BYTES)
    except (OSError, HTTPException, ValueError) as error:
        raise SourceOpenError(*explain(name, error, timeouts.open_s)) from None
    finally:
        answer.close()
        wire.close()


def _recording(url: str, uri: SourceUri, timeouts: Timeouts) -> Source:
    from realtime.sources.common.container import VideoStream
    from realtime.sources.file import FileSource

    return FileSource(partial(VideoStream, url, uri.name, is_live=False, timeouts=timeouts), uri.name, decode=uri.decode)


class MjpegFeed:
    """The JPEG pictures of one HTTP answer; each is passed on when its last byte has arrived."""

    fps: float | None = None

    def __init__(self, answer: HTTPResponse, wire: Wire, name: str, timeout_s: float, decode: Decode = "auto") -> None:
        """answer: its body is read here; `close` closes it. timeout_s: for one whole picture."""
        self.description, self.sound = "MJPEG over HTTP", ""
        self._answer, self._wire = answer, wire
        self._name, self._timeout_s = name, timeout_s
        try:
            self._jpegs = JpegDecoder(name, decode)
        except HopelessError:
            answer.close()
            wire.close()
            raise

    @property
    def decoder(self) -> str:
        return self._jpegs.decoder

    def pictures(self) -> Iterator[Picture]:
        splitter = JpegSplitter()
        while (jpeg := self._next(splitter)) is not None:
            for picture in self._jpegs.pictures(jpeg, now_ns()):
                if picture.image is not None:
                    self.description = f"{size_of(picture.image)} MJPEG"
                yield picture

    def interrupt(self) -> None:
        self._wire.cut()

    def close(self) -> None:
        self._jpegs.close()
        self._answer.close()
        self._wire.close()

    def _next(self, splitter: JpegSplitter) -> bytes | None:
        """The next picture; None where the server declares the end. Raises SourceLostError."""
        self._wire.allow(self._timeout_s)
        try:
            while (jpeg := splitter.take()) is None:
                data = self._answer.read1(_CHUNK_BYTES)
                if not data:
                    if splitter.rest.rstrip().endswith(b"--"):  # the closing boundary of a multipart
                        return None
                    raise SourceLostError(f"{self._name}: the server closed the connection")
                splitter.feed(data)
        except TimeoutError:
            raise SourceLostError(f"{self._name}: no whole picture within {self._timeout_s:g} s") from None
        except ValueError as error:
            raise SourceLostError(f"{self._name}: the stream contains {error}, which is too large") from None
        except (OSError, HTTPException) as error:
            raise SourceLostError(*explain(self._name, error, self._timeout_s)) from None
        return jpeg
