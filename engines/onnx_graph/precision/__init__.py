"""Precision as a property of the graph: a float32 ONNX network becomes mixed FP16 or BF16, or INT8 between Q/DQ nodes.

TensorRT 11 supports nothing else, and the cast network runs in the same precision on every runtime.
"""

from engines.onnx_graph.precision.cast import cast_precision
from engines.onnx_graph.precision.offenders import offenders
from engines.onnx_graph.precision.prepare import name_nodes
from engines.onnx_graph.precision.rounding import rounded_for_cpu
from engines.onnx_graph.precision.weights import is_fp32, main_precision

__all__ = ["cast_precision", "is_fp32", "main_precision", "name_nodes", "offenders", "rounded_for_cpu"]
