"""Names of the user's own models. A name is also a folder's, so it must be valid on every file system, and not a path."""

from __future__ import annotations

import re
from pathlib import Path

from engines.errors import CollectionError, choices
from engines.models import zoo

MAX_NAME_LETTERS = 64

# No dots: with them come "..", hidden folders, and names that look like files.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)

_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
"""Device names on Windows, in every folder."""


def check_name(name: str) -> str:
    """`name`, if it is valid. Raises CollectionError that describes valid names."""
    if not (_NAME.fullmatch(name) and len(name) <= MAX_NAME_LETTERS):
        raise CollectionError(
            f'"{name[:80]}" cannot be the name of a model',
            f'Use up to {MAX_NAME_LETTERS} letters a-z, digits, "-" and "_", beginning with a letter or digit',
        )
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
