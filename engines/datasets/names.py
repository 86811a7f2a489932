"""Class names in a plain file."""

from __future__ import annotations

from pathlib import Path

from engines.errors import DataError

NAME_FILES = ("labels.txt", "classes.txt")
"""Where class names may stand, one a line."""


def read_names(path: Path) -> tuple[str, ...]:
    """Class names, one a line, in the order of their ids. Raises DataError."""
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as class names, one a line ({error})") from error
    if not names:
        raise DataError(f"{path}: holds no class name; write one a line, in the order of the ids")
    return names
