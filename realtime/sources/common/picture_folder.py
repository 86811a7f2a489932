"""A folder of images as a clip: which of its files are pictures, and in which order."""

from pathlib import Path

from realtime.sources.common.uri import natural_key

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})


def files_in(folder: Path) -> list[Path]:
    """What may be part of the clip. A name that begins with a dot is not: macOS writes ._frame1.jpg beside frame1.jpg."""
    return [path for path in folder.iterdir() if not path.name.startswith(".") and not path.is_dir()]


def pictures_in(folder: Path) -> list[Path]:
    """Files with the suffix of a picture, in natural order: frame2 before frame10. Raises OSError."""
    return sorted((path for path in files_in(folder) if path.suffix.lower() in SUFFIXES), key=natural_key)
