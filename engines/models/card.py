"""ModelCard: what a model is, as data: the family that reads it, its input, the meaning of its outputs, its origin.

A card is `card.toml` in the model's folder (or `NAME.toml` beside `NAME.onnx`). It need not repeat what the ONNX file contains
(tensor names, shapes, class names that exporters embed): `engines.models.model` reads both.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from engines.errors import CardError, choices, printable
from engines.files import sha256_of
from engines.models.class_sets import void_among, with_usual_keys
from engines.tables import checked, quoted, read_table
from engines.types import Size

MAX_CARD_BYTES = 256 * 1024

ALWAYS_WRITTEN = ("name", "family", "file", "sha256", "classes", "things", "description", "licence", "input", "outputs")
"""Card keys that are written even where they are a default: otherwise they would be guessed again."""


MAX_NAME_LETTERS = 120
"""Of a class or a model; longer names are cut."""

MOST_CLASSES = 20_000
"""The largest sets with boxes have 13,000."""

TEXTS = ("family", "file", "sha256", "description", "licence", "source", "data", "recipe", "limits")


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
    """Of a recurrent network: input tensor → the output tensor that is fed into it with the next frame; zeros at first."""
    constants: dict[str, float] = {}
    """Input tensor → the number that it is fed with every frame, such as a ratio."""
    things: tuple[str, ...] = ()
    """Classes that come as countable objects; of a semantic model, those to cut into objects."""
    void: tuple[str, ...] = ()
    """Classes that mean "nothing to show", such as an ignore or background channel. Where a card says nothing of it, those whose
    name says so."""
    threshold: float = 0.3
    """The lowest score of an object that is shown by default: networks differ in how high they score false objects."""
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
    """How to make it again."""
    limits: str = ""
    """What it is bad at."""
    figures: dict[str, float] = {}
    """Measured figures; each name says on what data."""
    int8_on_samples: bool = False
    """Of a bundled model: whether INT8 ranges measured on the installed sample clips hold on other footage."""

    @property
    def side_inputs(self) -> tuple[str, ...]:
        """The network's inputs beside the image."""
        return (*self.states, *self.constants)

    @property
    def gives_matte(self) -> bool:
        """Whether it gives its foreground's opacity, under one of the roles `alpha`, `alpha_softmax` and `alpha_logits`."""
        return any(role.partition("_")[0] == "alpha" for role in self.outputs)

    def class_name(self, class_id: int) -> str:
        return self.classes[class_id] if 0 <= class_id < len(self.classes) else f"class {class_id}"


def read_toml(path: Path, keys: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Parse a card file. Raises CardError that names the file, and the line where TOML is broken.

    Where its `classes` are a word, they become the names that it stands for, with their usual colours.
    keys: in place of those of the file, before that.
    """
    try:
        written = read_table(path, CardError, MAX_CARD_BYTES)
    except FileNotFoundError as error:
        raise CardError(f"{path}: no such card") from error
    return with_usual_keys({**written, **(keys or {})}, str(path))


def card_from_dict(facts: Mapping[str, Any], where: str) -> ModelCard:
    """Check `facts` and freeze them into a card. `where` names their origin in error texts. Raises CardError.

    Without `void`, classes called background and the like are void, unless they are things.
    """
    card = _cleaned(checked(facts, ModelCard, where, CardError))
    if "void" not in facts:
        card = msgspec.structs.replace(card, void=_implied_void(card))
    for what, cure in _contradictions(card):
        raise CardError(f"{where}: {what}", cure)
    return card


def _implied_void(card: ModelCard) -> tuple[str, ...]:
    return tuple(name for name in void_among(card.classes) if name not in card.things)


def _cleaned(card: ModelCard) -> ModelCard:
    """The card with names and texts that are safe to print: controls escaped, names of a bearable length."""

    def name(text: str) -> str:
        text = printable(" ".join(text.split()))
        return text if len(text) <= MAX_NAME_LETTERS else f"{text[: MAX_NAME_LETTERS - 1]}…"

    texts = {key: printable(getattr(card, key), "\n\t") for key in TEXTS}
    lists = {key: tuple(map(name, getattr(card, key))) for key in ("classes", "things", "void")}
    palette = {name(key): printable(colour) for key, colour in card.palette.items()}
    figures = {printable(key): figure for key, figure in card.figures.items()}
    return msgspec.structs.replace(card, name=name(card.name), palette=palette, figures=figures, **texts, **lists)


def _contradictions(card: ModelCard) -> Iterator[tuple[str, str]]:
    """What is wrong in a card whose keys and types are right, each with its cure."""
    image = card.input
    if not card.classes:
        yield '"classes" is empty', "Write the class names in the order of the network's channels"
    if len(card.classes) > MOST_CLASSES:
        yield f'"classes" names {len(card.classes)}', f"Name at most {MOST_CLASSES}"
    seen: dict[str, int] = {}
    for class_id, name in enumerate(card.classes):
        if seen.setdefault(name, class_id) != class_id:
            yield f'"classes" names "{name}" twice, as {seen[name]} and {class_id}', "Give each class a name of its own"
    for tensor in (image.tensor, *card.outputs.values(), *card.states, *card.states.values(), *card.constants):
        if printable(tensor) != tensor:
            yield f'the tensor "{tensor}" has control characters in its name', "Rename it in the network"
    for key, names in (("things", card.things), ("void", card.void), ("palette", tuple(card.palette))):
        for name in names:
            if name not in seen:
                yield f'"{key}" names "{name}", which is not one of its classes', choices(name, card.classes)
    for name, colour in card.palette.items():
        if not (len(colour) == 7 and colour[0] == "#" and all(c in "0123456789abcdefABCDEF" for c in colour[1:])):
            yield f'palette colour of "{name}" is "{colour}"', 'Write it as "#rrggbb"'
    inputs = [image.tensor, *card.states, *card.constants]
    for tensor in inputs:
        if inputs.count(tensor) > 1:
            yield f'the input tensor "{tensor}" is named twice in "input", "states" and "constants"', "Name it once"
    for tensor, number in card.constants.items():
        if not math.isfinite(number):
            yield f"constants.{tensor} is {number}", "Write a finite number"
    if min(image.size_px) < 8 or max(image.size_px) > 8192:
        yield f"input.size_px is {image.size_px}", "Write [width, height], each between 8 and 8192"
    if not all(map(math.isfinite, image.mean + image.std)):
        yield f"input.mean {image.mean} and input.std {image.std} must be finite", "Write numbers in pixel units"
    if min(image.std) <= 0:
        yield f"input.std {image.std} must be above 0", "Write it in pixel units: 255 for a 0..1 input"
    if image.dtype == "uint8" and (any(image.mean) or image.std != (1.0, 1.0, 1.0)):
        yield "a uint8 input takes pixels as they are", "Remove input.mean and input.std, or correct dtype"
    if not 0 <= card.threshold <= 1:
        yield f"threshold is {card.threshold}", "Write a number between 0 and 1"
    if not 0 <= image.pad <= 255:
        yield f"input.pad is {image.pad}", "Write a number in 0..255"


def facts_of_file(card: ModelCard, onnx_path: Path) -> dict[str, Any]:
    """`card` as it is written for the file at `onnx_path`: its name, hash and size, and nothing that is a default anyway."""
    figures = dict(card.figures)
    if "size_bytes" in figures:
        figures["size_bytes"] = float(onnx_path.stat().st_size)
    sha256 = sha256_of(onnx_path)
    card = msgspec.structs.replace(card, file=onnx_path.name, sha256=sha256, figures=figures)
    facts: dict[str, Any] = msgspec.to_builtins(card)
    default: dict[str, Any] = msgspec.to_builtins(ModelCard("", "", card.input, {}, ()))
    default["void"] = list(_implied_void(card))
    return {key: value for key, value in facts.items() if key in ALWAYS_WRITTEN or value != default[key]}


def to_toml(facts: Mapping[str, Any]) -> str:
    """Texts, numbers, lists and one level of tables as TOML; texts of several lines stay readable."""
    lines = [f"{_key(key)} = {_value(value)}" for key, value in facts.items() if not isinstance(value, Mapping)]
    for key, table in facts.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{_key(key)}]", *(f"{_key(name)} = {_value(value)}" for name, value in table.items())]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else quoted(name)


def _value(value: Any) -> str:
    if isinstance(value, str):
        is_readable = all(line.isprintable() for line in value.split("\n"))
        if "\n" in value and is_readable:
            lines = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"""\n{lines}"""'
        return quoted(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    # What is left, JSON and TOML write alike.
    return json.dumps(value)
