"""What is wrong with a recipe's keys, in words that say what to write instead."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import inspect

from engines.errors import did_you_mean, nearest

_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_STEP = re.compile(r"(\w+)|\[(?:\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`")


def explained(error: msgspec.ValidationError, kind: type[msgspec.Struct]) -> str:
    """msgspec's text on facts that are no `kind`; a wrong key or word with the nearest right one, or with all there are."""
    place = _PLACE.search(str(error))
    path, text = (place[1] if place else ""), _PLACE.sub("", str(error))
    if unknown := _UNKNOWN.match(text):
        return _unknown_key(unknown[1], path, kind)
    found = _type_at(kind, path)
    if isinstance(found, inspect.LiteralType):
        text += f"; known: {', '.join(map(str, found.values))}"
    return f"{text}, at key `{path}`" if path else text


def _unknown_key(key: str, path: str, kind: type[msgspec.Struct]) -> str:
    before = f"{path}." if path else ""
    here = _keys(_type_at(kind, path))
    below = {} if path else {inner: f"{table}.{inner}" for table, found in here.items() for inner in _keys(found)}
    near = below.get(key) or nearest(key, here) or below.get(nearest(key, below) or "")
    cure = f'; did you mean "{before}{near}"?' if near else f"; known: {', '.join(here)}"
    return f'unknown key "{before}{key}"{cure}'


def unknown_table(name: str, kind: type[msgspec.Struct]) -> str:
    """The cure for a table that a `kind` has not."""
    tables = [key for key, found in _keys(_type_at(kind, "")).items() if _keys(found)]
    return did_you_mean(name, tables) or f"; tables: {', '.join(tables)}"


def difference(then: msgspec.Struct, now: msgspec.Struct) -> str:
    """The first key in which two settings of one kind differ, with both values."""
    path, before, after = "", msgspec.to_builtins(then), msgspec.to_builtins(now)
    while isinstance(before, dict) and isinstance(after, dict):
        key = next(key for key in {**before, **after} if before.get(key) != after.get(key))
        path, before, after = f"{path}.{key}" if path else key, before.get(key), after.get(key)
    return f"{path} = {_plain(before)}, and now it is {_plain(after)}"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _keys(found: inspect.Type | None) -> dict[str, inspect.Type]:
    return {field.encode_name: field.type for field in found.fields} if isinstance(found, inspect.StructType) else {}


def _type_at(kind: type[msgspec.Struct], path: str) -> inspect.Type | None:
    """The type of what stands at `net.depths[0]`; None where nothing is known of it."""
    found: inspect.Type | None = inspect.type_info(kind)
    for step in _STEP.finditer(path):
        found = _keys(found).get(step[1]) if step[1] else _inside(found)
        if isinstance(found, inspect.UnionType):  # of something and None
            found = next(option for option in found.types if not isinstance(option, inspect.NoneType))
    return found


def _inside(found: inspect.Type | None) -> inspect.Type | None:
    if isinstance(found, inspect.VarTupleType):
        return found.item_type
    return found.value_type if isinstance(found, inspect.DictType) else None
