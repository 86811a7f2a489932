"""The command line that gives some options: the way back from what `options.read_options` has read."""

import argparse
from collections.abc import Mapping
from typing import Any

from engines.models.sizing import size_option
from engines.types import Size
from realtime.commands.common.options import Declared, fields_of


def words_of(options: tuple[Any, ...]) -> list[str]:
    """Words that a parser reads as `options`, a command's named tuple."""
    values: dict[str, Any] = options._asdict()  # type: ignore[attr-defined]  # every named tuple has it
    return _words(fields_of(type(options)), values)


def _words(fields: Mapping[str, Declared], values: Mapping[str, Any]) -> list[str]:
    words: list[str] = []
    for name, declared in fields.items():
        value = values.get(name)
        if declared.fields is not None:
            words += _words(declared.fields(), value if isinstance(value, dict) else value._asdict() if value is not None else {})
        elif value is not None and value is not False:
            words += _given(name, declared, value)
        elif value is False and declared.settings.get("action") is argparse.BooleanOptionalAction:
            words.append(f"--no-{name.replace('_', '-')}")
    return words


def _given(name: str, declared: Declared, value: Any) -> list[str]:
    if declared.flag is None:
        return [_text(value)]
    flag = declared.flag or f"--{name.replace('_', '-')}"
    if value is True:
        return [flag]
    several = value if declared.settings.get("action") == "append" else (value,)
    return [word for one in several for word in (flag, _text(one))]


def _text(value: Any) -> str:
    """Of a size (width, height) as --size takes it; of anything else, as it is."""
    return size_option(Size(*value)) if isinstance(value, tuple) else str(value)
