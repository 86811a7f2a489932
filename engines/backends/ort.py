"""ONNX Runtime on the CPU: the engine that runs everywhere."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from engines.backends import EngineOptions, Inference
from engines.backends.common.opening import CpuEngine, at_size, harmful_optimisers, load_onnxruntime, one_line
from engines.errors import BackendUnavailableError, InferenceError
from engines.models.model import Model
from engines.types import Image, Outputs

log = logging.getLogger(__name__)

MOST_IMAGES = 8
"""In a batch: bounds a run's memory, and the wait for its first image."""

RANK = 40
OPTIONS = ("input_px",)
TAKES_SIDE_INPUTS = True


def missing() -> str | None:
    return None if find_spec("onnxruntime") else "ONNX Runtime is not installed"


def open_engine(model: Model, options: EngineOptions) -> OrtEngine:
    """Load `model`. Raises BackendUnavailableError when ONNX Runtime is missing or refuses the graph."""
    with at_size(model, options) as sized:
        return OrtEngine(sized)


class OrtEngine(CpuEngine):
    def __init__(self, model: Model) -> None:
        super().__init__(model)
        onnxruntime = load_onnxruntime("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = os.cpu_count() or 1
        options.log_severity_level = 4  # failures arrive as exceptions; its log would say them twice
        # Threads that spin between runs starve the decoder and the window on the same cores: 184 ms a frame against 89.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            network = _load_graph(model.path)
            self._weights = give_external_weights(onnxruntime, options, network, model.path.parent)
            self._session = onnxruntime.InferenceSession(
                str(model.path), options, providers=["CPUExecutionProvider"], disabled_optimizers=harmful_optimisers(network)
            )
        except Exception as error:  # its exception types are private; all mean "this graph does not run here"
            cure = "Its CPU has no bf16: use --backend openvino, or export fp16" if model.precision == "bf16" else ""
            raise BackendUnavailableError(f"ONNX Runtime cannot load {model.path.name}: {one_line(error)}", cure) from error
        self._run_options = onnxruntime.RunOptions()
        self.batch = self._batch()
        self.description = f"ONNX Runtime {onnxruntime.__version__}, CPU, {model.precision}"

    def infer_batch(self, images: Sequence[Image]) -> list[Inference]:
        start = time.perf_counter()
        tensors, geometries = [], []
        for image in images:
            tensor, geometry = self._fill(image)
            tensors.append(tensor.copy())
            geometries.append(geometry)
        batch = np.concatenate(tensors)
        filled = time.perf_counter()
        count = len(images)
        try:
            by_name = self._run({self._input: batch})
            if any(len(by_name[name]) != count for name in self._outputs):
                raise InferenceError(f"{self.card.name}: the outputs have another length than the batch")
        except InferenceError as error:  # its shapes promise batches, its constants know one image only
            log.warning("%s runs image by image: %s", self.card.name, error)
            self.batch = 1
            return [self.infer(image) for image in images]
        done = time.perf_counter()
        fill_ms, run_ms = (filled - start) * 1e3 / count, (done - filled) * 1e3 / count
        return [
            Inference({name: by_name[name][row : row + 1] for name in self._outputs}, geometry, fill_ms, run_ms)
            for row, geometry in enumerate(geometries)
        ]

    def _run(self, feeds: dict[str, Any]) -> Outputs:
        try:
            return dict(zip(self._asked, self._session.run(self._asked, feeds, self._run_options), strict=True))
        except Exception as error:
            raise InferenceError(f"ONNX Runtime failed while running: {one_line(error)}") from error

    def _batch(self) -> int:
        """How many images a run may take: several where the network has no states and its batch axis is open throughout."""
        tensors = [*self._session.get_inputs(), *(out for out in self._session.get_outputs() if out.name in self._outputs)]
        is_open = all(tensor.shape and not isinstance(tensor.shape[0], int) for tensor in tensors)
        return MOST_IMAGES if is_open and not self.card.side_inputs else 1

    def cancel(self) -> None:
        with contextlib.suppress(AttributeError):  # closed meanwhile
            self._run_options.terminate = True

    def close(self) -> None:
        del self._session, self._run_options, self._weights


def _load_graph(path: Path) -> Any:
    """The network as onnx.ModelProto, without the weights that are in other files."""
    import onnx

    return onnx.load(path, load_external_data=False)


def give_external_weights(onnxruntime: Any, options: Any, network: Any, folder: Path) -> list[Any]:
    """Give ONNX Runtime the weights that are in other files, read into memory; the values that it refers to.

    It would map the files itself, and whoever shortened one of them while it runs would end the process.
    """
    import onnx

    outside = [tensor for tensor in network.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    names, values = [], []
    for tensor in outside:
        onnx.external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        array = onnx.numpy_helper.to_array(tensor)
        names.append(tensor.name)
        values.append(onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, tensor.data_type))
        tensor.ClearField("raw_data")
    if names:
        options.add_external_initializers(names, values)
    return values
