"""Functions that read the value of an option from its text. They raise `argparse.ArgumentTypeError`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from engines.errors import choices

if TYPE_CHECKING:
    from engines.backends.common.options import Option


def one_of(known: Sequence[str]) -> Callable[[str], str]:
    """One of these words."""

    def read(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f'"{text}" is not known. {choices(text, known)}')
        return text

    return read


def precision(text: str) -> str:
    """A precision that engines and exported files can have."""
    from engines.backends.common.options import Precision

    return one_of(get_args(Precision))(text)


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """A whole number from `low` to `high`."""
    limits = f"of {low} or more" if high is None else f"from {low} to {high}"

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < low or (high is not None and int(text) > high):
            raise argparse.ArgumentTypeError(f'"{text}" is not a whole number {limits}')
        return int(text)

    return read


positive = whole(1)


def number(low: float, high: float) -> Callable[[str], float]:
    """A number from `low` to `high`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f'"{text}" is not a number from {low:g} to {high:g}')
        return value

    return read


share = number(0, 1)


def size(text: str) -> tuple[int, int]:
    """Width and height of "384x640", which is height x width."""
    height, separator, width = text.partition("x")
    if not (separator and height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f'"{text}" is not a size. Write height x width, as in 384x640')
    return int(width), int(height)


def size_or_word(text: str) -> tuple[int, int] | str:
    """A size, or one of the words that stand for one."""
    from engines.backends.common.options import SizeWord

    return text if text in get_args(SizeWord) else size(text)


def or_dynamic(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """What `read` reads, or the word "dynamic"."""
    return lambda text: text if text == "dynamic" else read(text)


def classes(text: str) -> tuple[str, ...]:
    """Names with commas between them, or a word for a well-known set of them, such as cityscapes."""
    from engines.models.class_sets import class_set

    return found.names if (found := class_set(text)) else names(text)


def word_or_names(text: str) -> str | tuple[str, ...]:
    """The same, the word as it is: a card knows its usual colours as well."""
    from engines.models.class_sets import class_set

    return text if class_set(text) else names(text)


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them, each once."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found) or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f'"{text}" is not a list of names. Write each once, as in road,car,person')
    return found


def engine_value(kind: Any, declared: Option) -> Callable[[str], Any]:
    """What reads a field of `EngineOptions` of type `kind`."""
    if declared.limits is not None:
        return whole(*declared.limits)
    if declared.flag == "--size":
        return size_or_word
    words = [word for part in (kind, *get_args(kind)) if get_origin(part) is Literal for word in get_args(part)]
    return one_of(words) if words else str
