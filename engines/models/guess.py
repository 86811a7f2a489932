"""Guessing: the card keys that follow from an ONNX file: its tensors, its metadata, a labels file beside it."""

from pathlib import Path
from typing import Any

from engines import families
from engines.errors import CardError
from engines.families.common.recognising import Network, Recognised
from engines.models.asking import proposed_card
from engines.models.class_sets import numbered
from engines.models.names import embedded_names, names_beside
from engines.models.pixel_ranges import RANGES, range_name
from engines.models.sidecars import input_beside, names_in_config
from engines.onnx_graph.reading import NetworkFacts, TensorFacts

MOST_LETTERS = 2000
"""Of a text in the metadata: a card is read whole, and shown."""


def guess(facts: NetworkFacts, onnx_path: Path, written: dict[str, Any]) -> dict[str, Any]:
    """Every card key that follows from the file. written: the keys that its card has; `family` and `outputs` decide there."""
    fed = families.side_inputs(facts, written) if len(facts.inputs) > 1 else {}
    fed |= {key: written[key] for key in ("states", "constants") if isinstance(written.get(key), dict)}
    image = _image_input(facts, onnx_path, {tensor for table in fed.values() for tensor in table})
    network = Network(facts, image, _known_names(facts, onnx_path, written))
    if "outputs" in written and "family" in written:
        family, found = str(written["family"]), Recognised({})
    else:
        family, found = _recognised(network, onnx_path, written)
    names = _class_names(facts, onnx_path, found.class_count, written)
    keys = families.card_keys(family, network, found.outputs, names, written)
    return {
        "name": onnx_path.stem if onnx_path.stem != "model" else onnx_path.parent.name,
        "file": onnx_path.name,
        "family": family,
        "outputs": dict(found.outputs),
        "licence": facts.metadata.get("license", "unknown")[:MOST_LETTERS],
        "description": facts.metadata.get("description", "")[:MOST_LETTERS],
        **({"classes": names} if names else {}),
        **fed,
        **keys,
        "input": keys_of_input(network, onnx_path) | keys.get("input", {}),
    }


def card_name(onnx_path: Path) -> str:
    """The file name of the card beside an ONNX file."""
    return onnx_path.with_suffix(".toml").name


def _image_input(facts: NetworkFacts, onnx_path: Path, fed: set[str]) -> TensorFacts:
    """fed: the inputs that are states or constants."""
    inputs = [t for t in facts.inputs if t.name not in fed]
    images = [t for t in inputs if len(t.shape) == 4 and t.shape[0] == 1 and (t.shape[3] == 3 or t.shape[1] in (3, None))]
    if len(inputs) != 1 or len(images) != 1:
        has = ", ".join(str(t) for t in facts.inputs) or "none"
        cure = (
            f"If it is recurrent, name its other inputs in {card_name(onnx_path)}: [states] INPUT = "
            '"OUTPUT that comes back at the next frame", [constants] INPUT = number'
        )
        raise CardError(
            f"{onnx_path}: the network must have one image input, [1,3,H,W] or [1,H,W,3]; it has: {has}",
            cure if len(inputs) > 1 else "",
        )
    return images[0]


def _recognised(network: Network, onnx_path: Path, written: dict[str, Any]) -> tuple[str, Recognised]:
    """The family of a network, and how it reads it."""
    chosen = written.get("family")
    found = families.recognised(network, chosen if isinstance(chosen, str) else None)
    task = network.facts.metadata.get("task", "segment")
    if task != "detect" and "segment" not in task and "semantic" not in task:
        raise CardError(f'{onnx_path}: exported for the task "{task}"', "Export a segmentation model or a detector")
    if found:
        return found
    has = ", ".join(str(t) for t in network.facts.outputs)
    proposal = families.proposal(network)
    given = written.get("input")
    image = keys_of_input(network, onnx_path) | (given if isinstance(given, dict) else {})
    raise CardError(
        f"{onnx_path}: unsupported outputs: {has}; supported are {'; '.join(families.supported())}",
        f"If one is meant, name it in {card_name(onnx_path)}: {proposal} (other families: docs/models.md)",
        proposed_card(proposal, image, network) if proposal.is_likely else "",
    )


def keys_of_input(network: Network, onnx_path: Path) -> dict[str, Any]:
    """What holds in every family, by the graph and the files beside it."""
    keys: dict[str, Any] = {
        "tensor": network.image.name,
        "layout": "nchw" if network.is_planar else "nhwc",
        "dtype": network.image.dtype,
        "channels": "rgb",
        "fit": "stretch",
    }
    if network.size_px:
        keys["size_px"] = network.size_px
    beside = input_beside(onnx_path)
    keys |= {key: beside[key] for key in beside if key not in keys or key in ("channels", "fit")}
    known = "0..255" if network.image.dtype == "uint8" else network.facts.pixel_ranges.get(network.image.name)
    if known:  # normalised inside the graph
        keys |= dict(zip(("mean", "std"), RANGES[known], strict=True))
    return keys


def _known_names(facts: NetworkFacts, onnx_path: Path, written: dict[str, Any]) -> list[str]:
    """The names of the classes, as far as they are known before the network is."""
    try:
        return _class_names(facts, onnx_path, None, written)
    except CardError:  # reported once it is known how many there should be
        return []


def _class_names(facts: NetworkFacts, onnx_path: Path, class_count: int | None, written: dict[str, Any]) -> list[str]:
    """The card's; else those in the metadata, or in a file beside the model; else numbers, where it is known how many."""
    if isinstance(written.get("classes"), list):
        return [str(name) for name in written["classes"]]
    found = embedded_names(facts.metadata, onnx_path, class_count) or names_beside(onnx_path, class_count)
    return found or names_in_config(onnx_path, class_count) or numbered(class_count or 0)


def assumed(merged: dict[str, Any], written: dict[str, Any], facts: NetworkFacts, onnx_path: Path) -> tuple[str, ...]:
    """The facts of a merged card that neither its file, one beside it nor the written card says, in words."""
    image, given = merged["input"], {**input_beside(onnx_path), **written.get("input", {})}
    found = [f"{key} {image[key]}" for key in ("channels", "fit") if key not in given]
    is_known = image["dtype"] == "uint8" or image["tensor"] in facts.pixel_ranges
    if not is_known and not ("mean" in given and "std" in given):
        found.append(f"pixels {range_name(image['mean'], image['std'])}")
    if "classes" not in written and list(merged["classes"]) == numbered(len(merged["classes"])):
        found.append("names of the classes")
    return tuple(found)
