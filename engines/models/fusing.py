"""Fuse: a network with small outputs, so that little is downloaded and little is left to decode. Its family knows how."""

from __future__ import annotations

from typing import Any

from engines import families
from engines.errors import ModelFileError
from engines.models.card import ModelCard
from engines.onnx_graph.precision.wiring import opset_of

OLDEST_OPSET = 11
"""GatherElements and Round begin here. An older network runs unfused."""


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
