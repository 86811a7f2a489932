"""`run.py import`: a Keras model as an ONNX file with its card."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime.commands.common.options import one_of, size

if TYPE_CHECKING:
    from engines.importing.importer import Imported

NAME = "import"


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        NAME,
        help="make an ONNX model of a Keras one",
        description="Write a Keras model (.keras, .h5) as ONNX with its card, compared with Keras on pictures: docs/keras.md.",
    )
    parser.add_argument("file", metavar="FILE.keras", help="a model that was saved whole: model.save(...)")
    parser.add_argument("--out", metavar="FILE.onnx", help="file to write; its card is written beside it (default: FILE.onnx)")
    parser.add_argument("--name", metavar="NAME", help="what the card calls it (default: the file's)")
    parser.add_argument("--sliding", action="store_true", help="a classifier of small pictures: run it at every place of a frame")
    parser.add_argument("--classes", metavar="A,B,C", type=_names, default=(), help="names in the order of the network's outputs")
    parser.add_argument("--things", metavar="A,B|all", type=_names, default=(), help="classes to cut into objects, and to track")
    parser.add_argument(
        "--void", metavar="A,B", type=_names, default=(), help="classes that are never shown, such as a background"
    )
    parser.add_argument(
        "--size",
        metavar="HxW",
        type=size,
        help="the input's, if the model leaves it open (default: 384x640; sliding: near 360x640)",
    )
    parser.add_argument(
        "--scale",
        metavar="S",
        type=_number,
        help="what pixels of 0..255 are multiplied by (default: 1/255, or 1 if the model begins with a Rescaling)",
    )
    parser.add_argument("--offset", metavar="X", type=_number, help="what is added then (default: 0)")
    parser.add_argument("--channels", metavar="rgb|bgr", type=one_of(("rgb", "bgr")), default="rgb", help="order (default: rgb)")
    parser.add_argument(
        "--family",
        metavar="NAME",
        type=one_of(("semantic", "matting")),
        help="of one sigmoid per pixel: semantic, two classes, or matting, an opacity (default: matting)",
    )


def run(options: dict[str, Any]) -> int:
    """Import a model, and say what was understood and how it was proved."""
    from engines.importing.cards import ImportOptions
    from engines.importing.importer import import_keras
    from engines.types import Size

    path = Path(options["file"])
    asked = ImportOptions(
        name=options["name"] or "",
        sliding=options["sliding"],
        classes=options["classes"],
        things=options["things"],
        void=options["void"],
        size=Size(options["size"][1], options["size"][0]) if options["size"] else None,
        scale=options["scale"],
        offset=options["offset"],
        order=options["channels"],
        family=options["family"] or "",
    )
    imported = import_keras(path, Path(options["out"]) if options["out"] else path.with_suffix(".onnx"), asked)
    print(describe(imported))
    return 0


def describe(imported: Imported) -> str:
    """What became of a model, in a few lines."""
    draft, source, card = imported.draft, imported.source, imported.model.card
    height, width, channels = source.network.input_shape
    shape = "x".join("?" if length is None else str(length) for length in (height, width, channels))
    end = "" if source.head == "none" else f", its last {source.head} left out: the card's scores are made of logits"
    lines = [f"read     {source.path}: {len(source.network.steps)} layers, input {shape}{end}"]
    assumed = " (assumed: the model does not begin with a Rescaling; --scale says otherwise)" if source.is_scale_assumed else ""
    lines.append(f"pixels   {source.pixels}{assumed}")
    if draft.grid:
        (down, across), (rows, columns), window = draft.grid.stride, draft.grid.cells, draft.grid.window
        steps = f"a {window[0]}x{window[1]} window every {down}x{across} pixels"
        lines.append(f"sliding  {steps}: {rows}x{columns} labels of a {draft.size.height}x{draft.size.width} frame")
        if draft.made.approximate:
            names = ", ".join(draft.made.approximate)
            lines.append(
                f'         padding="same" in {names}: in a frame these see real neighbours where windows alone have noughts'
            )
    lines.append(f"parity   {draft.parity} (Keras {source.keras.version})")
    lines.append(f"classes  {', '.join(card.classes)}, as {card.family}")
    megabytes = imported.model.path.stat().st_size / 1e6
    lines.append(f"written  {imported.model.path} ({megabytes:.1f} MB), input {draft.size.height}x{draft.size.width}")
    lines.append(f"         {imported.model.path.with_suffix('.toml')}")
    lines.append(f"next     run.py view SOURCE --model {imported.model.path}")
    return "\n".join(lines)


def _names(text: str) -> tuple[str, ...]:
    """Class names with commas between them."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(
            f'"{text}" are no class names; write them with commas between, each once: road,car,person'
        )
    return names


def _number(text: str) -> float:
    """A number, or a fraction as in "1/255"."""
    above, slash, below = text.partition("/")
    try:
        number = float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f'"{text}" is no number; write it as 0.0039 or 1/255')
    return number
