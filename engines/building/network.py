"""The network that is built: sized, fused and cast, and proved on the CPU before minutes go into a build of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import onnx

from engines.building.parity import CANDIDATE_SETTINGS, REFERENCE_SETTINGS, compare, shortfall
from engines.errors import BuildError, InferenceError
from engines.families import DecodeSettings, open_family
from engines.loading import import_onnxruntime
from engines.models.card import ModelCard
from engines.models.fit import InputFiller
from engines.onnx_graph.fusing import fuse_outputs
from engines.onnx_graph.precision import cast_precision, main_precision, offenders, rounded_for_cpu
from engines.onnx_graph.precision.quantise import quantise_qdq
from engines.onnx_graph.sizing import with_input_size
from engines.plans.passport import ParityReport
from engines.types import Image, Segmentation, Size

MAX_KEPT = 24
"""Nodes that may be kept in FP32 before it is said that a network does not bear the precision."""

KEPT_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Prepared:
    """A network as it is given to a builder. reference: the same in FP32. parity: of the two, on the CPU; None for FP32."""

    network: onnx.ModelProto
    card: ModelCard
    reference: Reference
    parity: ParityReport | None


class Reference:
    """The FP32 network on ONNX Runtime: what it sees in the frames that everything else is compared on."""

    def __init__(self, network: onnx.ModelProto, card: ModelCard, frames: Sequence[Image]) -> None:
        self.network, self.card, self.frames = network, card, frames
        self.segmentations = run_on_cpu(network, card, frames, REFERENCE_SETTINGS)
        if any(segmentation is None for segmentation in self.segmentations):
            raise BuildError(f"{card.name}: the network itself gives NaN or infinite values in FP32; its weights are damaged")

    def report(self, found: Sequence[Segmentation | None], kept: tuple[str, ...], where: str = "engine") -> ParityReport:
        """How `found`, of the same frames, compares; None stands for a frame whose outputs were not finite."""
        pairs = [(wanted, seen) for wanted, seen in zip(self.segmentations, found, strict=True) if wanted and seen]
        report = compare([wanted for wanted, _ in pairs], [seen for _, seen in pairs], len(found) - len(pairs), kept)
        return msgspec.structs.replace(report, frames=len(found), measured_on=where)

    def worst_nodes(self, cast: onnx.ModelProto) -> tuple[str, ...]:
        """The nodes to keep in FP32 next, by what they do to the first frames."""
        fill = InputFiller(self.card.input)
        feeds = [{self.card.input.tensor: fill(frame)[0].copy()} for frame in self.frames[:2]]
        return offenders(self.network, cast, feeds, KEPT_AT_ONCE)


def prepare(
    network: onnx.ModelProto, card: ModelCard, *, precision: str, size: Size, largest_batch: int, frames: Sequence[Image]
) -> Prepared:
    """Size, fuse and cast `network`; keep in FP32 what must be for the labels to agree.

    Raises BuildError when the precision cannot be borne, CardError or ModelFileError when the size or the card do not fit.
    """
    network, card = with_input_size(network, card, size, "dynamic" if largest_batch > 1 else 1)
    network, card = fuse_outputs(network, card)
    reference = Reference(network, card, frames)
    if precision == "fp32":
        return Prepared(network, card, reference, None)
    return with_kept(reference, precision, ())


def with_kept(reference: Reference, precision: str, kept: tuple[str, ...]) -> Prepared:
    """Cast with the nodes `kept` in FP32, and with as many more as the CPU says it takes. Raises BuildError."""
    while True:
        cast = cast_network(reference, precision, kept)
        if not kept and main_precision(cast) == "fp32":
            name = reference.card.name
            raise BuildError(f"{name}: nothing in it multiplies weights that could run in {precision}; try --precision fp32")
        card = _card_of(cast, reference.card)
        found = run_on_cpu(rounded_for_cpu(cast), card, reference.frames, CANDIDATE_SETTINGS)
        report = reference.report(found, kept, "cpu")
        trouble = shortfall(report, precision)
        if not trouble:
            return Prepared(cast, card, reference, report)
        kept = more_kept(reference, cast, precision, kept, trouble)


def more_kept(
    reference: Reference, cast: onnx.ModelProto, precision: str, kept: tuple[str, ...], trouble: str
) -> tuple[str, ...]:
    """`kept` and the nodes that spoil most. Raises BuildError when there are none left, or too many."""
    worst = [name for name in reference.worst_nodes(cast) if name not in kept]
    if not worst or len(kept) + len(worst) > MAX_KEPT:
        also = f", even with {len(kept)} of its nodes in fp32" if kept else ""
        raise BuildError(f"{reference.card.name} does not bear {precision}{also}: {trouble}; try --precision fp32")
    return (*kept, *worst)


def cast_network(reference: Reference, precision: str, kept: tuple[str, ...]) -> onnx.ModelProto:
    """The FP32 network in another precision; an FP16 network takes an FP16 input, which halves what the kernel writes."""
    if precision == "int8-qdq":
        fill = InputFiller(reference.card.input)
        feeds = [{reference.card.input.tensor: fill(frame)[0].copy()} for frame in reference.frames]
        try:
            return quantise_qdq(reference.network, feeds, keep=kept)
        except ValueError as error:
            raise BuildError(f"{reference.card.name} cannot be {precision}: {error}; try --precision fp16") from error
    if precision == "fp16":
        return cast_precision(reference.network, "fp16", keep_fp32=kept, io_dtype="float16")
    return cast_precision(reference.network, "bf16", keep_fp32=kept)


def _card_of(network: onnx.ModelProto, card: ModelCard) -> ModelCard:
    """The card with the type that the network's input has now."""
    value = next(value for value in network.graph.input if value.name == card.input.tensor)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)).name
    return msgspec.structs.replace(card, input=msgspec.structs.replace(card.input, dtype=dtype))


def run_on_cpu(
    network: onnx.ModelProto, card: ModelCard, frames: Sequence[Image], settings: DecodeSettings
) -> list[Segmentation | None]:
    """What a network sees in `frames`, on ONNX Runtime; None where its outputs are not finite. Raises BuildError."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    family, fill, names = open_family(card), InputFiller(card.input), list(card.outputs.values())
    found: list[Segmentation | None] = []
    try:
        session = onnxruntime.InferenceSession(network.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for frame in frames:
            tensor, geometry = fill(frame)
            arrays: list[Any] = session.run(names, {card.input.tensor: tensor})
            found.append(decoded(family, dict(zip(names, arrays, strict=True)), geometry, settings))
    except BuildError:
        raise
    except Exception as error:  # ONNX Runtime's types are private
        text = " ".join(str(error).split())
        raise BuildError(f"{card.name}: the network does not run on the CPU, so it cannot be compared ({text[-160:]})") from error
    return found


def decoded(family: Any, outputs: Any, geometry: Any, settings: DecodeSettings) -> Segmentation | None:
    """None for outputs that are not finite."""
    try:
        segmentation: Segmentation = family.decode(outputs, geometry, settings)
    except InferenceError:
        return None
    return segmentation
