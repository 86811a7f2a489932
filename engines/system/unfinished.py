"""What would be left behind if the process ended at once, as by a signal: parts of files, temporary folders, child processes.

with unfinished(child.kill):        # called if the process ends in here; otherwise the block sees to it
    child.wait()
"""

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

_unfinished: dict[object, Callable[[], object]] = {}
settling = threading.RLock()
"""Held while something becomes what it will be, or what it was: no other thread ends the process in between."""

SETTLE_S = 1.0
"""The longest wait for that: a disk may hang."""


@contextlib.contextmanager
def unfinished(undo: Callable[[], object]) -> Iterator[None]:
    """While entered, `undo` is called if the process must end at once: it removes what would be left behind."""
    key = object()
    _unfinished[key] = undo
    try:
        yield
    finally:
        _unfinished.pop(key, None)


def undo_unfinished() -> None:
    """Undo everything that is unfinished. Called once, on any thread, when the process ends: no file is finished after it."""
    settling.acquire(timeout=SETTLE_S)
    for undo in reversed(list(_unfinished.values())):
        with contextlib.suppress(Exception):
            undo()


@contextlib.contextmanager
def temporary_folder(parent: Path | None = None, prefix: str = "realtime-") -> Iterator[Path]:
    """An empty folder, in `parent` or where the system has such folders, that is removed at the end. Raises OSError."""
    with settling, contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        stack.enter_context(unfinished(lambda: shutil.rmtree(folder, ignore_errors=True)))
        cleanup = stack.pop_all()
    with cleanup:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
