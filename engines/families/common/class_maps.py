"""Class maps among a network's outputs: which one is meant, how its numbers are read, and the two that are a road's surface."""

import re

from engines.families.common.recognising import Network, Proposal, Recognised
from engines.onnx_graph.reading import TensorFacts
from engines.types import VOID_CLASS

DRIVABLE = frozenset({"da", "drivable", "driveable", "drive", "road"})
LANES = frozenset({"ll", "lane", "lanes", "laneline", "lanelines"})
"""Words in the names of the two outputs of networks for roads. Sources: TwinLiteNet, YOLOP, HybridNets."""

SIDE = frozenset({"aux", "auxiliary", "auxout", "ds"})
"""Words in the names of outputs that only training needs. Source: torchvision, MMSegmentation, BiSeNet."""


def recognised_maps(network: Network) -> Recognised | None:
    """A class map, the two maps of a road's surface, or both; None where it is in doubt which output is which."""
    outputs = network.facts.outputs
    surface = _surface(network)
    others = [output for output in outputs if output.name not in surface.values()]
    maps = {output.name: found for output in others if (found := _class_map(output, network))}
    if surface:
        wide = [name for name, (_, count) in maps.items() if count and count > 2]
        chosen = wide[0] if len(wide) == 1 else ""
    else:
        chosen = _main([output for output in outputs if output.name in maps], outputs, maps)
    if not chosen:
        return Recognised(surface, is_named=True) if surface else None
    role, count = maps[chosen]
    return Recognised({role: chosen, **surface}, count, is_named=bool(surface) or len(outputs) > 1)


def proposed_maps(network: Network) -> Proposal | None:
    """Two maps of yes and no may be a road's surface; else the first that may be a map of classes."""
    pairs = [output.name for output in network.facts.outputs if _is_yes_or_no(output, network)]
    if len(pairs) == len(network.facts.outputs) == 2:
        return Proposal("semantic", dict(zip(("drivable", "lane"), pairs, strict=True)), "a road's surface and its lanes", 2)
    for output in network.facts.outputs:
        if (found := _class_map(output, network)) is not None:
            return Proposal("semantic", {found[0]: output.name}, "a class for every pixel", found[1])
    return None


def _main(mapped: list[TensorFacts], outputs: tuple[TensorFacts, ...], maps: dict[str, tuple[str, int | None]]) -> str:
    """The one that is not an auxiliary output or the argmax of another; "" where several may be it."""
    if any(output not in mapped and len(output.shape) > 2 for output in outputs):
        return ""  # something of another kind, of which a map may be a part only
    if len(mapped) > 1:
        mapped = [output for output in mapped if not words(output) & SIDE]
    scored = [output for output in mapped if maps[output.name][0] != "labels"]
    left = scored or mapped
    return left[0].name if len(left) == 1 else ""


def _surface(network: Network) -> dict[str, str]:
    """`drivable` and `lane`; empty where the names and shapes of the outputs do not say both."""
    found: dict[str, list[str]] = {"drivable": [], "lane": []}
    for output in network.facts.outputs:
        if _is_yes_or_no(output, network):
            is_lane, is_drivable = bool(words(output) & LANES), bool(words(output) & DRIVABLE)
            if is_lane or is_drivable:
                found["lane" if is_lane else "drivable"].append(output.name)
    return {role: names[0] for role, names in found.items()} if all(len(names) == 1 for names in found.values()) else {}


def _is_yes_or_no(output: TensorFacts, network: Network) -> bool:
    """Two channels of floats, or one after a sigmoid, or a map of integers."""
    if "int" in output.dtype:
        return _is_one_map(output.shape) and network.has_aspect(*_rows_columns(output.shape))
    if not output.dtype.startswith("float") or len(output.shape) != 4:
        return False
    if network.facts.activations.get(output.name) == "sigmoid" and 1 in (output.shape[1], output.shape[3]):
        return network.has_aspect(*_rows_columns(output.shape))
    return _channel_count(output, network) == (2,)


def _rows_columns(shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    return shape[1:3] if len(shape) == 4 and shape[3] == 1 else shape[-2:]


def _class_map(output: TensorFacts, network: Network) -> tuple[str, int | None] | None:
    """The role of an output that is a class map, and how many classes there are, if its shape says so; None for another."""
    counted = network.facts.label_counts.get(output.name)
    if _is_one_map(output.shape) and ("int" in output.dtype or (counted is not None and output.dtype.startswith("float"))):
        return "labels", counted or None
    channels = _channel_count(output, network)
    if channels is None or not 2 <= (channels[0] or 2) <= VOID_CLASS:
        return None
    is_unit = network.facts.activations.get(output.name) in ("softmax", "sigmoid")
    return ("probabilities" if is_unit else "logits"), channels[0]


def _channel_count(output: TensorFacts, network: Network) -> tuple[int | None] | None:
    """The channels of floats (1, C, H, W) or (1, H, W, C) of the image's aspect, None if open; None for another output."""
    if not output.dtype.startswith("float") or len(output.shape) != 4 or output.shape[0] not in (1, None):
        return None
    _, first, second, last = output.shape
    planar, interleaved = network.has_aspect(second, last), network.has_aspect(first, second) and last is not None
    if planar and interleaved and first and last:  # both fit: an image and its channels of one length
        planar, interleaved = network.is_planar, not network.is_planar
    if planar and first != 1:
        return (first,)
    return (last,) if interleaved and last != 1 else None


def words(output: TensorFacts) -> set[str]:
    """The words that a tensor's name consists of."""
    return set(re.split(r"[^a-z]+", output.name.lower()))


def _is_one_map(shape: tuple[int | None, ...]) -> bool:
    """(H, W), (1, H, W), (1, 1, H, W) or (1, H, W, 1); an open dimension may be 1."""
    if len(shape) == 4 and shape[1] not in (1, None):
        return shape[3] in (1, None)
    return len(shape) in (2, 3, 4) and all(length in (1, None) for length in shape[:-2])
