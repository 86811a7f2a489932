"""Cards as TOML text: what is written is what `engines.models.card` reads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from engines.files import sha256_of
from engines.models.card import ModelCard
from engines.tables import quoted

ALWAYS_WRITTEN = ("name", "family", "file", "sha256", "classes", "things", "description", "licence", "input", "outputs")
"""Card keys that are written even where they are a default: otherwise they would be guessed again."""


def facts_of_file(card: ModelCard, onnx_path: Path) -> dict[str, Any]:
    """`card` as it is written for the file at `onnx_path`: its name, hash and size, and nothing that is a default anyway."""
    figures = dict(card.figures)
    if "size_bytes" in figures:
        figures["size_bytes"] = float(onnx_path.stat().st_size)
    sha256 = sha256_of(onnx_path)
    card = msgspec.structs.replace(card, file=onnx_path.name, sha256=sha256, figures=figures)
    facts: dict[str, Any] = msgspec.to_builtins(card)
    default: dict[str, Any] = msgspec.to_builtins(ModelCard("", "", card.input, {}, ()))
    return {key: value for key, value in facts.items() if key in ALWAYS_WRITTEN or value != default[key]}


def to_toml(facts: Mapping[str, Any]) -> str:
    """Texts, numbers, lists and one level of tables as TOML; texts of several lines stay readable."""
    lines = [f"{_key(key)} = {_value(value)}" for key, value in facts.items() if not isinstance(value, Mapping)]
    for key, table in facts.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{_key(key)}]", *(f"{_key(name)} = {_value(value)}" for name, value in table.items())]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else quoted(name)


def _value(value: Any) -> str:
    if isinstance(value, str):
        is_readable = all(line.isprintable() for line in value.split("\n"))
        if "\n" in value and is_readable:
            lines = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"""\n{lines}"""'
        return quoted(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    # What is left, JSON and TOML write alike.
    return json.dumps(value)
