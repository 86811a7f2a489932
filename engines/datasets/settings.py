"""SetSettings: a data set's facts, from `dataset.toml` in its folder, from a recipe, or from both; reads and writes the file."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from engines.errors import DataError, choices, printable
from engines.files import write_whole
from engines.models.class_sets import expanded
from engines.tables import checked, quoted, read_table
from engines.types import VOID_CLASS

FILE_NAME = "dataset.toml"
FOLDER_KEY = "folder"
"""In a dataset.toml outside of its set's folder: that folder."""

MAX_BYTES = 256 * 1024

NAME_FILES = ("labels.txt", "classes.txt")
"""Files with class names, one per line."""

LINE_LENGTH = 110

HEADER = """\
# A data set: images/NAME.jpg and labels/NAME.png of 8-bit class ids, 255 void. Made by run.py data check; edit it as you like.
"""
MEANS = """
# Where a model's classes have other names: class of this set -> classes of the model; an empty list makes it void.
# [means]
# living = ["pedestrian", "bicyclist"]
"""


class SetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One data set: a folder with images/ and labels/ (8-bit class ids, 255 void), and optional folders of further labels."""

    name: str
    """Name of its folder."""
    classes: tuple[str, ...]
    """The set's own classes; the position is the id in its labels. In a file also a word, such as "cityscapes"."""
    share: float = 1.0
    """How often an image is drawn from this set, relative to the other sets."""
    scale: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    """In training, on top of the recipe's range of scales: below 1 for soft pictures, which are sharp when small."""
    hold_out: tuple[str, ...] = ()
    """Patterns of file stems (`clip7_*`) that are never trained on; evaluation uses exactly these."""
    hold_out_list: str = ""
    """A text file in the folder, such as val.txt, with the name of one more such image per line, or its path."""
    means: Mapping[str, tuple[str, ...]] = {}
    """Set class -> the model's classes it covers. A class of the model's own name needs no entry; an empty list makes it void."""
    surface: str = ""
    """Folder of labels of the road's surface, 8-bit: bit 0 drivable, bit 1 lane line; empty where there is none."""
    instances: str = ""
    """Folder of object ids, 8-bit: 0 no object, 1..254 one object each, 255 unsure; empty where there is none."""
    licence: str = ""
    """Terms of use of the data; copied into the card of a model trained on it."""


def open_settings(path: Path) -> tuple[Path, SetSettings]:
    """The folder and the settings of a set: `path` is a folder with a dataset.toml, or such a file of any name.

    A file outside of its set's folder names that folder: `folder = "..."`, relative to the file. Raises DataError with the cure.
    """
    if path.is_dir():
        if not (path / FILE_NAME).is_file():
            what = f"{path}: has no {FILE_NAME}, so its classes are unknown"
            if not (path / "images").is_dir():
                raise DataError(what, "Name a folder with images/ and labels/, a data.yaml, or COCO's JSON file")
            raise DataError(what, f"Make one: run.py data check {path} --write")
        path /= FILE_NAME
    elif not path.is_file():
        raise DataError(f"{path}: no such folder, and no such {FILE_NAME}")
    facts = expanded(read_table(path, DataError, MAX_BYTES), str(path), DataError)
    place = facts.pop(FOLDER_KEY, ".")
    if not isinstance(place, str):
        raise DataError(f"{path}: key `{FOLDER_KEY}`: expected a path as text, got {place!r}")
    folder = path.parent / Path(place).expanduser()
    if not folder.is_dir():
        raise DataError(f"{path}: {FOLDER_KEY} = {place!r}, but there is no folder {folder}", "Correct the path")
    return folder, settings_from_dict({"name": folder.resolve().name, **facts}, str(path))


def settings_from_dict(facts: Mapping[str, Any], where: str) -> SetSettings:
    """Check `facts` and freeze them. `where` names their origin in error texts. Raises DataError."""
    settings = checked(facts, SetSettings, where, DataError)
    check_settings(settings, where)
    return settings


def check_settings(settings: SetSettings, where: str) -> None:
    """Raises DataError for a fault of the set itself. Whether its classes fit a model is checked with the model."""
    if not settings.classes:
        raise DataError(f'{where}: "classes" is empty', "Write the names in the order of the ids in the labels")
    if len(settings.classes) > VOID_CLASS:
        what = f"{where}: has {len(settings.classes)} classes, but at most {VOID_CLASS} have an id of 8 bits"
        raise DataError(what, "Merge classes, or leave out those that are not needed")
    if len(set(settings.classes)) < len(settings.classes):
        raise DataError(f"{where}: a class is named twice in {list(settings.classes)}")
    strange = next((name for name in (settings.name, *settings.classes) if printable(name) != name), None)
    if strange is not None:
        raise DataError(f'{where}: the name "{printable(strange)}" has control characters', "Write it without them")
    if "/" in settings.name or "\\" in settings.name:  # files are named after it
        raise DataError(f'{where}: the name "{settings.name}" is a path', "Write a name without / and \\")
    if not settings.share > 0:
        raise DataError(f"{where}: share is {settings.share}", "Use a number above 0")
    for name in settings.means:
        if name not in settings.classes:
            raise DataError(f'{where}: means: unknown class "{name}"', choices(name, settings.classes))


def settings_to_toml(settings: SetSettings, folder: str = "", *, named: bool = False) -> str:
    """Text that `open_settings` reads back. folder: the set's folder, if the file will be elsewhere.

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
