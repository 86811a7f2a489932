"""Convolutions and matrix products in INT8 between Q/DQ nodes, the rest in FP16: the one INT8 that TensorRT 11 still builds."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engines.precision.cast import cast_precision
from engines.precision.prepare import prepared, with_opset
from engines.precision.rules import leading_to_heavy
from engines.precision.wiring import FLOAT16, Wiring

if TYPE_CHECKING:
    import onnx

QUANTISED = ("Conv", "MatMul", "Gemm")

QDQ_OPSET = 21
"""The scales of Q/DQ nodes may be FP16 from 19 on; 21 is the first opset whose Q/DQ ONNX's converter reaches from older ones."""


def quantise_qdq(
    model: onnx.ModelProto, feeds: Sequence[Mapping[str, npt.NDArray[Any]]], *, keep: Sequence[str] = ()
) -> onnx.ModelProto:
    """A new model with INT8 convolutions and matrix products, symmetric, weights by output channel; the rest is mixed FP16.

    feeds: real inputs by tensor name, in the model's types; the range of every activation is what is seen in them, so give some
    dozens that are typical. The last heavy layers, which predict, stay in FP16, and so do the nodes named in `keep`. Inputs and
    outputs keep their types. Where ONNX's converter cannot raise the opset, the scales are FP32 between casts. Raises ValueError
    without feeds, or where nothing can be quantised.
    """
    if not feeds:
        raise ValueError("quantising wants real inputs to measure activations on: give some dozens of frames")
    tidy, _ = prepared(with_opset(model, QDQ_OPSET), FLOAT16)
    wiring = Wiring(tidy)
    chosen = [node.name for node in _quantisable(wiring) if node.name not in keep]
    if not chosen:
        raise ValueError("no convolution or matrix product with constant weights before the last layers: nothing to quantise")
    return cast_precision(_with_qdq(tidy, feeds, chosen), "fp16")


def _quantisable(wiring: Wiring) -> Iterator[Any]:
    """Heavy nodes with constant weights that another heavy node follows."""
    for node, leads in zip(wiring.nodes, leading_to_heavy(wiring), strict=True):
        if leads and node.op_type in QUANTISED and node.input[1] in wiring.constants and wiring.is_float(node.input[0]):
            yield node


class _Feeds:
    """What onnxruntime.quantization asks for its frames."""

    def __init__(self, feeds: Sequence[Mapping[str, npt.NDArray[Any]]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        feed = next(self._feeds, None)
        return None if feed is None else {name: np.ascontiguousarray(array) for name, array in feed.items()}


def _with_qdq(model: onnx.ModelProto, feeds: Sequence[Mapping[str, npt.NDArray[Any]]], chosen: Sequence[str]) -> onnx.ModelProto:
    """The float32 model with Q/DQ around the chosen nodes."""
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory(prefix="quantise-") as folder, _quiet():
        source, target = Path(folder, "float.onnx"), Path(folder, "qdq.onnx")
        onnx.save(model, str(source))
        quantize_static(
            str(source),
            str(target),
            _Feeds(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_quantize=list(chosen),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": list(QUANTISED),
            },
        )
        return onnx.load(str(target))


@contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime.quantization logs advice on the root logger that does not fit a graph prepared as ours is."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
