"""Video over HTTP: MJPEG cameras (live), other live streams, and plain files."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from urllib.parse import urljoin, urlsplit

import numpy as np

from engines.errors import PictureError
from engines.pictures.reading import decode
from realtime.errors import SourceError, SourceLostError, SourceOpenError
from realtime.sources.common.base import Picture, now_ns
from realtime.sources.common.feed import Feed, HopelessError, Timeouts
from realtime.sources.common.jpeg import JpegSplitter
from realtime.sources.common.live import LiveSource
from realtime.sources.common.playlist import MOST_BYTES, is_complete, variants
from realtime.sources.common.uri import Options, SourceUri
from realtime.sources.common.wire import Wire, explain, request
from realtime.types import Source

log = logging.getLogger(__name__)

FORM = "url"
ALIASES = ("https",)

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
    source = LiveSource(uri.name, functools.partial(_connect, uri, timeouts), waits=uri.waits)
    try:
        feed, url = _find(uri, timeouts)
    except SourceOpenError as error:
        if not uri.waits or isinstance(error, HopelessError):
            raise
        return source
    return _recording(url, uri.name, timeouts) if feed is None else source.adopt(feed)


def _find(uri: SourceUri, timeouts: Timeouts) -> tuple[Feed | None, str]:
    """A live stream's feed, None for a recording; and the address, which is another after a redirect."""
    wire = Wire()
    answer, url = request(uri.target, uri.name, wire, timeouts.open_s)
    kind = answer.headers.get_content_type().lower()
    if kind.startswith("multipart/"):
        return MjpegFeed(answer, wire, uri.name, timeouts.read_s), url
    is_playlist = kind.endswith(_PLAYLISTS) or urlsplit(url).path.endswith((".m3u8", ".m3u"))
    if is_playlist:
        url, is_file = _best_variant(url, uri.name, answer, wire, timeouts)
    else:
        is_file = answer.headers.get("Content-Length") is not None
    answer.close()
    wire.close()
    if kind == "text/html":
        raise HopelessError(f"{uri.name}: this is a web page, not a video", "Give the address of the stream itself")
    if is_file:
        return None, url
    # Not at the top: an MJPEG camera needs no FFmpeg.
    from realtime.sources.common.container import ContainerFeed

    feed = ContainerFeed(url, uri.name, {}, timeouts)
    if feed.duration_s is None:
        return feed, url
    feed.close()  # a playlist of a recording
    return None, url


def _best_variant(url: str, name: str, answer: HTTPResponse, wire: Wire, timeouts: Timeouts) -> tuple[str, bool]:
    """The address of a playlist's best variant that answers, or the playlist's own; and whether it is a recording."""
    data = _text(answer, wire, name, timeouts)
    for variant in variants(data):
        found = urljoin(url, variant.uri)
        if not variant.has_video or urlsplit(found).scheme not in ("http", "https"):
            continue
        try:
            answer, found = request(found, name, wire, timeouts.open_s)
            return found, is_complete(_text(answer, wire, name, timeouts))
        except SourceError as error:
            log.warning("%s; trying the next best variant", error)
    return url, is_complete(data)


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


def _recording(url: str, name: str, timeouts: Timeouts) -> Source:
    from realtime.sources.common.container import VideoStream
    from realtime.sources.file import FileSource

    return FileSource(lambda: VideoStream(url, name, is_live=False, timeouts=timeouts), name)


def _connect(uri: SourceUri, timeouts: Timeouts) -> Feed:
    feed, _ = _find(uri, timeouts)
    if feed is None:
        raise HopelessError(f"{uri.name}: this is a recording, not a live stream", "Open it again: its server answers now")
    return feed


class MjpegFeed:
    """The JPEG pictures of one HTTP answer; each is passed on when its last byte has arrived."""

    fps: float | None = None

    def __init__(self, answer: HTTPResponse, wire: Wire, name: str, timeout_s: float) -> None:
        """answer: its body is read here; `close` closes it. timeout_s: for one whole picture."""
        self.description = "MJPEG over HTTP"
        self._answer, self._wire = answer, wire
        self._name, self._timeout_s = name, timeout_s

    def pictures(self) -> Iterator[Picture]:
        splitter = JpegSplitter()
        while (jpeg := self._next(splitter)) is not None:
            received_ns = now_ns()
            try:
                image = np.asarray(decode(jpeg), np.uint8)
            except PictureError as error:
                yield Picture(None, None, received_ns, why=error.what)
                continue
            self.description = f"{image.shape[1]}x{image.shape[0]} MJPEG"
            yield Picture(image, None, received_ns)

    def interrupt(self) -> None:
        self._wire.cut()

    def close(self) -> None:
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
