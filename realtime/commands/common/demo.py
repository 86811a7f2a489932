"""`run.py` alone, without a command: what fits the machine."""

from __future__ import annotations

import logging
from pathlib import Path

from realtime.commands import view
from realtime.commands.common.running import AUTO, DEMO_CLIP, run_to_files, settings_of
from realtime.sinks import check_outputs
from realtime.sources import first_webcam, open_source
from realtime.viewer.display import has_display

log = logging.getLogger(__name__)

OUT = Path("out/demo.mp4")
LIVE_FRAMES = 300
"""A headless demo of a camera ends by itself: about ten seconds."""


def demo() -> int:
    """The first webcam, or else a real clip: in a window where there is a display, else headless to a file."""
    defaults = {"source": AUTO, "model": None, "backend": None, "tracker": None, "preset": None, "width": None, "threshold": None}
    if has_display():
        return view.run(defaults)
    log.info("No display here, so this runs headless. Looking for a camera ...")
    camera = first_webcam()
    if camera is None:
        log.info("No camera answers; playing %s.", DEMO_CLIP)
    check_outputs({"video": OUT})
    settings = settings_of(defaults, "0" if camera else DEMO_CLIP)
    return run_to_files(
        settings,
        lambda: camera if camera is not None else open_source(DEMO_CLIP),
        {"video": OUT},
        LIVE_FRAMES if camera is not None else None,
    )
