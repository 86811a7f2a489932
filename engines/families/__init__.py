"""Families: what a network's numbers mean. The folder is the registry: module NAME holds a class `Family`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

from engines.errors import CardError, did_you_mean
from engines.loading import load_module, module_names
from engines.models.card import ModelCard
from engines.models.fit import Fit
from engines.types import MAX_OBJECTS, U8, Outputs, Segmentation


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """What decoding may leave out.

    score_threshold: objects below it are dropped, 0..1. iou_threshold: boxes of one class that overlap more are one object.
    max_objects: at most this many, best first, up to 254. map_width_px: how wide a picture the masks will be seen on; instance
    masks are made at least that fine (or as fine as the frame, if it is smaller). fine_class_maps: so are class maps where the
    network gives logits, with edges as smooth as if these had been interpolated; else they have the network's resolution.
    """

    score_threshold: float = 0.25
    iou_threshold: float = 0.6
    max_objects: int = 100
    map_width_px: int = 1280
    fine_class_maps: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.max_objects <= MAX_OBJECTS:
            raise ValueError(f"max_objects {self.max_objects} must lie in 1..{MAX_OBJECTS}")


class Family(Protocol):
    """Reads outputs of one kind of network. Pure: same outputs, same segmentation."""

    def decode(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Segmentation:
        """Turn outputs into a segmentation of the frame that `geometry` describes. The result owns its arrays.

        Raises InferenceError when the numbers make no sense (NaN, a shape the card does not describe).
        """
        ...


@runtime_checkable
class OverlappingFamily(Protocol):
    """A family whose objects have masks of their own, which may overlap: a label map keeps only what lies on top."""

    def object_masks(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Iterator[U8]:
        """The whole mask of each object, in the order of the instances that `decode` gives for the same arguments.

        Each is (H, W) uint8, 0 and 1, of the frame's size, new, and made when it is asked for. Raises as `decode` does.
        """
        ...


def names() -> tuple[str, ...]:
    """The families there are."""
    return module_names(__path__)


def open_family(card: ModelCard) -> Family:
    """The family that `card` names. Raises CardError for one that does not exist, or that lacks an output."""
    if card.family not in names():
        hint = did_you_mean(card.family, names())
        raise CardError(f'{card.name}: unknown family "{card.family}"; known: {", ".join(names())}{hint}')
    module = load_module(__name__, card.family)
    return cast(Family, module.Family(card))
