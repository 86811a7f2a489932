"""Class sets: well-known lists of classes that a card, a recipe or a data set names in a word, with their usual colours.

They are never put in by the number of classes alone: other sets have 19, 21 or 80 classes too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from engines.errors import CardError, SegmentationError, nearest
from engines.models.coco import COCO_CLASSES, COCO_IDS, names_by_id
from engines.tables import read_table

TABLE = Path(__file__).with_name("class_sets.toml")

NO_CLASS = "void"
"""The class that "cityscapes+void" or "void+ade20k" adds: a channel for pixels of none, behind the others or before them."""

VOID_NAMES = frozenset({"background", "void", "unlabelled", "unlabeled", "ignore", "ignored"})
"""Classes with such a name mean "nothing to show", unless a card says otherwise."""


@dataclass(frozen=True, slots=True)
class ClassSet:
    """names: in the order of the channels. palette: name → "#rrggbb". things: the counted ones. void: those that are none."""

    names: tuple[str, ...]
    palette: Mapping[str, str]
    things: tuple[str, ...]
    void: tuple[str, ...]


def known_words() -> tuple[str, ...]:
    """The words there are."""
    return ("cityscapes", "coco", f"coco-{COCO_IDS}", "voc", "ade20k", "camvid")


def class_set(word: str) -> ClassSet | None:
    """The classes that a word such as "cityscapes" or "void+ade20k" means; None for other words."""
    parts = [part.strip() for part in word.lower().split("+")]
    words = [part for part in parts if part != NO_CLASS]
    base = _named(words[0]) if len(words) == 1 and len(parts) <= 2 else None
    if base is None or len(parts) == 1:
        return base
    names = (NO_CLASS, *base.names) if parts[0] == NO_CLASS else (*base.names, NO_CLASS)
    return ClassSet(names, base.palette, base.things, (*base.void, NO_CLASS))


def expanded(facts: Mapping[str, Any], where: str, error: type[SegmentationError] = CardError) -> dict[str, Any]:
    """`facts` with the names in place of a word under `classes`. Raises `error`, which names the nearest word."""
    word = facts.get("classes")
    if not isinstance(word, str):
        return dict(facts)
    meant = class_set(word)
    if meant is None:
        near = nearest(word, known_words())
        words = f'"{near}"' if near else f"one of: {', '.join(known_words())}"
        raise error(f'{where}: classes = "{word}" is no set of classes', f"Write a list of names, or {words}")
    return {**facts, "classes": list(meant.names)}


def with_usual_keys(facts: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A card's facts, a word under `classes` replaced by its names, `palette`, `things` and `void`. Raises CardError."""
    full, word = expanded(facts, where), facts.get("classes")
    meant = class_set(word) if isinstance(word, str) else None
    if meant is None:
        return full
    own = full.get("palette", {})
    palette = {**meant.palette, **own} if isinstance(own, Mapping) else own
    usual = {"palette": palette} if palette else {}
    return {"things": list(meant.things), "void": list(meant.void)} | full | usual


def void_among(names: Iterable[str]) -> list[str]:
    """Those of the classes whose name says that they are none; empty where that would leave no class."""
    names = list(names)
    found = [name for name in names if name.lower().strip("_ ") in VOID_NAMES]
    return found if len(found) < len(names) else []


def numbered(count: int) -> list[str]:
    """What classes without names are called."""
    return [f"class {number}" for number in range(count)]


def word_for(count: int | None) -> str:
    """The word for a set of so many classes, with a channel for none or without; "" where there is none. Only to be proposed."""
    if count is None:
        return ""
    likely = ("cityscapes", "camvid", "voc", "ade20k", "coco", f"coco-{COCO_IDS}")
    words = (*likely, "cityscapes+void", "camvid+void", "void+ade20k", "void+coco")
    return next((word for word in words if (found := class_set(word)) and len(found.names) == count), "")


@lru_cache(maxsize=32)
def _named(word: str) -> ClassSet | None:
    if word == "coco":
        return ClassSet(COCO_CLASSES, {}, COCO_CLASSES, ())
    if word == f"coco-{COCO_IDS}":
        by_id = names_by_id()
        names = tuple(by_id.get(number, f"unused {number}") for number in range(COCO_IDS))
        return ClassSet(names, {}, COCO_CLASSES, tuple(name for number, name in enumerate(names) if number not in by_id))
    table = read_table(TABLE, CardError).get(word)
    if table is None:
        return None
    palette = {name: f"#{colour}" for name, _, colour in (entry.rpartition(" #") for entry in _split(table["classes"]))}
    return ClassSet(tuple(palette), palette, tuple(_split(table["things"])), tuple(void_among(palette)))


def _split(text: str) -> Sequence[str]:
    """The entries of a list with commas between them, on several lines."""
    return [" ".join(entry.split()) for entry in text.split(",")]
