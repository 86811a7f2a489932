"""What commands share of the command line: types of arguments and groups of options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engines.errors import did_you_mean

PRECISIONS = ("fp32", "fp16", "bf16", "int8-qdq")
RUNTIMES = ("tensorrt", "tensorrt-rtx")
MODEL = "NAME|FILE.onnx"
MODEL_HELP = "a model that run.py models lists, or an ONNX file"


def add_running(parser: argparse.ArgumentParser) -> None:
    """Options of every command that runs a model. Their defaults are the presets' and settings', so None here."""
    parser.add_argument("--model", metavar=MODEL, help=f"{MODEL_HELP} (default: road)")
    parser.add_argument(
        "--backend", metavar="NAME", help="auto, trt, ort-cuda, openvino or ort (default: auto, the fastest that works)"
    )
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
    add_engine_choice(engine)
    engine.add_argument(
        "--inflight", metavar="N", type=positive, help="2: upload the next frame meanwhile: more frames, each a little later"
    )
    engine.add_argument("--trust-engine", metavar="FILE", help="run an engine that this machine did not build: it is native code")


TRT_OPTIONS = ("precision", "runtime", "dla", "inflight", "trust_engine")
"""What only TensorRT's engines know. `size` is for all."""


def given_for_trt(options: Mapping[str, Any]) -> str:
    """Those of `TRT_OPTIONS` that were given, as they were typed; "" where there is none."""
    return ", ".join(f"--{name.replace('_', '-')}" for name in TRT_OPTIONS if options.get(name) is not None)


def add_engine_choice(group: Any) -> None:
    """Options that choose one of a model's TensorRT engines; `group` is a parser or a group of one."""
    precisions, runtimes = ", ".join(PRECISIONS), " or ".join(RUNTIMES)
    size_help = "height x width of the network's input, such as 384x640 (default: the model's own); less is faster"
    group.add_argument("--precision", metavar="NAME", type=one_of(PRECISIONS), help=f"{precisions} (default: fp16)")
    group.add_argument("--size", metavar="HxW", type=size, help=size_help)
    group.add_argument("--runtime", metavar="NAME", type=one_of(RUNTIMES), help=f"{runtimes} (default: what is installed)")
    group.add_argument("--dla", metavar="CORE", type=core, help="a Jetson's deep-learning accelerator instead of its GPU")


def one_of(known: Sequence[str]) -> Callable[[str], str]:
    """The type of an argument that is one of these words."""

    def check(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f'"{text}" is not known; known: {", ".join(known)}{did_you_mean(text, known)}')
        return text

    return check


def core(text: str) -> int:
    """The number of a DLA core."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f'"{text}" is not the number of a DLA core; the first is 0')
    return int(text)


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
