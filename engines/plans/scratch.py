"""Scratch: a folder for building one engine, used by one process at a time while others wait."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import filelock

from engines.errors import BuildCancelledError, BuildError, cure_of
from engines.system.unfinished import temporary_folder

POLL_S = 0.2
"""Interval at which a waiting build checks for a cancel."""

ELSEWHERE = "choose another folder with XDG_CACHE_HOME"


@contextlib.contextmanager
def hold_scratch(
    root: Path,
    name: str,
    *,
    wait_s: float,
    on_wait: Callable[[], None],
    is_cancelled: Callable[[], bool],
    leftovers: Iterable[Path],
) -> Iterator[Path]:
    """Hold the lock `name` and yield an empty folder under `root`, removed at the end, or by the next holder after a crash.

    wait_s: longest wait for another holder. on_wait: called once if there is one. leftovers: further files to delete first.
    Raises BuildError if the wait takes too long or the disk refuses, BuildCancelledError if `is_cancelled` returns true then.
    """
    scratches = root / ".scratch"
    with contextlib.ExitStack() as stack:
        try:
            scratches.mkdir(parents=True, exist_ok=True)
            lock = _locked(root, name, wait_s, on_wait, is_cancelled)
            stack.callback(lock.release)
            for leftover in scratches.glob(f"{name}-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            for part in leftovers:
                part.unlink(missing_ok=True)
            scratch = stack.enter_context(temporary_folder(scratches, f"{name}-"))
        except OSError as error:
            raise BuildError(f"{root}: engines cannot be built there ({error.strerror})", cure_of(error, ELSEWHERE)) from error
        yield scratch


def _locked(
    root: Path, name: str, wait_s: float, on_wait: Callable[[], None], is_cancelled: Callable[[], bool]
) -> filelock.BaseFileLock:
    # The lock file is never deleted: otherwise two processes could hold the old and the new file.
    folder = root / ".locks"
    folder.mkdir(exist_ok=True)
    lock = filelock.FileLock(str(folder / f"{name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        on_wait()
    deadline_s = time.monotonic() + wait_s
    while not lock.is_locked:
        with contextlib.suppress(filelock.Timeout):
            lock.acquire(timeout=POLL_S, poll_interval=POLL_S / 2)
        if is_cancelled() and not lock.is_locked:
            raise BuildCancelledError("the build was cancelled")
        if time.monotonic() > deadline_s and not lock.is_locked:
            raise BuildError(f"another process is still building this engine after {wait_s:g} s", "Wait for it, or end it")
    return lock
