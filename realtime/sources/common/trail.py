"""Where a server's redirects lead, and who may get the password: only the server that the user gave it for."""

from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from realtime.process.redact import redact
from realtime.sources.common.feed import HopelessError

MAX_REDIRECTS = 5
_PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}


class Trail:
    """One address and the redirects from it. `url` is the address to ask next, with the password only where it may go."""

    def __init__(self, url: str, name: str) -> None:
        """url: with its user name and password. name: what to show people."""
        self.url, self._name = url, name
        self._userinfo = userinfo(url)
        self._origin = _origin(urlsplit(url))
        self._seen = {without_userinfo(url)}

    def follow(self, location: str) -> None:
        """Go where a redirect points. Raises HopelessError: a circle, too many, or an address that is not this kind of stream."""
        try:
            target = urljoin(without_userinfo(self.url), location.strip())
            parts = urlsplit(target)
            same_kind, origin = parts.scheme.removesuffix("s") == self._origin[0].removesuffix("s"), _origin(parts)
        except ValueError:
            raise HopelessError(f"{self._name}: it redirects to an invalid address", "Check the address") from None
        where = redact(urlunsplit((parts.scheme, parts.netloc, "", "", "")))
        if not same_kind or not parts.hostname:
            raise HopelessError(f"{self._name}: it redirects to {where or 'nowhere'}", "Give the address of the stream itself")
        bare = without_userinfo(target)
        if bare in self._seen:
            raise HopelessError(f"{self._name}: its redirects lead in a circle", "Give the address of the stream itself")
        if len(self._seen) > MAX_REDIRECTS:
            raise HopelessError(f"{self._name}: more than {MAX_REDIRECTS} redirects", "Give the address of the stream itself")
        self._seen.add(bare)
        own = userinfo(target) or (self._userinfo if origin == self._origin else "")
        self.url = bare.replace("://", f"://{own}@", 1) if own else bare

    @property
    def withheld(self) -> str:
        """Why the present address does not get the password, as the end of a sentence; empty where it does, or there is none."""
        if not self._userinfo or userinfo(self.url):
            return ""
        parts = urlsplit(self.url)
        return f": a redirect leads to {parts.scheme}://{parts.netloc}, which does not get the password. Give that address itself"


def userinfo(url: str) -> str:
    """ "user:password" as written in the URL; empty without."""
    return urlsplit(url).netloc.rpartition("@")[0]


def without_userinfo(url: str) -> str:
    """The URL as it is asked for: without user name, password and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path or "/", parts.query, ""))


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    """Scheme, host and port. Raises ValueError for a port that is none."""
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(scheme, 0)
