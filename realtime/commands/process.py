"""`run.py process`: over a source without a window, every frame, to files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from realtime.commands.common.options import add_running, positive

NAME = "process"

OUTPUTS = {"out": "video", "mot": "mot", "jsonl": "jsonl"}
"""Option → kind of sink."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        NAME,
        help="run over a source without a window, to files",
        description="Run over a source without a window, to files: every frame, in order (a live source drops what is too much).",
    )
    parser.add_argument("source", help="file, folder of images, 0, csi://0, rtsp://, http://, sample://bikes ...")
    parser.add_argument("--out", metavar="FILE", help="video of what a viewer would show (.mp4, .mov, .mkv)")
    parser.add_argument("--mot", metavar="FILE", help="tracks in MOTChallenge format (.txt)")
    parser.add_argument("--jsonl", metavar="FILE", help="objects, tracks and masks, one JSON object per frame (.jsonl)")
    parser.add_argument("--frames", metavar="N", type=positive, help="stop after so many frames")
    add_running(parser)


def run(options: dict[str, Any]) -> int:
    """Run over a source without a window, every frame, to files."""
    from realtime.commands.common.running import run_to_files, settings_of
    from realtime.errors import SettingsError
    from realtime.sinks import check_outputs
    from realtime.sources import open_source

    paths = {kind: Path(options[option]) for option, kind in OUTPUTS.items() if options[option]}
    if not paths:
        raise SettingsError("process writes files: name at least one of --out FILE.mp4, --mot FILE.txt, --jsonl FILE.jsonl")
    settings = settings_of(options, options["source"])
    if "mot" in paths and settings.tracker == "none":
        raise SettingsError("--mot writes tracks: use it with --tracker auto")
    source_path = Path(options["source"])
    check_outputs(paths, source_path if source_path.is_file() else None)
    return run_to_files(settings, lambda: open_source(options["source"]), paths, options["frames"])
