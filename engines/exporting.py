"""Exporting: a model in another form (fused, cast, resized), as an ONNX file with its card, whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from engines.card import ModelCard
from engines.card_toml import to_toml
from engines.editing import check, input_of, run_on_zeros
from engines.errors import CardError, EngineError, ModelFileError
from engines.families import open_family
from engines.fit import InputFiller
from engines.fuse import fuse_outputs
from engines.model import Model, find_card, load_model
from engines.sizing import with_input_size
from engines.types import Image, Size

PRECISIONS = ("fp32", "fp16", "bf16", "int8-qdq")

ALWAYS_WRITTEN = ("name", "family", "file", "sha256", "classes", "things", "input", "outputs")
"""Card keys that are written even where they are a default: else they would be guessed anew."""


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
    they are checked, read back, and run once on ONNX Runtime; after an error neither is there. Raises ModelFileError, CardError.
    """
    import onnx

    _check_target(model, out, precision)
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
    source = hashlib.sha256(model.path.read_bytes()).hexdigest()
    made = f"Exported from {model.path.name} (SHA-256 {source}): {'; '.join(done)}."
    card = msgspec.structs.replace(card, recipe=f"{card.recipe.strip()}\n{made}".strip())
    try:
        return _write(network, card, out)
    except OSError as error:
        raise ModelFileError(f"{out}: cannot be written ({error.strerror or error}); name another place") from error


def _check_target(model: Model, out: Path, precision: str) -> None:
    if precision not in PRECISIONS:
        raise ModelFileError(f'unknown precision "{precision}"; known: {", ".join(PRECISIONS)}')
    if out.suffix != ".onnx":
        raise ModelFileError(f"{out}: an exported model is an .onnx file; call it {out.with_suffix('.onnx').name}")
    if not out.parent.is_dir():
        raise ModelFileError(f"{out}: there is no folder {out.parent}; make it first")
    kept = [path.resolve() for path in (model.path, find_card(model.path)) if path is not None]
    for path in (out, out.with_suffix(".toml")):
        if path.resolve() in kept:
            raise ModelFileError(f"{path}: belongs to the model that is exported; name another file")


def _cast(network: Any, card: ModelCard, precision: str, calibration: Sequence[Image]) -> tuple[Any, ModelCard]:
    import onnx

    if precision == "int8-qdq":
        if not calibration:
            raise ModelFileError(f"{card.name}: int8-qdq measures its ranges on frames, and there are none; give --frames FOLDER")
        from engines.precision.quantise import quantise_qdq

        fill = InputFiller(card.input)
        network = quantise_qdq(network, [{card.input.tensor: fill(image)[0].copy()} for image in calibration])
    else:
        from engines.precision import cast_precision

        is_half = precision == "fp16"
        network = cast_precision(network, "fp16" if is_half else "bf16", io_dtype="float16" if is_half else "float32")
    elem_type = input_of(network, card.input.tensor).type.tensor_type.elem_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(elem_type).name
    return network, msgspec.structs.replace(card, input=msgspec.structs.replace(card.input, dtype=dtype))


def _write(network: Any, card: ModelCard, out: Path) -> Model:
    """Write both files in a folder beside `out`, try them there, and move them to their places."""
    import onnx

    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.stem}.") as folder:
        part = Path(folder) / out.name
        try:
            onnx.save(network, str(part))
        except ValueError as error:  # protobuf's way to say 2 GiB
            raise ModelFileError(f"{out}: larger than an ONNX file can be ({str(error)[:80]})") from error
        card_part = part.with_suffix(".toml")
        card_part.write_text(to_toml(_facts(card, part)), encoding="utf-8")
        try:
            written = load_model(part)
            open_family(written.card)
            _try(network, written.card)
        except EngineError as error:  # it speaks of a file that will not be there
            raise type(error)(str(error).replace(str(part), str(out))) from error
        part.replace(out)
        try:
            card_part.replace(out.with_suffix(".toml"))
        except OSError:
            out.unlink()
            raise
    return dataclasses.replace(written, path=out)


def _facts(card: ModelCard, path: Path) -> dict[str, Any]:
    """The card of the file at `path`, as it is written: without what is a default anyway."""
    figures = dict(card.figures)
    if "size_bytes" in figures:
        figures["size_bytes"] = float(path.stat().st_size)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    card = msgspec.structs.replace(card, file=path.name, sha256=sha256, figures=figures)
    facts: dict[str, Any] = msgspec.to_builtins(card)
    default: dict[str, Any] = msgspec.to_builtins(ModelCard("", "", card.input, {}, ()))
    return {key: value for key, value in facts.items() if key in ALWAYS_WRITTEN or value != default[key]}


def _try(network: Any, card: ModelCard) -> None:
    from engines.precision import rounded_for_cpu

    check(network, card.name)
    try:
        run_on_zeros(rounded_for_cpu(network), card.input, list(card.outputs.values()))
    except Exception as error:  # its types are private; all mean that the graph does not run
        raise ModelFileError(f"{card.name}: what was made does not run ({' '.join(str(error).split())[-160:]})") from error
