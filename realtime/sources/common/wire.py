"""HTTP with a deadline for the whole answer, and a connection that another thread can cut.

A socket's own time-out restarts with each byte, so a server that sends one byte a second would block a reader forever.
"""

import contextlib
import functools
import http.client
import io
import socket
import ssl
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from realtime.errors import SourceOpenError
from realtime.process.redact import redact
from realtime.sources.common.feed import RefusedError
from realtime.sources.common.trail import Trail, userinfo, without_userinfo

_USER_AGENT = "realtime-segmentation"
_ALLOWED_IN_ADDRESS = "%/:?#[]@!$&'()*+,;=~"
_CHUNK_BYTES = 64 << 10
_REDIRECTS = (301, 302, 303, 307, 308)


class Wire:
    """The deadline of the current read, and the socket it reads from."""

    def __init__(self) -> None:
        self._due_s = 0.0
        self._socket: socket.socket | None = None

    def allow(self, timeout_s: float) -> None:
        """Everything read from now on must arrive within `timeout_s` in total."""
        self._due_s = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """Seconds until the deadline. Raises TimeoutError when it has passed."""
        left_s = self._due_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("deadline passed")
        return left_s

    def watch(self, connected: socket.socket) -> socket.socket:
        """Keep the socket and return one with the deadline, for http.client. An earlier socket is closed."""
        self.close()
        self._socket = connected
        return _TimedSocket(connected, self)  # type: ignore[return-value]

    def cut(self) -> None:
        """End a blocked read at once. Any thread."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Free the socket now, even while others refer to it. On the thread that reads."""
        self.cut()
        if self._socket is not None and self._socket.fileno() >= 0:
            socket.close(self._socket.detach())


class _TimedSocket:
    """The part of a socket that http.client uses, with the wire's deadline on every read."""

    def __init__(self, inner: socket.socket, wire: Wire) -> None:
        self._inner, self._wire = inner, wire

    def makefile(self, _mode: str) -> io.BufferedReader:
        raw = self._inner.makefile("rb", buffering=0)
        return io.BufferedReader(_TimedReader(self._inner, raw, self._wire), _CHUNK_BYTES)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _TimedReader(io.RawIOBase):
    def __init__(self, inner: socket.socket, raw: Any, wire: Wire) -> None:
        super().__init__()
        self._inner, self._raw, self._wire = inner, raw, wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._inner.settimeout(self._wire.left_s())
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Wired(http.client.HTTPConnection):
    """A connection whose socket the wire keeps."""

    def __init__(self, wire: Wire, host: str, **arguments: Any) -> None:
        super().__init__(host, **arguments)
        self._wire = wire

    def connect(self) -> None:
        super().connect()
        self.sock = self._wire.watch(self.sock)


class _WiredTls(_Wired, http.client.HTTPSConnection):
    pass


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_Wired, self._wire), req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_WiredTls, self._wire), req, context=ssl.create_default_context())


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves redirects to `request`: the handler of Python forgets the password, and follows into loops."""

    def redirect_request(self, *_: Any) -> None:
        return None

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        """Nothing, so that the answer becomes an HTTPError. Python's would look at the address first."""

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


class _Basic(urllib.request.HTTPBasicAuthHandler):
    """Sends a password once: after a few wrong ones a camera locks the account."""

    def http_error_401(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        return None if req.has_header(self.auth_header) else super().http_error_401(req, fp, code, msg, headers)


class _Digest(urllib.request.HTTPDigestAuthHandler):
    """Sends a password once, or once more where the server says that only its number was out of date."""

    def http_error_401(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        is_stale = any("stale=true" in text.lower() for text in headers.get_all("WWW-Authenticate", ()))
        if req.has_header(self.auth_header) and not is_stale:
            return None
        return super().http_error_401(req, fp, code, msg, headers)


def request(url: str, name: str, wire: Wire, timeout_s: float) -> tuple[http.client.HTTPResponse, str]:
    """GET `url` (with its user name and password, Basic or Digest) and read the answer's head.

    Returns the answer and the address that gave it, which differs after a redirect; the password is in it only on the server that
    `url` names. Raises SourceOpenError, one line without password; RefusedError for 401 and 403. Takes `timeout_s` at the most.
    """
    wire.allow(timeout_s)
    trail = Trail(url, name)
    try:
        while True:
            try:
                return _ask(trail.url, wire), trail.url
            except urllib.error.HTTPError as error:
                error.close()
                wire.close()
                location = error.headers.get("Location")
                if error.code not in _REDIRECTS or not location:
                    raise _answered(error, name, trail) from None
                trail.follow(location)
    except (OSError, http.client.HTTPException, ValueError) as error:
        wire.close()
        raise SourceOpenError(*explain(name, error, timeout_s)) from None


def _ask(url: str, wire: Wire) -> http.client.HTTPResponse:
    """One question, asked again with the password where the server wants it. Raises HTTPError for all but success."""
    bare, (user, _, password) = without_userinfo(url), userinfo(url).partition(":")
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if user or password:
        passwords.add_password(None, bare, unquote(user), unquote(password))
    opener = urllib.request.build_opener(_Handler(wire), _NoRedirects(), _Basic(passwords), _Digest(passwords))
    parts = urlsplit(bare)
    path, query = (quote(part, safe=_ALLOWED_IN_ADDRESS) for part in (parts.path, parts.query))  # spaces, letters: as browsers do
    bare = urlunsplit((parts.scheme, parts.netloc, path or "/", query, ""))
    question = urllib.request.Request(bare, headers={"User-Agent": _USER_AGENT})
    answer: http.client.HTTPResponse = opener.open(question, timeout=wire.left_s())
    return answer


def _answered(error: urllib.error.HTTPError, name: str, trail: Trail) -> SourceOpenError:
    if error.code in (401, 403):
        return RefusedError(name, f" ({error.code}){trail.withheld}")
    cure = "Check the path" if error.code == 404 else "Try again later, or look at the server's log"
    text = redact(error.reason).split("\n")[0]
    return SourceOpenError(f"{name}: the server answers {error.code} {text}", cure)


def explain(name: str, error: BaseException, timeout_s: float) -> tuple[str, str]:
    """The problem, `name` in front, and the cure of a network error."""
    reason = getattr(error, "reason", error)
    what, cure = redact(getattr(reason, "strerror", None) or reason), ""
    if isinstance(reason, TimeoutError):
        what, cure = f"no answer within {timeout_s:g} s", "Check the address and the network"
    elif isinstance(reason, ConnectionRefusedError):
        what, cure = "connection refused", "Check the address and the port"
    elif isinstance(reason, socket.gaierror):
        what, cure = "no host has that name", "Check the address; in a password, write # / ? @ as %23 %2F %3F %40"
    elif isinstance(reason, ssl.SSLCertVerificationError):
        what, cure = "its certificate is not trusted", "Use http://, or install the certificate"
    elif isinstance(reason, http.client.HTTPException):
        what, cure = "the server does not speak HTTP, or broke off", "Check the port"
    return f"{name}: {what}", cure
