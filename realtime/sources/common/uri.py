"""From what a person types to one scheme, one target and checked options."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from engines.errors import choices, nearest
from realtime.errors import SourceNotFoundError, SourceOpenError
from realtime.process.addresses import shown_pairs
from realtime.process.redact import redact, redact_source
from realtime.sources.common.variables import with_variables

Form: TypeAlias = Literal["path", "url", "text"]
"""How the text after "scheme://" is read. "path": percent-decoded, with options after "?". "url": the whole URL is the target and
its query is for the server; options are after "#". "text": taken as it is, without options."""

Decode: TypeAlias = Literal["auto", "cpu", "gpu"]
"""Where video is decoded. "auto": on the GPU where that works, else on the CPU; "gpu": an error where it does not."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://", re.ASCII)
_DIGITS = re.compile(r"(\d+)", re.ASCII)
_DEVICE = re.compile(r"/dev/(video\d+|v4l/.+)", re.ASCII)
# A raw password may hold "#", so options are only what follows the last "#", holds no "@" or "/", and reads key=value.
_FRAGMENT_OPTIONS = re.compile(r"(.*)#([A-Za-z_]+=[^@/#]*)", re.DOTALL)
_AUTHORITY = re.compile(r"([^/?#]*)([/?#]?)(.*)", re.DOTALL)
_HOST = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::\d*)?", re.ASCII)
_SURELY_HOST = re.compile(r"(?:\d{1,3}(?:\.\d{1,3}){3}|\[[^\]]*\]|localhost|[^/?#:]+:\d+)(?:[:/?#]|$)", re.ASCII)


@dataclass(frozen=True, slots=True)
class SourceUri:
    """One source, taken apart.

    scheme:  the module that opens it ("file", "rtsp" ...).
    target:  what that module opens: a path, a device, a whole URL; see `Form`.
    options: from the query, or from the fragment of a whole URL.
    name:    what to show people: the text as given, without password.
    waits:   a live source that is not there yet is waited for, instead of being an error.
    decode:  where its video is decoded.
    """

    scheme: str
    target: str = field(repr=False)  # may hold a password
    options: Mapping[str, str] = field(repr=False)
    name: str
    waits: bool = False
    decode: Decode = "auto"


def parse_text(text: str, schemes: Sequence[str], declared: Callable[[str], tuple[str, Form] | None]) -> SourceUri:
    """Take apart a URI, a path, a webcam's number or a GStreamer pipeline.

    schemes: all names, for error texts. declared: the module that opens a scheme and the form of its URIs; None where none does.
    Raises SourceNotFoundError when nothing is there, SourceOpenError when the text makes no sense.
    """
    text = text.strip()
    name = redact_source(text)
    if not text:
        raise SourceOpenError("the source is empty", f"Give a path, 0 for the first webcam, or {_scheme_list(schemes)}")
    whole = with_variables(text, name)
    if text.startswith("${"):
        name = redact_source(whole)
    text = whole
    if (text.isascii() and text.isdigit()) or _DEVICE.fullmatch(text):
        return SourceUri("webcam", text, {}, name)
    match = _SCHEME.match(text)
    if match is None:
        return SourceUri("gst", text, {}, name) if " ! " in text else _parse_path(text, {}, name)
    given, rest = match[1].lower(), text[match.end() :]
    found = declared(given)
    if found is None:
        near = nearest(given, schemes)
        cure = f'Did you mean "{near}"?' if near else f"Known: {_scheme_list(schemes)}"
        raise SourceOpenError(f'{name}: no source has the scheme "{given}"', cure)
    scheme, form = found
    if form == "text":
        return SourceUri(scheme, rest, {}, name)
    if form == "url":
        fragment = _FRAGMENT_OPTIONS.fullmatch(text)
        url, options = (fragment[1], _split_options(fragment[2], name)) if fragment else (text, {})
        _check_host(url, name)
        return SourceUri(scheme, url, options, name)
    target, _, query = rest.partition("?")
    return SourceUri(scheme, unquote(target), _split_options(query, name), name)


def _parse_path(text: str, options: Mapping[str, str], name: str) -> SourceUri:
    path = Path(text).expanduser()
    if path.is_dir():
        return SourceUri("images", str(path), options, name)
    if path.exists():
        return SourceUri("file", str(path), options, name)
    before, mark, query = text.rpartition("?")
    if mark and Path(before).expanduser().exists():
        return _parse_path(before, _split_options(query, name), name)
    raise not_found(path, name)


def not_found(path: Path, name: str) -> SourceNotFoundError:
    """The error for a path that does not exist, with the nearest name in its folder."""
    folder = path.parent
    if not folder.is_dir():
        return SourceNotFoundError(f"{name}: no such file, and no folder {redact(folder)}", "Check the path")
    near = nearest(path.name, (entry.name for entry in folder.iterdir()))
    return SourceNotFoundError(f"{name}: no such file, folder or device", f'Did you mean "{near}"?' if near else "Check the path")


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sorts names with numbers in them the way people count."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in _DIGITS.split(path.name.lower()) if part]


def _scheme_list(schemes: Sequence[str]) -> str:
    return ", ".join(f"{scheme}://" for scheme in schemes)


def _check_host(url: str, name: str) -> None:
    _check_password(url, name)
    try:
        host = urlsplit(url).hostname
    except ValueError as error:
        raise SourceOpenError(f"{name}: not a valid address ({redact(error)})", "Percent-encode special characters") from None
    if not host:
        raise SourceOpenError(f"{name}: the address has no host", "Write it as scheme://host/path")
    try:
        _ = urlsplit(url).port
    except ValueError:  # its text has what may be a password
        cure = "Write host:554, or user:password@host"
        raise SourceOpenError(f"{name}: what follows the colon after the host is not a port", cure) from None


def _check_password(url: str, name: str) -> None:
    """Raises SourceOpenError where the first "#", "/" or "?" is part of a password, by all appearances.

    Left alone is http://camera:8080/@user, where what precedes the "/" may be a host and its port.
    """
    authority, mark, rest = _AUTHORITY.match(url.partition("://")[2]).groups()  # type: ignore[union-attr]  # it matches any text
    if "@" not in rest:
        return
    before, _, after = rest.rpartition("@")
    host = authority.rpartition("@")[2]
    is_host = _HOST.fullmatch(host) is not None
    names_a_host = ":" in host and not re.search("[/?=&]", before) and _SURELY_HOST.match(after)
    if mark == "#" or not is_host or names_a_host:
        cure = "Percent-encode it: # as %23, / as %2F, ? as %3F, @ as %40, % as %25"
        raise SourceOpenError(f'{name}: its user name or password has a "{mark}", which ends them in an address', cure)


def _split_options(query: str, name: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, mark, value = part.partition("=")
        if not mark or not key:
            raise SourceOpenError(
                f'{name}: "{shown_pairs(part)}" is not an option', "Write options as key=value, with & between them"
            )
        if key in options:
            raise SourceOpenError(f'{name}: option "{key}" is given twice', "Give it once")
        options[key] = unquote(value)
    return options


class Options:
    """Typed, checked reading of a source's options. `finish` rejects those that were not read."""

    def __init__(self, uri: SourceUri) -> None:
        self._uri = uri
        self._known: list[str] = []

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number in [low, high], or `default` where it is not given."""
        value = self.number(key, default, low, high)
        if value != int(value):
            raise self._wrong(key, f"a whole number from {low} to {high}")
        return int(value)

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A number in [low, high], or `default` where it is not given."""
        text = self._take(key)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise self._wrong(key, f"a number from {low:g} to {high:g}")
        return value

    def flag(self, key: str) -> bool:
        """1/true/yes/on or 0/false/no/off; False where it is not given."""
        text = (self._take(key) or "0").lower()
        if text not in {"0", "1", "true", "false", "yes", "no", "on", "off"}:
            raise self._wrong(key, "0 or 1")
        return text in {"1", "true", "yes", "on"}

    def choice(self, key: str, allowed: Sequence[str]) -> str:
        """One of `allowed`; the first where it is not given."""
        text = self._take(key)
        if text is not None and text not in allowed:
            raise self._wrong(key, "one of " + ", ".join(allowed))
        return text or allowed[0]

    def finish(self) -> None:
        """Raise SourceOpenError for an option that this source does not have."""
        for key in self._uri.options:
            if key not in self._known:
                cure = choices(key, self._known) if self._known else "It has none"
                raise SourceOpenError(f'{self._uri.name}: {self._uri.scheme}:// has no option "{redact(key)}"', cure)

    def _take(self, key: str) -> str | None:
        self._known.append(key)
        return self._uri.options.get(key)

    def _wrong(self, key: str, right: str) -> SourceOpenError:
        return SourceOpenError(f"{self._uri.name}: {key}={redact(self._uri.options[key])} is not valid", f"Give {right}")
