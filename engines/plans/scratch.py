"""Scratch: a folder to build one engine in, for one process at a time; the others wait."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from engines.errors import BuildError


@contextlib.contextmanager
def hold_scratch(
    root: Path, name: str, *, wait_s: float | None, on_wait: Callable[[], None], before: Callable[[], None]
) -> Iterator[Path]:
    """Hold the lock `name`, and an empty folder under `root`: removed in the end, or by the next holder if this one is killed.

    wait_s: for another holder; None waits as long as it lives. on_wait: called once when there is one.
    before: called first of all with the lock held. Raises BuildError when the wait is over or the disk refuses.
    """
    scratches = root / ".scratch"
    with contextlib.ExitStack() as stack:
        try:
            scratches.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_lock(root, name, wait_s, on_wait))
            for leftover in scratches.glob(f"{name}-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            before()
            scratch = Path(tempfile.mkdtemp(dir=scratches, prefix=f"{name}-"))
        except OSError as error:
            raise BuildError(
                f"{root}: engines cannot be built there ({error.strerror}); make room, or name another disk with XDG_CACHE_HOME"
            ) from error
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        yield scratch


@contextlib.contextmanager
def _lock(root: Path, name: str, wait_s: float | None, on_wait: Callable[[], None]) -> Iterator[None]:
    # Its file stays: to delete a lock is to let two in, one on the old file and one on the new.
    folder = root / ".locks"
    folder.mkdir(exist_ok=True)
    lock = filelock.FileLock(str(folder / f"{name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        on_wait()
        try:
            lock.acquire(timeout=-1 if wait_s is None else wait_s, poll_interval=0.1)
        except filelock.Timeout as error:
            raise BuildError(f"another process still builds this engine after {wait_s:g} s: wait for it, or end it") from error
    try:
        yield
    finally:
        lock.release()
