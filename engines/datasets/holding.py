"""Which images are held out of training: those that a set's settings name by patterns, and those on its list of names.

A list has names: `img[1]` and `my pic 1` are images of that name. Only a line that names no image is tried as a pattern.
"""

import fnmatch
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engines.datasets.settings import SetSettings
from engines.datasets.texts import read_lines

LISTED_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".txt"})
"""Of images and labels, which lists name with their suffixes."""

_WILD = re.compile(r"[*?\[]")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class HoldOut:
    """names: of held-out images. patterns: of more. unknown: lines of the list that name no image. described: in words."""

    names: frozenset[str] = frozenset()
    patterns: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    described: str = ""

    def __contains__(self, name: str) -> bool:
        return name in self.names or any(pattern.match(name) for pattern in self._compiled)

    def __bool__(self) -> bool:
        """Whether anything is to be held out, even if no image is."""
        return bool(self.names or self.patterns or self.unknown)

    @cached_property
    def _compiled(self) -> tuple[re.Pattern[str], ...]:
        return tuple(re.compile(fnmatch.translate(pattern)) for pattern in self.patterns)


def hold_out(folder: Path, settings: SetSettings, names: Sequence[str]) -> HoldOut:
    """What the settings of the set in `folder` hold out of the images with these names, which are paths without a suffix.

    Raises DataError when the list that the settings name cannot be read.
    """
    shown = ", ".join(settings.hold_out[:4]) + (", ..." if len(settings.hold_out) > 4 else "")
    if not settings.hold_out_list:
        return HoldOut(patterns=settings.hold_out, described=shown)
    listed, strange = listed_names(folder / settings.hold_out_list, names)
    patterns = tuple(line for line in strange if _WILD.search(line) and fnmatch.filter(names, line))
    unknown = tuple(line for line in strange if line not in patterns)
    described = ", ".join(filter(None, (shown, settings.hold_out_list)))
    return HoldOut(frozenset(listed), (*settings.hold_out, *patterns), unknown, described)


def listed_names(path: Path, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those of `names` that a list names, and its lines that name none. Raises DataError when it cannot be read.

    A line may be a name or a path, of any system, with or without the image's or the label's suffix; further columns (a class,
    the label's path) are overlooked.
    """
    by_name = {_plain(name): name for name in names}
    by_last: dict[str, str | None] = {}
    for known in names:  # the last part alone will do where only one image has it
        last = _plain(known).rpartition("/")[2]
        by_last[last] = None if last in by_last else known
    found: list[str] = []
    strange: list[str] = []
    for line in read_lines(path, "the list of held-out images"):
        forms = (by_name.get(key) or _at_the_end(key, by_name, by_last) for key in _forms(line))
        name = next((known for known in forms if known is not None), None)
        if name is not None:
            found.append(name)
        elif not line.startswith("#"):
            strange.append(line)
    return found, strange


def unknown_lines(name: str, lines: Sequence[str]) -> str:
    """What to say of lines that name no image."""
    few = ", ".join(lines[:3]) + (", ..." if len(lines) > 3 else "")
    return f"{name} names {len(lines)} image{'s' * (len(lines) > 1)} that do{'es' * (len(lines) == 1)} not exist, such as {few}"


def _forms(line: str) -> Iterable[str]:
    """The line as a name: itself, then without quotes, then its first words if they end with a suffix; without the suffix too."""
    text = _plain(line)
    whole = (text, text[1:-1]) if len(text) > 2 and text[0] == text[-1] and text[0] in "\"'" else (text,)
    for form in (*whole, *(text[: space.start()] for space in reversed(list(_SPACE.finditer(text))))):
        path = form.replace("\\", "/").removeprefix("./")
        stem, dot, suffix = path.rpartition(".")
        has_suffix = dot + suffix.lower() in LISTED_SUFFIXES
        if path and (form in whole or has_suffix):
            yield path
            if has_suffix:
                yield stem


def _at_the_end(path: str, by_name: dict[str, str], by_last: dict[str, str | None]) -> str | None:
    """The image whose name a path ends with: of `/data/images/val/7`, that is `val/7`, or else the only one called 7."""
    parts = path.split("/")
    for start in range(1, len(parts)):
        if (name := by_name.get("/".join(parts[start:]))) is not None:
            return name
    return by_last.get(parts[-1])


def _plain(name: str) -> str:
    """One form of Unicode: a Mac writes ü as two characters, others as one."""
    return unicodedata.normalize("NFC", name)
