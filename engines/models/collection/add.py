"""Adding: any ONNX file that a family can read becomes a model with a name, in one file and with a whole card."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from engines.errors import CollectionError, EngineError, ModelNotFoundError
from engines.families import open_family
from engines.models import zoo
from engines.models.card import ModelCard, read_toml
from engines.models.card_text import facts_of_file, to_toml
from engines.models.model import Model, load_model
from engines.onnx_graph.reading import read_network

FILE = "model.onnx"
CARD = "card.toml"

OTHER_FORMS = {
    ".pt": "a checkpoint: make an ONNX file of it with the program that wrote it (one of ours: run.py export)",
    ".pth": "a checkpoint: make an ONNX file of it with the program that wrote it",
    ".keras": "a Keras model: run.py import makes an ONNX file of it",
    ".h5": "a Keras model: save it as .keras, and run.py import makes an ONNX file of it",
    ".tflite": "a TensorFlow Lite model: make an ONNX file of it (tf2onnx does)",
    ".engine": "a TensorRT engine, which fits one machine only: add the ONNX file that it was built from",
    **dict.fromkeys(
        (".zip", ".tar", ".gz", ".tgz", ".xz", ".7z"), "an archive, and none is opened here: unpack it, add the .onnx"
    ),
}
"""What people may have instead of an ONNX file, and what to do then."""


def add_file(onnx_path: Path, name: str, folder: Path, card_path: Path | None = None) -> Model:
    """Copy an ONNX file into `folder` as the model `name`, with a card that says everything, and return what was written.

    The card is made as `load_model` makes it: from the graph, its metadata, and `card_path`, or else a card and labels beside the
    file. Weights that lie in a file beside it are taken in. Raises ModelNotFoundError, ModelFileError, CardError or
    CollectionError, and OSError when the disk refuses.
    """
    cure = OTHER_FORMS.get(onnx_path.suffix.lower())
    if cure and onnx_path.is_file():
        raise CollectionError(f"{onnx_path}: this is {cure}")
    if onnx_path.suffix.lower() != ".onnx" and not onnx_path.is_file():  # also a name: it has one already
        raise ModelNotFoundError(f"{onnx_path}: no such file; give the path of an .onnx file")
    onnx_path = zoo.locate(str(onnx_path))
    if card_path is None:
        model = load_model(onnx_path)
        open_family(model.card)
        _copy(onnx_path, folder / FILE)
        card = model.card
    else:
        read_toml(card_path)  # a file that is no card, or no network, is told before anything of it is copied
        read_network(onnx_path)
        _copy(onnx_path, folder / FILE)
        card = _with_card(folder, card_path.read_text(encoding="utf-8"), name, str(onnx_path), str(card_path))
    source = card.source or f"Added from {onnx_path.name}."
    return _finish(msgspec.structs.replace(card, name=name, source=source), folder)


def add_downloaded(download: Path, name: str, facts: Mapping[str, Any], folder: Path) -> Model:
    """Move a downloaded ONNX file into `folder` as the model `name`; facts: card keys that the file does not tell.

    Raises ModelFileError or CardError, and OSError when the disk refuses.
    """
    download.replace(folder / FILE)
    card = _with_card(folder, to_toml(facts), name, name, "the manifest")
    return _finish(msgspec.structs.replace(card, name=name), folder)


def _with_card(folder: Path, text: str, name: str, file_name: str, card_name: str) -> ModelCard:
    """The whole card of the file in `folder`, made with what `text` says. Errors speak of the names given."""
    given = (folder / FILE).with_suffix(".toml")
    given.write_text(text, encoding="utf-8")
    try:
        card = load_model(folder / FILE).card
        open_family(card)
    except EngineError as error:
        told = str(error)
        for hidden, known in (
            (str(folder / FILE), file_name),
            (str(given), card_name),
            (given.name, card_name),
            (folder.name, name),
        ):
            told = told.replace(hidden, known)
        raise type(error)(told) from error
    given.unlink()
    return card


def _finish(card: ModelCard, folder: Path) -> Model:
    """Write the whole card and read it back as any start of the program will."""
    (folder / CARD).write_text(to_toml(facts_of_file(card, folder / FILE)), encoding="utf-8")
    return load_model(folder / FILE)


def _copy(source: Path, target: Path) -> None:
    import onnx

    network = onnx.load(source, load_external_data=False)
    if any(onnx.external_data_helper.uses_external_data(tensor) for tensor in network.graph.initializer):
        from google.protobuf.message import EncodeError  # type: ignore[import-untyped]

        try:
            onnx.save(onnx.load(source), str(target))
        except (ValueError, EncodeError) as error:  # protobuf's ways to say 2 GiB
            raise CollectionError(f"{source}: with its weights larger than one ONNX file can be (2 GiB)") from error
    else:
        shutil.copyfile(source, target)
