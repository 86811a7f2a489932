"""What families share: the facts of a network that is recognised, what the exporters of YOLO write, checks of a card."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engines.errors import CardError
from engines.models.card import ModelCard
from engines.onnx_graph.reading import NetworkFacts, TensorFacts
from engines.types import U8, VOID_CLASS

YOLOV5_STRIDES = ((8, 16, 32), (8, 16, 32, 64))
"""Of its grids; each cell has three anchors. Source: ultralytics/yolov5, models/*.yaml."""

YOLOX_STRIDES = (8, 16, 32)
"""Of its three grids, in the order of its rows. Source: YOLOX (Ge et al., 2021), yolox/models/yolo_head.py."""

DEFAULT_YOLO_PX = [640, 640]

YOLOX_INPUT = {"channels": "bgr", "fit": "letterbox_top_left", "mean": [0, 0, 0], "std": [1, 1, 1]}
"""The input of a YOLOX since its release 0.1, which the graph does not say."""

LETTERBOXED_UNIT = {"fit": "letterbox", "mean": [0, 0, 0], "std": [255, 255, 255]}
"""The input of every Ultralytics export, which the graph does not say."""


@dataclass(frozen=True, slots=True)
class Network:
    """The facts of a network, and its one image input. names: of its classes, as far as its file or its card gives any."""

    facts: NetworkFacts
    image: TensorFacts
    names: Sequence[str] = ()

    @property
    def is_planar(self) -> bool:
        """Channels before rows and columns; also where the file leaves the number of channels open."""
        return self.image.shape[3] != 3 or self.image.shape[1] == 3

    @property
    def rows_columns(self) -> tuple[int | None, int | None]:
        """Of the image input; None where the file leaves them open."""
        height, width = self.image.shape[2:4] if self.is_planar else self.image.shape[1:3]
        return height, width

    @property
    def size_px(self) -> list[int] | None:
        """Width and height of the input, from the graph or Ultralytics' `imgsz`; None where neither says it."""
        height, width = self.rows_columns
        if not (height and width):
            try:
                height, width = map(int, json.loads(self.facts.metadata.get("imgsz", "")))
            except (ValueError, TypeError, OverflowError):
                return None
        return [width, height] if height and width else None

    def has_aspect(self, rows: int | None, columns: int | None) -> bool:
        """Whether a map of so many rows and columns is the image's, scaled alike; also where one of them is open."""
        return has_aspect(rows, columns, *self.rows_columns)

    def is_yolox(self, rows: TensorFacts) -> bool:
        """Whether there is a row for each cell of YOLOX's grids, and it begins or ends as YOLOX does."""
        if not (self.image.name in self.facts.focused or rows.name in self.facts.with_objectness):
            return False
        height, width = self.rows_columns
        if rows.shape[1] is None or not (height and width):
            return True
        return rows.shape[1] == sum((height // stride) * (width // stride) for stride in YOLOX_STRIDES)

    def float_outputs(self, rank: int) -> list[TensorFacts]:
        """The outputs of floats with so many axes."""
        return [out for out in self.facts.outputs if len(out.shape) == rank and out.dtype.startswith("float")]

    def is_yolov5(self, rows: TensorFacts) -> bool:
        """Whether there is a row for each of YOLOv5's anchors; where that is open, whether its exporter wrote the file.

        It embeds the stride as its successors do, but no task.
        """
        height, width = self.rows_columns
        if rows.shape[1] is None:
            return "stride" in self.facts.metadata and "task" not in self.facts.metadata
        if not (height and width):
            return False
        counts = [3 * sum((height // stride) * (width // stride) for stride in strides) for strides in YOLOV5_STRIDES]
        return rows.shape[1] in counts


def has_aspect(rows: int | None, columns: int | None, height: int | None, width: int | None) -> bool:
    """Whether rows and columns are those of a picture of that height and width, scaled alike; also where one of them is open.

    Strided layers round up, each time by less than a pixel: a few pixels more or less are the same aspect.
    """
    if not (rows and columns and height and width):
        return (columns or 8) >= 8
    return abs(columns - rows * width / height) <= 2 * max(1, width / height)


def length_of(shape: tuple[int | None, ...], axis: int) -> int | None:
    """The length of an axis; None where it is open or missing, which the family reports when it reads the output."""
    return shape[axis] if -len(shape) <= axis < len(shape) else None


def yolo_class_count(card: ModelCard, shapes: Mapping[str, tuple[int | None, ...]]) -> int | None:
    """How many classes a YOLO has: what its rows hold beside boxes, objectness and one coefficient for each prototype mask."""
    mask_count = length_of(shapes[card.outputs["prototypes"]], 1) if "prototypes" in card.outputs else 0
    for role, axis, others in (("rows", -1, 5), ("predictions", 1, 4), ("queries", -1, 4), ("cells", -1, 5)):
        if role in card.outputs and mask_count is not None:
            length = length_of(shapes[card.outputs[role]], axis)
            return length - others - mask_count if length else None
    return None


@dataclass(frozen=True, slots=True)
class Recognised:
    """How a family reads a network.

    outputs: role → tensor. class_count: None where the shapes do not say it. is_named: by names or metadata, not by shapes
    alone; such a family is preferred to others.
    """

    outputs: Mapping[str, str]
    class_count: int | None = None
    is_named: bool = False


@dataclass(frozen=True, slots=True)
class Proposal:
    """How a network that no family recognises may be read: the card's keys, and what they mean in words.

    is_likely: whether one of its outputs has a shape that fits.
    """

    family: str
    outputs: Mapping[str, str]
    meaning: str
    class_count: int | None = None
    is_likely: bool = True

    def __str__(self) -> str:
        roles = ", ".join(f'{role} = "{tensor}"' for role, tensor in self.outputs.items())
        return f'family = "{self.family}", outputs = {{{roles}}}' + (f" for {self.meaning}" if self.meaning else "")


def detected_keys(network: Network, names: list[str], *, is_letterboxed: bool) -> dict[str, Any]:
    """The card keys of a YOLO: all classes are objects, and the input is as its exporter prepares it."""
    image = {} if network.size_px else {"size_px": list(DEFAULT_YOLO_PX)}
    keys: dict[str, Any] = {"input": image | (LETTERBOXED_UNIT if is_letterboxed else {})}
    return keys | ({"things": names} if names else {})


def one_role(card: ModelCard, roles: Sequence[str], also: Sequence[str] = ()) -> str:
    """The one of `roles` that the card gives an output. Raises CardError for none or several, or where one of `also` lacks."""
    found = [role for role in roles if role in card.outputs]
    if len(found) != 1 or any(role not in card.outputs for role in also):
        needed = [*(f"outputs.{role}" for role in also), f"one of {', '.join(f'outputs.{role}' for role in roles)}"]
        has = ", ".join(card.outputs) or "none"
        raise CardError(f"{card.name}: a {card.family} card needs {' and '.join(needed)}; it has {has}", "Correct `outputs`")
    return found[0]


def channel_classes(card: ModelCard) -> U8:
    """(256,) from a channel's number to its class: itself, or VOID_CLASS. Raises CardError for more classes than a map holds."""
    if len(card.classes) > VOID_CLASS:
        raise CardError(f"{card.name}: {len(card.classes)} classes do not fit a class map", f"Name at most {VOID_CLASS}")
    table = np.full(256, VOID_CLASS, np.uint8)
    for class_id, name in enumerate(card.classes):
        if name not in card.void:
            table[class_id] = class_id
    return table
