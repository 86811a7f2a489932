"""Networks, and the parser that reads them from ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from fakegpu.onnx_run import NUMPY, Network
from fakegpu.tensorrt_rules import refusals

from tensorrt._base import Bound, Dims, ILogger, answers, buffer, data_type, make, typed, whole
from tensorrt._enums import MAJOR, LayerType, NetworkDefinitionCreationFlag

LAYER_TYPES = {
    "Conv": "CONVOLUTION", "ConvTranspose": "DECONVOLUTION", "MatMul": "MATRIX_MULTIPLY", "Gemm": "MATRIX_MULTIPLY",
    "Softmax": "SOFTMAX", "Resize": "RESIZE", "Concat": "CONCATENATION", "Relu": "ACTIVATION", "Sigmoid": "ACTIVATION",
    "MaxPool": "POOLING", "AveragePool": "POOLING", "Cast": "CAST", "Gather": "GATHER", "Slice": "SLICE", "ArgMax": "TOPK",
    "TopK": "TOPK", "QuantizeLinear": "QUANTIZE", "DequantizeLinear": "DEQUANTIZE", "ReduceMean": "REDUCE",
    "Constant": "CONSTANT", "Reshape": "SHUFFLE", "Transpose": "SHUFFLE", "Shape": "SHAPE", "Identity": "IDENTITY",
    "Split": "SLICE",
}  # fmt: skip


class ITensor(Bound):
    @property
    def name(self) -> str:
        return str(self._name)

    @property
    def shape(self) -> Dims:
        return Dims(self._shape)

    @property
    def dtype(self) -> Any:
        return self._dtype

    @property
    def is_network_input(self) -> bool:
        return bool(self._is_input)


class ILayer(Bound):
    @property
    def name(self) -> str:
        return str(self._name)

    @property
    def type(self) -> Any:
        return self._type

    @property
    def num_inputs(self) -> int:
        return len(self._node.input)

    @property
    def num_outputs(self) -> int:
        return len(self._node.output)

    def get_output(self, index: int) -> ITensor | None:
        names = list(self._node.output)
        if not 0 <= whole("get_output", index) < len(names):
            return None
        tensor: ITensor = make(ITensor, _name=names[index], _shape=(), _dtype=self._output_types[index], _is_input=False)
        return tensor

    def get_output_type(self, index: int) -> Any:
        return self._output_types[whole("get_output_type", index)]


class INetworkDefinition(Bound):
    """Empty until a parser has filled it."""

    @property
    def name(self) -> str:
        return "Unnamed Network 0"

    @property
    def flags(self) -> int:
        return int(self._flags)

    def get_flag(self, flag: Any) -> bool:
        return bool(self._flags >> int(typed("get_flag", flag, NetworkDefinitionCreationFlag)) & 1)

    @property
    def num_inputs(self) -> int:
        return len(self._network.inputs) if self._network else 0

    @property
    def num_outputs(self) -> int:
        return len(self._network.outputs) if self._network else 0

    @property
    def num_layers(self) -> int:
        return len(self._nodes)

    def get_input(self, index: int) -> ITensor | None:
        return self._tensor(self._network.inputs if self._network else [], whole("get_input", index))

    def get_output(self, index: int) -> ITensor | None:
        return self._tensor(self._network.outputs if self._network else [], whole("get_output", index))

    def get_layer(self, index: int) -> ILayer | None:
        if not 0 <= whole("get_layer", index) < len(self._nodes):
            self._log.error(f"Unexpected exception vector::_M_range_check: __n (which is {index}) >= size {len(self._nodes)}")
            return None
        node, types = self._nodes[index]
        kind = getattr(LayerType, LAYER_TYPES.get(node.op_type, "ELEMENTWISE"))
        name = node.name or f"{node.op_type}_{index}"
        layer: ILayer = make(ILayer, _name=name, _type=kind, _node=node, _output_types=types, _network=self)
        return layer

    def _tensor(self, tensors: list[Any], index: int) -> ITensor | None:
        if not 0 <= index < len(tensors):
            self._log.error(f"INetworkDefinition: Error Code 3: API Usage Error (Invalid index: {index})")
            return None
        tensor = tensors[index]
        made: ITensor = make(
            ITensor, _name=tensor.name, _shape=tensor.shape, _dtype=data_type(tensor.dtype), _is_input=tensor.is_input
        )
        return made

    def _fill(self, data: bytes, network: Network) -> None:
        graph = onnx.shape_inference.infer_shapes(network.model).graph
        kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}

        def type_of(name: str) -> Any:
            return data_type(np.dtype(NUMPY.get(kinds.get(name, 1), np.float32)))

        self._onnx, self._network = data, network
        self._nodes = [(node, [type_of(name) for name in node.output]) for node in graph.node]

    @property
    def _is_strongly_typed(self) -> bool:
        return MAJOR >= 11 or bool(self._flags >> int(NetworkDefinitionCreationFlag.STRONGLY_TYPED) & 1)


class ParserError(Bound):
    def desc(self) -> str:
        return str(self._desc)

    def node(self) -> int:
        return int(self._node)

    def node_name(self) -> str:
        return str(self._node_name)

    def node_operator(self) -> str:
        return str(self._operator)


class OnnxParser(Bound):
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        typed("OnnxParser", network, INetworkDefinition)
        self._bind(_target=network, _log=typed("OnnxParser", logger, ILogger)._log, _errors=[])

    @answers(False)
    def parse(self, model: Any, path: str | None = None) -> bool:
        data = buffer("parse", model)
        if self._target._network is not None:
            self._log.error("ModelImporter.cpp:1170: Parse was called with a non-empty network definition")
            return False
        try:
            network = Network(data, rounds=False)
            onnx.checker.check_model(network.model)
        except NotImplementedError:
            raise
        except Exception as error:
            self._refuse(f"Failed to parse the ONNX model: {str(error).splitlines()[0] if str(error) else type(error)}")
            return False
        for index, node in enumerate(network.model.graph.node):
            if node.op_type in self._world.unsupported_operators:
                reason = f"importer.cpp:{index} in parseNode: Assertion failed: No importer registered for op: {node.op_type}"
                self._refuse(f"{reason}. Attempted to import as plugin.", index, node)
        numbers = {node.output[0]: index for index, node in enumerate(network.model.graph.node)}
        for node, reason in refusals(network.model):
            self._refuse(f"INVALID_NODE: {reason}", numbers[node.output[0]], node)
        if self._errors:
            return False
        try:
            network.session()  # what is mistyped is told here, as a strongly typed network tells it
        except Exception as error:
            self._refuse(f"INVALID_NODE: {' '.join(str(error).split())[:300]}")
            return False
        self._target._fill(data, network)
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError | None:
        if not 0 <= whole("get_error", index) < len(self._errors):
            self._log.error(f"vector::_M_range_check: __n (which is {index}) >= this->size() (which is {len(self._errors)})")
            return None
        error: ParserError = self._errors[index]
        return error

    def clear_errors(self) -> None:
        self._errors.clear()

    def _refuse(self, desc: str, index: int = -1, node: Any = None) -> None:
        name, operator = (node.name, node.op_type) if node is not None else ("", "")
        self._errors.append(make(ParserError, _desc=desc, _node=index, _node_name=name, _operator=operator))
        self._log.error(f"In node {index} with name: {name} and operator: {operator}: {desc}")
