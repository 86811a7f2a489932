"""Removes passwords from text before it reaches a window, a log, an error or a file.

Three nets, one behind the other: addresses show only what is known to be harmless; words that look like secrets in other text are
hidden; and what was hidden in a source's address is remembered, and hidden wherever else it turns up, as in a library's error.
"""

import re
import threading
from urllib.parse import unquote

from engines.errors import printable
from realtime.process.addresses import HIDDEN, shown_address, shown_pipeline

_SECRET_KEY = re.compile(
    r"passw(?:or)?d|passphrase|passcode|token|secret|credential|signature|jwt|session-?id|(?:pass|pas|pwd|psw|pw|[-_](?:pin|key))$|"
    r"(?:api|share|stream|access|auth|private|session|license|enc|play)[-_]?key$|"
    r"(?:^|[-_])(?:user|username|usr|login|user-id|auth|key|sig|session|sid)$"
)

# Greedy up to the last "@": a raw password may contain "@", "/", "#", "?" and ":". A path with an "@" then loses its host too,
# the less harmful of the two mistakes.
_USERINFO = re.compile(r"(://)(?:(?!://)[^\s'\"<>])*@|(://)[^\s/@:]*:(?:(?!://)[^/\n])*@", re.IGNORECASE | re.ASCII)
_ENCODED_USERINFO = re.compile(r"(%3A%2F%2F)(?:(?!%3A%2F%2F)[^\s'\"<>&])*%40", re.IGNORECASE | re.ASCII)
_ADDRESS = re.compile(r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s'\"<>`]+", re.ASCII)
_AFTER_ADDRESS = re.compile(r"[).,:;!\]}\\]*$")
# The lengths are bounded, and so is the time for a long line that only resembles one.
_BARE_USERINFO = re.compile(r"(?<![\w/@.*:-])(?!\*)[^\s:/@'\"<>=,;()\[\]{}]{1,64}:(?!//)[^\s'\"<>]{1,256}@(?=[\w\[])")
_VALUE = re.compile(
    r"(?<![\w-])([\w-]{1,40})([\"']?(?:=|%3D|\"?\s*:\s*(?=[\"'])))(\"[^\"\n]*\"|'[^'\n]*'|[^\s&;,#'\"<>)\]}]+)", re.IGNORECASE
)
_COLON_VALUE = re.compile(r"(?<![\w/.-])((?:password|passwd|pwd|secret|token)\s*:\s*)(?![\"'/])(\S+)", re.IGNORECASE)
_AUTHORIZATION = re.compile(r"(authorization[\"']?\s*[:=]\s*[\"']?(?:basic|bearer|digest)?\s*)[^\r\n'\"]+", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://", re.ASCII)


class Remembered:
    """Secrets of this run's sources."""

    SHORTEST, SHORTEST_WORD, MOST = 4, 12, 256
    """Characters of a password, and of another hidden value that is a plain word: it could be anywhere. Number of the newest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: dict[str, None] = {}
        self._pattern: re.Pattern[str] | None = None

    def add(self, text: str, *, is_password: bool = False) -> None:
        with self._lock:
            for form in {text, unquote(text)}:
                is_word = form.islower() and form.isalpha()
                shortest = self.SHORTEST if is_password else self.SHORTEST_WORD if is_word else self.SHORTEST + 2
                if len(form) >= shortest and not form.isspace() and HIDDEN not in form:
                    self._texts.pop(form, None)
                    self._texts[form] = None  # the newest
            for oldest in list(self._texts)[: -self.MOST]:
                del self._texts[oldest]
            longest_first = sorted(self._texts, key=len, reverse=True)
            self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)") if self._texts else None

    def hidden_in(self, text: str) -> str:
        return self._pattern.sub(HIDDEN, text) if self._pattern else text


_remembered = Remembered()


def redact(text: object) -> str:
    """`text` (a URI, an error, an argument list, anything with a `str`) without user names, passwords and secret values.

    Removes what `addresses` does not know to be harmless, the text between "://" and the last "@", "user:password@host" without a
    scheme, values of keys that look secret (password, token, key, signature ...), Authorization headers, and what was hidden in a
    source's address. In doubtful cases it removes too much.
    """
    clean = printable(_remembered.hidden_in(str(text)), "\n\t")
    clean = _AUTHORIZATION.sub(rf"\1{HIDDEN}", clean)
    clean = _USERINFO.sub(lambda match: f"{match[1] or match[2]}{HIDDEN}@", clean)
    clean = _ENCODED_USERINFO.sub(rf"\1{HIDDEN}%40", clean)
    clean = _ADDRESS.sub(lambda match: _shown(match[0]), clean)
    clean = _BARE_USERINFO.sub(f"{HIDDEN}@", clean)
    clean = _VALUE.sub(lambda match: match[1] + match[2] + HIDDEN if _SECRET_KEY.search(match[1].lower()) else match[0], clean)
    return _COLON_VALUE.sub(rf"\1{HIDDEN}", clean)


def redact_source(text: str) -> str:
    """What a person gave as a source, as it may be shown: a whole address, a GStreamer pipeline, or a path.

    What is hidden in it is remembered: `redact` hides it everywhere from now on.
    """
    if _SCHEME.match(text):
        password = text.rpartition("@")[0].partition("://")[2].partition(":")[2]
        remember(password)
        return redact(shown_address(text, _remembered.add))
    if " ! " in text:
        return redact(shown_pipeline(text, _remembered.add))
    return redact(text)


def has_secret(text: str) -> bool:
    """Whether `redact` hides something in it."""
    return redact(text) != printable(text, "\n\t")


def remember(password: str) -> None:
    """Hide this text everywhere from now on."""
    _remembered.add(password, is_password=True)


def one_line(error: BaseException) -> str:
    """An error's text for people: one line, without secrets."""
    return redact(" ".join(str(error).split()))


def _shown(address: str) -> str:
    """An address within a text, which may go on after it with punctuation."""
    end = _AFTER_ADDRESS.search(address)
    at = end.start() if end else len(address)
    return shown_address(address[:at]) + address[at:]
