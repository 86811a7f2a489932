"""A whole network as an ONNX graph: pixels in, what the last layer says before its activation out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engines.importing.cards import Meaning
from engines.importing.convolutions import convolve
from engines.importing.layers import translate
from engines.importing.maker import Maker, Value
from engines.importing.network import Network
from engines.importing.pixels import Pixels
from engines.importing.sliding import Windows
from engines.types import Size


@dataclass(frozen=True, slots=True)
class Translation:
    """model: an onnx.ModelProto with one output, (1, C, rows, columns) float32. result: its last value, as Keras sees it.

    approximate: layers that, where the network slides, see a window's neighbours in place of the noughts they were trained with.
    """

    model: Any
    result: Value
    approximate: tuple[str, ...]


def translated(
    network: Network,
    pixels: Pixels,
    size: Size,
    grid: Windows | None = None,
    *,
    is_sliding: bool = False,
    meaning: Meaning | None = None,
) -> Translation:
    """The graph of `network` on an input of `size`. Raises KerasImportError.

    grid: of a network that slides over a frame of that size; Keras' shapes then speak of one window. is_sliding alone makes the
    same graph for a frame of just one window. meaning: names the output, and tells whether one number stands for two classes.
    """
    maker = Maker(is_sliding or grid is not None)
    tensor = pixels.add_to(maker, grid.pads if grid else (0, 0, 0, 0))
    seen = grid.window if grid else (size.height, size.width)
    result = translate(network, maker, Value(tensor, (*seen, pixels.channels)))
    tensor, channels = result.tensor, result.channels
    if meaning and meaning.has_pair:  # the logits (0, x), whose softmax is the sigmoid of x
        pair = np.array([0, 1], np.float32).reshape(2, 1, 1, 1)
        tensor, channels = convolve(maker, "two_classes", tensor, pair, None), 2
    rows, columns = grid.cells if grid else result.grid
    role = meaning.role if meaning else "logits"
    model = maker.model((size.height, size.width), [(role, tensor, (1, channels, rows, columns))])
    return Translation(model, result, tuple(maker.approximate))
