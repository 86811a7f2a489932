"""Show a source in a window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from realtime.commands.common.options import Command, Running, argument, group, option

SOURCE_HELP = "file, folder of images, 0, csi://0, rtsp://, http://, sample://bikes ..."


class Options(NamedTuple):
    source: str = argument("source", SOURCE_HELP, nargs="?", default="auto")
    overlay: str | None = option(
        "locked|live",
        "locked: show the frame that the masks belong to; live: the newest frame, masks moved to it (default: locked)",
    )
    running: Running = group(Running)


def run(options: Options) -> int:
    """Show a source in a window until it is closed."""
    return show(options.source, options.running, options.overlay)


def show(source: str, running: Running, overlay: str | None = None) -> int:
    """The process's exit code, when the window is closed."""
    from engines.models import zoo
    from realtime.commands.common.running import AUTO, auto_source, leave_hanging_threads, settings_of
    from realtime.process.tuning import prepare
    from realtime.sources import Paced, open_source
    from realtime.viewer.display import check_qt

    settings = settings_of(running, source, overlay)
    zoo.locate(settings.model)  # a wrong name is an error here, not a message in a window
    check_qt()
    from realtime.sessions.live import LiveSession
    from realtime.viewer.run import run_viewer

    prepare()

    def open_session(source: str, wake: Callable[[], None]) -> LiveSession:
        opener = auto_source if source == AUTO else lambda: Paced(open_source(source))
        name = "camera or sample clip" if source == AUTO else source
        return LiveSession(settings, name, opener, lambda: zoo.find(settings.model), wake, Path("out"))

    code = run_viewer(open_session, source, title="Real-time segmentation")
    leave_hanging_threads(code)
    return code


COMMAND = Command(
    "view",
    Options,
    run,
    __doc__,
    example=("run.py view dashcam.mp4", "a file, camera (0), folder of images, rtsp://..., http://... or sample://bikes"),
    rank=10,
)
