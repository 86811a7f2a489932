"""The GPU's primary context, retained once for this process and shared by every Device on the one thread that holds it.

PyCUDA makes a new object of every retain, and memory that was taken through one cannot be freed through another.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import Any

from engines.errors import BackendUnavailableError


@dataclass(slots=True)
class _Held:
    """The primary context that this process holds, and for how many Devices."""

    context: Any
    number: int
    thread: int
    count: int = 1


HANDOVER_S = 3.0
"""How long a thread waits for another to let the GPU go: a source that is switched ends beside the next one's start."""

_changed = threading.Condition()
_held: _Held | None = None


def retain(cuda: Any, number: int) -> Any:
    """The primary context of GPU `number`. Raises BackendUnavailableError when another thread or GPU holds it.

    cuda: `pycuda.driver`.
    """
    global _held
    with _changed:
        _changed.wait_for(lambda: _held is None or _held.thread == threading.get_ident(), HANDOVER_S)
        if _held is not None:
            if _held.thread != threading.get_ident():
                raise BackendUnavailableError("the GPU is in use by another thread of this program: close that engine first")
            if _held.number != number:
                raise BackendUnavailableError(f"this program holds GPU {_held.number} already: close that engine first")
            _held.count += 1
            return _held.context
        _held = _Held(cuda.Device(number).retain_primary_context(), number, threading.get_ident())
        return _held.context


def release(cuda: Any) -> None:
    """The last one lets the context go. It must not be anybody's current context any more."""
    global _held
    with _changed:
        assert _held is not None, "retained by whoever releases"
        _held.count -= 1
        if _held.count == 0:
            with contextlib.suppress(cuda.Error):
                _held.context.detach()
            _held = None
            _changed.notify_all()
