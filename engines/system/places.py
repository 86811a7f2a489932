"""Folders of the user: where models, engines and keys are kept."""

from pathlib import Path
from typing import Literal

import platformdirs

from engines.errors import NoHomeError

PROGRAM = "realtime-segmentation"


def user_folder(kind: Literal["data", "cache", "state"]) -> Path:
    """The user's folder for data, cache or state of this program; it need not exist, nor be readable.

    Raises NoHomeError where none is known: without HOME, and with a user id that has no name, as in some containers.
    """
    folders = {"data": platformdirs.user_data_path, "cache": platformdirs.user_cache_path, "state": platformdirs.user_state_path}
    try:
        folder = folders[kind](PROGRAM)
    except RuntimeError:  # the user has no home
        folder = Path()
    if not folder.is_absolute():  # an older platformdirs would have us make a folder called "~" in the working folder
        raise NoHomeError("this user has no home folder", f"Set HOME, or XDG_{kind.upper()}_HOME to a folder of your own")
    return folder
