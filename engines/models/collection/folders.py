"""Folders and names of the user's own models. A folder appears and disappears as a whole, also after an error.

A name is also a folder's, so it must be valid on every file system, and not a path.
"""

import contextlib
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from engines.errors import CardError, CollectionError, SegmentationError, choices, cure_of
from engines.files import PART, sha256_of, sync_to_disk
from engines.models import zoo
from engines.system.unfinished import unfinished

MAX_NAME_LETTERS = 64

# No dots: with them come "..", hidden folders, and names that look like files.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)

_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
"""Device names on Windows, in every folder."""

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
        with unfinished(lambda: shutil.rmtree(folder, ignore_errors=True)):
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


def fault_of(name: str) -> str:
    """The fault of a bundled or own model: the whole file is read, and its hash compared with the card's. "" for none.

    Raises ModelNotFoundError.
    """
    try:
        card, path = zoo.card_of(name)
    except CardError as error:
        return f"its card cannot be read: {error}"
    if not card.sha256:
        return "its card has no sha256 to compare with"
    try:
        found = sha256_of(path)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    if found != card.sha256.lower():
        return f"{path} was changed or damaged: SHA-256 {found[:12]}..., not {card.sha256[:12]}..."
    return ""


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
    cure = cure_of(error, "choose another folder with XDG_DATA_HOME")
    return CollectionError(f"{path}: your models cannot be written there ({error.strerror or error})", cure)


def check_name(name: str) -> str:
    """`name`, if it is valid. Raises CollectionError that describes valid names."""
    if not (_NAME.fullmatch(name) and len(name) <= MAX_NAME_LETTERS):
        cure = f'Use up to {MAX_NAME_LETTERS} letters a-z, digits, "-" and "_", beginning with a letter or digit'
        raise CollectionError(f'"{name[:80]}" cannot be the name of a model', cure)
    if name.lower() in _DEVICES:
        raise CollectionError(f'"{name}" cannot be the name of a model: it is a device on Windows', "Choose another name")
    return name


def name_for(onnx_path: Path) -> str:
    """A name made from a file's: "seg (640).onnx" gives seg-640. Raises CollectionError when that is impossible."""
    stem = onnx_path.stem if onnx_path.stem != "model" else onnx_path.absolute().parent.name
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", stem)[:MAX_NAME_LETTERS].strip("-_")
    if not name or name.lower() in _DEVICES:
        raise CollectionError(f"{onnx_path}: a model cannot be named after this file", "Choose a name with --name NAME")
    return name


def check_free(name: str) -> None:
    """Raises CollectionError when there is such a model, in upper or lower case: some file systems ignore the difference."""
    taken = {known.lower(): known for known in (*zoo.own_names(), *zoo.bundled_names())}.get(name.lower())
    if taken in zoo.bundled_names():
        raise CollectionError(f'"{taken}" is a bundled model', "Choose another name with --name NAME")
    if taken is not None:
        cure = f"Remove it first (run.py models remove {taken}), or choose another name with --name NAME"
        raise CollectionError(f'there is a model "{taken}" already', cure)


def check_own(name: str) -> None:
    """Raises CollectionError that names the nearest, when this is not one of the user's own models."""
    own = zoo.own_names()
    if name in own:
        return
    if name in zoo.bundled_names():
        raise CollectionError(f'"{name}" is a bundled model', "Only models of your own can be removed")
    raise CollectionError(f'no model of your own is called "{name[:80]}"', choices(name, own))
