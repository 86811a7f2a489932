"""Downloading one file: over https from listed servers, no more bytes than promised, and nothing is used before its hash fits.

What arrives goes into a file of its own, which is kept when the line breaks, so that the next try goes on from there; whatever
turns out to be something else is deleted.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urljoin

import filelock

from engines.errors import DownloadError
from engines.models.collection.manifest import Entry, check_url
from engines.models.collection.verify import sha256_of

CHUNK_BYTES = 2**16
MAX_REDIRECTS = 5
TIMEOUT_S = 30.0
"""The longest silence of a server."""

KEEP_S = 30 * 24 * 3600.0
"""A broken-off download older than this is no longer waited for."""

Progress = Callable[[int], None]
"""Is given the bytes that are there."""


def download(
    entry: Entry,
    hosts: tuple[str, ...],
    folder: Path,
    *,
    context: ssl.SSLContext | None = None,
    on_progress: Progress = lambda _: None,
) -> Path:
    """Download `entry` into `folder`, and return the file, whose size and hash are those of the entry.

    hosts: the servers that may be asked. context: what certificates are trusted; the system's when None.
    Goes on where an earlier try broke off. Raises DownloadError: the part that is there is kept when the line broke, and
    deleted when the server gave something else.
    """
    part = folder / f"{entry.sha256}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        with filelock.FileLock(str(folder / f"{entry.sha256}.lock"), timeout=0):
            return _complete(part, entry, hosts, _opener(context), on_progress)
    except filelock.Timeout as error:
        raise DownloadError("another process downloads this model just now; wait for it") from error
    except OSError as error:
        raise DownloadError(
            f"{folder}: the download cannot be kept there ({error.strerror or error}); "
            "make room, or name another disk with XDG_DATA_HOME"
        ) from error


def _complete(
    part: Path, entry: Entry, hosts: tuple[str, ...], opener: urllib.request.OpenerDirector, on_progress: Progress
) -> Path:
    """Fill `part` and check its hash; when an earlier beginning may be to blame, once more from the start."""
    if part.exists():
        _fill(part, entry, hosts, opener, on_progress)
        if sha256_of(part) == entry.sha256:
            return part
        part.unlink()  # its beginning was damaged, or is another file's
    _fill(part, entry, hosts, opener, on_progress)
    found = sha256_of(part)
    if found == entry.sha256:
        return part
    part.unlink()
    raise DownloadError(
        f"{entry.url}: what came has the SHA-256 {found[:12]}..., not {entry.sha256[:12]}...: "
        "it is not the file that was listed, and is deleted"
    )


def _fill(part: Path, entry: Entry, hosts: tuple[str, ...], opener: urllib.request.OpenerDirector, on_progress: Progress) -> None:
    """Add to `part` what is missing of it."""
    have = part.stat().st_size if part.exists() else 0
    if have > entry.size_bytes:
        part.unlink()
        have = 0
    if have == entry.size_bytes:
        return
    with _open(entry.url, hosts, opener, start=have) as response, part.open("ab") as file:
        if have and response.status == 200:  # this server gives whole files only, or the file is shorter by now
            file.truncate(0)
            have = 0
        try:
            _check_promise(response, have, entry)
            for chunk in _chunks(response, entry, have):
                file.write(chunk)
                have += len(chunk)
                on_progress(have)
        except _NotTheFile as error:
            part.unlink()
            raise DownloadError(f"{entry.url}: {error}; nothing of it is kept") from error
        file.flush()
        os.fsync(file.fileno())
    if have < entry.size_bytes:
        share = have / entry.size_bytes
        raise DownloadError(f"{entry.url}: the line broke at {share:.0%}; the same command goes on from there")


class _NotTheFile(Exception):
    """The server gives something else than the entry promises."""


def _check_promise(response: http.client.HTTPResponse, have: int, entry: Entry) -> None:
    """What the headers say, before a byte is read. They may say nothing, and they may lie: the bytes are counted all the same."""
    if response.status != (206 if have else 200):
        raise _NotTheFile(f"the server answers {response.status} {response.reason}")
    if have:
        content_range = response.headers.get("Content-Range", "")
        if content_range != f"bytes {have}-{entry.size_bytes - 1}/{entry.size_bytes}":
            raise _NotTheFile(f'asked for the rest from byte {have}, the server gives "{content_range[:60]}"')
    length = response.headers.get("Content-Length", "")
    if length.isdigit() and int(length) != entry.size_bytes - have:
        raise _NotTheFile(f"the server has {int(length) + have:,} bytes, {entry.size_bytes:,} are listed")


def _chunks(response: http.client.HTTPResponse, entry: Entry, have: int) -> Iterator[bytes]:
    """The body, until it ends or breaks off. Raises _NotTheFile at the first byte too many."""
    while True:
        try:
            chunk = response.read(min(CHUNK_BYTES, entry.size_bytes - have + 1))
        except (http.client.HTTPException, OSError):  # a broken line, a silent server
            return
        if not chunk:
            return
        have += len(chunk)
        if have > entry.size_bytes:
            raise _NotTheFile(f"more than the {entry.size_bytes:,} bytes that are listed came")
        yield chunk


def _open(
    url: str, hosts: tuple[str, ...], opener: urllib.request.OpenerDirector, *, start: int
) -> contextlib.closing[http.client.HTTPResponse]:
    """Ask for the file from byte `start` on. Each redirect is followed only to where the first URL might have led."""
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
                if error.code == 416 and start:  # the file is shorter by now: whole, please
                    return _open(url, hosts, opener, start=0)
                if error.code not in (301, 302, 303, 307, 308) or not location:
                    raise DownloadError(f"{url}: the server answers {error.code} {error.reason}") from error
            url = _joined(url, location)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            raise DownloadError(f"{url}: cannot be downloaded ({' '.join(str(reason).split())[:200]})") from error
    raise DownloadError(f"{url}: more than {MAX_REDIRECTS} redirects")


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise DownloadError(f"{url}: redirects to something that is no URL") from error


def _opener(context: ssl.SSLContext | None) -> urllib.request.OpenerDirector:
    """Knows https and nothing else: no http, no ftp, no file, no data; and follows no redirect by itself."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(context=context or ssl.create_default_context()),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _sweep(folder: Path) -> None:
    """Remove parts that nobody came back for."""
    for part in folder.glob("*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > KEEP_S:
                part.unlink()
