"""Sinks: files that results are written to. Each plain module of this folder is a kind of output, called by the module's name.

A kind offers `SUFFIXES`, the file endings it writes, and `create(path, facts) -> Sink`; what kinds share lies in `common`.
Files appear under their names when they are complete; until then they are called `.NAME.part.SUFFIX`, beside their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from engines.loading import load_module, module_names
from realtime.errors import SinkError
from realtime.sinks.common.output_file import check_writable
from realtime.sinks.common.stream_facts import StreamFacts
from realtime.types import Sink

__all__ = ["StreamFacts", "check_outputs", "names", "open_sinks"]


def names() -> tuple[str, ...]:
    """The kinds of output there are, sorted. Imports none of them."""
    return module_names(__path__)


def check_outputs(paths: Mapping[str, Path], source: Path | None = None) -> None:
    """Make sure that each output can be written, before any work starts. Makes missing parent folders; leaves no file.

    paths: kind -> file. source: the input, where it is a file. Raises SinkError that names the path and the cure.
    """
    for kind, path in paths.items():
        check_writable(path, _module(kind).SUFFIXES, source)


def open_sinks(paths: Mapping[str, Path], facts: StreamFacts, source: Path | None = None) -> tuple[Sink, ...]:
    """A sink per output, in the order of `paths`. Call it on the thread that writes and closes them.

    Nothing is on disk until the first frame. Raises SinkError, as `check_outputs` does, when any of them cannot be written.
    """
    check_outputs(paths, source)
    return tuple(_module(kind).create(path, facts) for kind, path in paths.items())


def _module(kind: str) -> ModuleType:
    if kind not in names():
        raise SinkError(f'no output is called "{kind}"; there are: {", ".join(names())}')
    return load_module(__name__, kind)
