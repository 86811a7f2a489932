"""Exporting: a model in another form (fused, cast, resized), written as an ONNX file with its card, both or neither."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy.typing as npt

from engines import families
from engines.errors import CardError, EngineError, ModelFileError, choices
from engines.files import move_all, sha256_of
from engines.models.card import InputSpec, ModelCard, facts_of_file, to_toml
from engines.models.fit import InputFiller
from engines.models.model import Model, find_card, load_model
from engines.models.sizing import with_input_size
from engines.onnx_graph.editing import check, input_of, run_on_zeros
from engines.onnx_graph.precision import cast_precision, rounded_for_cpu
from engines.onnx_graph.precision.quantise import Quantiser
from engines.onnx_graph.precision.wiring import opset_of
from engines.onnx_graph.suiting import bytes_through_float
from engines.system.unfinished import temporary_folder
from engines.types import Image, Size

PRECISIONS = ("fp32", "fp16", "bf16", "int8-qdq")

OF_THE_FILE = ("size_bytes",)
"""Figures that are written again for every export. The others were measured on the original network."""

OLDEST_OPSET = 11
"""GatherElements and Round begin here. An older network runs unfused."""


def export_model(
    model: Model,
    out: Path,
    *,
    fuse: bool,
    precision: str = "fp32",
    size: Size | None = None,
    batch: int | Literal["dynamic"] = 1,
    in_int8: Callable[[Any, ModelCard], tuple[Any, ModelCard]] | None = None,
) -> Model:
    """Write `model` to `out` (NAME.onnx) with its card next to it (NAME.toml), and return the exported model.

    in_int8: makes an INT8 form of a network, which "int8-qdq" needs, see `engines.building.network.in_int8`. The files are
    checked, read back and run once on ONNX Runtime before they replace earlier ones, which stay after an error. With another size
    or precision the card loses the figures measured on the original. Raises ModelFileError, CardError.
    """
    import onnx

    if precision not in PRECISIONS:
        raise ModelFileError(f'unknown precision "{precision}"', choices(precision, PRECISIONS))
    with _writing(out):
        check_place(out, [path for path in (model.path, find_card(model.path)) if path is not None])
    families.open_family(model.card)
    if model.card.side_inputs:
        fed = ", ".join(model.card.side_inputs)
        what = f"{model.card.name}: takes {fed} in addition to the image, which an exported model cannot"
        raise ModelFileError(what, f"Use {model.path} itself")
    if isinstance(batch, int) and batch > 1:
        what = f"{model.card.name}: a fixed batch of {batch} does not suit a camera, which gives one frame at a time"
        raise CardError(what, 'Use "dynamic"')
    network, done = onnx.load(model.path), []
    network, card = with_input_size(network, model.card, size, batch)
    done.append(f"input {card.input.size}, batch {batch}")
    if fuse:
        before = network
        network, card = fuse_outputs(network, card)
        done.append("outputs fused" if network is not before else "outputs as they were")
    if precision != "fp32":
        if precision == "int8-qdq":
            assert in_int8 is not None, "measures ranges on footage"
            network, card = in_int8(network, card)
        else:
            network, card = cast_model(network, card, precision)
        done.append(f"cast to {precision}")
    network = bytes_through_float(network)
    if precision != "fp32" or card.input.size != model.card.input.size:
        card = msgspec.structs.replace(card, figures={key: card.figures[key] for key in OF_THE_FILE if key in card.figures})
    source = sha256_of(model.path)
    made = f"Exported from {model.path.name} (SHA-256 {source}): {'; '.join(done)}."
    card = msgspec.structs.replace(card, recipe=f"{card.recipe.strip()}\n{made}".strip())
    return write_model(network, card, out)


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Turns OSError into ModelFileError."""
    try:
        yield
    except OSError as error:
        raise ModelFileError(f"{out}: cannot be written ({error.strerror or error})", "Choose another place") from error


def check_place(out: Path, sources: Collection[Path] = ()) -> None:
    """Raises ModelFileError if `out` and the card next to it cannot be written, or would replace files of another kind.

    sources: the files that the model is made from.
    """
    if out.suffix != ".onnx":
        name = f"{out.stem.strip('.') or 'model'}.onnx"
        raise ModelFileError(f"{out}: an exported model is an .onnx file", f"Call it {name}")
    if not out.parent.is_dir():
        raise ModelFileError(f"{out}: there is no folder {out.parent}", "Create it first")
    if not os.access(out.parent, os.W_OK):
        raise ModelFileError(f"{out}: the folder {out.parent.absolute()} is not writable", "Choose another place")
    card_path = out.with_suffix(".toml")
    kept = [path.resolve() for path in sources]
    for path in (out, card_path):
        if path.resolve() in kept:
            raise ModelFileError(f"{path}: belongs to the model that is exported", "Choose another file")
        if path.is_dir():
            raise ModelFileError(f"{path}: is a folder", "Choose another file")
    if card_path.exists() and not out.exists():
        raise ModelFileError(f"{card_path}: exists and is not the card of an earlier {out.name}", "Choose another file")


def fuse_outputs(model: Any, card: ModelCard) -> tuple[Any, ModelCard]:
    """A new onnx.ModelProto with small outputs, and the card that describes it; the pair given where nothing can be fused.

    The family gives the same segmentation as before, on every backend. Outputs that the card does not name are dropped, and with
    them what only they needed. Fusing twice is fusing once. Raises ModelFileError when the card names outputs that the network
    lacks. A card that its family refuses comes back as it is.
    """
    outputs = {value.name for value in model.graph.output}
    missing = [tensor for tensor in card.outputs.values() if tensor not in outputs]
    if missing:
        raise ModelFileError(f"{card.name}: the network has no output {', '.join(missing)}", "Correct `outputs` in its card")
    return families.fuse(model, card) if opset_of(model) >= OLDEST_OPSET else (model, card)


def cast_model(
    network: Any,
    card: ModelCard,
    precision: str,
    keep: tuple[str, ...] = (),
    keep_fp32: tuple[str, ...] = (),
    quantiser: Quantiser | None = None,
) -> tuple[Any, ModelCard]:
    """A new network in `precision` ("fp16", "bf16", "int8-qdq"), and its card.

    An FP16 network takes an FP16 input. keep: nodes that keep more precision, see `cast_precision` and `Quantiser`. keep_fp32:
    nodes that stay in FP32. quantiser: of the network, for "int8-qdq". Raises ModelFileError if no layer is left to quantise.
    """
    import onnx

    if quantiser is not None:
        with _quantising(card):
            network = quantiser.quantised(keep, keep_fp32)
    elif precision == "fp16":
        network = cast_precision(network, "fp16", keep_fp32=(*keep, *keep_fp32), io_dtype="float16")
    else:
        network = cast_precision(network, "bf16", keep_fp32=(*keep, *keep_fp32))
    network = bytes_through_float(network)
    elem_type = input_of(network, card.input.tensor).type.tensor_type.elem_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(elem_type).name
    return network, msgspec.structs.replace(card, input=msgspec.structs.replace(card.input, dtype=dtype))


def quantiser_of(network: Any, card: ModelCard, frames: Iterable[Image]) -> Quantiser:
    """What makes INT8 forms of `network`, its ranges measured on `frames`, of which one at a time is in memory.

    Raises ModelFileError if the network cannot be quantised.
    """
    fill = InputFiller(card.input)
    with _quantising(card):
        return Quantiser(network, ({card.input.tensor: fill(frame)[0]} for frame in frames))


@contextlib.contextmanager
def _quantising(card: ModelCard) -> Iterator[None]:
    """Turns ValueError into ModelFileError."""
    try:
        yield
    except ValueError as error:
        raise ModelFileError(f"{card.name}: cannot be quantised ({error})", "Choose another precision") from error


def network_feeds(spec: InputSpec, frames: Iterable[Image]) -> list[dict[str, npt.NDArray[Any]]]:
    """The network's input for each frame, by tensor name."""
    fill = InputFiller(spec)
    return [{spec.tensor: fill(frame)[0].copy()} for frame in frames]


def write_model(network: Any, card: ModelCard, out: Path, trial: Callable[[Model], None] | None = None) -> Model:
    """Write both files in a folder next to `out`, test them there, and move them to their places, both or neither.

    network: an onnx.ModelProto. trial: called with the written model before it is moved; if it raises, nothing is moved.
    Raises ModelFileError, CardError.
    """
    import onnx
    from google.protobuf.message import EncodeError  # type: ignore[import-untyped]

    with _writing(out), temporary_folder(out.parent, ".export-") as folder:
        part = folder / out.name
        try:
            onnx.save(network, str(part))
        except (ValueError, EncodeError) as error:  # protobuf's errors above 2 GiB
            what = f"{out}: larger than an ONNX file can be ({str(error)[:80]})"
            raise ModelFileError(what, "Export a smaller network") from error
        card_part = part.with_suffix(".toml")
        card_part.write_text(to_toml(facts_of_file(card, part)), encoding="utf-8")
        try:
            written = load_model(part)
            families.open_family(written.card)
            _try(network, written.card)
            if trial is not None:
                trial(written)
        except EngineError as error:  # it names temporary files
            what, cure = (text.replace(str(part.parent), str(out.parent)) for text in (error.what, error.cure))
            raise type(error)(what, cure) from error
        move_all({part: out, card_part: out.with_suffix(".toml")})
    return dataclasses.replace(written, path=out)


def _try(network: Any, card: ModelCard) -> None:
    check(network, card.name)
    try:
        run_on_zeros(rounded_for_cpu(network), card.input, list(card.outputs.values()))
    except Exception as error:  # of private types; all mean that the graph does not run
        text = " ".join(str(error).split())[-160:]
        raise ModelFileError(f"{card.name}: the exported network does not run ({text})", "Report this with the model") from error
