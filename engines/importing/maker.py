"""An ONNX graph in the making: nodes, weights and names, and what is known of each value on its way through.

Inside the graph every value is (1, C, Y, X) float32, whatever its shape in Keras: a vector is a map of one position. A dense
layer is then a convolution, and a classifier that slides over a frame is the same graph on a larger map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.importing.errors import KerasImportError

OPSET = 17
IR_VERSION = 8
"""What belongs to opset 17; runtimes refuse files newer than they are."""


@dataclass(frozen=True, slots=True)
class Value:
    """What flows between two layers.

    tensor: its name in the graph. shape: what Keras says, without the batch: (height, width, channels) or (channels,).
    window: of a flattened map that is still a map in the graph, its rows and columns; else None. stride: how many pixels of the
    input, down and across, lie between two positions.
    """

    tensor: str
    shape: tuple[int, ...]
    window: tuple[int, int] | None = None
    stride: tuple[int, int] = (1, 1)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the map: (1, 1) of a vector."""
        return (self.shape[0], self.shape[1]) if len(self.shape) == 3 else (1, 1)

    @property
    def channels(self) -> int:
        return self.shape[-1]


class Maker:
    """Collects nodes. is_sliding: the graph's maps are larger than Keras' shapes say, which then speak of one window."""

    def __init__(self, is_sliding: bool = False) -> None:
        self.is_sliding = is_sliding
        self.approximate: list[str] = []
        """Layers that pad a window's edge with noughts, and see its neighbours when it slides."""
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._taken: set[str] = set()

    def unique(self, name: str) -> str:
        """`name`, or with a number behind it where it is taken; taken from now on."""
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
        """A new int64 constant, as shapes and axes are given to nodes."""
        return self.weight(name, list(numbers), np.int64)

    def node(self, op_type: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """A new node with one output; returns that."""
        import onnx

        label = self.unique(name)
        self._nodes.append(onnx.helper.make_node(op_type, list(inputs), [label], name=label, **attributes))
        return label

    def model(self, size: tuple[int, int], outputs: Sequence[tuple[str, str, Sequence[int]]]) -> Any:
        """The onnx.ModelProto, from the input `image` (1, height, width, 3) uint8 to `outputs`: role, tensor, shape."""
        import onnx

        named = [onnx.helper.make_node("Identity", [tensor], [role], name=role) for role, tensor, _ in outputs]
        height, width = size
        graph = onnx.helper.make_graph(
            [*self._nodes, *named],
            "keras",
            [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [1, height, width, 3])],
            [onnx.helper.make_tensor_value_info(role, onnx.TensorProto.FLOAT, list(shape)) for role, _, shape in outputs],
            self._weights,
        )
        opsets = [onnx.helper.make_opsetid("", OPSET)]
        return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="realtime-segmentation")

    def refuse_sliding(self, what: object, why: str) -> None:
        """Raises KerasImportError while sliding."""
        if self.is_sliding:
            raise KerasImportError(f"{what}: {why}, so this classifier cannot slide over a frame; train one without that layer")
