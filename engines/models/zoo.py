"""The models on this machine: the bundled ones and the user's own by name, any other by path."""

import dataclasses
import functools
import logging
from pathlib import Path

from engines.errors import ModelNotFoundError, NoHomeError, choices
from engines.models.card import ModelCard, card_from_dict, read_toml
from engines.models.model import Model, ask_for_names, load_model
from engines.system.places import user_folder

log = logging.getLogger(__name__)

DEFAULT_MODEL = "road"


def assets_dir() -> Path:
    """The folder of models and presets: inside the installed package, or beside it in a checkout."""
    packaged = Path(__file__).parents[1] / "_assets"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "assets"


def own_dir() -> Path:
    """The folder of the user's own models, one subfolder each; `engines.models.collection` fills it."""
    return user_folder("data") / "models"


def bundled_names() -> tuple[str, ...]:
    """The models that come with the program."""
    return tuple(sorted(path.parent.name for path in (assets_dir() / "models").glob("*/card.toml")))


def own_names() -> tuple[str, ...]:
    """The user's own models; folders that begin with a dot are being made or removed. None, and a warning, if unreadable."""
    try:
        folders = sorted(folder for folder in own_dir().iterdir() if not folder.name.startswith("."))
    except FileNotFoundError:
        return ()
    except NoHomeError as error:
        _warn(str(error))
        return ()
    except OSError as error:
        _warn(f"{error.filename}: {error.strerror}")
        return ()
    return tuple(folder.name for folder in folders if _has_card(folder))


def _has_card(folder: Path) -> bool:
    try:
        return (folder / "card.toml").exists()
    except OSError as error:
        _warn(f"{folder}: {error.strerror}")
        return False


@functools.cache
def _warn(reason: str) -> None:
    log.warning("models of your own cannot be read (%s)", reason)


def names() -> tuple[str, ...]:
    """Every model that has a name: the bundled ones, then the user's own."""
    bundled = bundled_names()
    return (*bundled, *(name for name in own_names() if name not in bundled))


def cards() -> list[tuple[ModelCard, Path]]:
    """Every bundled model's card and ONNX path, without opening the network."""
    return [card_of(name) for name in bundled_names()]


def card_of(name: str) -> tuple[ModelCard, Path]:
    """The card and the ONNX path of the model with that name, without opening the network.

    Raises ModelNotFoundError, or CardError when there is a card that cannot be read.
    """
    folder = folder_of(name)
    card = card_from_dict(read_toml(folder / "card.toml"), str(folder / "card.toml"))
    return card, folder / card.file


def folder_of(name: str) -> Path:
    """The folder of a bundled model, or else of one of the user's own. Raises ModelNotFoundError, naming the nearest."""
    if name in bundled_names():
        return assets_dir() / "models" / name
    if name in own_names():
        return own_dir() / name
    raise ModelNotFoundError(f'no model "{name}"', f"Give a name or the path of an .onnx file. {choices(name, names())}")


def is_bundled(model: Model) -> bool:
    """Whether a model came with the program."""
    return model.path.resolve().is_relative_to((assets_dir() / "models").resolve())


def find(name_or_path: str) -> Model:
    """The model with that name, or the ONNX file at that path. Raises what `locate` and `load_model` raise."""
    model = dataclasses.replace(load_model(locate(name_or_path)), typed=name_or_path)
    if model.lacks_names:
        what, cure, _ = ask_for_names(model, model.path)
        log.warning('%s: they are called "class 0" and so on. %s', what, cure)
    return model


def locate(name_or_path: str) -> Path:
    """The ONNX file of a model with a name, or at a path; not opened. Raises ModelNotFoundError, naming the nearest right one."""
    try:
        path = Path(name_or_path).expanduser()
        is_file = path.is_file()
    except (OSError, RuntimeError) as error:  # a name too long for a file system, a folder without permission, ~nobody
        raise ModelNotFoundError(f"{name_or_path[:80]}: no such model ({error})") from error
    if path.suffix.lower() == ".onnx" or is_file:
        if not is_file:
            beside = [file.name for file in path.parent.glob("*.onnx")]
            cure = choices(path.name, beside) if path.parent.is_dir() else f"There is no folder {path.parent}"
            raise ModelNotFoundError(f"{name_or_path}: no such model file", cure)
        if any("\ud800" <= letter <= "\udfff" for letter in str(path)):
            raise ModelNotFoundError(f"{name_or_path}: its name is not UTF-8, and what reads models takes no other", "Rename it")
        return path
    folder = folder_of(name_or_path)
    return folder / str(read_toml(folder / "card.toml").get("file", "model.onnx"))
