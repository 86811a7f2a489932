"""Asking: every fact that only the user can know, asked for at once, as the lines of a card that can be copied and corrected."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engines.errors import CardError
from engines.families.common.recognising import Network, Proposal
from engines.models.card import to_toml
from engines.models.class_sets import numbered, word_for
from engines.models.pixel_ranges import RANGES
from engines.onnx_graph.reading import NetworkFacts

PROPOSED_PX = [512, 512]
"""Of an open input: most exports are made at about that size, and it is a multiple of every stride."""

NORMALISATION = "input.mean and input.std (pixel units; a 0..1 input is mean = [0, 0, 0], std = [255, 255, 255])"


def ask(merged: Mapping[str, Any], facts: NetworkFacts, onnx_path: Path, target: Path, *, with_names: bool = False) -> None:
    """Raises one CardError for all facts that only the user can know. with_names: also where there is nothing else to ask.

    merged: the card's keys, guessed and written. target: the card's file.
    """
    image = merged["input"]
    lacks_range = image.get("dtype") != "uint8" and not ("mean" in image and "std" in image)
    lacks_size, lacks_classes = "size_px" not in image, not merged.get("classes")
    if not (lacks_range or lacks_size or lacks_classes or with_names):
        return
    asked, card = [], []
    if lacks_classes or lacks_names(merged):
        count = len(merged.get("classes", ())) or next((count for count in facts.label_counts.values() if count), None)
        asked.append(f'classes = ["first", "second", ...]{or_known(*([count] if count else _last_lengths(facts)))}')
        card += class_lines(count)
    card += ["", "[input]"] if lacks_size or lacks_range else []
    if lacks_size:
        asked.append("input.size_px = [width, height]")
        card.append(f"size_px = {PROPOSED_PX}  # width, height")
    if lacks_range:
        asked.append(NORMALISATION)
        card += range_lines(likely_range(merged, facts))
    raise CardError(
        f"{onnx_path}: facts are missing in the file", f"Write in {target}: {'; '.join(asked)}", "\n".join(card).strip()
    )


def lacks_names(merged: Mapping[str, Any]) -> bool:
    """Whether the classes are numbers."""
    classes = list(merged.get("classes", ()))
    return classes == numbered(len(classes))


def or_known(*counts: int | None) -> str:
    """What to add to a cure where a well-known list has as many classes."""
    words = [word for count in counts if (word := word_for(count))]
    return f', or classes = "{words[0]}" if they are those' if words else ""


def class_lines(count: int | None) -> list[str]:
    """The line of a card that names so many classes; None where that is not known."""
    names = to_toml({"classes": numbered(count or 2)}).strip()
    if word := word_for(count):
        return [f'classes = "{word}"  # its {count} classes, if they are those; or a list of names, in the order of its channels']
    return [f"{names}  # their names, in the order of its channels{'' if count else ': as many as it has'}"]


def range_lines(likely: str) -> list[str]:
    """The lines of a card that say how pixels are normalised, and what else it may be."""
    mean, std = RANGES[likely]
    others = [f"# {name}: mean = {mean}, std = {std}" for name, (mean, std) in RANGES.items() if name != likely]
    return [f"mean = {mean}  # {likely}, which is likely, not certain. Else, in pixel units:", f"std = {std}", *others]


def likely_range(merged: Mapping[str, Any], facts: NetworkFacts) -> str:
    """What such networks are often fed with: MediaPipe, TwinLiteNet; MODNet, PP-HumanSeg; U²-Net, torchvision, SegFormer."""
    if "drivable" in merged.get("outputs", {}):
        return "0..1"
    if merged.get("family") == "matting" and len(facts.outputs) < 6:
        return "0..1" if merged["input"].get("layout") == "nhwc" else "-1..1"
    return "ImageNet's"


def proposed_card(proposal: Proposal, image: Mapping[str, Any], network: Network) -> str:
    """A card for a network that no family recognises: the output that may be meant, and all that is missing then.

    image: the keys of its input, as far as they are known.
    """
    facts = {"family": proposal.family, "outputs": dict(proposal.outputs), "input": image}
    lines = [f'family = "{proposal.family}"', f"outputs = {{ {_pairs(proposal.outputs)} }}  # {proposal.meaning}"]
    if proposal.family != "matting":
        lines += class_lines(proposal.class_count)
    lacking = [*([f"size_px = {PROPOSED_PX}  # width, height"] if "size_px" not in image else [])]
    if "mean" not in image or "std" not in image:
        lacking += range_lines(likely_range(facts, network.facts))
    return "\n".join([*lines, *(["", "[input]", *lacking] if lacking else [])])


def _pairs(outputs: Mapping[str, str]) -> str:
    return ", ".join(to_toml({role: tensor}).strip() for role, tensor in outputs.items())


def _last_lengths(facts: NetworkFacts) -> list[int | None]:
    return [tensor.shape[-1] for tensor in facts.outputs if tensor.shape]
