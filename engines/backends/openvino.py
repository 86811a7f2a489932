"""OpenVINO on the CPU: the fastest engine on Intel and AMD, in bfloat16 where the processor has it."""

from __future__ import annotations

import time
from importlib.util import find_spec

from engines.backends import EngineOptions, Inference
from engines.backends.common.opening import at_size
from engines.backends.common.side_inputs import SideInputs
from engines.errors import BackendUnavailableError, InferenceError
from engines.loading import import_openvino
from engines.models.fit import InputFiller
from engines.models.model import Model
from engines.types import Image

PRECISION_NAMES = {"bf16": "bf16", "bfloat16": "bf16", "f16": "fp16", "float16": "fp16", "f32": "fp32", "float32": "fp32"}


RANK = 30
OPTIONS = ("input_px",)
TAKES_SIDE_INPUTS = True


def missing() -> str | None:
    return None if find_spec("openvino") else "OpenVINO is not installed"


def open_engine(model: Model, options: EngineOptions) -> OpenVinoEngine:
    """Compile `model` for the CPU. Raises BackendUnavailableError when OpenVINO is missing or refuses the graph."""
    with at_size(model, options.size) as sized:
        return OpenVinoEngine(sized)


class OpenVinoEngine:
    def __init__(self, model: Model) -> None:
        try:
            openvino = import_openvino()
        except ImportError as error:
            raise BackendUnavailableError(f"OpenVINO is not installed ({error})", "Install it: pip install openvino") from error
        spec = model.card.input
        height, width = spec.size.height, spec.size.width
        shape = [1, 3, height, width] if spec.layout == "nchw" else [1, height, width, 3]
        try:
            core = openvino.Core()
            network = core.read_model(model.path)
            network.reshape({spec.tensor: shape})
            compiled = core.compile_model(network, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
            self._request = compiled.create_infer_request()
            precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        except RuntimeError as error:
            raise BackendUnavailableError(f"OpenVINO cannot compile {model.path.name}: {_one_line(error)}") from error
        self.card = model.card
        self._fill = InputFiller(spec)
        self._input = spec.tensor
        self._outputs = tuple(model.card.outputs.values())
        self._side = SideInputs(model.card, model.inputs)
        version = openvino.__version__.split("-")[0]
        self.description = f"OpenVINO {version}, CPU, {PRECISION_NAMES.get(precision, precision)}"

    def infer(self, image: Image, stream: int = 0) -> Inference:
        start = time.perf_counter()
        tensor, geometry = self._fill(image)
        filled = time.perf_counter()
        try:
            self._request.infer({self._input: tensor, **self._side.feeds(stream)}, share_inputs=True)
            # Views of the request's own memory: no copy, valid until the next run.
            outputs = {name: self._request.get_tensor(name).data for name in self._outputs}
            self._side.keep(stream, {name: self._request.get_tensor(name).data for name in self._side.outputs})
        except RuntimeError as error:
            raise InferenceError(f"OpenVINO failed while running: {_one_line(error)}") from error
        done = time.perf_counter()
        return Inference(outputs, geometry, (filled - start) * 1e3, (done - filled) * 1e3)

    def forget(self, stream: int) -> None:
        self._side.forget(stream)

    def reset(self) -> None:
        self._side.reset()

    def close(self) -> None:
        del self._request


def _one_line(error: Exception) -> str:
    """The last line gives the reason; those before it, the place in OpenVINO's source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
