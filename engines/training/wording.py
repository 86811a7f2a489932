"""Differences between two recipes, in words."""

from __future__ import annotations

from typing import Any

import msgspec


def difference(then: msgspec.Struct, now: msgspec.Struct) -> str:
    """The first key in which two settings of one kind differ, with both values."""
    path, before, after = "", msgspec.to_builtins(then), msgspec.to_builtins(now)
    while isinstance(before, dict) and isinstance(after, dict):
        key = next(key for key in {**before, **after} if before.get(key) != after.get(key))
        path, before, after = f"{path}.{key}" if path else key, before.get(key), after.get(key)
    return f"{path} = {_plain(before)}, and now it is {_plain(after)}"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
