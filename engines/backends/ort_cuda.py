"""ONNX Runtime on CUDA: for a GPU without TensorRT. The same kernel writes its input, and it runs on the same stream.

The model runs as its file is, its outputs fused first so that little is downloaded. FP32 means FP32: TF32 is off.
"""

from __future__ import annotations

import contextlib
import io
import time
from contextlib import ExitStack
from typing import Any

import numpy as np

from engines.backends import EngineOptions, Inference
from engines.backends.common.opening import at_size, harmful_optimisers, load_onnxruntime, one_line
from engines.errors import BackendUnavailableError, InferenceError
from engines.gpu.buffer import Buffer
from engines.gpu.device import Device, import_pycuda
from engines.gpu.driver import Driver
from engines.gpu.letterbox import FrameBuffer, LetterboxKernel
from engines.gpu.staying import painted, painter_of
from engines.models.exporting import fuse_outputs
from engines.models.fit import fit
from engines.models.model import Model
from engines.onnx_graph.editing import input_shape
from engines.onnx_graph.reading import read_tensors
from engines.pictures.raw import FORMATS, PictureLike, size_of

PROVIDER = "CUDAExecutionProvider"

NO_PROVIDER = "this ONNX Runtime is built without CUDA"

RANK = 20
OPTIONS = ("input_px",)
TAKES_SIDE_INPUTS = False


def missing() -> str | None:
    try:
        Driver()
        import_pycuda()
        available = load_onnxruntime("onnxruntime-gpu").get_available_providers()
    except BackendUnavailableError as error:
        return error.what
    return None if PROVIDER in available else NO_PROVIDER


def open_engine(model: Model, options: EngineOptions) -> OrtCudaEngine:
    """Load `model` on the GPU. Raises BackendUnavailableError: no GPU, no CUDA in ONNX Runtime, a graph that it refuses."""
    with at_size(model, options) as sized:
        return OrtCudaEngine(sized)


class OrtCudaEngine:
    def __init__(self, model: Model) -> None:
        onnxruntime = load_onnxruntime("onnxruntime-gpu")
        Driver()
        if PROVIDER not in onnxruntime.get_available_providers():
            raise BackendUnavailableError(
                NO_PROVIDER,
                "Replace it: pip uninstall -y onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]' pycuda "
                "(on a Jetson: NVIDIA's wheel for its JetPack)",
            )
        if hasattr(onnxruntime, "preload_dlls"):  # finds the CUDA and cuDNN that came from pip
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what it misses; the session's error is clearer
                onnxruntime.preload_dlls()
        import onnx

        network, self.card = fuse_outputs(onnx.load(model.path), model.card)
        self._session: Any = None
        self._binding: Any = None
        with ExitStack() as stack:
            self._device = stack.enter_context(Device())
            self._stream = self._device.stream()
            self._frame = FrameBuffer(self._device)
            self._kernel = LetterboxKernel(self._device, self.card.input)
            self._device.on_close(self._forget)  # before the stream that it runs on
            self._done = self._device.event()
            self._session = self._open_session(onnxruntime, network, model.path.name)
            self._run_options = onnxruntime.RunOptions()
            # It runs on our stream, after the kernel and before the downloads: one wait, ours, is enough.
            self._run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
            self._bind(network)
            self._masks = painter_of(self._device, self.card, self._outputs)
            self._runs = 0
            self._stack = stack.pop_all()
        self.takes = frozenset(FORMATS)
        self.description = f"ONNX Runtime {onnxruntime.__version__}, CUDA, {self._device.facts.short_name}, {model.precision}"
        self.description += ", zero copy" if self._device.shares_memory else ""

    def infer(self, image: PictureLike) -> Inference:
        self._device.check_thread()
        begin_s = time.perf_counter()
        self._frame.stage(image)
        geometry = fit(size_of(image), self.card.input.size, self.card.input.fit)
        staged_s = time.perf_counter()
        with self._device.running(f"run {self.card.name}"):
            self._frame.upload(self._stream)
            self._kernel.enqueue(self._frame.address, self._input.address, geometry, self._stream, self._frame.pixels)
            self._run()
            for name, output in self._outputs.items():
                if name not in self._masks.staying:
                    output.download(self._stream)
            self._done.record(self._stream)
        self._done.synchronise()
        self._runs += 1
        number = self._runs
        outputs = self._masks.outputs(self._outputs, lambda: self._runs == number)
        return Inference(outputs, geometry, (staged_s - begin_s) * 1e3, (time.perf_counter() - staged_s) * 1e3)

    def close(self) -> None:
        self._stack.close()

    def _open_session(self, onnxruntime: Any, network: Any, name: str) -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # failures arrive as exceptions; its log would say them twice
        provider = {
            "device_id": str(self._device.facts.number),
            "user_compute_stream": str(self._stream.handle),
            "cudnn_conv_algo_search": "EXHAUSTIVE",  # once, in the warm-up
            "arena_extend_strategy": "kSameAsRequested",
            "use_tf32": "0",
        }
        try:
            session = onnxruntime.InferenceSession(
                network.SerializeToString(),
                options,
                providers=[(PROVIDER, provider), "CPUExecutionProvider"],
                disabled_optimizers=harmful_optimisers(network),
            )
        except Exception as error:  # its exception types are private; all mean "this graph does not run here"
            raise BackendUnavailableError(f"ONNX Runtime cannot load {name} on the GPU: {one_line(error)}") from error
        if PROVIDER not in session.get_providers():
            raise BackendUnavailableError(
                "ONNX Runtime fell back to the CPU, as it does where cuDNN or the CUDA libraries are missing",
                "Install them: pip install 'onnxruntime-gpu[cuda,cudnn]'",
            )
        return session

    def _bind(self, network: Any) -> None:
        """Give the session our memory for its input and each output."""
        spec, device = self.card.input, self._device
        shape = input_shape(spec)
        dtype = np.dtype(spec.dtype)
        self._input = device.memory(int(np.prod(shape)) * dtype.itemsize)
        self._outputs: dict[str, Buffer] = {}
        self._binding = self._session.io_binding()
        number = device.facts.number
        self._binding.bind_input(spec.tensor, "cuda", number, dtype.type, shape, self._input.address)
        _, outputs = read_tensors(network)
        for tensor in outputs:
            if tensor.name not in self.card.outputs.values():
                continue
            if None in tensor.shape:
                raise BackendUnavailableError(f"{self.card.name}: the size of output {tensor} is open", "Use --backend ort")
            dims = tuple(length or 0 for length in tensor.shape)
            output = self._outputs[tensor.name] = Buffer(device, dims, tensor.dtype, stays=tensor.name in painted(self.card))
            self._binding.bind_output(tensor.name, "cuda", number, output.array.dtype.type, dims, output.address)

    def _run(self) -> None:
        try:
            self._session.run_with_iobinding(self._binding, self._run_options)
        except Exception as error:
            raise InferenceError(f"ONNX Runtime failed while running: {one_line(error)}") from error

    def _forget(self) -> None:
        """Let ONNX Runtime free its memory while the CUDA context exists."""
        self._binding = None
        self._session = None
