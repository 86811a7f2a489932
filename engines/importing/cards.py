"""The card of an imported model: what its outputs mean, from the network and from the user's options."""

from dataclasses import dataclass
from typing import Literal

from engines.errors import CardError, choices
from engines.importing import KerasImportError
from engines.importing.network import Head
from engines.types import VOID_CLASS, Size

FAMILIES = ("semantic", "matting")
ALL = ("all",)
"""As --things: every class that is not void."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """The user's options for facts that the file does not contain.

    name: "" is the output file's. sliding: a classifier of small pictures, run at every position of a frame. classes, things,
    void: as in a card; () is the default. size: of the input. scale, offset: of pixels before the first layer; None follows the
    network. order: of three channels. family: "" is "matting" for one sigmoid per pixel, else "semantic".
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
    """family, role: how the outputs are read. classes, void: of the card. has_pair: one number encodes two classes."""

    family: str
    role: str
    classes: tuple[str, ...]
    void: tuple[str, ...]
    has_pair: bool = False


def meaning_of(channels: int, head: Head, options: ImportOptions, where: object) -> Meaning:
    """The meaning of `channels` outputs, one per class, or one for two classes. Raises KerasImportError and CardError."""
    if options.family not in ("", *FAMILIES):
        raise CardError(f'{where}: no family "{options.family}" for a Keras model', choices(options.family, FAMILIES))
    if channels == 1:
        # One sigmoid per pixel is an opacity, unless the options name two classes or --sliding.
        is_opacity = head == "sigmoid" and not options.sliding and len(options.classes) < 2
        is_matte = options.family == "matting" or (not options.family and is_opacity)
        return _matte(options, where) if is_matte else _pair(options, where)
    if options.family == "matting":
        raise CardError(f"{where}: a matte is one number per pixel, and the network has {channels}", "Leave out --family")
    if channels > VOID_CLASS:
        raise KerasImportError(f"{where}: {channels} classes do not fit a label map", f"Train with at most {VOID_CLASS} classes")
    classes = options.classes or tuple(f"class {number}" for number in range(channels))
    if len(classes) != channels:
        what = f"{where}: the network has {channels} classes, and --classes names {len(classes)}"
        raise CardError(what, "Name each class, in the order of the outputs")
    return Meaning("semantic", "logits", classes, options.void)


def _matte(options: ImportOptions, where: object) -> Meaning:
    if len(options.classes) > 1:
        what = f"{where}: a matte has one class, its foreground, and --classes names {len(options.classes)}"
        raise CardError(what, "Name one class, or add --family semantic")
    return Meaning("matting", "alpha_logits", options.classes or ("foreground",), ())


def _pair(options: ImportOptions, where: object) -> Meaning:
    if len(options.classes) > 2:
        what = f"{where}: one number per pixel means two classes, and --classes names {len(options.classes)}"
        raise CardError(what, "Name two classes at most")
    if len(options.classes) == 2:
        return Meaning("semantic", "logits", options.classes, options.void, has_pair=True)
    classes = ("background", *(options.classes or ("foreground",)))
    return Meaning("semantic", "logits", classes, options.void or ("background",), has_pair=True)


def things_of(meaning: Meaning, options: ImportOptions) -> tuple[str, ...]:
    """The card's things. Raises CardError for --things or --void that are not classes."""
    shown = tuple(name for name in meaning.classes if name not in meaning.void)
    if options.things == ALL and "all" not in meaning.classes:
        return shown
    for option, given in (("--things", options.things), ("--void", options.void)):
        for name in given:
            if name not in meaning.classes:
                raise CardError(f'{option} names "{name}", which is not a class', choices(name, meaning.classes))
    return options.things
