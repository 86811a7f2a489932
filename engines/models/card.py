"""ModelCard: what a model is, as data: which family reads it, what its input wants, what its outputs mean, where it came from.

A card is `card.toml` in the model's folder (or `NAME.toml` beside `NAME.onnx`). What the ONNX file says itself (tensor names,
shapes, class names that exporters embed) need not be written there: `engines.inspect` reads it and the card only adds the rest.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from engines.errors import CardError, did_you_mean
from engines.types import Size

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_CARD_BYTES = 256 * 1024


class InputSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The one image input of a network. A pixel p (0..255) enters as (p - mean) / std."""

    tensor: str
    size_px: tuple[int, int]
    """Width, height."""
    layout: Literal["nchw", "nhwc"]
    dtype: Literal["uint8", "float32", "float16"]
    channels: Literal["rgb", "bgr"]
    fit: Literal["letterbox", "letterbox_top_left", "stretch"]
    """How a frame meets the input: whole and centred with padding, whole at the top left with padding, or stretched."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Per channel in the network's channel order, in pixel units (0..255)."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Per channel in the network's channel order, in pixel units. (255, 255, 255) alone gives 0..1."""
    pad: int = 114
    """The pixel value of letterbox padding."""

    @property
    def size(self) -> Size:
        return Size(*self.size_px)


class ModelCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything known about a model before it runs."""

    name: str
    family: str
    """The module in `engines.families` that reads its outputs."""
    input: InputSpec
    outputs: dict[str, str]
    """Role → tensor name; each family lists its roles."""
    classes: tuple[str, ...]
    """Class names; the position is the class id."""
    states: dict[str, str] = {}
    """Of a recurrent network: input tensor → the output tensor that is fed into it with the next frame; noughts at first."""
    constants: dict[str, float] = {}
    """Input tensor → the number that it is fed with every frame, such as a ratio."""
    things: tuple[str, ...] = ()
    """Classes that come as countable objects; of a semantic model, those to cut into objects."""
    void: tuple[str, ...] = ()
    """Classes that mean "nothing to show", such as an ignore or background channel."""
    threshold: float = 0.3
    """From this score on an object is worth showing: networks differ in how sure they are of what is not there."""
    palette: dict[str, str] = {}
    """Class name → "#rrggbb"; classes left out get a colour of the default palette."""
    file: str = "model.onnx"
    sha256: str = ""
    """Of the ONNX file, in hex; empty when unknown, checked when given."""
    description: str = ""
    licence: str = "unknown"
    source: str = ""
    data: str = ""
    """The training data and its licences."""
    recipe: str = ""
    """How it was made; enough to make it again."""
    limits: str = ""
    """What it is bad at."""
    figures: dict[str, float] = {}
    """Measured figures, each name saying on what."""

    @property
    def side_inputs(self) -> tuple[str, ...]:
        """What the network is fed beside the image."""
        return (*self.states, *self.constants)

    @property
    def gives_matte(self) -> bool:
        """Whether it tells how opaque its foreground is: by one of the roles `alpha`, `alpha_softmax` and `alpha_logits`."""
        return any(role.partition("_")[0] == "alpha" for role in self.outputs)

    def class_name(self, class_id: int) -> str:
        return self.classes[class_id] if 0 <= class_id < len(self.classes) else f"class {class_id}"


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a card file. Raises CardError that names the file, and the line where TOML is broken."""
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise CardError(f"{path}: larger than {MAX_CARD_BYTES // 1024} KiB; this is no model card")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: cannot be read as a card ({error})") from error
    except (ValueError, RecursionError) as error:  # tomllib passes on what int() and deep nesting raise
        raise CardError(f"{path}: not valid TOML: {error}") from error


def card_from_dict(facts: dict[str, Any], where: str) -> ModelCard:
    """Check `facts` and freeze them into a card. `where` names their origin in error texts. Raises CardError."""
    _reject_unknown(facts, ModelCard, where)
    if isinstance(facts.get("input"), dict):
        _reject_unknown(facts["input"], InputSpec, f"{where} [input]")
    try:
        card = msgspec.convert(facts, ModelCard)
    except msgspec.ValidationError as error:
        raise CardError(f"{where}: {_plain(error)}") from error
    _check_consistency(card, where)
    return card


def _plain(error: msgspec.ValidationError) -> str:
    """msgspec's message with its JSON path turned into a card key: "Expected `int`, got `str` - at `$.input.pad`"."""
    text = str(error).replace("`$.", "key `").replace("- at", "at").replace(" - ", ", ")
    for field in msgspec.structs.fields(InputSpec):
        if get_origin(field.type) is Literal and text.endswith(f"at key `input.{field.name}`"):
            return f"{text}; known: {', '.join(get_args(field.type))}"
    return text


def _reject_unknown(facts: dict[str, Any], struct: type[msgspec.Struct], where: str) -> None:
    known = struct.__struct_fields__
    for key in facts:
        if key not in known:
            hint = did_you_mean(key, known) or f"; known keys: {', '.join(known)}"
            raise CardError(f'{where}: unknown key "{key}"{hint}')


def _check_consistency(card: ModelCard, where: str) -> None:
    if not card.classes:
        raise CardError(f'{where}: "classes" is empty; write the class names in the order of the network\'s channels')
    for key, names in (("things", card.things), ("void", card.void), ("palette", tuple(card.palette))):
        for name in names:
            if name not in card.classes:
                hint = did_you_mean(name, card.classes)
                raise CardError(f'{where}: "{key}" names "{name}", which is not one of its classes{hint}')
    for name, colour in card.palette.items():
        if not (len(colour) == 7 and colour[0] == "#" and all(c in "0123456789abcdefABCDEF" for c in colour[1:])):
            raise CardError(f'{where}: palette colour of "{name}" is "{colour}"; write it as "#rrggbb"')
    _check_side_inputs(card, where)
    if min(card.input.size_px) < 8 or max(card.input.size_px) > 8192:
        raise CardError(f"{where}: input.size_px {card.input.size_px} is not [width, height] between 8 and 8192")
    if not all(map(math.isfinite, card.input.mean + card.input.std)):
        raise CardError(f"{where}: input.mean {card.input.mean} and input.std {card.input.std} must be finite numbers")
    if min(card.input.std) <= 0:
        raise CardError(f"{where}: input.std {card.input.std} must be above 0 (pixel units: 255 for a 0..1 input)")
    if card.input.dtype == "uint8" and (any(card.input.mean) or card.input.std != (1.0, 1.0, 1.0)):
        raise CardError(f"{where}: a uint8 input takes pixels as they are; remove input.mean and input.std, or correct dtype")
    if not 0 <= card.threshold <= 1:
        raise CardError(f"{where}: threshold {card.threshold} must lie between 0 and 1")
    if not 0 <= card.input.pad <= 255:
        raise CardError(f"{where}: input.pad {card.input.pad} must lie in 0..255")


def _check_side_inputs(card: ModelCard, where: str) -> None:
    inputs = [card.input.tensor, *card.states, *card.constants]
    twice = next((tensor for tensor in inputs if inputs.count(tensor) > 1), None)
    if twice is not None:
        raise CardError(f'{where}: the input tensor "{twice}" is named twice in "input", "states" and "constants"')
    for tensor, number in card.constants.items():
        if not math.isfinite(number):
            raise CardError(f"{where}: constants.{tensor} is {number}; it must be a finite number")
