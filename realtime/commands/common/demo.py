"""`run.py` alone, without a command: what fits the machine."""

from __future__ import annotations

import logging
from pathlib import Path

from realtime.commands import view
from realtime.commands.common.options import Running, parsed
from realtime.commands.common.running import AUTO, DEMO_CLIP, run_to_files, settings_of
from realtime.sinks import check_outputs
from realtime.sources import first_webcam, open_source
from realtime.viewer.display import has_display

log = logging.getLogger(__name__)

OUT = {"video": Path("out/demo.mp4")}
LIVE_FRAMES = 300
"""A headless demo of a camera ends after about ten seconds."""


def demo() -> int:
    """The first webcam, or else a real clip: in a window where there is a display, else headless to a file."""
    if has_display():
        return view.show(AUTO, parsed(Running))
    log.info("No display here, so this runs headless. Looking for a camera ...")
    camera = first_webcam()
    if camera is None:
        log.info("No camera answers; playing %s.", DEMO_CLIP)
    check_outputs(OUT)
    settings = settings_of(parsed(Running), "0" if camera else DEMO_CLIP)
    if camera is None:
        return run_to_files(settings, lambda: open_source(DEMO_CLIP), OUT, None)
    return run_to_files(settings, lambda: camera, OUT, LIVE_FRAMES)
