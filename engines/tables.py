"""Tables of settings (cards, presets, recipes): read from TOML and checked; errors name the nearest right key."""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from engines.errors import SegmentationError, choices, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_BYTES = 64 * 1024
"""More than any such file has: a larger one is another kind of file."""

_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_STEP = re.compile(r"(\w+)|\[(?:\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`")

S = TypeVar("S", bound=msgspec.Struct)


def read_table(path: Path, error: type[SegmentationError], most_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The content of a TOML file.

    Raises `error`, which names the file, and the line where TOML is broken. FileNotFoundError passes: callers know what to name.
    """
    try:
        size_bytes = path.stat().st_size
        if size_bytes > most_bytes:
            raise error(f"{path}: is larger than {most_bytes // 1024} KiB", "Name a TOML file of settings")
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as cause:
        raise error(f"{path}: cannot be read ({cause})") from cause
    except (ValueError, RecursionError) as cause:  # tomllib passes on what int() and deep nesting raise
        raise error(f"{path}: is not valid TOML: {cause}") from cause


def checked(facts: Mapping[str, Any], kind: type[S], where: str, error: type[SegmentationError]) -> S:
    """`facts` as a `kind`, which must forbid unknown fields. `where` names the origin of the facts in error texts.

    Raises `error` that names the wrong key, and the nearest right one or all there are.
    """
    for table, found in keys(type_at(kind, "")).items():
        if isinstance(found, inspect.DataclassType) and isinstance(inner := facts.get(table), Mapping):
            for key in inner.keys() - keys(found).keys():  # which msgspec passes over, of a dataclass
                what, cure = _unknown_key(key, table, kind)
                raise error(f"{where}: {what}", cure)
    try:
        return msgspec.convert(dict(facts), kind)
    except msgspec.ValidationError as cause:
        what, cure = explained(cause, kind)
        raise error(f"{where}: {what}", cure) from cause


def explained(error: msgspec.ValidationError, kind: type[msgspec.Struct]) -> tuple[str, str]:
    """What msgspec found wrong in facts that are not a `kind`, and the cure: the nearest right key or word, or all there are."""
    place = _PLACE.search(str(error))
    path, text = (place[1] if place else ""), _PLACE.sub("", str(error))
    if unknown := _UNKNOWN.match(text):
        return _unknown_key(unknown[1], path, kind)
    found = type_at(kind, path)
    cure = f"Known: {', '.join(map(str, found.values))}" if isinstance(found, inspect.LiteralType) else ""
    return (f"{text}, at key `{path}`" if path else text), cure


def unknown_table(name: str, kind: type[msgspec.Struct]) -> str:
    """The cure for a table that a `kind` does not have."""
    return choices(name, [key for key, found in keys(type_at(kind, "")).items() if keys(found)])


def keys(found: inspect.Type | None) -> dict[str, inspect.Type]:
    """The keys of a table of that type, with the types of their values; none of what is not a table."""
    if isinstance(found, inspect.StructType | inspect.DataclassType):
        return {field.encode_name: field.type for field in found.fields}
    return {}


def type_at(kind: type[msgspec.Struct], path: str) -> inspect.Type | None:
    """The type of the value at a path such as `net.depths[0]`; None where there is none."""
    found: inspect.Type | None = inspect.type_info(kind)
    for step in _STEP.finditer(path):
        found = keys(found).get(step[1]) if step[1] else _inside(found)
        if isinstance(found, inspect.UnionType):  # of something and None
            found = next(option for option in found.types if not isinstance(option, inspect.NoneType))
    return found


def value_of(text: str) -> Any:
    """A TOML value; of what is not one, the text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def quoted(text: str) -> str:
    """A TOML string: as JSON writes it, except for one character that TOML forbids, and for lone surrogates."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return json.dumps(whole, ensure_ascii=False).replace("\x7f", "\\u007f")


def _unknown_key(key: str, path: str, kind: type[msgspec.Struct]) -> tuple[str, str]:
    before = f"{path}." if path else ""
    here = keys(type_at(kind, path))
    below = {} if path else {inner: f"{table}.{inner}" for table, found in here.items() for inner in keys(found)}
    near = below.get(key) or nearest(key, here) or below.get(nearest(key, below) or "")
    cure = f'Did you mean "{before}{near}"?' if near else f"Known: {', '.join(here)}"
    return f'unknown key "{before}{key}"', cure


def _inside(found: inspect.Type | None) -> inspect.Type | None:
    if isinstance(found, inspect.VarTupleType):
        return found.item_type
    return found.value_type if isinstance(found, inspect.DictType) else None
