"""What commands share of the command line: types of arguments and groups of options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from engines.backends import names
from engines.backends.common.options import Option, declared
from engines.errors import did_you_mean

MODEL = "NAME|FILE.onnx"
MODEL_HELP = "a model that run.py models lists, or an ONNX file"


def add_running(parser: argparse.ArgumentParser) -> None:
    """Options of every command that runs a model. Their defaults are the presets' and settings', so None here."""
    parser.add_argument("--model", metavar=MODEL, help=f"{MODEL_HELP} (default: road)")
    add_backend(parser)
    parser.add_argument("--tracker", metavar="NAME", help="auto, bytetrack, ocsort or none (default: auto)")
    parser.add_argument("--preset", metavar="NAME", help="webcam, dashcam, or a .toml file of settings")
    parser.add_argument("--width", metavar="PX", type=positive, help="the picture is at most this wide (default: 1280)")
    parser.add_argument(
        "--threshold", metavar="0..1", type=float, help="lowest score of an object that is shown (default: the model's)"
    )

    matte = parser.add_argument_group("with a model that tells foreground from background")
    matte.add_argument(
        "--background",
        metavar="none|blur|#RRGGBB|FILE",
        help="put a blur, a colour or a picture behind the foreground (default: none)",
    )
    parser.add_argument(
        "--smooth",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="no flicker where the picture stands still (default: soft edges always, classes in a window only)",
    )

    engine = parser.add_argument_group("the network's size, and with --backend trt which of its engines (see run.py build)")
    add_engine_options(engine)


def add_backend(group: Any) -> None:
    """The option for the runtime; `group` is a parser or a group of one."""
    group.add_argument("--backend", metavar="NAME", help=f"auto (the default: the fastest that works), {', '.join(names())}")


def add_engine_options(group: Any, without: Container[str] = ()) -> None:
    """The fields of EngineOptions as options, each under its field's name; `group` is a parser or a group of one."""
    for name, (kind, option) in declared().items():
        if name not in without:
            group.add_argument(option.flag, dest=name, metavar=option.metavar, type=_reader(kind, option), help=option.help)


def engine_facts(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those fields of EngineOptions that were given."""
    return {name: options[name] for name in declared() if options.get(name) is not None}


def _reader(kind: Any, option: Option) -> Callable[[str], Any]:
    """What reads an option's text as a value of type `kind`, which may be of that or None."""
    if option.limits is not None:
        return whole(*option.limits)
    if option.metavar == "HxW":
        return lambda text: size(text)[::-1]
    words = [word for part in (kind, *get_args(kind)) if get_origin(part) is Literal for word in get_args(part)]
    return one_of(words) if words else str


def one_of(known: Sequence[str]) -> Callable[[str], str]:
    """The type of an argument that is one of these words."""

    def check(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f'"{text}" is not known; known: {", ".join(known)}{did_you_mean(text, known)}')
        return text

    return check


def size(text: str) -> tuple[int, int]:
    """Height, width, as in "384x640"."""
    height, separator, width = text.partition("x")
    if not (separator and height.isdigit() and width.isdigit()):
        raise argparse.ArgumentTypeError(f'"{text}" is not a size; write height x width, as in 384x640')
    return int(height), int(width)


def batch(text: str) -> int | str:
    """A number of images, or "dynamic"."""
    return text if text == "dynamic" else positive(text)


def positive(text: str) -> int:
    """A whole number of 1 or more."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number of 1 or more')
    return int(text)


def whole(low: int, high: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number from `low` to `high`."""

    def check(text: str) -> int:
        if not text.isdigit() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f'"{text}" is not a whole number from {low} to {high}')
        return int(text)

    return check


def number(low: float, high: float) -> Callable[[str], float]:
    """The type of an argument that is a number in [low, high]."""

    def check(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f'"{text}" is not a number from {low:g} to {high:g}')
        return value

    return check


share = number(0, 1)
"""The type of an argument that is a number from 0 to 1."""
