"""ONNX Runtime on the CPU: the engine that runs everywhere."""

from __future__ import annotations

import os
import time

from engines.backends import Inference
from engines.backends.common.side_inputs import SideInputs
from engines.errors import BackendUnavailableError, InferenceError
from engines.loading import import_onnxruntime
from engines.models.fit import InputFiller
from engines.models.model import Model
from engines.types import Image


def open_engine(model: Model) -> OrtEngine:
    """Load `model`. Raises BackendUnavailableError when ONNX Runtime is missing or refuses the graph."""
    return OrtEngine(model)


class OrtEngine:
    def __init__(self, model: Model) -> None:
        try:
            onnxruntime = import_onnxruntime()
        except ImportError as error:
            raise BackendUnavailableError(f"ONNX Runtime is not installed ({error}): pip install onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = os.cpu_count() or 1
        options.log_severity_level = 4  # failures arrive as exceptions; its log would say them twice
        # Threads that spin between runs starve the decoder and the window on the same cores: 184 ms a frame against 89.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(str(model.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exception types are private; all mean "this graph does not run here"
            cure = "; its CPU has no bf16: use --backend openvino, or export fp16" if model.precision == "bf16" else ""
            raise BackendUnavailableError(f"ONNX Runtime cannot load {model.path.name}: {_one_line(error)}{cure}") from error
        self.card = model.card
        self._fill = InputFiller(model.card.input)
        self._input = model.card.input.tensor
        self._outputs = list(model.card.outputs.values())
        self._side = SideInputs(model.card, model.inputs)
        self._asked = list(dict.fromkeys((*self._outputs, *self._side.outputs)))
        self.description = f"ONNX Runtime {onnxruntime.__version__}, CPU, {model.precision}"

    def infer(self, image: Image) -> Inference:
        start = time.perf_counter()
        tensor, geometry = self._fill(image)
        filled = time.perf_counter()
        try:
            arrays = self._session.run(self._asked, {self._input: tensor, **self._side.feeds})
        except Exception as error:
            raise InferenceError(f"ONNX Runtime failed while running: {_one_line(error)}") from error
        done = time.perf_counter()
        by_name = dict(zip(self._asked, arrays, strict=True))
        self._side.keep(by_name)
        outputs = {name: by_name[name] for name in self._outputs}
        return Inference(outputs, geometry, (filled - start) * 1e3, (done - filled) * 1e3)

    def reset(self) -> None:
        self._side.reset()

    def close(self) -> None:
        del self._session


def _one_line(error: Exception) -> str:
    """One line, and of a long one its end: it begins with paths and ends with the reason."""
    line = " ".join(str(error).split())
    return line if len(line) <= 200 else f"...{line[-200:]}"
