"""Class names as files give them: in a network's metadata, or in a list beside it. The number counts, never a place in the text.

What is not sure is refused: a number that is missing, given twice or not a number, a line that may be a name or none.
"""

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engines.errors import CardError

KEYS = ("names", "class_names", "classes", "labels", "id2label", "label2id")
"""Metadata keys under which exporters write class names. All but the first are used for other things too."""

MAX_TEXT_BYTES = 4 * 1024**2
"""Of a list of names: more is another kind of text."""

MOST_COMMAS = 50_000
"""In a list of names: Python's parser takes seconds for more, and a card holds 20,000."""

CURE = "Write `classes` in its card, in the order of the network's channels"

_NUMBERED = re.compile(r"(\d{1,6})\s*[:=,;\s]\s*(\S.*)", re.ASCII)

_UNREADABLE = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
"""What the parsers of JSON and of Python's literals raise."""

Pairs = list[tuple[Any, Any]]


def embedded_names(metadata: Mapping[str, str], onnx_path: Path, class_count: int | None) -> list[str]:
    """The class names in a network's metadata, by number; empty where it has none.

    class_count: the network's; None where its shapes do not say it. Raises CardError for names that cannot be read.
    """
    found: dict[str, list[str]] = {}
    for key in KEYS:
        text = metadata.get(key, "").strip()
        try:
            if text:
                found[key] = _parsed(text, class_count)
        except _UNREADABLE as error:
            if key == KEYS[0] or text[0] in "{[":
                reason = f": {error}" if type(error) is ValueError else ""
                raise CardError(f"{onnx_path}: its embedded class names cannot be read{reason}", CURE) from error
    if len(set(map(tuple, found.values()))) > 1:
        raise CardError(f"{onnx_path}: it has other class names under {' than under '.join(found)} in its metadata", CURE)
    return next(iter(found.values()), [])


def names_beside(onnx_path: Path, class_count: int | None) -> list[str]:
    """The class names in NAME.txt, labels.txt or classes.txt, one a line; empty where there is no such file. Raises CardError."""
    for path in (onnx_path.with_suffix(".txt"), onnx_path.parent / "labels.txt", onnx_path.parent / "classes.txt"):
        if path.is_file():
            try:
                if path.stat().st_size > MAX_TEXT_BYTES:
                    raise ValueError("it is too large")
                return _lines(path.read_text(encoding="utf-8-sig"), class_count)
            except (OSError, ValueError) as error:
                cure = f"Correct it, or write `classes` in {onnx_path.with_suffix('.toml').name}"
                raise CardError(f"{path}: cannot be read as class names, one a line ({error})", cure) from error
    return []


def names_by_number(table: Mapping[str, Any]) -> list[str]:
    """The names in the order of their numbers, the table's keys. Raises ValueError."""
    return _by_number(list(table.items()))


def _parsed(text: str, class_count: int | None) -> list[str]:
    """A dict or a list, as JSON or as Python writes it; else a name a line; else names between commas, if that many are due."""
    if len(text) > MAX_TEXT_BYTES:
        raise ValueError("they are too long")
    if text[0] in "{[(":
        return _ordered(_literal(text))
    if text[0] in "'\"" or text.lstrip("+-").isdigit():
        raise ValueError("they are neither a list nor a table")
    if "\n" in text:
        return _lines(text, class_count)
    names = [name.strip() for name in text.split(",")]
    if len(names) != class_count or not all(names):
        raise ValueError(f"they are neither a list nor a table, nor {class_count or 'a known number of'} names between commas")
    return names


def _literal(text: str) -> Any:
    """A list, or the pairs of a table, in which no number has been lost to another of the same value."""
    if text.count(",") > MOST_COMMAS:
        raise ValueError("they are too many")
    try:
        return json.loads(text, object_pairs_hook=_Table)
    except ValueError:
        tree = ast.parse(text, mode="eval").body
    if isinstance(tree, ast.Dict):
        keys = [key for key in tree.keys if key is not None]
        return _Table((ast.literal_eval(key), ast.literal_eval(value)) for key, value in zip(keys, tree.values, strict=True))
    return ast.literal_eval(tree)


class _Table(list[tuple[Any, Any]]):
    """The pairs of a table, in the order of the text."""


def _ordered(found: Any) -> list[str]:
    """The names in the order of their numbers. Raises ValueError."""
    if isinstance(found, _Table):
        pairs = list(found)
        if pairs and all(_number(key) is None and _number(value) is not None for key, value in pairs):
            pairs = [(value, key) for key, value in pairs]  # name → number
        return _by_number(pairs)
    if not isinstance(found, list | tuple):
        raise ValueError(f"they are a {type(found).__name__}")
    if found and all(isinstance(entry, dict | _Table) for entry in found):
        return _by_number([(_entry(entry, "id"), _entry(entry, "name")) for entry in found])
    return [_name(name) for name in found]


def _entry(table: Any, key: str) -> Any:
    """The one value under `key`, as in {"id": 0, "name": "cat"}."""
    values = [value for name, value in (table.items() if isinstance(table, dict) else table) if name == key]
    if len(values) != 1:
        raise ValueError(f"an entry without one `{key}`")
    return values[0]


def _by_number(pairs: Pairs) -> list[str]:
    names: dict[int, str] = {}
    for key, value in pairs:
        number = _number(key)
        if number is None:
            raise ValueError(f"{str(key)[:40]!r} is not a class's number")
        if number in names:
            raise ValueError(f"two names for class {number}")
        names[number] = _name(value)
    for number in range(len(names)):
        if number not in names:
            first = " (they begin with 1)" if min(names) == 1 and max(names) == len(names) else ""
            raise ValueError(f"no name for class {number}{first}")
    return [names[number] for number in range(len(names))]


def _number(key: Any) -> int | None:
    """A class's number, written as a number or as text; None for anything else."""
    if isinstance(key, str) and key.strip().isascii() and key.strip().isdigit() and len(key.strip()) <= 6:
        return int(key)
    return key if isinstance(key, int) and not isinstance(key, bool) and key >= 0 else None


def _name(value: Any) -> str:
    """Digits may be names of classes as well."""
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise ValueError(f"{str(value)[:40]!r} is not a name")
    return str(value).strip()


def _lines(text: str, class_count: int | None) -> list[str]:
    """A name a line; or its number and its name, if each line begins so."""
    lines = [line.strip() for line in text.strip().splitlines()]
    names = [line for line in lines if line]
    if len(names) < len(lines) and len(names) != class_count:
        raise ValueError(f"line {lines.index('') + 1} is empty, so that the names below it may belong to other classes")
    numbered = [_NUMBERED.fullmatch(name) for name in names]
    pairs = [(match[1], match[2]) for match in numbered if match]
    is_numbered = len(pairs) == len(names) and (len(pairs) > 1 or [number for number, _ in pairs] == ["0"])
    return _by_number(list(pairs)) if is_numbered else names
