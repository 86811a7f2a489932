"""What a Keras file says of itself, read as data: nothing of the file is run, and Keras is not needed for a `.keras` file.

A `.keras` file is a ZIP archive whose `config.json` describes every layer; an `.h5` file keeps the same text in an attribute.
Lambda layers hold Python byte code in there, and loading one runs it. So the layers are looked at first, and again by Keras
(`safe_mode`) when it loads the file.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engines.importing.errors import KerasImportError

MAX_CONFIG_BYTES = 64 * 1024**2
MODELS = ("Sequential", "Functional", "Model")
SAVE = 'save it with model.save("model.keras")'
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
INSTALL = "reading Keras models needs the extra of that name: pip install -e '.[keras]'"


def check_file(path: Path) -> None:
    """Raises KerasImportError unless `path` is a Keras model made of Keras' own layers."""
    config = read_config(path)
    kind = config.get("class_name", "?")
    if kind not in MODELS:
        raise KerasImportError(
            f"{path}: a model of its own class {kind}, whose code is not in the file; "
            "build it with keras.Sequential or keras.Model(inputs, outputs) and save that"
        )
    for layer in _layers(config):
        _check_layer(layer, path)


def read_config(path: Path) -> dict[str, Any]:
    """The description of a model in a `.keras` or `.h5` file. Raises KerasImportError."""
    if path.is_dir():
        raise KerasImportError(f"{path}: is a folder; a Keras model is one file: {SAVE}")
    try:
        signature = _first_bytes(path)
        if zipfile.is_zipfile(path):
            text = _from_zip(path)
        elif signature == HDF5_SIGNATURE:
            text = _from_hdf5(path)
        elif path.suffix == ".onnx":
            raise KerasImportError(f"{path}: is an ONNX file already; use it as it is: --model {path}")
        else:
            raise KerasImportError(f"{path}: no Keras model (neither .keras nor .h5); {SAVE}")
        config = json.loads(text)
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        if isinstance(error, KerasImportError):
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:120]
        raise KerasImportError(f"{path}: cannot be read as a Keras model ({reason}); {SAVE} again") from error
    if not isinstance(config, dict):
        raise KerasImportError(f"{path}: its description is no description of a model; {SAVE} again")
    return config


def _first_bytes(path: Path) -> bytes:
    if not path.is_file():
        raise KerasImportError(f"{path}: no such file; name a .keras or .h5 file")
    with path.open("rb") as file:
        return file.read(len(HDF5_SIGNATURE))


def _from_zip(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        try:
            entry = archive.getinfo("config.json")
        except KeyError as error:
            raise KerasImportError(f"{path}: a ZIP archive, but no Keras model (it has no config.json); {SAVE}") from error
        if entry.file_size > MAX_CONFIG_BYTES:
            raise KerasImportError(f"{path}: its config.json is larger than {MAX_CONFIG_BYTES >> 20} MiB; this is no Keras model")
        with archive.open(entry) as file:  # the size in the directory may lie: read no more than allowed
            return file.read(MAX_CONFIG_BYTES).decode("utf-8")


def _from_hdf5(path: Path) -> str:
    try:
        import h5py
    except ImportError as error:
        raise KerasImportError(f"{path}: {INSTALL}") from error
    with h5py.File(path, "r") as file:
        text = file.attrs.get("model_config")
    if text is None:
        raise KerasImportError(f"{path}: weights without a model; save the whole model with model.save, not save_weights")
    return text.decode("utf-8") if isinstance(text, bytes) else str(text)


def _layers(config: Any) -> Iterator[dict[str, Any]]:
    """The description of every layer, those of models inside models too."""
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
        raise KerasImportError(
            f'{path}: the layer "{called}" is a Lambda: Python code inside the file, which is not run; '
            "write it with Keras' own layers (Rescaling, Activation, keras.ops ...) and save again"
        )
    module, registered = layer.get("module"), str(layer.get("registered_name") or "")
    is_own = module is None or str(module).partition(".")[0] in ("keras", "tf_keras", "tensorflow")
    if not is_own or ">" in registered:
        what = f'function "{inner}"' if kind == "function" else f'{kind} of "{called}"'
        raise KerasImportError(
            f"{path}: needs code that is not in the file, the {what}; build the model with Keras' own layers and save again"
        )
