"""Sinks: files that results are written to. The folder is the registry: each plain module is one kind of output.

A module declares, as literals above its first class, since `process --help` reads them without importing it:
    SUFFIXES       file endings that it writes
    OPTION         its option of `run.py process`, such as "--out"
    HELP           that option's line in the help
    NEEDS_CANVAS   True if it writes drawn pictures (default: False; then no picture is drawn for it)
    NEEDS_TRACKS   True if it writes nothing without a tracker (default: False)
and defines `create(path, facts) -> Sink`, and may define
    mend(part, whole) -> str    make a complete file `whole` of what a killed run left in `part`; how much that is, such as
                                "12.3 s", or "" where it is nothing (without this function a part is taken as it is)
Shared parts are in `common`.
A file appears under its name when it is complete; until then it is `.NAME.part.SUFFIX` in the same folder.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from engines.errors import choices
from engines.loading import load_module, module_constants, module_names
from realtime.errors import SinkError
from realtime.sinks.common.leftovers import Mend, finish_left, left_in
from realtime.sinks.common.output_file import check_writable, part_path

if TYPE_CHECKING:
    from realtime.types import Sink

__all__ = ["Kind", "StreamFacts", "check_outputs", "is_taken", "kinds", "names", "needs_canvas", "open_sinks", "recover"]

log = logging.getLogger(__name__)


class StreamFacts(NamedTuple):
    """What is known of a whole run from the start.

    source: name of the input, without password. classes: names; the position is the class id. versions: of the program and the
    packages that made the results. fps: nominal frames per second of the source, a hint only: each frame has its own time.
    observers: names of those that the settings name; their numbers are written. is_live: the source does not wait.
    encoder: where video is encoded, as `Settings.encoder`.
    """

    source: str = ""
    model: str = ""
    classes: tuple[str, ...] = ()
    fps: float | None = None
    versions: Mapping[str, str] = {}
    observers: tuple[str, ...] = ()
    is_live: bool = False
    encoder: str = "auto"

    def class_name(self, class_id: int) -> str:
        return self.classes[class_id] if 0 <= class_id < len(self.classes) else f"class {class_id}"


class Kind(NamedTuple):
    """What a sink's module declares about itself."""

    suffixes: tuple[str, ...]
    option: str
    help: str
    needs_canvas: bool = False
    needs_tracks: bool = False


def names() -> tuple[str, ...]:
    """The kinds of output, sorted by name. Imports none of them."""
    return module_names(__path__)


def kinds() -> dict[str, Kind]:
    """Every kind by name, those with pictures first. Imports none of them."""
    found = {name: _kind(name) for name in names()}
    return dict(sorted(found.items(), key=lambda item: not item[1].needs_canvas))


def needs_canvas(kinds: Iterable[str]) -> bool:
    """Whether one of these kinds writes drawn pictures."""
    return any(_kind(name).needs_canvas for name in kinds)


def check_outputs(
    paths: Mapping[str, Path], source: Path | None = None, *, replaces: bool = False, encoder: str = "auto"
) -> None:
    """Make sure that each output can be written, before any work starts. Makes missing parent folders; leaves no file.

    paths: kind -> file. source: the input, where it is a file. replaces: existing files. encoder: as `Settings.encoder`: a
    GPU that must encode video is looked for. Raises SinkError that names the path, or what lacks, and the cure.
    """
    for kind, path in paths.items():
        check_writable(path, _kind(kind).suffixes, source, replaces=replaces)
        if encoder == "gpu" and (check_encoder := getattr(load_module(__name__, kind), "check_encoder", None)) is not None:
            check_encoder(encoder)


def open_sinks(
    paths: Mapping[str, Path], facts: StreamFacts, source: Path | None = None, *, replaces: bool = False
) -> tuple[Sink, ...]:
    """A sink per output, in the order of `paths`. Call it on the thread that writes and closes them.

    What killed runs left of these files is finished first, and reported; what they left beside them is named. Nothing else is on
    disk until the first frame. Raises SinkError, as `check_outputs` does, when any of them cannot be written.
    """
    check_outputs(paths, source, replaces=replaces)
    for kind, path in paths.items():
        if text := finish_left(path, _mend(kind)):
            log.warning("%s", text)
    for folder in {path.parent for path in paths.values()}:
        if others := left_in(folder, _kind_by_suffix()):
            log.warning("killed runs left %s; finish what is there: run.py recover %s", ", ".join(map(str, others)), folder)
    return tuple(cast("Sink", load_module(__name__, kind).create(path, facts)) for kind, path in paths.items())


def is_taken(path: Path) -> bool:
    """Whether this name of an output is in use: by a file, or by one that is being written."""
    return os.path.lexists(path) or os.path.lexists(part_path(path))


def recover(place: Path) -> list[str]:
    """Finish what killed runs left: of this output, or in this folder. Returns a line for each file, for people.

    Files that are being written are left alone. Raises SinkError for an output that another process writes, or that cannot be
    written.
    """
    kind_of = _kind_by_suffix()
    paths = left_in(place, kind_of) if place.is_dir() else [place]
    texts = (finish_left(path, _mend(kind_of[path.suffix.lower()])) for path in paths if path.suffix.lower() in kind_of)
    return [text for text in texts if text]


def _kind_by_suffix() -> dict[str, str]:
    return {suffix: name for name, kind in kinds().items() for suffix in kind.suffixes}


def _mend(kind: str) -> Mend | None:
    return getattr(load_module(__name__, kind), "mend", None)


def _kind(name: str) -> Kind:
    if name not in names():
        raise SinkError(f'no kind of output is called "{name}"', choices(name, names()))
    declared = module_constants(__name__, name)
    try:
        return Kind(**{key: declared[key.upper()] for key in Kind._fields if key.upper() in declared})
    except TypeError as error:
        raise SinkError(f"{__name__}.{name} must declare SUFFIXES, OPTION and HELP, as literals") from error
