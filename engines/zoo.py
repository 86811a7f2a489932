"""The models at hand: the bundled ones by name, anybody's own by path."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from engines.card import ModelCard, card_from_dict, read_toml
from engines.errors import ModelNotFoundError
from engines.model import Model, load_model
from engines.nearest import did_you_mean

DEFAULT_MODEL = "road"


def assets_dir() -> Path:
    """The folder of models and presets: inside the installed package, or beside it in a checkout."""
    packaged = Path(__file__).parent / "_assets"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "assets"


def names() -> tuple[str, ...]:
    """The bundled models."""
    return tuple(sorted(path.parent.name for path in (assets_dir() / "models").glob("*/card.toml")))


def cards() -> list[tuple[ModelCard, Path]]:
    """Every bundled model's card and ONNX path, without opening the network."""
    found = []
    for name in names():
        folder = assets_dir() / "models" / name
        card = card_from_dict(read_toml(folder / "card.toml"), str(folder / "card.toml"))
        found.append((card, folder / card.file))
    return found


def find(name_or_path: str) -> Model:
    """The model with that bundled name, or the ONNX file at that path. Raises what `locate` and `load_model` raise."""
    return dataclasses.replace(load_model(locate(name_or_path)), typed=name_or_path)


def locate(name_or_path: str) -> Path:
    """The ONNX file of a bundled model, or at a path; not opened. Raises ModelNotFoundError, naming the nearest right one."""
    try:
        path = Path(name_or_path).expanduser()
        is_file = path.is_file()
    except (OSError, RuntimeError) as error:  # a name too long for a file system, a folder without permission, ~nobody
        raise ModelNotFoundError(f"{name_or_path[:80]}: no such model ({error})") from error
    if path.suffix.lower() == ".onnx" or is_file:
        if not is_file:
            raise ModelNotFoundError(f"{name_or_path}: no such model file{_nearest_file(path)}")
        return path
    if name_or_path in names():
        card_path = assets_dir() / "models" / name_or_path / "card.toml"
        return card_path.parent / card_from_dict(read_toml(card_path), str(card_path)).file
    hint = did_you_mean(name_or_path, names())
    raise ModelNotFoundError(
        f'no model "{name_or_path}"; bundled: {", ".join(names()) or "none"}{hint} (or give the path of an .onnx file)'
    )


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (there is no folder {path.parent})"
    return did_you_mean(path.name, (p.name for p in path.parent.glob("*.onnx")))
