"""Names of the user's own models. A name becomes a folder, so it is one on every file system, and no path."""

from __future__ import annotations

import re
from pathlib import Path

from engines.errors import CollectionError, did_you_mean
from engines.models import zoo

MAX_NAME_LETTERS = 64

# No dots: with them come "..", hidden folders, and names that look like files.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)

_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
"""What Windows takes for a device in every folder."""


def check_name(name: str) -> str:
    """`name`, when a model of one's own may be called so. Raises CollectionError, saying how names look."""
    if not (_NAME.fullmatch(name) and len(name) <= MAX_NAME_LETTERS):
        raise CollectionError(
            f'"{name[:80]}" cannot be the name of a model: up to {MAX_NAME_LETTERS} letters a-z, digits, "-" and "_", '
            "the first one a letter or digit"
        )
    if name.lower() in _DEVICES:
        raise CollectionError(f'"{name}" cannot be the name of a model: Windows takes it for a device; choose another')
    return name


def name_for(onnx_path: Path) -> str:
    """The name that a file suggests: "seg (640).onnx" is seg-640. Raises CollectionError when no name can be made of it."""
    stem = onnx_path.stem if onnx_path.stem != "model" else onnx_path.absolute().parent.name
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", stem)[:MAX_NAME_LETTERS].strip("-_")
    if not name or name.lower() in _DEVICES:
        raise CollectionError(f"{onnx_path}: no name can be made of that; choose one with --name NAME")
    return name


def check_free(name: str) -> None:
    """Raises CollectionError when there is such a model, capitals or not: some file systems know no difference."""
    taken = {known.lower(): known for known in (*zoo.own_names(), *zoo.bundled_names())}.get(name.lower())
    if taken in zoo.bundled_names():
        raise CollectionError(f'the name "{taken}" is a bundled model\'s; choose another with --name NAME')
    if taken is not None:
        cure = f"remove it first (run.py models remove {taken}), or choose another with --name NAME"
        raise CollectionError(f'there is a model "{taken}" already: {cure}')


def check_own(name: str) -> None:
    """Raises CollectionError, naming the nearest, when that is none of the user's own models."""
    own = zoo.own_names()
    if name in own:
        return
    if name in zoo.bundled_names():
        raise CollectionError(f'"{name}" comes with the program; only models of your own can be removed')
    raise CollectionError(
        f'no model of your own is called "{name[:80]}"; there are: {", ".join(own) or "none"}{did_you_mean(name, own)}'
    )
