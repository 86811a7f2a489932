"""Make an ONNX model of a Keras one.

Write a Keras model (.keras, .h5) as ONNX with its card, compared with Keras on pictures: docs/keras.md.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from realtime.commands.common import values
from realtime.commands.common.options import Command, argument, option, switch
from realtime.commands.common.values import names, one_of

if TYPE_CHECKING:
    from engines.importing.importer import Imported


def _factor(text: str) -> float:
    """A number, or a fraction as in "1/255"."""
    above, slash, below = text.partition("/")
    try:
        number = float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f'"{text}" is not a number. Write it as 0.0039 or 1/255')
    return number


class Options(NamedTuple):
    file: str = argument("FILE.keras", "a model that was saved whole: model.save(...)")
    out: str | None = option("FILE.onnx", "file to write, its card next to it (default: FILE.onnx)")
    name: str | None = option("NAME", "name in the card (default: the file's)")
    sliding: bool = switch("a classifier of small pictures: run it at every place of a frame")
    classes: tuple[str, ...] = option(
        "A,B,C|WORD", "names in the order of the network's outputs, or a set's name, such as cityscapes", values.classes, ()
    )
    things: tuple[str, ...] = option("A,B|all", "classes to cut into objects, and to track", names, ())
    void: tuple[str, ...] = option("A,B", "classes that are never shown, such as a background", names, ())
    size: tuple[int, int] | None = option(
        "HxW", "the input's, if the model leaves it open (default: 384x640; sliding: near 360x640)", values.size
    )
    scale: float | None = option(
        "S", "factor for pixels of 0..255 (default: 1/255, or 1 if the model begins with a Rescaling)", _factor
    )
    offset: float | None = option("X", "added after it (default: 0)", _factor)
    channels: Literal["rgb", "bgr"] = option("rgb|bgr", "order (default: rgb)", one_of(("rgb", "bgr")), "rgb")
    family: str | None = option(
        "NAME",
        "of one sigmoid per pixel: semantic, two classes, or matting, an opacity (default: matting)",
        one_of(("semantic", "matting")),
    )


def run(options: Options) -> int:
    """Import a model, and print what was understood and how it was checked."""
    from engines.importing.cards import ImportOptions
    from engines.importing.importer import import_keras
    from engines.types import Size

    path = Path(options.file)
    chosen = ImportOptions(
        name=options.name or "",
        sliding=options.sliding,
        classes=options.classes,
        things=options.things,
        void=options.void,
        size=Size(*options.size) if options.size else None,
        scale=options.scale,
        offset=options.offset,
        order=options.channels,
        family=options.family or "",
    )
    imported = import_keras(path, Path(options.out) if options.out else path.with_suffix(".onnx"), chosen)
    print(describe(imported))
    return 0


def describe(imported: Imported) -> str:
    """An imported model in a few lines."""
    draft, source, card = imported.draft, imported.source, imported.model.card
    height, width, channels = source.network.input_shape
    shape = "x".join("?" if length is None else str(length) for length in (height, width, channels))
    end = "" if source.head == "none" else f", its last {source.head} left out: the card's scores are made of logits"
    lines = [f"read     {source.path}: {len(source.network.steps)} layers, input {shape}{end}"]
    assumed = " (assumed: the model does not begin with a Rescaling; --scale changes it)" if source.is_scale_assumed else ""
    lines.append(f"pixels   {source.pixels}{assumed}")
    if draft.grid:
        (down, across), (rows, columns), window = draft.grid.stride, draft.grid.cells, draft.grid.window
        steps = f"a {window[0]}x{window[1]} window every {down}x{across} pixels"
        lines.append(f"sliding  {steps}: {rows}x{columns} labels of a {draft.size.height}x{draft.size.width} frame")
        if draft.made.approximate:
            names = ", ".join(draft.made.approximate)
            lines.append(
                f'         padding="same" in {names}: in a frame these see real neighbours where windows alone have zeros'
            )
    lines.append(f"parity   {draft.parity} (Keras {source.keras.version})")
    lines.append(f"classes  {', '.join(card.classes)}, as {card.family}")
    megabytes = imported.model.path.stat().st_size / 1e6
    lines.append(f"written  {imported.model.path} ({megabytes:.1f} MB), input {draft.size.height}x{draft.size.width}")
    lines.append(f"         {imported.model.path.with_suffix('.toml')}")
    lines.append(f"next     run.py view SOURCE --model {imported.model.path}")
    return "\n".join(lines)


COMMAND = Command("import", Options, run, __doc__, rank=100)
