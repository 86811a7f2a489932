"""FFmpeg's errors in words."""

import av.error

from realtime.process.redact import redact


def explain(name: str, error: Exception, timeout_s: float | None) -> tuple[str, str]:
    """The problem, `name` in front, and the cure of FFmpeg's error."""
    what, cure = reason_of(error, timeout_s)
    return f"{name}: {what}", cure


def reason_of(error: Exception, timeout_s: float | None = None) -> tuple[str, str]:
    """FFmpeg's error in words, without the URL in it, and what to do."""
    if isinstance(error, av.error.HTTPNotFoundError):
        return "the server has nothing at this path (404)", "Check the path"
    if isinstance(error, av.error.ExitError | TimeoutError):
        return (f"no answer within {timeout_s:g} s" if timeout_s else "no answer"), "Check the address and the network"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused", "Check the address and the port"
    if isinstance(error, av.error.InvalidDataError):
        return "not a video, or too damaged to read", ""
    text = getattr(error, "strerror", None) or str(error)
    return redact(text[:1].lower() + text[1:]), ""
