"""A whole network as an ONNX graph: from a frame's pixels to the last layer's outputs, before its activation."""

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from engines.importing.cards import Meaning
from engines.importing.convolutions import convolve
from engines.importing.layers import ONLY_IN_TRAINING, affine, translate
from engines.importing.maker import Maker, Value
from engines.importing.network import Network
from engines.importing.sliding import Windows
from engines.types import F32, Image, Size

GREY_OF_BGR = np.array([3735, 19235, 9798], np.float32) / 32768
"""ITU-R BT.601 in the 15-bit fractions of OpenCV's cvtColor, so that both give the same bits."""

LARGEST_UNIT_SCALE = 1 / 16
"""A first Rescaling by less than this takes pixels of 0..255; by more, pixels that were scaled before."""

DEFAULT_SCALE = 1 / 255


@dataclass(frozen=True, slots=True)
class Pixels:
    """The network's input: 1 or 3 channels, the order of three, and pixels of 0..255 as p x scale + offset."""

    channels: int
    order: Literal["rgb", "bgr"]
    scale: float
    offset: float

    def prepared(self, image: Image) -> F32:
        """(H, W, 3) BGR → the network's input (H, W, channels) float32: the graph's work, by OpenCV and NumPy."""
        if self.channels == 1:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None]
        elif self.order == "rgb":
            image = image[..., ::-1]
        return image.astype(np.float32) * np.float32(self.scale) + np.float32(self.offset)

    def add_to(self, maker: Maker, pads: tuple[int, int, int, int] = (0, 0, 0, 0)) -> str:
        """Nodes from the input `image` to the network's first layer; returns their output, (1, channels, H, W) float32.

        pads: rows and columns to add at the top, left, bottom and right, as copies of the outermost ones.
        """
        import onnx

        tensor = maker.node("Cast", ["image"], "pixels", to=onnx.TensorProto.FLOAT)
        tensor = maker.node("Transpose", [tensor], "planes", perm=[0, 3, 1, 2])
        if self.channels == 1:
            tensor = convolve(maker, "grey", tensor, GREY_OF_BGR.reshape(1, 3, 1, 1), np.array([0.5], np.float32))
            tensor = maker.node("Floor", [tensor], "grey/whole")
        if any(pads):
            top, left, bottom, right = pads
            amounts = maker.integers("border/pads", [0, 0, top, left, 0, 0, bottom, right])
            tensor = maker.node("Pad", [tensor, amounts], "border", mode="edge")
        if self.channels == 1:
            return affine(maker, "scaled", tensor, self.scale, self.offset)
        order = np.eye(3, dtype=np.float32)[:: -1 if self.order == "rgb" else 1]
        kernel = (order * np.float32(self.scale)).reshape(3, 3, 1, 1)  # swaps and scales at once
        return convolve(maker, "scaled", tensor, kernel, np.full(3, self.offset, np.float32))

    def __str__(self) -> str:
        kind = "grey (BT.601)" if self.channels == 1 else self.order.upper()
        scale = f"1/{1 / self.scale:g}" if 0 < self.scale < 1 else f"{self.scale:g}"
        shift = f" {'+' if self.offset > 0 else '-'} {abs(self.offset):g}" if self.offset else ""
        return f"{kind}, 0..255" + (f" x {scale}{shift}" if self.scale != 1 or self.offset else " as they are")


def takes_whole_pixels(network: Network) -> bool:
    """Whether the network's first layer normalises pixels of 0..255 itself."""
    names = {network.image}
    for step in network.steps:
        if not any(source in names for source in step.inputs if isinstance(source, str)):
            continue
        if step.kind in ONLY_IN_TRAINING:
            names.add(step.output)
        elif step.kind == "Rescaling":
            return bool(np.abs(np.asarray(step.config.get("scale", 1.0))).max() < LARGEST_UNIT_SCALE)
        elif step.kind == "Normalization":  # numbers of 0..1 have no mean above 1 and no variance above a quarter
            mean, variance = step.weights
            return bool(mean.max() > 1 or variance.max() > 1)
        elif step.kind in ("ops.TrueDivide", "ops.Divide"):
            divisors = [float(source) for source in step.inputs if isinstance(source, int | float)]
            return bool(divisors and divisors[0] > 1 / LARGEST_UNIT_SCALE)
        else:
            return False
    return False


@dataclass(frozen=True, slots=True)
class Translation:
    """model: an onnx.ModelProto with one output, (1, C, rows, columns) float32. result: its last value, with Keras' shape.

    approximate: layers that, in a sliding network, see a window's neighbours instead of zeros.
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

    grid: of a network that slides over a frame of that size; Keras' shapes are then those of one window. is_sliding alone makes
    the same graph for a frame of one window. meaning: names the output; whether one number encodes two classes.
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
    model = maker.model((size.height, size.width), role, tensor, (1, channels, rows, columns))
    return Translation(model, result, tuple(maker.approximate))
