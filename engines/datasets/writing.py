"""dataset.toml as a person would write it, and never over what a person has written."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from engines.datasets.settings import FILE_NAME, FOLDER_KEY, SetSettings
from engines.errors import DataError

LINE_LENGTH = 110

HEADER = """\
# A data set: images/NAME.jpg and labels/NAME.png of 8-bit class ids, 255 void. Made by run.py data check; yours to edit.
"""
MEANS = """
# Where a model calls things otherwise: this set's class -> the model's classes it covers; an empty list makes it void.
# [means]
# living = ["pedestrian", "bicyclist"]
"""


def settings_to_toml(settings: SetSettings, folder: str = "", *, named: bool = False) -> str:
    """Text that `read_settings` reads back. folder: where the set is, if that is not where the text will be.

    named: its name is not its folder's, and so must be written.
    """
    lines = [f"{FOLDER_KEY} = {_quoted(folder)}"] if folder else []
    lines += [f"name = {_quoted(settings.name)}"] if named else []
    lines.append(f"classes = {_list(settings.classes)}  # in the order of their ids")
    if settings.share != 1:
        lines.append(f"share = {settings.share}")
    if settings.hold_out:
        lines.append(f"hold_out = {_list(settings.hold_out)}")
    texts = {key: getattr(settings, key) for key in ("hold_out_list", "surface", "instances", "licence")}
    lines += [f"{key} = {_quoted(text)}" for key, text in texts.items() if text]
    text = HEADER + "\n".join(lines) + "\n"
    if not settings.means:
        return text + MEANS
    means = [f"{_quoted(name)} = {_list(targets)}" for name, targets in settings.means.items()]
    return text + "\n[means]\n" + "\n".join(means) + "\n"


def write_settings(settings: SetSettings, target: Path, folder: Path, *, overwrite: bool = False) -> bool:
    """Write the settings of the set in `folder` into the file `target`; False when they stand there already.

    Raises DataError when the file says something else and `overwrite` is not set, or when it cannot be written.
    """
    is_at_home = target.name == FILE_NAME and target.parent.resolve() == folder.resolve()
    place = "" if is_at_home else _seen_from(folder, target.parent)
    text = settings_to_toml(settings, place, named=settings.name != folder.resolve().name)
    try:
        if target.is_file():
            if target.read_text(encoding="utf-8") == text:
                return False
            if not overwrite:
                raise DataError(f"{target}: is there and says something else; edit it by hand, or overwrite it with --force")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(target)  # whole or not at all
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{target}: cannot be written ({error}); write it elsewhere: --out FILE.toml") from error
    return True


def _seen_from(folder: Path, base: Path) -> str:
    """Relative where the two lie together, so that both may be moved; else absolute."""
    relative = Path(os.path.relpath(folder.resolve(), base.resolve()))
    return str(folder.resolve()) if relative.parts[:2] == ("..", "..") else str(relative)


def _list(texts: Sequence[str]) -> str:
    """In one line where that is short enough, else in several."""
    items = [_quoted(text) for text in texts]
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


def _quoted(text: str) -> str:
    """As JSON writes it, but for one character that TOML does not take, and for half characters, which no file takes."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return json.dumps(whole, ensure_ascii=False).replace("\x7f", "\\u007f")
