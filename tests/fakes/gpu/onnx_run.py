"""Networks run by ONNX Runtime's CPU, on the fake GPU's memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from fakegpu.memory import Memory

NUMPY = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16, 11: np.float64}
"""onnx.TensorProto's numbers of the types that NumPy has."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a network; -1 stands for open dimensions."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_input: bool


class Network:
    """An ONNX model that can be run."""

    def __init__(self, data: bytes, *, rounds: bool) -> None:
        """rounds: half precision is rounded after each step, as on a GPU; otherwise computed in float32."""
        self.model = onnx.load_from_string(data)
        self._rounds = rounds
        self._session: Any = None
        self._shapes: dict[tuple[Any, ...], dict[str, tuple[int, ...]]] = {}
        constants = {tensor.name for tensor in self.model.graph.initializer}
        inputs = [value for value in self.model.graph.input if value.name not in constants]
        self.tensors = [_tensor(value, True) for value in inputs] + [_tensor(v, False) for v in self.model.graph.output]
        self.inputs = [tensor for tensor in self.tensors if tensor.is_input]
        self.outputs = [tensor for tensor in self.tensors if not tensor.is_input]
        self.weight_bytes = sum(len(t.raw_data) or 4 * int(np.prod(t.dims, initial=1)) for t in self.model.graph.initializer)

    def run(self, arrays: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        names = [tensor.name for tensor in self.outputs]
        with np.errstate(all="ignore"):
            return dict(zip(names, self.session().run(names, arrays), strict=True))

    def output_shapes(self, input_shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Output shapes for these inputs; if they are open, found by one run."""
        if all(-1 not in tensor.shape for tensor in self.outputs):
            return {tensor.name: tensor.shape for tensor in self.outputs}
        key = tuple(sorted(input_shapes.items()))
        if key not in self._shapes:
            arrays = {tensor.name: np.zeros(input_shapes[tensor.name], tensor.dtype) for tensor in self.inputs}
            self._shapes[key] = {name: array.shape for name, array in self.run(arrays).items()}
        return self._shapes[key]

    def run_on(self, memory: Memory, addresses: dict[str, int], shapes: dict[str, tuple[int, ...]], change: Any = None) -> None:
        """Read the inputs at their addresses, write the outputs to theirs. change: outputs in, other outputs out."""
        arrays = {}
        for tensor in self.inputs:
            data = memory.bytes_at(addresses[tensor.name], byte_count(tensor, shapes), tensor.name)
            arrays[tensor.name] = data.view(tensor.dtype).reshape(shapes[tensor.name]).copy()
        results = self.run(arrays)
        if change is not None:
            results = change(results)
        for tensor in self.outputs:
            result = np.ascontiguousarray(results[tensor.name], tensor.dtype)
            memory.bytes_at(addresses[tensor.name], result.nbytes, tensor.name)[:] = result.reshape(-1).view(np.uint8)

    def session(self) -> Any:
        """ONNX Runtime's session, created at first use."""
        if self._session is None:
            model = _rounded(self.model) if self._rounds else self.model
            self._session = _cpu_session(model.SerializeToString())
        return self._session


def byte_count(tensor: Tensor, shapes: dict[str, tuple[int, ...]]) -> int:
    return int(np.prod(shapes[tensor.name], dtype=np.int64)) * tensor.dtype.itemsize


def _tensor(value: Any, is_input: bool) -> Tensor:
    kind = value.type.tensor_type
    if kind.elem_type not in NUMPY:
        raise NotImplementedError(f"the fake GPU has no {onnx.TensorProto.DataType.Name(kind.elem_type)} inputs and outputs")
    shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else -1 for d in kind.shape.dim)
    return Tensor(value.name, np.dtype(NUMPY[kind.elem_type]), shape, is_input)


def _rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    from engines.onnx_graph.precision import rounding

    return rounding.rounded_for_cpu(model)


@lru_cache(maxsize=8)
def _cpu_session(data: bytes) -> Any:
    from fakegpu.real_ort import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return InferenceSession(data, options, providers=["CPUExecutionProvider"])
