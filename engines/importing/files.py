"""The configuration in a Keras file, read as data: no code of the file is run, and a `.keras` file can be read without Keras.

A `.keras` file is a ZIP archive whose `config.json` describes every layer; an `.h5` file has the same text in an attribute.
Lambda layers contain Python byte code, which runs when they are loaded. So the layers are checked first, and again by Keras
(`safe_mode`) when it loads the file.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engines.importing import KerasImportError

MAX_CONFIG_BYTES = 64 * 1024**2
MODELS = ("Sequential", "Functional", "Model")
SAVE = 'Save it with model.save("model.keras")'
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
INSTALL = "Install Keras 3: pip install -e '.[keras]'"


def check_file(path: Path) -> None:
    """Raise KerasImportError unless `path` is a Keras model of Keras' own layers."""
    config = read_config(path)
    kind = config.get("class_name", "?")
    if kind not in MODELS:
        what = f"{path}: is a model of a custom class, {kind}, whose code is not in the file"
        raise KerasImportError(what, "Build it with keras.Sequential or keras.Model(inputs, outputs) and save that")
    for layer in _layers(config):
        _check_layer(layer, path)


def read_config(path: Path, most_bytes: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """The model configuration in a `.keras` or `.h5` file. Raises KerasImportError."""
    if not path.is_file():
        what = "is a folder, and a Keras model is a file" if path.is_dir() else "no such file"
        raise KerasImportError(f"{path}: {what}", SAVE if path.is_dir() else "Name a .keras or .h5 file")
    try:
        with path.open("rb") as file:
            signature = file.read(len(HDF5_SIGNATURE))
        if zipfile.is_zipfile(path):
            text = _from_zip(path, most_bytes)
        elif signature == HDF5_SIGNATURE:
            text = _from_hdf5(path)
        elif path.suffix == ".onnx":
            raise KerasImportError(f"{path}: is an ONNX file already", f"Use it: --model {path}")
        else:
            raise KerasImportError(f"{path}: not a Keras model (neither .keras nor .h5)", SAVE)
        config = json.loads(text)
    except KerasImportError:
        raise
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:120]
        raise KerasImportError(f"{path}: cannot be read as a Keras model ({reason})", f"{SAVE} again") from error
    if not isinstance(config, dict):
        raise KerasImportError(f"{path}: not a Keras model configuration", f"{SAVE} again")
    return config


def _from_zip(path: Path, most_bytes: int) -> str:
    with zipfile.ZipFile(path) as archive:
        try:
            entry = archive.getinfo("config.json")
        except KeyError as error:
            raise KerasImportError(f"{path}: a ZIP archive without config.json, so not a Keras model", SAVE) from error
        if entry.file_size > most_bytes:
            what = f"{path}: its config.json is larger than {most_bytes >> 20} MiB, so it is not a Keras model"
            raise KerasImportError(what, SAVE)
        with archive.open(entry) as file:  # the size in the directory may be wrong: read no more than allowed
            return file.read(most_bytes).decode("utf-8")


def _from_hdf5(path: Path) -> str:
    try:
        import h5py
    except ImportError as error:
        raise KerasImportError(f"{path}: reading an .h5 file needs h5py", INSTALL) from error
    with h5py.File(path, "r") as file:
        text = file.attrs.get("model_config")
    if text is None:
        raise KerasImportError(f"{path}: weights without a model", "Save the whole model with model.save, not save_weights")
    return text.decode("utf-8") if isinstance(text, bytes) else str(text)


def _layers(config: Any) -> Iterator[dict[str, Any]]:
    """The configuration of every layer, including models inside models."""
    inner = config.get("config") if isinstance(config, dict) else None
    found = inner.get("layers", ()) if isinstance(inner, dict) else inner if isinstance(inner, list) else ()
    for layer in found:
        if isinstance(layer, dict):
            yield layer
            yield from _layers(layer)
            if isinstance(layer.get("config"), dict):
                yield from (part for part in layer["config"].values() if isinstance(part, dict) and "class_name" in part)


def _check_layer(layer: dict[str, Any], path: Path) -> None:
    kind = str(layer.get("class_name", "?"))
    inner = layer.get("config")
    called = inner.get("name", kind) if isinstance(inner, dict) else kind
    if kind in ("Lambda", "__lambda__"):
        what = f'{path}: the layer "{called}" is a Lambda, Python code inside the file, which is not run'
        raise KerasImportError(what, "Write it with Keras' own layers (Rescaling, Activation, keras.ops ...) and save again")
    module, registered = layer.get("module"), str(layer.get("registered_name") or "")
    is_own = module is None or str(module).partition(".")[0] in ("keras", "tf_keras", "tensorflow")
    if not is_own or ">" in registered:
        what = f'function "{inner}"' if kind == "function" else f'{kind} of "{called}"'
        cure = "Build the model with Keras' own layers and save again"
        raise KerasImportError(f"{path}: needs code that is not in the file, the {what}", cure)
