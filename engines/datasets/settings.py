"""SetSettings: a data set's facts, from `dataset.toml` in its folder, from a recipe, or from both."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from engines.errors import DataError, did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_NAME = "dataset.toml"
FOLDER_KEY = "folder"
"""In a dataset.toml that lies elsewhere: the set's folder."""

MAX_BYTES = 256 * 1024


class SetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One data set: a folder with images/ and labels/ (8-bit index, 255 void), and perhaps finer labels beside them."""

    name: str
    """Name of its folder."""
    classes: tuple[str, ...]
    """The set's own classes; the position is the index in its labels."""
    share: float = 1.0
    """How often an image is drawn from this set, relative to the other sets."""
    hold_out: tuple[str, ...] = ()
    """Patterns of file stems (`clip7_*`) that are never trained on; evaluation uses exactly those."""
    hold_out_list: str = ""
    """A text file in the folder, such as val.txt, with one more such pattern a line."""
    means: Mapping[str, tuple[str, ...]] = {}
    """Set class -> the model's classes it covers. A class of the model's own name needs no entry; an empty list makes it void."""
    surface: str = ""
    """Folder of labels of the road's surface, 8-bit: bit 0 drivable, bit 1 lane line; empty where there is none."""
    instances: str = ""
    """Folder of object ids, 8-bit: 0 no object, 1..254 one object each, 255 unsure; empty where there is none."""
    licence: str = ""
    """On what terms the data may be used; goes into the card of what is trained on it."""


def open_settings(path: Path) -> tuple[Path, SetSettings]:
    """The folder and the settings of a set: `path` is a folder that holds a dataset.toml, or such a file of any name.

    A file that does not lie in its set's folder names it: `folder = "..."`, seen from the file. Raises DataError with the cure.
    """
    file = path / FILE_NAME if path.is_dir() else path
    if file.is_file():
        return _read(file)
    if path.is_dir():
        raise DataError(f"{path}: no {FILE_NAME} in it, so its classes are unknown; make one: run.py data check {path} --write")
    raise DataError(f"{path}: no such folder, and no such {FILE_NAME}")


def read_settings(path: Path) -> SetSettings:
    """The settings in a set's dataset.toml. Raises DataError that names the file and the key."""
    return _read(path)[1]


def _read(path: Path) -> tuple[Path, SetSettings]:
    """The set's folder, and its settings."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: larger than {MAX_BYTES // 1024} KiB; this describes no data set")
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # a file that is not UTF-8 or not TOML; 10,000 brackets
        raise DataError(f"{path}: cannot be read as a {FILE_NAME} ({error})") from error
    place = facts.pop(FOLDER_KEY, ".")
    if not isinstance(place, str):
        raise DataError(f"{path}: key `{FOLDER_KEY}`: expected a path as text, got {place!r}")
    folder = path.parent / Path(place).expanduser()
    if not folder.is_dir():
        raise DataError(f"{path}: {FOLDER_KEY} = {place!r}, but there is no folder {folder}; correct it")
    return folder, settings_from_dict({"name": folder.resolve().name, **facts}, str(path))


def settings_from_dict(facts: Mapping[str, Any], where: str) -> SetSettings:
    """Check `facts` and freeze them. `where` names their origin in error texts. Raises DataError."""
    known = SetSettings.__struct_fields__
    for key in facts:
        if key not in known:
            raise DataError(f'{where}: unknown key "{key}"{did_you_mean(key, known) or "; known keys: " + ", ".join(known)}')
    try:
        settings = msgspec.convert(dict(facts), SetSettings)
    except msgspec.ValidationError as error:
        raise DataError(f"{where}: {str(error).replace('`$.', 'key `').replace(' - at', ', at')}") from error
    check_settings(settings, where)
    return settings


def check_settings(settings: SetSettings, where: str) -> None:
    """Raises DataError for what is wrong with the set in itself; whether its classes fit a model is the model's question."""
    if not settings.classes:
        raise DataError(f'{where}: "classes" is empty; write the names in the order of the ids in the labels')
    if len(set(settings.classes)) < len(settings.classes):
        raise DataError(f"{where}: a class is named twice in {list(settings.classes)}")
    if not settings.share > 0:
        raise DataError(f"{where}: share is {settings.share}; it must be above 0")
    for name in settings.means:
        if name not in settings.classes:
            hint = did_you_mean(name, settings.classes) or f"; its classes: {', '.join(settings.classes)}"
            raise DataError(f'{where}: means: unknown class "{name}"{hint}')
