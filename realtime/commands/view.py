"""`run.py view`: a source in a window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from realtime.commands.common.options import add_running

NAME = "view"


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(NAME, help="show a source in a window", description="Show a source in a window.")
    parser.add_argument(
        "source", nargs="?", default="auto", help="file, folder of images, 0, csi://0, rtsp://, http://, sample://bikes ..."
    )
    parser.add_argument(
        "--overlay",
        metavar="locked|live",
        help="locked: show the frame that the masks belong to; live: the newest frame, masks moved to it (default: locked)",
    )
    add_running(parser)


def run(options: dict[str, Any]) -> int:
    """Show a source in a window until it is closed."""
    from engines.models import zoo
    from realtime.commands.common.running import AUTO, auto_source, leave_hanging_threads, settings_of
    from realtime.process.tuning import prepare
    from realtime.sources import Paced, open_source
    from realtime.viewer.display import check_qt

    settings = settings_of(options, options["source"])
    zoo.locate(settings.model)  # a wrong name is told here, not in a window
    check_qt()
    from realtime.sessions.live import LiveSession
    from realtime.viewer.run import run_viewer

    prepare()

    def open_session(source: str, wake: Callable[[], None]) -> LiveSession:
        opener = auto_source if source == AUTO else lambda: Paced(open_source(source))
        name = "camera or sample clip" if source == AUTO else source
        return LiveSession(settings, name, opener, lambda: zoo.find(settings.model), wake, Path("out"))

    code = run_viewer(open_session, options["source"], title="Real-time segmentation")
    leave_hanging_threads(code)
    return code
