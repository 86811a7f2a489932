"""Suiting: the same network without what TensorRT refuses, so that a file that runs on the CPU can be built.

What it refuses is in its parser's table of operators (operators.md of onnx-tensorrt) and in the comments of its headers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines.onnx_graph.suiting.byte_casts import bytes_through_float
from engines.onnx_graph.suiting.norms import without_group_normalisation
from engines.onnx_graph.suiting.top_k import with_small_top_k

if TYPE_CHECKING:
    import onnx

__all__ = ["bytes_through_float", "suited"]


def suited(model: onnx.ModelProto) -> onnx.ModelProto:
    """A network with the same results that TensorRT 10.3 to 11.x can read; `model` itself if that is so already.

    Call `bytes_through_float` again after a cast to half precision. Raises ModelFileError for a TopK that is too large.
    """
    return bytes_through_float(with_small_top_k(without_group_normalisation(model)))
