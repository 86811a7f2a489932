"""OpenVINO on the CPU: the fastest engine on Intel and AMD, in bfloat16 where the processor has it."""

from __future__ import annotations

import contextlib
from importlib.util import find_spec
from typing import Any

from engines.backends import EngineOptions
from engines.backends.common.opening import CpuEngine, at_size
from engines.errors import BackendUnavailableError, InferenceError
from engines.loading import import_openvino, not_loaded
from engines.models.model import Model
from engines.onnx_graph.checking import ITERATING
from engines.onnx_graph.editing import input_shape
from engines.types import Outputs

PRECISION_NAMES = {"bf16": "bf16", "bfloat16": "bf16", "f16": "fp16", "float16": "fp16", "f32": "fp32", "float32": "fp32"}

RANK = 30
OPTIONS = ("input_px",)
TAKES_SIDE_INPUTS = True


def missing() -> str | None:
    return None if find_spec("openvino") else "OpenVINO is not installed"


def open_engine(model: Model, options: EngineOptions) -> OpenVinoEngine:
    """Compile `model` for the CPU. Raises BackendUnavailableError when OpenVINO is missing or refuses the graph."""
    if iterating := sorted(model.operators & ITERATING):
        raise BackendUnavailableError(f"{', '.join(iterating)} in its graph cannot be interrupted in OpenVINO")
    if quantised := sorted(filter(_is_quantised, model.operators)):
        what = f"OpenVINO computes INT8 between QuantizeLinear and DequantizeLinear alone, not {', '.join(quantised[:3])}"
        raise BackendUnavailableError(what, "Use --backend ort")
    with at_size(model, options) as sized:
        return OpenVinoEngine(sized)


def _is_quantised(operator: str) -> bool:
    """Whether it computes in INT8 itself: what OpenVINO makes of some of these is wrong, without an error."""
    return operator.startswith(("QLinear", "QGemm", "QAttention")) or operator in ("ConvInteger", "MatMulInteger")


class OpenVinoEngine(CpuEngine):
    def __init__(self, model: Model) -> None:
        super().__init__(model)
        try:
            openvino = import_openvino()
        except ImportError as error:
            raise not_loaded("OpenVINO", "openvino", error) from error
        try:
            core = openvino.Core()
            core.set_property({"ENABLE_MMAP": False})  # or a file of weights that is shortened ends the process
            network = core.read_model(model.path)
            network.reshape({self._input: list(input_shape(model.card.input))})
            compiled = core.compile_model(network, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
            self._request = compiled.create_infer_request()
            precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        except RuntimeError as error:
            raise BackendUnavailableError(f"OpenVINO cannot compile {model.path.name}: {_one_line(error)}") from error
        version = openvino.__version__.split("-")[0]
        self.description = f"OpenVINO {version}, CPU, {PRECISION_NAMES.get(precision, precision)}"

    def _run(self, feeds: dict[str, Any]) -> Outputs:
        try:
            self._request.infer(feeds, share_inputs=True)
            # Views of the request's own memory: no copy, valid until the next run.
            return {name: self._request.get_tensor(name).data for name in self._asked}
        except RuntimeError as error:
            raise InferenceError(f"OpenVINO failed while running: {_one_line(error)}") from error

    def cancel(self) -> None:
        with contextlib.suppress(AttributeError):  # closed meanwhile
            self._request.cancel()

    def close(self) -> None:
        del self._request


def _one_line(error: Exception) -> str:
    """The last line gives the reason; those before it, the place in OpenVINO's source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
