"""Show a source in a window."""

from typing import NamedTuple

from realtime.commands.common.options import Command, Running, argument, group, option, switch

SOURCE_HELP = "file, folder of images, 0, csi://0, rtsp://, http://, sample://bikes ..."


class Options(NamedTuple):
    source: str = argument("source", SOURCE_HELP, nargs="?", default="auto")
    overlay: str | None = option(
        "locked|live",
        "locked: show the frame that the masks belong to; live: the newest frame, masks moved to it (default: locked)",
    )
    full_screen: bool = switch("fill the screen, as F11 does")
    running: Running = group(Running)


def run(options: Options) -> int:
    """Show a source in a window until it is closed."""
    from realtime.commands.common.running import run_in_window

    return run_in_window(options.source, options.running, options.overlay, full_screen=options.full_screen)


COMMAND = Command(
    "view",
    Options,
    run,
    __doc__,
    example=("run.py view dashcam.mp4", "a file, camera (0), folder of images, rtsp://..., http://... or sample://bikes"),
    rank=10,
)
