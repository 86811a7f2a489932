"""Folders of the user's own models: each appears and disappears as a whole, also after an error."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from engines.errors import CollectionError, SegmentationError
from engines.files import PART, sync_to_disk
from engines.models import zoo
from engines.models.collection.names import check_free, check_name, check_own

LEFTOVER_AGE_S = 24 * 3600.0
"""Hidden folders older than this were left by killed processes."""


@contextlib.contextmanager
def new_model(name: str) -> Iterator[Path]:
    """An empty folder for a model. It becomes the model `name` when the block ends, and is removed when the block raises.

    Raises CollectionError for a name that is taken or invalid, and when the folder cannot be written.
    """
    check_name(name)
    check_free(name)
    root = zoo.own_dir()
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        folder = _hidden_folder(root, name)
    except OSError as error:
        raise _not_writable(root, error) from error
    try:
        yield folder
        _publish(folder, root / name)
    except SegmentationError:  # some of these are OSErrors as well, with better messages
        raise
    except OSError as error:
        raise _not_writable(root, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_model(name: str) -> Path:
    """Delete one of the user's own models, and return where it was. Raises CollectionError for any other name."""
    check_own(name)
    folder = zoo.own_dir() / name
    try:
        if folder.is_symlink():  # its target is not deleted
            folder.unlink()
            return folder
        hidden = _hidden_folder(folder.parent, name)
        folder.rename(hidden / name)  # removes the model in one step
        shutil.rmtree(hidden)
    except OSError as error:
        raise _not_writable(folder, error) from error
    return folder


def _publish(folder: Path, target: Path) -> None:
    for path in (*folder.iterdir(), folder):
        sync_to_disk(path)
    try:
        folder.rename(target)
    except OSError as error:
        if target.exists():
            raise CollectionError(f'another process has just made a model "{target.name}"', "Choose another name") from error
        raise
    sync_to_disk(target.parent)


def _hidden_folder(root: Path, name: str) -> Path:
    """A new folder that is not listed as a model, as its name begins with a dot."""
    folder = root / f".{name}-{secrets.token_hex(4)}{PART}"
    folder.mkdir(mode=0o755)
    return folder


def _sweep(root: Path) -> None:
    """Remove hidden folders that killed processes left."""
    for leftover in root.glob(f".*{PART}"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > LEFTOVER_AGE_S:
                shutil.rmtree(leftover, ignore_errors=True)


def _not_writable(path: Path, error: OSError) -> CollectionError:
    cure = "Free some space, or choose another disk with XDG_DATA_HOME"
    return CollectionError(f"{path}: your models cannot be written there ({error.strerror or error})", cure)
