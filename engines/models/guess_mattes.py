"""Guessing mattes: which output surely is an opacity, and what Robust Video Matting's many inputs are. The rest a card says."""

from __future__ import annotations

from typing import Any

from engines.onnx_graph.reading import NetworkFacts, TensorFacts

WORDS = ("alpha", "pha", "matte", "matting", "mask", "segment", "foreground")
"""In an output's name, one of these says that a map of 0..1 is an opacity, not a depth or a probability of edges."""

RVM_STATES = {f"r{number}i": f"r{number}o" for number in (1, 2, 3, 4)}
RVM_INPUTS = {"src", "downsample_ratio", *RVM_STATES}
RVM_OUTPUTS = {"fgr", "pha", *RVM_STATES.values()}
"""As its authors export it. Source: Robust Video Matting (Lin et al., 2021), documentation/inference.md."""

RVM_COARSE_PX = 512
"""Its longer side at the coarse stage, by the same source: `downsample_ratio` scales the input down to that."""


def side_inputs(facts: NetworkFacts, written: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The card's tables `states` and `constants`: as written, and for Robust Video Matting as it must be."""
    tables = {key: written[key] for key in ("states", "constants") if isinstance(written.get(key), dict)}
    if not _is_rvm(facts):
        return tables
    # Without a size the ratio does not matter: the card is asked for the size first.
    ratio = min(1.0, RVM_COARSE_PX / max(_size_px(facts, written) or (1, 1)))
    guessed: dict[str, dict[str, Any]] = {"states": dict(RVM_STATES), "constants": {"downsample_ratio": ratio}}
    return guessed | tables


def matte_output(facts: NetworkFacts, image: TensorFacts) -> str | None:
    """The output that surely is an opacity: Robust Video Matting's; or the only one, of one channel, 0..1 and a telling name."""
    if _is_rvm(facts):
        return "pha"
    if len(facts.outputs) != 1:
        return None
    output = facts.outputs[0]
    is_sure = output.name in facts.unit_outputs and any(word in output.name.lower() for word in WORDS)
    return output.name if is_sure and is_one_channel(output, image) else None


def is_one_channel(output: TensorFacts, image: TensorFacts) -> bool:
    """(1, 1, H, W), (1, H, W, 1) or (1, H, W) floats, as wide for their height as the image."""
    if not output.dtype.startswith("float") or len(output.shape) not in (3, 4) or output.shape[0] not in (1, None):
        return False
    lengths = output.shape[1:]
    if len(lengths) == 3:
        if 1 not in (lengths[0], lengths[2]):
            return False
        lengths = lengths[1:] if lengths[0] == 1 else lengths[:2]
    height, width = image.shape[1:3] if image.shape[3] == 3 and image.shape[1] != 3 else image.shape[2:4]
    rows, columns = lengths
    if not (rows and columns and height and width):
        return True
    return abs(columns * height - rows * width) <= 2 * max(height, width)


def _is_rvm(facts: NetworkFacts) -> bool:
    return {t.name for t in facts.inputs} == RVM_INPUTS and {t.name for t in facts.outputs} >= RVM_OUTPUTS


def _size_px(facts: NetworkFacts, written: dict[str, Any]) -> tuple[int, int] | None:
    """Of the input, from the card or the graph; None where neither says it."""
    table = written.get("input")
    size = table.get("size_px") if isinstance(table, dict) else None
    if isinstance(size, list) and len(size) == 2 and all(isinstance(length, int) for length in size):
        return size[0], size[1]
    height, width = next(tensor.shape for tensor in facts.inputs if tensor.name == "src")[2:4]
    return (width, height) if height and width else None
