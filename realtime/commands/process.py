"""`run.py process`: over a source without a window, every frame, to files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from realtime.commands.common.options import add_running, positive
from realtime.sinks import check_outputs, kinds

NAME = "process"


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        NAME,
        help="run over a source without a window, to files",
        description="Run over a source without a window, to files: every frame, in order (a live source drops what is too much).",
    )
    parser.add_argument("source", help="file, folder of images, 0, csi://0, rtsp://, http://, sample://bikes ...")
    for name, kind in kinds().items():
        parser.add_argument(kind.option, dest=name, metavar="FILE", help=kind.help)
    parser.add_argument("--frames", metavar="N", type=positive, help="stop after so many frames")
    add_running(parser)


def run(options: dict[str, Any]) -> int:
    """Run over a source without a window, every frame, to files."""
    from realtime.commands.common.running import run_to_files, settings_of
    from realtime.errors import SettingsError
    from realtime.sources import open_source

    paths = {name: Path(options[name]) for name in kinds() if options[name]}
    if not paths:
        examples = ", ".join(f"{kind.option} FILE{kind.suffixes[0]}" for kind in kinds().values())
        raise SettingsError("process writes files, and none is named", f"Name at least one: {examples}")
    settings = settings_of(options, options["source"])
    for kind in (kinds()[name] for name in paths):
        if kind.needs_tracks and settings.tracker == "none":
            raise SettingsError(f"{kind.option} writes tracks, and --tracker is none", "Use it with --tracker auto")
    source_path = Path(options["source"])
    check_outputs(paths, source_path if source_path.is_file() else None)
    return run_to_files(settings, lambda: open_source(options["source"]), paths, options["frames"])
