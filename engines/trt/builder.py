"""ONNX to plan. Precision is in the graph already: the network is strongly typed, so what was cast is what is built."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engines.errors import BackendUnavailableError, BuildCancelledError, BuildError
from engines.trt.runtime import TensorRt

Report = Callable[[str, "float | None"], None]
"""Called with what is going on and how much of it is done (0 to 1, None when nobody knows)."""

REPORT_EVERY_S = 0.1

TARGETS_ARE_RTX = "--target is for --runtime tensorrt-rtx: TensorRT itself builds on the GPU that it builds for"


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build. Sizes are in bytes."""

    workspace_bytes: int
    """Scratch memory that a layer may take."""
    largest_batch: int = 1
    """Above 1 the network must have an open batch dimension: the engine then takes 1 to this many images."""
    targets: tuple[str, ...] = ()
    """Compute capabilities to build for, "86", without a GPU (TensorRT-RTX only); empty: this machine's GPU."""
    keeps_tf32: bool = False
    """Let FP32 be rounded to TF32 inside. Off: FP32 means FP32."""
    dla_core: int | None = None


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """A plan, and what TensorRT measured while it built it."""

    plan: bytes
    timing_cache: bytes | None


def build_plan(
    tensorrt: TensorRt,
    onnx: bytes,
    options: BuildOptions,
    *,
    timing_cache: bytes | None = None,
    report: Report = lambda phase, fraction: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> BuiltPlan:
    """Build a strongly typed network from an ONNX file's bytes.

    report, is_cancelled: called from TensorRT's own threads. Raises BuildError with TensorRT's reason, BuildCancelledError.
    """
    tensorrt.messages.clear()
    builder = _make_builder(tensorrt)
    network = builder.create_network(_network_flags(tensorrt, options))
    _parse(tensorrt, network, onnx)
    config = builder.create_builder_config()
    _configure(tensorrt, builder, network, config, options)
    cache = _attach_timing_cache(tensorrt, config, timing_cache) if tensorrt.name == "tensorrt" else None  # RTX times nothing
    monitor = _monitor(tensorrt.trt, report, is_cancelled)
    if monitor is not None:
        config.progress_monitor = monitor
    report("building", None)
    plan = builder.build_serialized_network(network, config)
    if is_cancelled():
        raise BuildCancelledError("the build was cancelled")
    if plan is None:
        raise BuildError(f"{tensorrt.title} could not build the network: {tensorrt.messages.reason()}")
    return BuiltPlan(bytes(plan), None if cache is None else bytes(cache.serialize()))


def _make_builder(tensorrt: TensorRt) -> Any:
    try:
        builder = tensorrt.trt.Builder(tensorrt.logger)
    except TypeError as error:  # all it says is "factory function returned nullptr"
        raise BackendUnavailableError(f"{tensorrt.title} cannot build here: {tensorrt.messages.reason()}") from error
    return builder


def _network_flags(tensorrt: TensorRt, options: BuildOptions) -> int:
    trt = tensorrt.trt
    if _needs_precision_flags(tensorrt, options):
        return 0
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _needs_precision_flags(tensorrt: TensorRt, options: BuildOptions) -> bool:
    """The DLA of TensorRT 10 takes no strongly typed networks."""
    return options.dla_core is not None and tensorrt.major < 11


def _parse(tensorrt: TensorRt, network: Any, onnx: bytes) -> None:
    parser = tensorrt.trt.OnnxParser(network, tensorrt.logger)
    if parser.parse(onnx):
        return
    reasons = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        node = f"node {name}: " if (name := error.node_name()) else ""
        text = " ".join(str(error.desc()).split())[:160]
        if "Plugin not found" in text or text == "false":  # what it says of operators that it does not know, or knows it lacks
            text = f"it has no operator {error.node_operator()}"
        reasons.append(node + text)
    said = "; ".join(reasons[:3]) or tensorrt.messages.reason()
    raise BuildError(f"{tensorrt.title} cannot read the network ({said}): export it again with opset 17 or newer")


def _configure(tensorrt: TensorRt, builder: Any, network: Any, config: Any, options: BuildOptions) -> None:
    trt = tensorrt.trt
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # or the inspector tells no types
    if not options.keeps_tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.targets or tensorrt.name == "tensorrt-rtx":
        _set_targets(tensorrt, config, options.targets)
    if options.dla_core is not None:
        _set_dla(tensorrt, builder, config, options)
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    if any(-1 in tuple(tensor.shape) for tensor in inputs):
        profile = builder.create_optimization_profile()
        for tensor in inputs:
            _, *rest = tuple(tensor.shape)
            if -1 in rest:
                raise BuildError(f"input {tensor.name} has open dimensions {tuple(tensor.shape)}: give it a size, --size HxW")
            most = (options.largest_batch, *rest)
            profile.set_shape(tensor.name, (1, *rest), most, most)
        config.add_optimization_profile(profile)


def check_target(tensorrt: TensorRt, target: str) -> Any:
    """TensorRT's own value for a compute capability ("86"). Raises BuildError for one that it does not build for."""
    known = _capabilities(tensorrt)
    if target not in known:
        names = ", ".join(sorted((name for name in known if name.isdigit()), key=int))
        raise BuildError(f"{tensorrt.title} does not build for compute capability {target}; it knows {names}")
    return known[target]


def _capabilities(tensorrt: TensorRt) -> dict[str, Any]:
    """TensorRT's own values by "86", "120" and so on, and "CURRENT" for this machine's."""
    known = getattr(tensorrt.trt, "ComputeCapability", None)
    if known is None:
        raise BuildError(TARGETS_ARE_RTX)
    return {name.removeprefix("SM"): getattr(known, name) for name in dir(known) if name.startswith("SM") or name == "CURRENT"}


def _set_targets(tensorrt: TensorRt, config: Any, targets: tuple[str, ...]) -> None:
    config.num_compute_capabilities = max(1, len(targets))
    for index, target in enumerate(targets or ("CURRENT",)):
        config.set_compute_capability(check_target(tensorrt, target), index)


def _set_dla(tensorrt: TensorRt, builder: Any, config: Any, options: BuildOptions) -> None:
    trt = tensorrt.trt
    cores = int(builder.num_DLA_cores)
    if cores == 0:
        raise BuildError(f"{tensorrt.title} finds no DLA on this machine: build for the GPU, without --dla")
    assert options.dla_core is not None, "asked by the caller"
    if not 0 <= options.dla_core < cores:
        raise BuildError(f"there is no DLA core {options.dla_core}: this machine has {', '.join(map(str, range(cores)))}")
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = options.dla_core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    if _needs_precision_flags(tensorrt, options):
        fp16 = getattr(trt.BuilderFlag, "FP16", None)
        if fp16 is not None:
            config.set_flag(fp16)


def _attach_timing_cache(tensorrt: TensorRt, config: Any, data: bytes | None) -> Any:
    """A cache of another version or GPU is refused by TensorRT; an empty one then takes its place."""
    timing_cache = config.create_timing_cache(data or b"")
    if timing_cache is None or not config.set_timing_cache(timing_cache, False):
        timing_cache = config.create_timing_cache(b"")
        config.set_timing_cache(timing_cache, False)
        tensorrt.messages.clear()  # of the refusal, or a later error would be explained by it
    return timing_cache


def _monitor(trt: Any, report: Report, is_cancelled: Callable[[], bool]) -> Any:
    """A progress monitor, where this TensorRT has them."""
    base = getattr(trt, "IProgressMonitor", None)
    return None if base is None else _make_monitor(base, Progress(report), is_cancelled)


def _make_monitor(base: Any, progress: Progress, is_cancelled: Callable[[], bool]) -> Any:
    class Monitor(base):  # type: ignore[misc]  # known only now
        def __init__(self) -> None:
            base.__init__(self)  # pybind11 wants it called so

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress.step(phase_name, step)
            return not is_cancelled()

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()


class Progress:
    """Nested phases, each with its steps, as one fraction of the outermost phase."""

    def __init__(self, report: Report, every_s: float = REPORT_EVERY_S) -> None:
        """every_s: tell no oftener than that."""
        self._report, self._every_s = report, every_s
        self._open: list[tuple[str, int, int]] = []
        self._told_s = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        if parent is None:
            self._open.clear()
        self._open.append((name, max(1, steps), 0))
        self._tell()

    def step(self, name: str, step: int) -> None:
        self._open = [(phase, steps, step + 1 if phase == name else done) for phase, steps, done in self._open]
        self._tell()

    def finish(self, name: str) -> None:
        self._open = [entry for entry in self._open if entry[0] != name]
        self._tell()

    def _tell(self) -> None:
        now_s = time.monotonic()
        if not self._open or now_s - self._told_s < self._every_s:
            return
        self._told_s = now_s
        fraction, share = 0.0, 1.0
        for _, steps, done in self._open:
            fraction += share * min(done, steps) / steps
            share /= steps
        self._report(self._open[0][0].lower(), min(1.0, fraction))
