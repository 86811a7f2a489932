"""From ONNX to a plan. The network is strongly typed: the engine has the precision of the graph."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engines.errors import BackendUnavailableError, BuildCancelledError, BuildError, NoKernelError
from engines.trt.runtime import TensorRt

Report = Callable[[str, "float | None"], None]
"""Called with the current phase and the fraction of it that is done (0 to 1, or None if unknown)."""

REPORT_EVERY_S = 0.1

TARGETS_ARE_RTX = ("TensorRT builds only for the GPU that it runs on", "Use --target with --runtime tensorrt-rtx")
"""The problem and the cure."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """Options of a build."""

    workspace_bytes: int
    """Scratch memory that a layer may use."""
    largest_batch: int = 1
    """Above 1, the network needs an open batch dimension, and the engine takes 1 to this many images."""
    targets: tuple[str, ...] = ()
    """Compute capabilities to build for, "86", without a GPU (TensorRT-RTX only); empty: this machine's GPU."""
    dla_core: int | None = None


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """A plan, and the timing cache of its build."""

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

    report, is_cancelled: called on TensorRT's threads. Raises BuildError with TensorRT's reason, NoKernelError for layers that it
    has no kernel for in their precision, BuildCancelledError.
    """
    tensorrt.messages.clear()
    builder = _make_builder(tensorrt)
    network = builder.create_network(_network_flags(tensorrt, options))
    _parse(tensorrt, network, onnx)
    config = builder.create_builder_config()
    _configure(tensorrt, builder, network, config, options)
    cache = _attach_timing_cache(tensorrt, config, timing_cache) if tensorrt.name == "tensorrt" else None  # RTX measures nothing
    monitor = _monitor(tensorrt.trt, report, is_cancelled)
    if monitor is not None:
        config.progress_monitor = monitor
    report("building", None)
    plan = builder.build_serialized_network(network, config)
    if is_cancelled():
        raise BuildCancelledError("the build was cancelled")
    if plan is None:
        raise _failure(tensorrt, None if cache is None else bytes(cache.serialize()))
    return BuiltPlan(bytes(plan), None if cache is None else bytes(cache.serialize()))


def _failure(tensorrt: TensorRt, timing_cache: bytes | None) -> BuildError:
    messages, title = tensorrt.messages, tensorrt.title
    more = "Allow more scratch memory with --workspace, or t" if messages.lacks_workspace else "T"
    cure = f"{more}ry --precision fp32, or another version of TensorRT"
    layers = messages.without_kernel()
    if messages.is_out_of_memory:  # no kernel could be tried: FP32 needs even more
        cure, layers = "Close other programs that use the GPU, or build a smaller engine: --size HxW", ()
    elif messages.has_no_workspace_for_a_layer:
        cure, layers = "Allow more scratch memory: --workspace", ()
    if not layers:
        return BuildError(f"{title} could not build the network: {messages.reason()}", cure)
    named = "; ".join(label if len(label) <= 120 else f"{label[:117]}..." for label in layers[:3])
    return NoKernelError(f"{title} has no kernel for {named} in its precision", cure, layers, timing_cache)


def _make_builder(tensorrt: TensorRt) -> Any:
    try:
        builder = tensorrt.trt.Builder(tensorrt.logger)
    except TypeError as error:  # its text is only "factory function returned nullptr"
        what = f"{tensorrt.title} cannot build here: {tensorrt.messages.reason()}"
        raise BackendUnavailableError(what, "See what is wrong with it: run.py doctor gpu tensorrt") from error
    return builder


def _network_flags(tensorrt: TensorRt, options: BuildOptions) -> int:
    if not is_strongly_typed(tensorrt, options.dla_core):
        return 0
    return 1 << int(tensorrt.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def is_strongly_typed(tensorrt: TensorRt, dla_core: int | None) -> bool:
    """Whether the engine has the types of the graph. The DLA of TensorRT 10 does not support that: there they are a hint."""
    return dla_core is None or tensorrt.name == "tensorrt-rtx" or tensorrt.major >= 11


def _parse(tensorrt: TensorRt, network: Any, onnx: bytes) -> None:
    parser = tensorrt.trt.OnnxParser(network, tensorrt.logger)
    if parser.parse(onnx):
        return
    reasons = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        node = f"node {name}: " if (name := error.node_name()) else ""
        text = " ".join(str(error.desc()).split())[:160]
        if "Plugin not found" in text or text == "false":  # its messages for unknown or unsupported operators
            text = f"it has no operator {error.node_operator()}"
        reasons.append(node + text)
    said = "; ".join(reasons[:3]) or tensorrt.messages.reason()
    raise BuildError(f"{tensorrt.title} cannot read the network ({said})", "Export it again with opset 17 or newer")


def _configure(tensorrt: TensorRt, builder: Any, network: Any, config: Any, options: BuildOptions) -> None:
    trt = tensorrt.trt
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # or the inspector reports no types
    config.clear_flag(trt.BuilderFlag.TF32)  # FP32 means FP32
    if tensorrt.name == "tensorrt-rtx":
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)  # or its runs allocate, which a CUDA graph cannot contain
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
                what = f"input {tensor.name} has open dimensions {tuple(tensor.shape)}"
                raise BuildError(what, "Give it a size: --size HxW")
            most = (options.largest_batch, *rest)
            profile.set_shape(tensor.name, (1, *rest), most, most)
        config.add_optimization_profile(profile)


def check_target(tensorrt: TensorRt, target: str) -> Any:
    """TensorRT's value for a compute capability ("86"). Raises BuildError for one that it cannot build for."""
    known = _capabilities(tensorrt)
    if target not in known:
        names = ", ".join(sorted((name for name in known if name.isdigit()), key=int))
        raise BuildError(f"{tensorrt.title} does not build for compute capability {target}", f"Known: {names}")
    return known[target]


def _capabilities(tensorrt: TensorRt) -> dict[str, Any]:
    """TensorRT's values by "86", "120" and so on, and "CURRENT" for this machine's."""
    known = getattr(tensorrt.trt, "ComputeCapability", None)
    if known is None:
        raise BuildError(*TARGETS_ARE_RTX)
    return {name.removeprefix("SM"): getattr(known, name) for name in dir(known) if name.startswith("SM") or name == "CURRENT"}


def _set_targets(tensorrt: TensorRt, config: Any, targets: tuple[str, ...]) -> None:
    config.num_compute_capabilities = max(1, len(targets))
    for index, target in enumerate(targets or ("CURRENT",)):
        config.set_compute_capability(check_target(tensorrt, target), index)


def _set_dla(tensorrt: TensorRt, builder: Any, config: Any, options: BuildOptions) -> None:
    trt = tensorrt.trt
    cores = int(builder.num_DLA_cores)
    if cores == 0:
        raise BuildError(f"{tensorrt.title} finds no DLA on this machine", "Build for the GPU, without --dla")
    assert options.dla_core is not None, "asked by the caller"
    if not 0 <= options.dla_core < cores:
        raise BuildError(f"there is no DLA core {options.dla_core}", f"Known: {', '.join(map(str, range(cores)))}")
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = options.dla_core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    if not is_strongly_typed(tensorrt, options.dla_core):
        fp16 = getattr(trt.BuilderFlag, "FP16", None)
        if fp16 is not None:
            config.set_flag(fp16)


def _attach_timing_cache(tensorrt: TensorRt, config: Any, data: bytes | None) -> Any:
    """Attach the timing cache, or an empty one if TensorRT refuses it as that of another version or GPU."""
    timing_cache = config.create_timing_cache(data or b"")
    if timing_cache is None or not config.set_timing_cache(timing_cache, False):
        timing_cache = config.create_timing_cache(b"")
        config.set_timing_cache(timing_cache, False)
        tensorrt.messages.clear()  # or the refusal would be reported as the reason of a later error
    return timing_cache


def _monitor(trt: Any, report: Report, is_cancelled: Callable[[], bool]) -> Any:
    """A progress monitor, or None if this TensorRT has none."""
    base: Any = getattr(trt, "IProgressMonitor", None)
    if base is None:
        return None
    progress = Progress(report)

    class Monitor(base):  # type: ignore[misc]  # known only at run time
        def __init__(self) -> None:
            base.__init__(self)  # required by pybind11

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress.step(phase_name, step)
            return not is_cancelled()

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()


class Progress:
    """Turns nested phases with steps into a fraction of the outermost phase."""

    def __init__(self, report: Report, every_s: float = REPORT_EVERY_S) -> None:
        """every_s: shortest interval between reports."""
        self._report, self._every_s = report, every_s
        self._open: list[tuple[str, int, int]] = []
        self._reported_s = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        if parent is None:
            self._open.clear()
        self._open.append((name, max(1, steps), 0))
        self._update()

    def step(self, name: str, step: int) -> None:
        self._open = [(phase, steps, step + 1 if phase == name else done) for phase, steps, done in self._open]
        self._update()

    def finish(self, name: str) -> None:
        self._open = [entry for entry in self._open if entry[0] != name]
        self._update()

    def _update(self) -> None:
        now_s = time.monotonic()
        if not self._open or now_s - self._reported_s < self._every_s:
            return
        self._reported_s = now_s
        fraction, share = 0.0, 1.0
        for _, steps, done in self._open:
            fraction += share * min(done, steps) / steps
            share /= steps
        self._report(self._open[0][0].lower(), min(1.0, fraction))
