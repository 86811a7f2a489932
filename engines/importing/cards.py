"""The card of an imported model: what its outputs mean, as far as the network tells and the user says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engines.errors import CardError, did_you_mean
from engines.families import names as family_names
from engines.importing.errors import KerasImportError
from engines.importing.head import Head
from engines.models.card import InputSpec
from engines.types import VOID_CLASS, Size

FAMILIES = ("semantic", "matting")
ALL = ("all",)
"""As --things: every class but those that are never shown."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a user may say about a model that its file does not.

    name: "" is the output file's. sliding: a classifier of small pictures, run at every place of a frame. classes, things, void:
    as in a card; () is the default. size: of the input. scale, offset: of pixels before the first layer, None follows the
    network. order: of three channels. family: "" takes "matting" for one sigmoid per pixel and "semantic" for all else.
    """

    name: str = ""
    sliding: bool = False
    classes: tuple[str, ...] = ()
    things: tuple[str, ...] = ()
    void: tuple[str, ...] = ()
    size: Size | None = None
    scale: float | None = None
    offset: float | None = None
    order: Literal["rgb", "bgr"] = "rgb"
    family: str = ""


@dataclass(frozen=True, slots=True)
class Meaning:
    """family, role: how the outputs are read. classes, void: of the card. has_pair: one number stands for two classes."""

    family: str
    role: str
    classes: tuple[str, ...]
    void: tuple[str, ...]
    has_pair: bool = False


def meaning_of(channels: int, head: Head, wishes: Wishes, where: object) -> Meaning:
    """What a network of so many channels, one per class, or one for two classes, is. Raises KerasImportError, CardError."""
    if wishes.family not in ("", *FAMILIES):
        raise CardError(f'{where}: no family "{wishes.family}" for a Keras model; known: {", ".join(FAMILIES)}')
    if channels == 1:
        family = wishes.family or _family_of_one(head, wishes)
        return _matte(wishes, where) if family == "matting" else _pair(wishes, where)
    if wishes.family == "matting":
        raise CardError(f"{where}: a matte is one number per pixel, and the network gives {channels}; leave --family out")
    if channels > VOID_CLASS:
        raise KerasImportError(f"{where}: {channels} classes do not fit a map of labels; at most {VOID_CLASS} do")
    classes = wishes.classes or tuple(f"class {number}" for number in range(channels))
    if len(classes) != channels:
        raise CardError(
            f"{where}: the network has {channels} classes, and --classes names {len(classes)}: name each, in its order"
        )
    return Meaning("semantic", "logits", classes, wishes.void)


def _family_of_one(head: Head, wishes: Wishes) -> str:
    """One sigmoid per pixel is an opacity, unless the user speaks of two classes, or of windows."""
    is_matte = head == "sigmoid" and not wishes.sliding and len(wishes.classes) < 2 and "matting" in family_names()
    return "matting" if is_matte else "semantic"


def _matte(wishes: Wishes, where: object) -> Meaning:
    if len(wishes.classes) > 1:
        raise CardError(f"{where}: a matte has one class, its foreground; --classes names {len(wishes.classes)}")
    return Meaning("matting", "alpha_logits", wishes.classes or ("foreground",), ())


def _pair(wishes: Wishes, where: object) -> Meaning:
    if len(wishes.classes) > 2:
        raise CardError(f"{where}: one number per pixel means two classes; --classes names {len(wishes.classes)}")
    if len(wishes.classes) == 2:
        return Meaning("semantic", "logits", wishes.classes, wishes.void, has_pair=True)
    classes = ("background", *(wishes.classes or ("foreground",)))
    return Meaning("semantic", "logits", classes, wishes.void or ("background",), has_pair=True)


def things_of(meaning: Meaning, wishes: Wishes) -> tuple[str, ...]:
    """Raises CardError for one that is no class."""
    shown = tuple(name for name in meaning.classes if name not in meaning.void)
    if wishes.things == ALL and "all" not in meaning.classes:
        return shown
    for option, given in (("--things", wishes.things), ("--void", wishes.void)):
        for name in given:
            if name not in meaning.classes:
                raise CardError(f'{option} names "{name}", which is no class{did_you_mean(name, meaning.classes)}')
    return wishes.things


def input_of(size: Size, sliding: bool) -> InputSpec:
    """Frames as they come: the graph scales them, and orders their channels.

    A window has seen things undistorted, so frames keep their aspect; other networks mostly saw pictures that were stretched.
    """
    return InputSpec("image", (size.width, size.height), "nhwc", "uint8", "bgr", "letterbox" if sliding else "stretch")
