"""Backdrop: turns the setting `background` into a background for drawing. Reads the picture if it names one."""

from pathlib import Path

from engines.errors import PictureError
from engines.pictures.reading import read_picture
from realtime.errors import SettingsError
from realtime.render import Background, Blur, Picture, Plain


def open_background(text: str) -> Background:
    """The background for "none" (a blur, for when it is turned on), "blur", "#rrggbb" or the path of a picture.

    Raises SettingsError for a file that cannot be read as a picture. `realtime.settings` has checked everything else.
    """
    if text in ("none", "blur"):
        return Blur()
    if text.startswith("#"):
        return Plain((int(text[5:7], 16), int(text[3:5], 16), int(text[1:3], 16)))
    path = Path(text).expanduser()
    try:
        return Picture(read_picture(path))
    except PictureError as error:
        raise SettingsError(f"background: {error.what}", "Give the path of a PNG or JPEG picture") from error
