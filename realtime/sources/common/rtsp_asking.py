"""Asks an RTSP camera where its stream is, before FFmpeg connects.

FFmpeg follows redirects without a limit (3,888 connections in 5 s to a camera that redirects to itself) and gives the password to
whatever server it is sent to.
"""

import base64
import email.message
import http.client
import io
import socket
import ssl
import urllib.error
import urllib.request
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from realtime.errors import SourceOpenError
from realtime.sources.common.feed import RefusedError
from realtime.sources.common.trail import Trail, userinfo, without_userinfo
from realtime.sources.common.wire import Wire, explain

_PORTS = {"rtsp": 554, "rtsps": 322}
_METHODS = ("OPTIONS", "DESCRIBE")  # FFmpeg asks these two first, and a camera may redirect at either
_HEADERS = "User-Agent: realtime-segmentation\r\nAccept: application/sdp\r\n"
_MAX_BODY_BYTES = 1 << 20
_LONGEST_LINE_BYTES = 8192


class _Answer(NamedTuple):
    code: int
    headers: email.message.Message


def stream_address(url: str, name: str, timeout_s: float) -> str:
    """`url`, or where its redirects lead; with the password only on the server that `url` names.

    Raises SourceOpenError: no answer within `timeout_s` in total, a circle of redirects; RefusedError for 401 and 403. What the
    camera answers otherwise is FFmpeg's to judge.
    """
    wire, trail = Wire(), Trail(url, name)
    wire.allow(timeout_s)
    try:
        while location := _redirect(trail, name, wire):
            trail.follow(location)
        return trail.url
    except (OSError, ValueError) as error:
        raise SourceOpenError(*explain(name, error, timeout_s)) from None
    finally:
        wire.close()


def _redirect(trail: Trail, name: str, wire: Wire) -> str:
    """Where the address redirects; empty where it does not."""
    parts, asked = urlsplit(trail.url), without_userinfo(trail.url)
    number, login = 0, ""
    answer: _Answer | None = None
    connected = _connected(parts.hostname or "", parts.port or _PORTS[parts.scheme], wire, tls=parts.scheme == "rtsps")
    with connected.makefile("rb") as lines:
        for method in _METHODS:
            for _ in range(2):  # without the password, and with it
                number += 1
                head = f"{method} {asked} RTSP/1.0\r\nCSeq: {number}\r\n{_HEADERS}{login}\r\n"
                connected.sendall(head.encode())
                answer = _answer(lines)
                if answer is None or answer.code != 401 or login or not userinfo(trail.url):
                    break
                login = _login(trail.url, method, answer.headers)
                if not login:
                    return ""  # a scheme that only FFmpeg may know
            if answer is None:
                return ""
            if answer.code in (401, 403):
                raise RefusedError(name, f" ({answer.code}){trail.withheld}")
            if 300 <= answer.code < 400:
                return answer.headers.get("Location", "")
            login = "" if login.startswith("Authorization: Digest") else login  # each digest is for one method
    return ""


def _connected(host: str, port: int, wire: Wire, *, tls: bool) -> socket.socket:
    connected = socket.create_connection((host, port), timeout=wire.left_s())
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # As FFmpeg: cameras have certificates of their own making.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connected = context.wrap_socket(connected, server_hostname=host)
    return wire.watch(connected)


def _answer(lines: io.BufferedReader) -> _Answer | None:
    """One answer, its body read and forgotten; None where it is not RTSP."""
    words = lines.readline(_LONGEST_LINE_BYTES).split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"RTSP/") or not words[1].isdigit():
        return None
    try:
        headers = http.client.parse_headers(lines)
    except http.client.HTTPException:
        return None
    length = headers.get("Content-Length", "0")
    lines.read(min(int(length), _MAX_BODY_BYTES) if length.isdigit() else 0)
    return _Answer(int(words[1]), headers)


def _login(url: str, method: str, headers: email.message.Message) -> str:
    """The header with the password; empty for a scheme that is neither Basic nor Digest."""
    asked = without_userinfo(url)
    user, _, password = (unquote(part) for part in userinfo(url).partition(":"))
    challenges = {text.partition(" ")[0].lower(): text.partition(" ")[2] for text in headers.get_all("WWW-Authenticate", ())}
    if "digest" in challenges:
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        passwords.add_password(None, asked, user, password)
        question = urllib.request.Request(asked, method=method)
        question.selector = asked  # RTSP signs the whole address
        facts = urllib.request.parse_keqv_list(urllib.request.parse_http_list(challenges["digest"]))
        try:
            signed = urllib.request.AbstractDigestAuthHandler(passwords).get_authorization(question, facts)
        except (ValueError, urllib.error.URLError):  # an algorithm that Python does not have
            return ""
        return f"Authorization: Digest {signed}\r\n" if signed else ""
    if "basic" in challenges:
        return f"Authorization: Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}\r\n"
    return ""
