"""Backdrop: turns the setting `background` into a background for drawing. Reads the picture if it names one."""

from pathlib import Path

import cv2
import numpy as np

from realtime.errors import SettingsError
from realtime.render import Background, Blur, Picture, Plain

MAX_PICTURE_BYTES = 128 * 1024**2


def open_background(text: str) -> Background:
    """The background for "none" (a blur, for when it is turned on), "blur", "#rrggbb" or the path of a picture.

    Raises SettingsError for a file that cannot be read as a picture. `realtime.settings` has checked everything else.
    """
    if text in ("none", "blur"):
        return Blur()
    if text.startswith("#"):
        return Plain((int(text[5:7], 16), int(text[3:5], 16), int(text[1:3], 16)))
    path = Path(text).expanduser()
    cure = "Give the path of a PNG or JPEG picture"
    try:
        if path.stat().st_size > MAX_PICTURE_BYTES:
            raise SettingsError(f"background: {path} is larger than {MAX_PICTURE_BYTES // 1024**2} MiB", "Scale it down")
        data = np.frombuffer(path.read_bytes(), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error) as error:
        reason = error.strerror if isinstance(error, OSError) else "too many pixels"
        raise SettingsError(f"background: {path} cannot be read ({reason})", cure) from error
    if image is None:
        raise SettingsError(f"background: {path} is not a picture", cure)
    return Picture(image)
