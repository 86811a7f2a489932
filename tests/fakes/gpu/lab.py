"""Helpers of the fakes' tests."""

from __future__ import annotations

import contextlib
import ctypes
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.fakes.gpu.fake_gpu import FakeLibcuda, World

HANDLE = ctypes.c_void_p
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


@contextlib.contextmanager
def cuda_with_context() -> Iterator[Any]:
    """pycuda.driver, with a context on this thread."""
    import pycuda.driver as cuda

    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    yield cuda
    cuda.Context.pop()
    context.detach()


def copies(cuda: Any) -> tuple[Any, Any, Any, Any, Callable[[], None]]:
    """A stream, source, target and memory, and a function that copies through them."""
    stream, memory = cuda.Stream(), cuda.mem_alloc(16)
    source, target = cuda.pagelocked_zeros(16, np.uint8), cuda.pagelocked_zeros(16, np.uint8)

    def enqueue() -> None:
        cuda.memcpy_htod_async(memory, source, stream)
        cuda.memcpy_dtoh_async(target, memory, stream)

    return stream, source, target, memory, enqueue


def capture(lib: FakeLibcuda, stream: Any, enqueue: Callable[[], None], mode: int = 1) -> tuple[int, HANDLE]:
    """EndCapture's result, and the executable graph."""
    graph, executable = HANDLE(), HANDLE()
    assert lib.cuStreamBeginCapture_v2(HANDLE(stream.handle), mode) == 0
    enqueue()
    code = lib.cuStreamEndCapture(HANDLE(stream.handle), ctypes.byref(graph))
    if code == 0:
        assert lib.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, ctypes.c_ulonglong(0)) == 0
        assert lib.cuGraphDestroy(graph) == 0
    return code, executable


def network(kind: int = FLOAT, batch: int | str = 1, factor: float = 2.0) -> bytes:
    """A convolution with one weight of `factor`, then a Relu."""
    dtype = np.float16 if kind == HALF else np.float32
    weights = numpy_helper.from_array(np.full((1, 1, 1, 1), factor, dtype), "weights")
    nodes = [
        helper.make_node("Conv", ["x", "weights"], ["c"], "conv"),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("MaxPool", ["r"], ["y"], "pool", kernel_shape=[1, 1]),
    ]
    shape = [batch, 1, 2, 2]
    values = [helper.make_tensor_value_info(name, kind, shape) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "net", values[:1], values[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


class Lab:
    """TensorRT with a logger that keeps messages, a context, and a short way to an engine."""

    def __init__(self, world: World) -> None:
        import pycuda.driver as cuda
        import tensorrt as trt

        self.world, self.cuda, self.trt = world, cuda, trt
        heard: list[str] = []
        self.heard = heard

        class Logger(trt.ILogger):
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                heard.append(f"{severity} {msg}")

        self.logger = Logger()

    def parsed(self, data: bytes, **builder: Any) -> tuple[Any, Any, Any]:
        builder = self.trt.Builder(self.logger)
        flag = 1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        net = builder.create_network(flag)
        assert self.trt.OnnxParser(net, self.logger).parse(data)
        config = builder.create_builder_config()
        config.profiling_verbosity = self.trt.ProfilingVerbosity.DETAILED
        return builder, net, config

    def plan(self, data: bytes) -> bytes:
        builder, net, config = self.parsed(data)
        return bytes(builder.build_serialized_network(net, config))

    def engine(self, data: bytes) -> Any:
        return self.trt.Runtime(self.logger).deserialize_cuda_engine(self.plan(data))

    def layers(self, engine: Any) -> list[Any]:
        text = engine.create_engine_inspector().get_engine_information(self.trt.LayerInformationFormat.JSON)
        layers: list[Any] = json.loads(text)["Layers"]
        return layers

    def ready(self, engine: Any, dtype: npt.DTypeLike = np.float32) -> tuple[Any, Any, Any, Any]:
        """A context with addresses, a stream, and the memory of x and y."""
        context, stream = engine.create_execution_context(), self.cuda.Stream()
        x, y = self.cuda.to_device(np.full((1, 1, 2, 2), 3, dtype)), self.cuda.mem_alloc(16)
        context.set_tensor_address("x", int(x))
        context.set_tensor_address("y", int(y))
        return context, stream, x, y
