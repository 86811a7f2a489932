"""Run over a source without a window, to files.

Run over a source without a window, to files: every frame, in order (a live source drops what is too much).
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from realtime.commands.common.options import Command, Declared, Running, argument, collected, group, option, switch
from realtime.commands.common.values import positive
from realtime.commands.view import SOURCE_HELP


def _outputs() -> Mapping[str, Declared]:
    """An option for each kind of sink."""
    from realtime.sinks import kinds

    return {name: option("FILE", kind.help, Path, flag=kind.option) for name, kind in kinds().items()}


class Options(NamedTuple):
    source: str = argument("source", SOURCE_HELP)
    outputs: dict[str, Path] = collected(_outputs)
    frames: int | None = option(
        "N", "stop after so many frames; of a live source, results: frames that it drops do not count", positive
    )
    force: bool = switch("replace outputs that exist")
    wait: bool = switch("wait for a camera that is not there yet (Ctrl-C ends it); otherwise that is an error")
    running: Running = group(Running)


def run(options: Options) -> int:
    """Write every frame's results to the files that are named."""
    from realtime.commands.common.running import run_to_files, settings_of
    from realtime.errors import SettingsError
    from realtime.sinks import check_outputs, kinds
    from realtime.sources import open_source

    if not options.outputs:
        examples = ", ".join(f"{kind.option} FILE{kind.suffixes[0]}" for kind in kinds().values())
        raise SettingsError("process writes files, and none is named", f"Name at least one: {examples}")
    settings = settings_of(options.running, options.source)
    for kind in (kinds()[name] for name in options.outputs):
        if kind.needs_tracks and settings.tracker == "none":
            raise SettingsError(f"{kind.option} writes tracks, and --tracker is none", "Use it with --tracker auto")
    source_path = Path(options.source)
    source_file = source_path if source_path.is_file() else None
    check_outputs(options.outputs, source_file, replaces=options.force, encoder=settings.encoder)

    opener = functools.partial(open_source, options.source, waits=options.wait, decode=settings.decode)
    return run_to_files(settings, opener, options.outputs, options.frames, replaces=options.force)


COMMAND = Command(
    "process",
    Options,
    run,
    __doc__,
    example=("run.py process in.mp4 --out o.mp4", "every frame, in order, none dropped, to files"),
    rank=20,
)
