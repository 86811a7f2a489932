"""An ONNX graph under construction: nodes, weights and names, and the shape of each value.

Inside the graph every value is (1, C, Y, X) float32, whatever its shape in Keras: a vector is a map of one position. So a dense
layer is a convolution, and a classifier that slides over a frame is the same graph on a larger map.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.importing import KerasImportError

OPSET = 17
IR_VERSION = 8
"""That of opset 17; runtimes refuse files with a newer one than they know."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value between two layers.

    tensor: its name in the graph. shape: in Keras, without the batch: (height, width, channels) or (channels,).
    window: rows and columns of a flattened map that is still a map in the graph, else None. stride: pixels of the input between
    two positions, down and across.
    """

    tensor: str
    shape: tuple[int, ...]
    window: tuple[int, int] | None = None
    stride: tuple[int, int] = (1, 1)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the map; (1, 1) for a vector."""
        return (self.shape[0], self.shape[1]) if len(self.shape) == 3 else (1, 1)

    @property
    def channels(self) -> int:
        return self.shape[-1]


class Maker:
    """Collects nodes. is_sliding: the graph's maps are larger than Keras' shapes, which are those of one window."""

    def __init__(self, is_sliding: bool = False) -> None:
        self.is_sliding = is_sliding
        self.approximate: list[str] = []
        """Layers that pad a window with zeros, and see its neighbours when it slides."""
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._taken: set[str] = set()

    def unique(self, name: str) -> str:
        """`name`, with a number appended if it is taken; taken from now on."""
        found, number = name, 2
        while found in self._taken:
            found, number = f"{name}_{number}", number + 1
        self._taken.add(found)
        return found

    def weight(self, name: str, array: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """A new constant; returns its name."""
        import onnx

        found = self.unique(name)
        self._weights.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array, dtype), found))
        return found

    def integers(self, name: str, numbers: Sequence[int]) -> str:
        """A new int64 constant, for shapes and axes."""
        return self.weight(name, list(numbers), np.int64)

    def node(self, op_type: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """A new node with one output; returns its name."""
        import onnx

        label = self.unique(name)
        self._nodes.append(onnx.helper.make_node(op_type, list(inputs), [label], name=label, **attributes))
        return label

    def model(self, size: tuple[int, int], role: str, tensor: str, shape: Sequence[int]) -> Any:
        """The onnx.ModelProto: the input `image` is (1, *size, 3) uint8, the output `role` is `tensor`, of that `shape`."""
        import onnx

        image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [1, *size, 3])
        output = onnx.helper.make_tensor_value_info(role, onnx.TensorProto.FLOAT, list(shape))
        nodes = [*self._nodes, onnx.helper.make_node("Identity", [tensor], [role], name=role)]
        graph = onnx.helper.make_graph(nodes, "keras", [image], [output], self._weights)
        opsets = [onnx.helper.make_opsetid("", OPSET)]
        return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="realtime-segmentation")

    def refuse_sliding(self, what: object, why: str) -> None:
        """Raise KerasImportError if the graph slides."""
        if self.is_sliding:
            text = f"{what}: {why}, so this classifier cannot slide over a frame"
            raise KerasImportError(text, "Train one without that layer")
