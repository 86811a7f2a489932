"""Folders of the user's own models: each appears whole and disappears whole, whatever happens on the way."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from engines.errors import CollectionError, SegmentationError
from engines.files import sync_to_disk
from engines.models import zoo
from engines.models.collection.names import check_free, check_name, check_own

PART = ".part"
"""Ends the name of a folder that is being made or removed; it begins with a dot, so that nobody takes it for a model."""

LEFTOVER_AGE_S = 24 * 3600.0
"""A part older than this belongs to nobody: its process was killed."""


@contextlib.contextmanager
def new_model(name: str) -> Iterator[Path]:
    """An empty folder to put a model into. It becomes the model `name` when the block ends well, and is removed otherwise.

    Raises CollectionError for a name that is taken or impossible, and when the disk refuses.
    """
    check_name(name)
    check_free(name)
    root = zoo.own_dir()
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        folder = Path(tempfile.mkdtemp(dir=root, prefix=f".{name}-", suffix=PART))
    except OSError as error:
        raise _refused(root, error) from error
    try:
        yield folder
        _publish(folder, root / name)
    except SegmentationError:  # some of these are OSErrors too, and say it better
        raise
    except OSError as error:
        raise _refused(root, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_model(name: str) -> Path:
    """Delete one of the user's own models, and return where it was. Raises CollectionError for any other name."""
    check_own(name)
    folder = zoo.own_dir() / name
    try:
        if folder.is_symlink():  # what it leads to is not ours to delete
            folder.unlink()
            return folder
        hidden = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{name}-", suffix=PART))
        folder.rename(hidden / name)  # at once: from here on there is no half model
        shutil.rmtree(hidden)
    except OSError as error:
        raise _refused(folder, error) from error
    return folder


def _publish(folder: Path, target: Path) -> None:
    for path in (*folder.iterdir(), folder):
        sync_to_disk(path)
    folder.chmod(0o755 & ~_umask())  # mkdtemp's folder is private
    try:
        folder.rename(target)
    except OSError as error:
        if target.exists():
            raise CollectionError(f'another process has just made a model "{target.name}"; choose another name') from error
        raise
    sync_to_disk(target.parent)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sweep(root: Path) -> None:
    """Remove what processes left behind that were killed."""
    for leftover in root.glob(f".*{PART}"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > LEFTOVER_AGE_S:
                shutil.rmtree(leftover, ignore_errors=True)


def _refused(path: Path, error: OSError) -> CollectionError:
    why = error.strerror or error
    return CollectionError(
        f"{path}: your models cannot be kept there ({why}); make room, or name another disk with XDG_DATA_HOME"
    )
