"""The GPU's primary context, retained once per process and shared by all Devices on one thread.

PyCUDA makes a new object for every retain, and memory allocated through one cannot be freed through another.
"""

import contextlib
import threading
from dataclasses import dataclass
from typing import Any

from engines.errors import BackendUnavailableError, InferenceError
from engines.gpu.driver import Driver


@dataclass(slots=True)
class _Held:
    """The primary context that this process holds, and the number of Devices that use it."""

    context: Any
    number: int
    thread: int
    count: int = 1


HANDOVER_S = 3.0
"""How long a thread waits for another to release the GPU: when sources are switched, both overlap for a moment."""

_changed = threading.Condition()
_held: _Held | None = None


def retain(cuda: Any, number: int) -> Any:
    """The primary context of GPU `number`. Raises BackendUnavailableError if another thread or GPU is in use.

    cuda: `pycuda.driver`.
    """
    global _held
    with _changed:
        _changed.wait_for(lambda: _held is None or _held.thread == threading.get_ident(), HANDOVER_S)
        if _held is not None:
            if _held.thread != threading.get_ident():
                raise BackendUnavailableError("another thread of this program uses the GPU", "Close its engine first")
            if _held.number != number:
                raise BackendUnavailableError(f"this program uses GPU {_held.number} already", "Close its engine first")
            _held.count += 1
            return _held.context
        _held = _Held(cuda.Device(number).retain_primary_context(), number, threading.get_ident())
        return _held.context


def release(cuda: Any, driver: Driver) -> None:
    """Release the context with its last user. It must not be current on any thread."""
    global _held
    with _changed:
        assert _held is not None, "retained before"
        _held.count -= 1
        if _held.count == 0:
            with contextlib.suppress(cuda.Error, InferenceError):
                _detach(_held.context, driver)
            _held = None
            _changed.notify_all()


def _detach(context: Any, driver: Driver) -> None:
    """Detach `context`, and take off this thread's stack what that leaves there.

    PyCUDA makes the context current before it releases it, and counts on the release to undo that. Releasing a primary context
    does not: it would stay this thread's current context.
    """
    before = driver.current_context()
    context.detach()
    if driver.current_context() != before:
        driver.pop_context()
