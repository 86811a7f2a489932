"""Adds an ONNX file as a named model: one file, and a complete card."""

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from engines.errors import CardError, CollectionError, EngineError, ModelNotFoundError, printable
from engines.families import open_family
from engines.models import zoo
from engines.models.card import facts_of_file, to_toml
from engines.models.collection.manifest import MAX_TABLE_BYTES
from engines.models.model import Model, ask_for_names, load_model
from engines.onnx_graph.reading import read_network
from engines.tables import read_table

FILE = "model.onnx"
CARD = "card.toml"

OTHER_FORMS = {
    ".pt": ("a checkpoint", "Export it to ONNX with the program that wrote it (this one: run.py export)"),
    ".pth": ("a checkpoint", "Export it to ONNX with the program that wrote it"),
    ".keras": ("a Keras model", "Convert it to ONNX: run.py import"),
    ".h5": ("a Keras model", "Save it as .keras, and convert that to ONNX: run.py import"),
    ".tflite": ("a TensorFlow Lite model", "Convert it to ONNX, for example with tf2onnx"),
    ".engine": ("a TensorRT engine, which fits one machine only", "Add the ONNX file that it was built from"),
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".xz", ".7z"), ("an archive", "Unpack it, and add the .onnx file")),
}
"""Other files of models, and what to do with them."""


def add_file(
    onnx_path: Path, name: str, folder: Path, card_path: Path | None = None, keys: Mapping[str, Any] | None = None
) -> Model:
    """Copy an ONNX file into `folder` as the model `name`, with a complete card, and return what was written.

    The card is made as by `load_model`: from the graph, its metadata, and `card_path`, or else a card and labels next to the
    file; `keys` are put in place of the card's. Weights in a separate file are merged.

    Raises ModelNotFoundError, ModelFileError, CardError or CollectionError, and OSError when the files cannot be written.
    """
    other = OTHER_FORMS.get(onnx_path.suffix.lower())
    if other and onnx_path.is_file():
        raise CollectionError(f"{onnx_path}: this is {other[0]}", other[1])
    if onnx_path.suffix.lower() != ".onnx" and not onnx_path.is_file():  # the name of a model is refused as well
        raise ModelNotFoundError(f"{onnx_path}: no such file", "Give the path of an .onnx file")
    onnx_path = zoo.locate(str(onnx_path))
    if card_path is None:
        model = _named(load_model(onnx_path, keys), onnx_path)
        open_family(model.card)
        _copy(onnx_path, folder / FILE)
    else:
        if not card_path.is_file():
            raise CardError(f"{card_path}: no such file", "Give the path of a card")
        read_table(card_path, CardError, MAX_TABLE_BYTES)  # before anything is copied
        read_network(onnx_path)
        _copy(onnx_path, folder / FILE)
        model = _with_card(folder, card_path.read_text(encoding="utf-8"), name, str(onnx_path), str(card_path), keys)
    source = model.card.source or f"Added from {onnx_path.name}."
    return _finish(model, folder, name=name, source=source)


def add_downloaded(download: Path, name: str, facts: Mapping[str, Any], folder: Path) -> Model:
    """Move a downloaded ONNX file into `folder` as the model `name`; facts: card keys that are not in the file.

    Raises ModelFileError or CardError, and OSError when the files cannot be written.
    """
    download.replace(folder / FILE)
    return _finish(_with_card(folder, to_toml(facts), name, name, "the manifest"), folder, name=name)


def _with_card(
    folder: Path, text: str, name: str, file_name: str, card_name: str, keys: Mapping[str, Any] | None = None
) -> Model:
    """The model in `folder`, with the keys in `text`. Errors name `file_name` and `card_name`."""
    given = (folder / FILE).with_suffix(".toml")
    given.write_text(text, encoding="utf-8")
    try:
        model = _named(load_model(folder / FILE, keys), folder / FILE)
        open_family(model.card)
    except EngineError as error:
        what, cure, to_copy = error.what, error.cure, error.to_copy
        replaced = {str(folder / FILE): file_name, str(given): card_name, given.name: card_name, folder.name: name}
        for hidden, known in replaced.items():
            what, cure = what.replace(hidden, known), cure.replace(hidden, known)
        raise type(error)(what, cure, to_copy) from error
    given.unlink()
    return model


def _named(model: Model, onnx_path: Path) -> Model:
    """The model. Raises CardError where nothing names its classes: a card that is kept has to."""
    if model.lacks_names:
        raise CardError(*ask_for_names(model, onnx_path))
    return model


def _finish(model: Model, folder: Path, **facts: str) -> Model:
    """Write the complete card, with these facts in it, and load the model as later runs will, still with what was assumed."""
    card = msgspec.structs.replace(model.card, **facts)
    said = printable(", ".join(model.assumed))
    note = f"# Assumed, since neither its file nor a card says so: {said}.\n" if said else ""
    (folder / CARD).write_text(note + to_toml(facts_of_file(card, folder / FILE)), encoding="utf-8")
    return dataclasses.replace(load_model(folder / FILE), assumed=model.assumed)


def _copy(source: Path, target: Path) -> None:
    import onnx

    network = onnx.load(source, load_external_data=False)
    if any(onnx.external_data_helper.uses_external_data(tensor) for tensor in network.graph.initializer):
        from google.protobuf.message import EncodeError  # type: ignore[import-untyped]

        try:
            onnx.save(onnx.load(source), str(target))
        except (ValueError, EncodeError) as error:  # protobuf's errors above 2 GiB
            raise CollectionError(f"{source}: larger with its weights than one ONNX file can be (2 GiB)") from error
    else:
        shutil.copyfile(source, target)
