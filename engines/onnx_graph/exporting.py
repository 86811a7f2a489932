"""Exporting: a model in another form (fused, cast, resized), as an ONNX file with its card, whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from engines.errors import CardError, EngineError, ModelFileError
from engines.families import open_family
from engines.models.card import ModelCard
from engines.models.card_text import facts_of_file, to_toml
from engines.models.fit import InputFiller
from engines.models.model import Model, find_card, load_model
from engines.onnx_graph.editing import check, input_of, run_on_zeros
from engines.onnx_graph.fusing import fuse_outputs
from engines.onnx_graph.sizing import with_input_size
from engines.types import Image, Size

PRECISIONS = ("fp32", "fp16", "bf16", "int8-qdq")

OF_THE_FILE = ("size_bytes",)
"""Figures that every export has anew. The others were measured on the network as it was, whatever they measure."""


def export_model(
    model: Model,
    out: Path,
    *,
    fuse: bool,
    precision: str = "fp32",
    size: Size | None = None,
    batch: int | Literal["dynamic"] = 1,
    calibration: Sequence[Image] = (),
) -> Model:
    """Write `model` to `out` (NAME.onnx) with its card beside it (NAME.toml), and return what was written.

    calibration: frames like those the model will see; "int8-qdq" measures ranges on them. Before the two files take their places
    they are checked, read back, and run once on ONNX Runtime; after an error there is what was there before. Figures of the card
    that another size or precision would not reach are left out. Raises ModelFileError, CardError.
    """
    import onnx

    try:
        _check_target(model, out, precision)
    except OSError as error:
        raise _unwritable(out, error) from error
    open_family(model.card)
    if model.card.side_inputs:
        fed = ", ".join(model.card.side_inputs)
        raise ModelFileError(
            f"{model.card.name}: is fed {fed} beside the image, and what is exported an image alone; use {model.path} as it is"
        )
    if isinstance(batch, int) and batch > 1:
        raise CardError(
            f'{model.card.name}: a fixed batch of {batch} fits no camera, which gives one frame a time; use "dynamic"'
        )
    network, done = onnx.load(model.path), []
    network, card = with_input_size(network, model.card, size, batch)
    done.append(f"input {card.input.size}, batch {batch}")
    if fuse:
        before = network
        network, card = fuse_outputs(network, card)
        done.append("outputs fused" if network is not before else "outputs as they were")
    if precision != "fp32":
        network, card = _cast(network, card, precision, calibration)
        done.append(f"cast to {precision}")
    if precision != "fp32" or card.input.size != model.card.input.size:
        card = msgspec.structs.replace(card, figures={key: card.figures[key] for key in OF_THE_FILE if key in card.figures})
    source = hashlib.sha256(model.path.read_bytes()).hexdigest()
    made = f"Exported from {model.path.name} (SHA-256 {source}): {'; '.join(done)}."
    card = msgspec.structs.replace(card, recipe=f"{card.recipe.strip()}\n{made}".strip())
    try:
        return write_model(network, card, out)
    except OSError as error:
        raise _unwritable(out, error) from error


def _unwritable(out: Path, error: OSError) -> ModelFileError:
    return ModelFileError(f"{out}: cannot be written ({error.strerror or error}); name another place")


def _check_target(model: Model, out: Path, precision: str) -> None:
    if precision not in PRECISIONS:
        raise ModelFileError(f'unknown precision "{precision}"; known: {", ".join(PRECISIONS)}')
    check_place(out, [path for path in (model.path, find_card(model.path)) if path is not None])


def check_place(out: Path, sources: Collection[Path] = ()) -> None:
    """Raises ModelFileError when a model can't be written to `out` and its card beside it, or where that would replace others.

    sources: the files that it is made of.
    """
    if out.suffix != ".onnx":
        raise ModelFileError(f"{out}: an exported model is an .onnx file; call it {out.stem.strip('.') or 'model'}.onnx")
    if not out.parent.is_dir():
        raise ModelFileError(f"{out}: there is no folder {out.parent}; make it first")
    if not os.access(out.parent, os.W_OK):
        raise ModelFileError(f"{out}: nothing may be written into {out.parent.absolute()}; name another place")
    card_path = out.with_suffix(".toml")
    kept = [path.resolve() for path in sources]
    for path in (out, card_path):
        if path.resolve() in kept:
            raise ModelFileError(f"{path}: belongs to the model that is exported; name another file")
        if path.is_dir():
            raise ModelFileError(f"{path}: is a folder; name another file")
    if card_path.exists() and not out.exists():
        raise ModelFileError(f"{card_path}: is there already, and no card of an earlier {out.name}; name another file")


def _cast(network: Any, card: ModelCard, precision: str, calibration: Sequence[Image]) -> tuple[Any, ModelCard]:
    import onnx

    if precision == "int8-qdq":
        if not calibration:
            raise ModelFileError(f"{card.name}: int8-qdq measures its ranges on frames, and there are none; give --frames FOLDER")
        from engines.onnx_graph.precision.quantise import quantise_qdq

        fill = InputFiller(card.input)
        try:
            network = quantise_qdq(network, [{card.input.tensor: fill(image)[0].copy()} for image in calibration])
        except ValueError as error:
            raise ModelFileError(f"{card.name}: cannot be quantised ({error}); ask for another precision") from error
    else:
        from engines.onnx_graph.precision import cast_precision

        is_half = precision == "fp16"
        network = cast_precision(network, "fp16" if is_half else "bf16", io_dtype="float16" if is_half else "float32")
    elem_type = input_of(network, card.input.tensor).type.tensor_type.elem_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(elem_type).name
    return network, msgspec.structs.replace(card, input=msgspec.structs.replace(card.input, dtype=dtype))


def write_model(network: Any, card: ModelCard, out: Path, trial: Callable[[Model], None] | None = None) -> Model:
    """Write both files in a folder beside `out`, try them there, and move them to their places: all of it, or nothing.

    network: an onnx.ModelProto. trial: looks at the written model before it is moved; what it raises keeps it from being moved.
    Raises ModelFileError, CardError, OSError.
    """
    import onnx
    from google.protobuf.message import EncodeError  # type: ignore[import-untyped]

    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as folder:
        part = Path(folder) / out.name
        try:
            onnx.save(network, str(part))
        except (ValueError, EncodeError) as error:  # protobuf's ways to say 2 GiB
            raise ModelFileError(f"{out}: larger than an ONNX file can be ({str(error)[:80]})") from error
        card_part = part.with_suffix(".toml")
        card_part.write_text(to_toml(facts_of_file(card, part)), encoding="utf-8")
        try:
            written = load_model(part)
            open_family(written.card)
            _try(network, written.card)
            if trial is not None:
                trial(written)
        except EngineError as error:  # it speaks of files that will not be there
            raise type(error)(str(error).replace(str(part.parent), str(out.parent))) from error
        _move({part: out, card_part: out.with_suffix(".toml")}, Path(folder))
    return dataclasses.replace(written, path=out)


def _move(places: Mapping[Path, Path], spare: Path) -> None:
    """Move files to their places, all or none: after an error, what was there before is there again. spare: a folder for that."""
    done: list[tuple[Path, Path | None]] = []
    try:
        for part, place in places.items():
            before = spare / f"before-{place.suffix[1:]}" if place.is_symlink() or place.exists() else None
            if before is not None:
                _copy(place, before)
            done.append((place, before))
            part.replace(place)
    except BaseException:
        for place, before in reversed(done):
            if before is None:
                place.unlink(missing_ok=True)
            else:
                before.replace(place)
        raise


def _copy(source: Path, target: Path) -> None:
    """As a second name of the same file where the file system has such."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _try(network: Any, card: ModelCard) -> None:
    from engines.onnx_graph.precision import rounded_for_cpu

    check(network, card.name)
    try:
        run_on_zeros(rounded_for_cpu(network), card.input, list(card.outputs.values()))
    except Exception as error:  # its types are private; all mean that the graph does not run
        raise ModelFileError(f"{card.name}: what was made does not run ({' '.join(str(error).split())[-160:]})") from error
