"""ONNX Runtime's CUDA provider on the fake GPU.

    from tests.fakes.gpu.fake_gpu import World, install, install_ort

    with install(World()) as world, install_ort(world):
        session = onnxruntime.InferenceSession(path, options, providers=[("CUDAExecutionProvider", {...})])

Sessions that ask for the CPU only are the real ones. The others take an io_binding with addresses on the fake GPU, and compute on
its streams by the real ONNX Runtime.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from fakegpu import real_ort
from fakegpu.codes import CudaError
from fakegpu.onnx_run import NUMPY, Network, byte_count
from fakegpu.streams import Work, reads, writes
from fakegpu.world import World, current
from onnxruntime.capi import onnxruntime_pybind11_state as errors

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"

NO_SYNC = "disable_synchronize_execution_providers"
"""Run option: "1" returns before the GPU has finished."""

WHOLE = re.compile(r"-?\d+")
TRUTH = re.compile(r"[01]|[Tt]rue|[Ff]alse")
OPTIONS = {
    "device_id": WHOLE, "has_user_compute_stream": TRUTH, "user_compute_stream": WHOLE, "gpu_mem_limit": WHOLE,
    "arena_extend_strategy": re.compile("kNextPowerOfTwo|kSameAsRequested"),
    "cudnn_conv_algo_search": re.compile("EXHAUSTIVE|HEURISTIC|DEFAULT"), "do_copy_in_default_stream": TRUTH,
    "cudnn_conv_use_max_workspace": TRUTH, "cudnn_conv1d_pad_to_nc1d": TRUTH, "enable_cuda_graph": TRUTH,
    "enable_skip_layer_norm_strict_mode": TRUTH, "tunable_op_enable": TRUTH, "tunable_op_tuning_enable": TRUTH,
    "tunable_op_max_tuning_duration_ms": WHOLE, "use_ep_level_unified_stream": TRUTH, "prefer_nhwc": TRUTH, "use_tf32": TRUTH,
    "fuse_conv_bias": TRUTH, "sdpa_kernel": WHOLE, "gpu_external_alloc": WHOLE, "gpu_external_free": WHOLE,
    "gpu_external_empty_cache": WHOLE,
}  # fmt: skip
"""Source: cuda_execution_provider_info.cc, and ONNX Runtime's page on the CUDA provider."""


@contextlib.contextmanager
def install_ort(world: World) -> Iterator[World]:
    """Replace the real session by the fake inside the block."""
    before = onnxruntime.InferenceSession, onnxruntime.get_available_providers
    onnxruntime.InferenceSession = InferenceSession
    onnxruntime.get_available_providers = lambda: available(world)
    try:
        yield world
    finally:
        onnxruntime.InferenceSession, onnxruntime.get_available_providers = before


def available(world: World) -> list[str]:
    """The providers that onnxruntime-gpu is compiled with, usable here or not."""
    return ["TensorrtExecutionProvider", CUDA, CPU] if world.has_cuda_provider else real_ort.get_available_providers()


class InferenceSession:
    """A session with the CUDA provider first, or the real session if that is not requested."""

    def __new__(
        cls, path_or_bytes: Any, sess_options: Any = None, providers: Any = None, provider_options: Any = None, **settings: Any
    ) -> Any:
        names = [entry if isinstance(entry, str) else entry[0] for entry in providers or []]
        if CUDA not in names:
            return real_ort.InferenceSession(path_or_bytes, sess_options, providers, provider_options, **settings)
        return super().__new__(cls)

    def __init__(
        self, path_or_bytes: Any, sess_options: Any = None, providers: Any = None, provider_options: Any = None, **settings: Any
    ) -> None:
        self._world = current()
        if provider_options is not None:
            raise NotImplementedError("the fake takes options in tuples: providers=[(name, options)]")
        asked = {entry if isinstance(entry, str) else entry[0]: {} if isinstance(entry, str) else entry[1] for entry in providers}
        for name in asked:
            if name not in available(self._world):
                warnings.warn(f"Specified provider '{name}' is not in available provider names.", UserWarning, stacklevel=2)
        data = path_or_bytes if isinstance(path_or_bytes, bytes) else Path(path_or_bytes).read_bytes()
        self._real = real_ort.InferenceSession(data, sess_options, providers=[CPU], **settings)
        self._options = {str(key): str(value) for key, value in asked[CUDA].items()}
        self._weights: Any = None
        works = self._world.has_cuda_provider and self._world.is_usable and not self._world.cuda_provider_fails
        self._providers = [CUDA, CPU] if works else [CPU]
        if works:
            with _words():
                self._world.count("InferenceSession")
                self._open(data)

    def _open(self, data: bytes) -> None:
        for key, value in self._options.items():
            if key not in OPTIONS:
                raise errors.EPFail(f'Unknown provider option: "{key}".')
            if not OPTIONS[key].fullmatch(value):
                raise errors.EPFail(f'Failed to parse provider option "{key}": {value}')
        if int(self._options.get("device_id", 0)) >= self._world.devices:
            raise CudaError(101)
        world = self._world
        if not world.is_initialised:
            world.initialise()
        handle = int(self._options.get("user_compute_stream", 0))
        self._own_stream = None if handle else world.make_stream(is_blocking=False)
        if self._own_stream is not None:
            world.died(id(self._own_stream))  # part of the session
        self._stream = world.stream(handle) if handle else self._own_stream
        self._network = Network(data, rounds=True)
        self._weights = world.allocate(max(1, self._network.weight_bytes), "ONNX Runtime weights", is_backed=False)
        world.died(id(self._weights))
        self._context = world.context()
        world.born(id(self), "ONNX Runtime session", CUDA, self._context)

    def __del__(self) -> None:
        if self.__dict__.get("_weights") is None:
            return
        if not self._context.is_live:
            self._world.violations.append("InferenceSession deleted after its CUDA context was given back")
        self._world.died(id(self))
        if self._weights.is_live:
            self._world.free(self._weights)
        if self._own_stream is not None:
            self._world.destroy_stream(self._own_stream)

    def get_providers(self) -> list[str]:
        return list(self._providers)

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return {name: dict(self._options) if name == CUDA else {} for name in self._providers}

    def get_inputs(self) -> Any:
        return self._real.get_inputs()

    def get_outputs(self) -> Any:
        return self._real.get_outputs()

    def get_modelmeta(self) -> Any:
        return self._real.get_modelmeta()

    def disable_fallback(self) -> None:
        """Disables a second try with other providers after a failed run; the fake never retries."""

    def run(self, output_names: Any, input_feed: dict[str, Any], run_options: Any = None) -> Any:
        """Run with host memory, and wait."""
        with _words():
            self._world.count("InferenceSession.run")
        if self._providers == [CPU]:
            return self._real.run(output_names, input_feed)
        results = self._network.run(input_feed)
        return [results[name] for name in output_names or results]

    def io_binding(self) -> IOBinding:
        return IOBinding(self)

    def run_with_iobinding(self, iobinding: IOBinding, run_options: Any = None) -> None:
        if not isinstance(iobinding, IOBinding) or iobinding._session is not self:
            raise TypeError("run_with_iobinding takes what this session's io_binding() made")
        if self._providers == [CPU]:
            raise errors.Fail("There's no data transfer registered for copying tensors from Device:[Gpu] to Device:[Cpu]")
        waits = not _says(run_options, NO_SYNC, "1")
        with _words():
            self._world.count("InferenceSession.run_with_iobinding")
            with self._world.lock:
                self._world.require_context()
                self._world.check_alive()
                self._world.enqueue(self._stream, iobinding._work())
                if waits:
                    self._world.synchronize(self._stream)


class IOBinding:
    """The addresses of inputs and outputs."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self._bound: dict[str, tuple[int, tuple[int, ...]]] = {}

    def bind_input(self, name: str, device_type: str, device_id: int, element_type: Any, shape: Any, buffer_ptr: int) -> None:
        self._bind(name, True, device_type, device_id, element_type, shape, buffer_ptr)

    def bind_output(
        self, name: str, device_type: str = "cpu", device_id: int = 0, element_type: Any = None, shape: Any = None,
        buffer_ptr: int | None = None,
    ) -> None:  # fmt: skip
        if buffer_ptr is None:
            raise NotImplementedError("the fake binds outputs only to allocated memory")
        if element_type is None or shape is None:
            raise ValueError("`element_type` and `shape` are to be provided if pre-allocated memory is provided")
        self._bind(name, False, device_type, device_id, element_type, shape, buffer_ptr)

    def synchronize_inputs(self) -> None:
        """For inputs that ONNX Runtime copies; the fake has none."""

    def synchronize_outputs(self) -> None:
        with _words():
            self._session._world.synchronize(self._session._stream)

    def clear_binding_inputs(self) -> None:
        self._clear(True)

    def clear_binding_outputs(self) -> None:
        self._clear(False)

    def _clear(self, is_input: bool) -> None:
        for tensor in self._session._network.tensors:
            if tensor.is_input == is_input:
                self._bound.pop(tensor.name, None)

    def _bind(self, name: str, is_input: bool, device: str, number: int, element: Any, shape: Any, address: Any) -> None:
        if device not in ("cuda", "cpu", "gpu"):
            raise errors.Fail(f"Unsupported device type: {device}")
        if device == "cpu":
            raise NotImplementedError("the fake binds memory of the GPU")
        if not isinstance(number, int) or number >= self._session._world.devices:
            raise errors.Fail(f"there is no device {number}")
        if not isinstance(address, int) or isinstance(shape, (int, str)):
            raise TypeError(f"bind_input(): incompatible function arguments: {type(shape)}, {type(address)}")
        found = [t for t in self._session._network.tensors if t.name == name and t.is_input == is_input]
        if not found:
            raise errors.InvalidArgument(f"Invalid name: {name}")
        dtype = np.dtype(NUMPY[element] if isinstance(element, int) else element)
        if dtype != found[0].dtype:
            kinds = f"Actual: ({dtype}) , expected: ({found[0].dtype})"
            raise errors.InvalidArgument(f"Unexpected input data type. {kinds}")
        sizes = tuple(int(size) for size in shape)
        if len(sizes) != len(found[0].shape) or any(w not in (-1, s) for w, s in zip(found[0].shape, sizes, strict=True)):
            raise errors.InvalidArgument(f"Got invalid dimensions for {name}: {sizes}, expected {found[0].shape}")
        self._bound[name] = (address, sizes)

    def _work(self) -> Work:
        network, world = self._session._network, self._session._world
        missing = [tensor.name for tensor in network.tensors if tensor.name not in self._bound]
        if missing:
            raise errors.InvalidArgument(f"Missing Input or Output: {', '.join(missing)}")
        addresses = {name: address for name, (address, _) in self._bound.items()}
        shapes = {name: shape for name, (_, shape) in self._bound.items()}
        spans = []
        for tensor in network.tensors:
            span = reads if tensor.is_input else writes
            address = addresses[tensor.name]
            spans.append(span(world.memory.space_of(address), address, byte_count(tensor, shapes)))
        return Work("onnxruntime", lambda: network.run_on(world.memory, addresses, shapes), tuple(spans))


def _says(run_options: Any, key: str, value: str) -> bool:
    if run_options is None:
        return False
    if not isinstance(run_options, onnxruntime.RunOptions):
        raise TypeError("run_options must be onnxruntime.RunOptions")
    try:
        return bool(run_options.get_run_config_entry(key) == value)
    except RuntimeError:
        return False


@contextlib.contextmanager
def _words() -> Iterator[None]:
    """CudaError in ONNX Runtime's form."""
    try:
        yield
    except CudaError as error:
        if error.code == 2:
            text = "Failed to allocate memory for requested buffer"
            raise errors.RuntimeException(f"[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : {text} {error}") from None
        raise errors.Fail(f"[ONNXRuntimeError] : 1 : FAIL : CUDA failure {error.code}: {error}") from None
