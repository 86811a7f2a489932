"""Downloads one file: over https from listed servers, at most the listed number of bytes, used only with the listed hash.

Bytes are written to a partial file. It is kept when the connection breaks, so that the next try continues it, and deleted when
its content is wrong.
"""

import contextlib
import http.client
import os
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urljoin

import filelock

from engines.errors import DownloadError, cure_of
from engines.files import PART, sha256_of
from engines.models.collection.manifest import Entry, check_url

CHUNK_BYTES = 2**16
MAX_REDIRECTS = 5
TIMEOUT_S = 30.0
"""The longest silence of a server, and the longest time that the head of its answer takes."""

PACE_S, PACE_BYTES = 60.0, 60 * 1024
"""A server that sends fewer bytes in so many seconds counts as silent: at a byte a second no download would ever end."""

KEEP_S = 30 * 24 * 3600.0
"""Partial files older than this are deleted."""

Progress = Callable[[int], None]
"""Called with the number of bytes received."""


def download(
    entry: Entry,
    hosts: tuple[str, ...],
    folder: Path,
    *,
    context: ssl.SSLContext | None = None,
    on_progress: Progress = lambda _: None,
) -> Path:
    """Download `entry` into `folder`, and return the file, whose size and hash are those of the entry.

    hosts: the allowed servers. context: the trusted certificates; None for the system's. Continues the partial file of an earlier
    try. Raises DownloadError: the partial file is kept when the connection broke, and deleted when its content is wrong.
    """
    part = folder / f"{entry.sha256}{PART}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        with filelock.FileLock(str(folder / f"{entry.sha256}.lock"), timeout=0):
            return _complete(part, entry, hosts, _opener(context), on_progress)
    except filelock.Timeout as error:
        raise DownloadError("another process is downloading this model", "Wait until it has finished") from error
    except OSError as error:
        what = f"{folder}: the download cannot be written ({error.strerror or error})"
        raise DownloadError(what, cure_of(error, "choose another folder with XDG_DATA_HOME")) from error


def _complete(
    part: Path, entry: Entry, hosts: tuple[str, ...], opener: urllib.request.OpenerDirector, on_progress: Progress
) -> Path:
    """Download into `part` and check its hash; after continuing an earlier try in vain, start again."""
    for _ in range(1 + part.exists()):  # earlier bytes may be damaged, or of another file
        _fill(part, entry, hosts, opener, on_progress)
        found = sha256_of(part)
        if found == entry.sha256:
            return part
        part.unlink()
    what = f"{entry.url}: the file has the SHA-256 {found[:12]}..., not {entry.sha256[:12]}... as listed"
    raise DownloadError(what, "It was deleted")


def _fill(part: Path, entry: Entry, hosts: tuple[str, ...], opener: urllib.request.OpenerDirector, on_progress: Progress) -> None:
    """Append the missing bytes to `part`."""
    have = part.stat().st_size if part.exists() else 0
    if have > entry.size_bytes:
        part.unlink()
        have = 0
    if have == entry.size_bytes:
        return
    with _open(entry.url, hosts, opener, start=have) as response, part.open("ab") as file:
        if have and response.status == 200:  # the server sends whole files only, or its file is shorter now
            file.truncate(0)
            have = 0
        try:
            _check_headers(response, have, entry)
            for chunk in _chunks(response, entry, have):
                file.write(chunk)
                have += len(chunk)
                on_progress(have)
        except DownloadError:  # not the listed file
            part.unlink()
            raise
        file.flush()
        os.fsync(file.fileno())
    if have < entry.size_bytes:
        what = f"{entry.url}: the connection broke at {have / entry.size_bytes:.0%}"
        raise DownloadError(what, "Run the same command again to continue")


def _other_file(entry: Entry, what: str) -> DownloadError:
    return DownloadError(f"{entry.url}: {what}", "Nothing was kept")


def _check_headers(response: http.client.HTTPResponse, have: int, entry: Entry) -> None:
    """Before a byte is read. Headers may be missing or wrong, so the bytes are counted as well."""
    if response.status != (206 if have else 200):
        raise _other_file(entry, f"the server answers {response.status} {response.reason}")
    if have:
        content_range = response.headers.get("Content-Range", "")
        if content_range != f"bytes {have}-{entry.size_bytes - 1}/{entry.size_bytes}":
            raise _other_file(entry, f'asked for the bytes from {have} on, the server sends "{content_range[:60]}"')
    length = response.headers.get("Content-Length", "")
    if length.isdigit() and int(length) != entry.size_bytes - have:
        raise _other_file(entry, f"the server has {int(length) + have:,} bytes, {entry.size_bytes:,} are listed")


def _chunks(response: http.client.HTTPResponse, entry: Entry, have: int) -> Iterator[bytes]:
    """The body, until it ends, breaks off or becomes too slow. Raises DownloadError at the first byte too many."""
    due_s, before = time.monotonic() + PACE_S, have
    while True:
        try:
            chunk = response.read1(min(CHUNK_BYTES, entry.size_bytes - have + 1))
        except (http.client.HTTPException, OSError):  # a broken connection, a silent server
            return
        if not chunk:
            return
        if time.monotonic() > due_s:
            if have - before < PACE_BYTES:
                return
            due_s, before = time.monotonic() + PACE_S, have
        have += len(chunk)
        if have > entry.size_bytes:
            raise _other_file(entry, f"the server sends more than the {entry.size_bytes:,} bytes listed")
        yield chunk


def _open(
    url: str, hosts: tuple[str, ...], opener: urllib.request.OpenerDirector, *, start: int
) -> contextlib.closing[http.client.HTTPResponse]:
    """Request the file from byte `start` on. Redirects must obey the same rules as the first URL."""
    for _ in range(MAX_REDIRECTS + 1):
        check_url(url, hosts)
        headers = {"User-Agent": "realtime-segmentation", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            return contextlib.closing(opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S))
        except urllib.error.HTTPError as error:
            with contextlib.closing(error):
                location = error.headers.get("Location")
                if error.code == 416 and start:  # the file is shorter now: request all of it
                    return _open(url, hosts, opener, start=0)
                if error.code not in (301, 302, 303, 307, 308) or not location:
                    raise DownloadError(f"{url}: the server answers {error.code} {error.reason}") from error
            url = _joined(url, location)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            what = f"{url}: cannot be downloaded ({' '.join(str(reason).split())[:200]})"
            raise DownloadError(what, "Check the connection, and run the same command again") from error
    raise DownloadError(f"{url}: more than {MAX_REDIRECTS} redirects")


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise DownloadError(f"{url}: redirects to an invalid URL") from error


class _Punctual(http.client.HTTPSConnection):
    """Its answer's head arrives within TIMEOUT_S in total; a socket's own time-out begins anew with each byte."""

    def getresponse(self) -> http.client.HTTPResponse:
        timer = threading.Timer(TIMEOUT_S, self._cut)
        timer.daemon = True
        timer.start()
        try:
            return super().getresponse()
        finally:
            timer.cancel()

    def _cut(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            self.sock.shutdown(socket.SHUT_RDWR)


class _Handler(urllib.request.HTTPSHandler):
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._trusted = context

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Punctual, req, context=self._trusted)


def _opener(context: ssl.SSLContext | None) -> urllib.request.OpenerDirector:
    """Opens https only: no http, ftp, file or data; does not follow redirects."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        _Handler(context or ssl.create_default_context()),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _sweep(folder: Path) -> None:
    """Remove old partial files."""
    for part in folder.glob(f"*{PART}"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > KEEP_S:
                part.unlink()
