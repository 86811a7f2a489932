"""Removes passwords from text before it reaches a window, a log, an error or a file."""

import re

from engines.errors import printable

HIDDEN = "***"

_SECRET_KEYS = (
    r"(?:password|passwd|passphrase|passcode|pass|pwd|pw|user|username|usr|login|token|jwt|secret|auth|apikey|key|sig|signature|"
    r"credentials?|session|sessionid|sid)"
)

# Greedy up to the last "@": a raw password may contain "@", "/", "#", "?" and ":". A path with an "@" then loses its host too,
# the less harmful of the two mistakes.
_USERINFO = re.compile(r"(://)(?:(?!://)[^\s'\"<>])*@|(://)[^\s/@:]*:(?:(?!://)[^/\n])*@", re.IGNORECASE | re.ASCII)
_ENCODED_USERINFO = re.compile(r"(%3A%2F%2F)(?:(?!%3A%2F%2F)[^\s'\"<>&])*%40", re.IGNORECASE | re.ASCII)
# The lengths are bounded, and so is the time for a long line that only resembles one.
_BARE_USERINFO = re.compile(r"(?<![\w/@.*:-])(?!\*)[^\s:/@'\"<>=,;()\[\]{}]{1,64}:(?!//)[^\s'\"<>]{1,256}@(?=[\w\[])")
_SECRET_VALUE = re.compile(
    rf"(?<![a-z0-9])({_SECRET_KEYS}[\"']?(?:=|%3D|\"?\s*:\s*(?=[\"'])))(\"[^\"\n]*\"|'[^'\n]*'|[^\s&;,#'\"<>)\]}}]+)",
    re.IGNORECASE,
)
_COLON_VALUE = re.compile(r"(?<![a-z0-9])((?:password|passwd|pwd|secret|token)\s*:\s*)(?![\"'/])(\S+)", re.IGNORECASE)
_AUTHORIZATION = re.compile(r"(authorization[\"']?\s*[:=]\s*[\"']?(?:basic|bearer|digest)?\s*)[^\r\n'\"]+", re.IGNORECASE)


def redact(text: object) -> str:
    """`text` (a URI, an error, an argument list, anything with a `str`) without user names, passwords and secret values.

    Removes the text between "://" and the last "@", "user:password@host" without a scheme, the values of query keys that look
    secret (password, token, key, signature ...), and Authorization headers. In doubtful cases it removes too much.
    """
    clean = printable(str(text), "\n\t")
    clean = _AUTHORIZATION.sub(rf"\1{HIDDEN}", clean)
    clean = _USERINFO.sub(lambda match: f"{match[1] or match[2]}{HIDDEN}@", clean)
    clean = _ENCODED_USERINFO.sub(rf"\1{HIDDEN}%40", clean)
    clean = _BARE_USERINFO.sub(f"{HIDDEN}@", clean)
    clean = _SECRET_VALUE.sub(rf"\1{HIDDEN}", clean)
    return _COLON_VALUE.sub(rf"\1{HIDDEN}", clean)


def one_line(error: BaseException) -> str:
    """An error's text for people: one line, without secrets."""
    return redact(" ".join(str(error).split()))
