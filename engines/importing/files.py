"""The configuration in a Keras file, read as data: no code of the file is run, and a `.keras` file can be read without Keras.

A `.keras` file is a ZIP archive whose `config.json` describes every layer; an `.h5` file has the same text in an attribute.
Lambda layers contain Python byte code, which runs when they are loaded. So the layers are checked first, and again by Keras
(`safe_mode`) when it loads the file.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engines.importing import KerasImportError

MAX_CONFIG_BYTES = 64 * 1024**2
MAX_UNPACKED_BYTES = 4 * 1024**3
MAX_RATIO = 20
"""Unpacked to packed bytes: trained weights hardly pack, those of an untrained net may be zeros."""
ALWAYS_ALLOWED_BYTES = 64 * 1024**2
MODELS = ("Sequential", "Functional", "Model")
SAVE = 'Save it with model.save("model.keras")'
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
INSTALL = "Install Keras 3: pip install -e '.[keras]'"


def check_file(path: Path) -> None:
    """Raise KerasImportError unless `path` is a Keras model of Keras' own layers, of a size that its weights can have."""
    config = read_config(path)
    check_size(path)
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
    with _h5py(path).File(path, "r") as file:
        text = file.attrs.get("model_config")
    if text is None:
        raise KerasImportError(f"{path}: weights without a model", "Save the whole model with model.save, not save_weights")
    return text.decode("utf-8") if isinstance(text, bytes) else str(text)


def check_size(path: Path) -> None:
    """Raise KerasImportError for a file that unpacks to more than weights could, before anything is unpacked.

    Both formats pack: a `.keras` file is an archive with an HDF5 file in it, and HDF5 packs its arrays. Both declare their sizes.
    """
    most_bytes = min(MAX_UNPACKED_BYTES, max(ALWAYS_ALLOWED_BYTES, MAX_RATIO * path.stat().st_size))
    try:
        if not zipfile.is_zipfile(path):
            _check_arrays(path, path, most_bytes)
            return
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_bytes(path, sum(entry.file_size for entry in entries), most_bytes)
            for entry in entries:
                if entry.filename.endswith(".h5"):
                    with archive.open(entry) as packed:  # no more than declared is unpacked
                        _check_arrays(path, io.BytesIO(packed.read(entry.file_size)), most_bytes)
    except KerasImportError:
        raise
    except (OSError, ValueError, RuntimeError, RecursionError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())[:120]
        raise KerasImportError(f"{path}: cannot be read as a Keras model ({reason})", f"{SAVE} again") from error


def _check_arrays(path: Path, file: Path | io.BytesIO, most_bytes: int) -> None:
    """Of an HDF5 file: its arrays are in it, not in other files, and their sizes add up to no more than `most_bytes`."""
    h5py = _h5py(path)
    unpacked_bytes = 0
    with h5py.File(file, "r") as opened:
        groups, seen = [opened], set()
        while groups:
            group = groups.pop()
            if (place := h5py.h5o.get_info(group.id).addr) in seen:
                continue  # a group may be in itself
            seen.add(place)
            for name in group:
                link = group.get(name, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    raise KerasImportError(f"{path}: its {name} is a link to another file, {link.filename}", f"{SAVE} again")
                found = group.get(name)
                if isinstance(found, h5py.Group):
                    groups.append(found)
                elif isinstance(found, h5py.Dataset):
                    if found.external or found.is_virtual:
                        raise KerasImportError(f"{path}: the values of its {name} are in another file", f"{SAVE} again")
                    unpacked_bytes += found.nbytes
                    _check_bytes(path, unpacked_bytes, most_bytes)


def _check_bytes(path: Path, unpacked_bytes: int, most_bytes: int) -> None:
    if unpacked_bytes > most_bytes:
        sizes = f"unpacks to {unpacked_bytes / 2**20:.0f} MiB from {path.stat().st_size / 2**20:.1f}"
        raise KerasImportError(f"{path}: {sizes}, which weights do not", f"{SAVE} again, or do not trust it")


def _h5py(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise KerasImportError(f"{path}: reading it needs h5py", INSTALL) from error
    return h5py


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
