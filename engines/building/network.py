"""The network to build: sized, fused, cast, and tested on the CPU before a build that takes minutes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import onnx

from engines.building.footage import Footage
from engines.building.parity import CANDIDATE_SETTINGS, REFERENCE_SETTINGS, compare, shortfall
from engines.errors import BuildError, InferenceError
from engines.families import DecodeSettings, open_family
from engines.loading import cpu_session
from engines.models.card import ModelCard
from engines.models.exporting import cast_model, fuse_outputs, network_feeds, quantiser_of
from engines.models.fit import InputFiller
from engines.models.sizing import with_input_size
from engines.onnx_graph.precision import is_fp32, main_precision, offenders, rounded_for_cpu
from engines.onnx_graph.suiting import suited
from engines.plans.passport import ParityReport
from engines.types import Image, Segmentation, Size

MAX_KEPT = 24
"""Nodes that may be kept in FP32; a network that needs more is refused in that precision."""

KEPT_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Prepared:
    """A network ready to build. reference: the same in FP32. parity: of the two, on the CPU; None for FP32.

    without_kernel: nodes that are in FP32 because TensorRT has no other kernel for them.
    """

    network: onnx.ModelProto
    card: ModelCard
    reference: Reference
    parity: ParityReport | None
    without_kernel: tuple[str, ...] = ()


class Reference:
    """The FP32 network and its results on the frames that everything else is compared on, by ONNX Runtime.

    network: without what TensorRT refuses. The results are those of the network as it was before that.
    """

    def __init__(
        self, network: onnx.ModelProto, card: ModelCard, frames: Sequence[Image], calibration: Iterable[Image] | None = None
    ) -> None:
        """calibration: other frames, which INT8 ranges are measured on; for that precision only."""
        self.network, self.card, self.frames = suited(network), card, frames
        self.quantiser = None if calibration is None else quantiser_of(self.network, card, calibration)
        self.segmentations = run_on_cpu(network, card, frames, REFERENCE_SETTINGS)
        if any(segmentation is None for segmentation in self.segmentations):
            raise BuildError(
                f"{card.name}: the network gives NaN or infinite values in FP32", "Replace its file: weights are damaged"
            )

    def report(self, found: Sequence[Segmentation | None], kept: tuple[str, ...], where: str = "engine") -> ParityReport:
        """Compare `found`, results on the same frames; None stands for outputs that were not finite."""
        pairs = [(wanted, seen) for wanted, seen in zip(self.segmentations, found, strict=True) if wanted and seen]
        report = compare([wanted for wanted, _ in pairs], [seen for _, seen in pairs], len(found) - len(pairs), kept)
        return msgspec.structs.replace(report, frames=len(found), measured_on=where)

    def worst_nodes(self, cast: onnx.ModelProto) -> tuple[str, ...]:
        """The nodes to keep in FP32 next, by their errors on the first frames."""
        return offenders(self.network, cast, network_feeds(self.card.input, self.frames[:2]), KEPT_AT_ONCE)


def in_int8(network: onnx.ModelProto, card: ModelCard, footage: Footage) -> Prepared:
    """`network`, sized and fused, in INT8: ranges of `footage`, judged on its other frames. Raises BuildError, ModelFileError."""
    return with_kept(Reference(network, card, footage.checks, footage), "int8-qdq", ())


def prepare(
    network: onnx.ModelProto,
    card: ModelCard,
    *,
    precision: str,
    size: Size,
    largest_batch: int,
    frames: Sequence[Image],
    calibration: Iterable[Image] | None = None,
) -> Prepared:
    """Size, fuse and cast `network`, with the nodes in FP32 that the labels need to agree.

    calibration: for "int8-qdq", frames that ranges are measured on; results are compared on `frames`, which are others. Raises
    BuildError if the precision loses too much accuracy; CardError, ModelFileError.
    """
    network, card = with_input_size(network, card, size, "dynamic" if largest_batch > 1 else 1)
    network, card = fuse_outputs(network, card)
    reference = Reference(network, card, frames, calibration)
    if precision == "fp32":
        return Prepared(reference.network, card, reference, None)
    return with_kept(reference, precision, ())


def with_kept(reference: Reference, precision: str, kept: tuple[str, ...], without_kernel: tuple[str, ...] = ()) -> Prepared:
    """Cast with the nodes `kept` in FP32, and with as many more as the comparison on the CPU needs. Raises BuildError.

    without_kernel: further nodes in FP32, which need not be there for the comparison.
    """
    while True:
        cast, card = cast_model(reference.network, reference.card, precision, kept, without_kernel, reference.quantiser)
        if (without_kernel and is_fp32(cast)) or (not kept and not without_kernel and main_precision(cast) == "fp32"):
            lacking = f" besides the {len(without_kernel)} that TensorRT has no kernel for" if without_kernel else ""
            raise BuildError(f"{card.name}: no layer with weights can run in {precision}{lacking}", "Try --precision fp32")
        found = run_on_cpu(rounded_for_cpu(cast), card, reference.frames, CANDIDATE_SETTINGS)
        report = reference.report(found, kept, "cpu")
        trouble = shortfall(report, precision)
        if not trouble:
            return Prepared(cast, card, reference, report, without_kernel)
        kept = more_kept(reference, cast, precision, kept, trouble)


def too_inaccurate(name: str, precision: str, trouble: str) -> BuildError:
    """The error for a network that needs a higher precision."""
    return BuildError(f"{name} loses too much accuracy in {precision.upper()}: {trouble}", "Try --precision fp32")


def more_kept(
    reference: Reference, cast: onnx.ModelProto, precision: str, kept: tuple[str, ...], trouble: str
) -> tuple[str, ...]:
    """`kept` and the nodes that add most error. Raises BuildError if there are none left, or too many."""
    worst = [name for name in reference.worst_nodes(cast) if name not in kept]
    if not worst or len(kept) + len(worst) > MAX_KEPT:
        also = f", even with {len(kept)} of its nodes in FP32" if kept else ""
        raise too_inaccurate(reference.card.name, precision, f"{trouble}{also}")
    return (*kept, *worst)


def run_on_cpu(
    network: onnx.ModelProto, card: ModelCard, frames: Sequence[Image], settings: DecodeSettings
) -> list[Segmentation | None]:
    """A network's results on `frames`, by ONNX Runtime; None for outputs that are not finite. Raises BuildError."""
    family, fill, names = open_family(card), InputFiller(card.input), list(card.outputs.values())
    found: list[Segmentation | None] = []
    try:
        session = cpu_session(network.SerializeToString())
        for frame in frames:
            tensor, geometry = fill(frame)
            arrays: list[Any] = session.run(names, {card.input.tensor: tensor})
            found.append(decoded(family, dict(zip(names, arrays, strict=True)), geometry, settings))
    except Exception as error:  # ONNX Runtime's types are private
        text = " ".join(str(error).split())
        what = f"{card.name}: the network does not run on the CPU ({text[-160:]})"
        raise BuildError(what, "Export it again: engines are compared with the network on the CPU") from error
    return found


def decoded(family: Any, outputs: Any, geometry: Any, settings: DecodeSettings) -> Segmentation | None:
    """The decoded outputs, or None if they are not finite."""
    try:
        segmentation: Segmentation = family.decode(outputs, geometry, settings)
    except InferenceError:
        return None
    return segmentation
