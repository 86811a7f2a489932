"""Families: what a network's numbers mean. The folder is the registry: module NAME holds a class `Family`.

The module may also hold functions, each of which may be left out:

recognise(network) -> Recognised | None            how the family reads a network without a card; None where it does not
card_keys(network, outputs, names, written) -> dict        card keys that follow: `classes`, `things`, `void`, a table `input`
side_inputs(facts, written) -> dict                tables `states` and `constants` of a recurrent network that the family knows
class_count(card, shapes) -> int | None            how many classes a network has, by the shapes of its outputs
fuse(model, card) -> (model, card)                 an onnx.ModelProto with outputs that are quick to download, and its card
examine(card, outputs) -> Look                     what one frame's numbers say of the card; CardError where they contradict it
propose(network) -> Proposal | None                card keys for a network that may be of the family

and a text SUPPORTED, the outputs that it recognises, and GIVES_MAPS = True where it reads a class or an opacity for every pixel.
`Network` and `Recognised` are in `engines.families.common.recognising`, `Look` in `engines.families.common.ranges`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

from engines.errors import CardError, choices
from engines.families.common.ranges import Look
from engines.families.common.recognising import Network, Proposal, Recognised
from engines.families.common.watching import FirstFrames
from engines.loading import load_module, module_names
from engines.models.card import ModelCard
from engines.models.fit import Fit
from engines.onnx_graph.reading import NetworkFacts
from engines.types import MAX_OBJECTS, U8, Outputs, Segmentation


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """What decoding may leave out.

    score_threshold: objects below it are dropped, 0..1. iou_threshold: boxes of one class that overlap more are one object.
    max_objects: at most this many, best first, up to 254. map_width_px: width of the picture that will show the masks; instance
    masks are at least as fine as that, or as the frame, if it is smaller. fine_class_maps: so are class maps where the network
    gives logits, with edges as smooth as if these had been interpolated; else they have the network's resolution.
    """

    score_threshold: float = 0.25
    iou_threshold: float = 0.6
    max_objects: int = MAX_OBJECTS
    map_width_px: int = 1280
    fine_class_maps: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.max_objects <= MAX_OBJECTS:
            raise ValueError(f"max_objects {self.max_objects} must lie in 1..{MAX_OBJECTS}")


class Family(Protocol):
    """Reads outputs of one kind of network. Pure: same outputs, same segmentation."""

    def decode(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Segmentation:
        """Turn outputs into a segmentation of the frame that `geometry` describes. The result owns its arrays.

        Raises InferenceError for numbers that make no sense: NaN, a shape that the card does not describe.
        """
        ...


@runtime_checkable
class OverlappingFamily(Protocol):
    """A family whose objects have masks of their own, which may overlap: a label map keeps only the top one."""

    def object_masks(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Iterator[U8]:
        """The whole mask of each object, in the order of the instances that `decode` gives for the same arguments.

        Each is (H, W) uint8, 0 and 1, of the frame's size; a new array, made on demand. Raises what `decode` raises.
        """
        ...


def names() -> tuple[str, ...]:
    """The families there are."""
    return module_names(__path__)


def open_family(card: ModelCard) -> Family:
    """The family that `card` names. Raises CardError for one that does not exist, or that lacks an output."""
    if card.family not in names():
        raise CardError(f'{card.name}: unknown family "{card.family}"', choices(card.family, names()))
    return cast(Family, load_module(__name__, card.family).Family(card))


def recognised(network: Network, family: str | None = None) -> tuple[str, Recognised] | None:
    """The family of a network, and how it reads it: the first by name among those that are sure, or else among the others.

    family: the only one that is asked.
    """
    asked = [(name, recognise) for name, recognise in _all("recognise") if family in (None, name)]
    found = [(name, found) for name, recognise in asked if (found := recognise(network))]
    return min(found, key=lambda pair: not pair[1].is_named, default=None)


def card_keys(
    family: str, network: Network, outputs: Mapping[str, str], names: list[str], written: Mapping[str, Any]
) -> dict[str, Any]:
    """The card keys that follow for a network of that family. names: of the classes, as far as they are known."""
    function = _function(family, "card_keys")
    return dict(function(network, outputs, names, written)) if function else {}


def side_inputs(facts: NetworkFacts, written: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The card's tables `states` and `constants`, where a family knows the network by its inputs."""
    return next((dict(tables) for _, function in _all("side_inputs") if (tables := function(facts, written))), {})


def class_count(card: ModelCard, shapes: Mapping[str, tuple[int | None, ...]]) -> int | None:
    """How many classes the network has; None where its shapes do not say it. Tensors that `card` names must be in `shapes`."""
    function = _function(card.family, "class_count")
    return function(card, shapes) if function else None


def gives_maps(card: ModelCard) -> bool:
    """Whether the network gives a class or an opacity for every pixel, not just objects."""
    return bool(_function(card.family, "GIVES_MAPS"))


def fuse(model: Any, card: ModelCard) -> tuple[Any, ModelCard]:
    """The network with outputs that are quick to download, and its card; the pair given where nothing can be fused."""
    function = _function(card.family, "fuse")
    return function(model, card) if function else (model, card)


def first_frames(card: ModelCard) -> FirstFrames:
    """What looks at the numbers of a network's first frames."""
    examine = _function(card.family, "examine")
    return FirstFrames(card, examine or (lambda card, outputs: Look()))


def supported() -> list[str]:
    """The outputs that families recognise."""
    return [text for _, text in _all("SUPPORTED")]


def proposal(network: Network) -> Proposal:
    """Card keys to write for a network that no family recognises."""
    known = (found for _, propose in _all("propose") if (found := propose(network)))
    return next(known, Proposal("semantic", {"logits": "TENSOR"}, "", None, is_likely=False))


def _function(family: str, name: str) -> Any:
    """What a family's module holds under that name; None where it does not, and for families that do not exist."""
    return getattr(load_module(__name__, family), name, None) if family in names() else None


def _all(name: str) -> Iterator[tuple[str, Any]]:
    """What the families' modules hold under that name."""
    return ((family, found) for family in names() if (found := _function(family, name)) is not None)
