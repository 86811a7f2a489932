"""Writes dataset.toml in a readable form, and overwrites other content only on request."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from engines.datasets.settings import FILE_NAME, FOLDER_KEY, SetSettings
from engines.errors import DataError
from engines.files import write_whole
from engines.tables import quoted

LINE_LENGTH = 110

HEADER = """\
# A data set: images/NAME.jpg and labels/NAME.png of 8-bit class ids, 255 void. Made by run.py data check; edit it as you like.
"""
MEANS = """
# Where a model's classes have other names: class of this set -> classes of the model; an empty list makes it void.
# [means]
# living = ["pedestrian", "bicyclist"]
"""


def settings_to_toml(settings: SetSettings, folder: str = "", *, named: bool = False) -> str:
    """Text that `read_settings` reads back. folder: the set's folder, if the file will be elsewhere.

    named: whether to write the name, as it differs from the folder's.
    """
    lines = [f"{FOLDER_KEY} = {quoted(folder)}"] if folder else []
    lines += [f"name = {quoted(settings.name)}"] if named else []
    lines.append(f"classes = {_list(settings.classes)}  # in the order of their ids")
    if settings.share != 1:
        lines.append(f"share = {settings.share}")
    if settings.hold_out:
        lines.append(f"hold_out = {_list(settings.hold_out)}")
    texts = {key: getattr(settings, key) for key in ("hold_out_list", "surface", "instances", "licence")}
    lines += [f"{key} = {quoted(text)}" for key, text in texts.items() if text]
    text = HEADER + "\n".join(lines) + "\n"
    if not settings.means:
        return text + MEANS
    means = [f"{quoted(name)} = {_list(targets)}" for name, targets in settings.means.items()]
    return text + "\n[means]\n" + "\n".join(means) + "\n"


def write_settings(settings: SetSettings, target: Path, folder: Path, *, overwrite: bool = False) -> bool:
    """Write the settings of the set in `folder` into the file `target`; False when the file has this content already.

    Raises DataError when the file has other content and `overwrite` is not set, or when it cannot be written.
    """
    is_in_set = target.name == FILE_NAME and target.parent.resolve() == folder.resolve()
    place = "" if is_in_set else _relative_to(folder, target.parent)
    text = settings_to_toml(settings, place, named=settings.name != folder.resolve().name)
    try:
        if target.is_file():
            if target.read_text(encoding="utf-8") == text:
                return False
            if not overwrite:
                raise DataError(f"{target}: exists with other content", "Edit it by hand, or overwrite it with --force")
        write_whole(target, text)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{target}: cannot be written ({error})", "Name another file with --out FILE.toml") from error
    return True


def _relative_to(folder: Path, base: Path) -> str:
    """Relative where the two are near each other, so that both can be moved together; else absolute."""
    relative = Path(os.path.relpath(folder.resolve(), base.resolve()))
    return str(folder.resolve()) if relative.parts[:2] == ("..", "..") else str(relative)


def _list(texts: Sequence[str]) -> str:
    """On one line where that is short enough, else on several."""
    items = [quoted(text) for text in texts]
    line = f"[{', '.join(items)}]"
    if len(line) <= LINE_LENGTH:
        return line
    lines, current = [], ""
    for item in items:
        if current and len(current) + len(item) > LINE_LENGTH:
            lines.append(current)
            current = ""
        current += f"{item}, "
    return "[\n" + "".join(f"    {row.rstrip()}\n" for row in [*lines, current]) + "]"
