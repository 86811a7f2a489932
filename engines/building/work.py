"""The work of a build's child process: prepare the network, build the engine, load and measure it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import onnx

from engines.building.batches import check_engine, check_network
from engines.building.builder import EARLIER_CACHE, KERNELS, PLAN, TIMING_CACHE, Outcome, Task
from engines.building.footage import Footage
from engines.building.frames import real_frames
from engines.building.network import Prepared, decoded, more_kept, prepare, with_kept
from engines.building.no_kernel import nodes_meant, with_twins
from engines.building.parity import CANDIDATE_SETTINGS, REFERENCE_SETTINGS, shortfall
from engines.errors import BuildCancelledError, BuildError, NoKernelError
from engines.families import open_family
from engines.gpu.driver import Driver
from engines.models.card import card_from_dict
from engines.onnx_graph.precision import name_nodes
from engines.onnx_graph.reading import TensorFacts, read_tensors
from engines.plans.passport import Calibration, ParityReport, PrecisionAudit, TensorIo
from engines.trt import audit
from engines.trt.builder import BuildOptions, BuiltPlan, build_plan, is_strongly_typed
from engines.trt.runner import Runner
from engines.trt.runtime import TensorRt, open_tensorrt
from engines.types import Segmentation, Size

FRAMES = 8
MAX_BUILDS = 3
"""Attempts to build a network, each with more nodes in FP32."""

MAX_WITHOUT_KERNEL = 12
"""Builds that may fail for lack of a kernel, each naming other nodes."""

Report = Callable[[str, "float | None"], None]


def build(options: dict[str, Any], report: Report, is_cancelled: Callable[[], bool]) -> dict[str, Any]:
    """Entry point of the child process: a Task as JSON in, an Outcome as JSON out."""
    task = msgspec.convert(options, Task)
    outcome: dict[str, Any] = msgspec.to_builtins(Builder(task, report, is_cancelled).run())
    return outcome


class Builder:
    """One build, from the model's file to a measured plan."""

    def __init__(self, task: Task, report: Report, is_cancelled: Callable[[], bool]) -> None:
        self._task, self._request = task, task.request
        self._report, self._is_cancelled = report, is_cancelled
        self._card = card_from_dict(task.card, "the model's card")
        self._kernels: bytes | None = None
        self._warnings: list[str] = []
        earlier = Path(task.scratch, EARLIER_CACHE)
        self._timing_cache = earlier.read_bytes() if earlier.exists() else None
        self._calibration: Calibration | None = None

    def run(self) -> Outcome:
        """Raises BuildError and other EngineErrors."""
        start_s = time.monotonic()
        request = self._request
        self._begin("comparing precisions on the CPU")
        footage = self._footage()
        named = Path(self._task.frames) if self._task.frames else None
        frames = footage.checks if footage is not None and named is None else real_frames(named, FRAMES)
        if footage is not None:
            self._begin(f"measuring ranges on {len(footage)} frames")
            self._calibration = footage.facts(len(frames) if named is None else 0)
        prepared = prepare(
            onnx.load(self._task.model_path),
            self._card,
            precision=request.precision,
            size=Size(*request.size_px),
            largest_batch=request.batch,
            frames=frames,
            calibration=footage,
        )
        if request.batch > 1:
            check_network(prepared.reference, request.batch)
        if not request.target:
            Driver()  # before TensorRT, see engines.gpu.driver
        tensorrt = open_tensorrt(request.runtime)
        for attempt in range(1, MAX_BUILDS + 1):
            built, prepared = self._build_with_kernels(tensorrt, prepared)
            if request.target:
                return self._outcome(prepared, built, None, prepared.parity, start_s)
            self._begin("measuring the engine")
            found, precision_audit = self._measure(tensorrt, prepared, built)
            kept = prepared.parity.kept_fp32 if prepared.parity else ()
            parity = prepared.reference.report(found, kept)
            trouble = shortfall(parity, request.precision)
            if not trouble:
                return self._outcome(prepared, built, precision_audit, parity, start_s)
            if request.precision == "fp32" or attempt == MAX_BUILDS:
                break
            self._begin(f"keeping more nodes in FP32 ({trouble})")
            kept = more_kept(prepared.reference, prepared.network, request.precision, kept, trouble)
            prepared = with_kept(prepared.reference, request.precision, kept, prepared.without_kernel)
        what = f"{self._card.name}: the engine is less accurate than its network: {trouble}"
        raise BuildError(what, "Try --precision fp32, or another version of TensorRT")

    def _footage(self) -> Footage | None:
        """What INT8 ranges are measured on; None for other precisions."""
        if self._request.precision != "int8-qdq":
            return None
        return Footage(Path(self._task.calibrate) if self._task.calibrate else None)

    def _build_with_kernels(self, tensorrt: TensorRt, prepared: Prepared) -> tuple[BuiltPlan, Prepared]:
        """Build, with the nodes that TensorRT has no kernel for in FP32. Raises NoKernelError if it has none for that either."""
        for _ in range(MAX_WITHOUT_KERNEL):
            try:
                return self._build(tensorrt, prepared), prepared
            except NoKernelError as error:
                self._timing_cache = error.timing_cache  # what it timed before, it need not time again
                prepared = self._in_fp32(tensorrt, prepared, error)
        return self._build(tensorrt, prepared), prepared

    def _in_fp32(self, tensorrt: TensorRt, prepared: Prepared, error: NoKernelError) -> Prepared:
        """`prepared` with the nodes of `error` in FP32. Raises that error, or BuildError, if it does not help."""
        precision, reference, before = self._request.precision, prepared.reference, prepared.without_kernel
        named = nodes_meant(error.labels, prepared.network) if precision != "fp32" else ()
        original = name_nodes(reference.network)  # without what the cast added
        known = {node.name for node in original.graph.node}
        more = [name for name in with_twins(known.intersection(named), original) if name not in before]
        if not more:
            also = f", even with {len(before)} of its nodes in FP32" if before else ""
            raise NoKernelError(f"{error.what}{also}", error.cure, error.labels) from error
        self._begin(f"keeping {', '.join(more[:3])}{' ...' if len(more) > 3 else ''} in FP32: no {precision} kernel")
        kept = prepared.parity.kept_fp32 if prepared.parity else ()
        return with_kept(reference, precision, kept, (*before, *more))

    def _build(self, tensorrt: TensorRt, prepared: Prepared) -> BuiltPlan:
        request = self._request
        built = build_plan(
            tensorrt,
            prepared.network.SerializeToString(),
            BuildOptions(
                workspace_bytes=self._task.workspace_bytes,
                largest_batch=request.batch,
                targets=(request.target,) if request.target else (),
                dla_core=request.dla_core,
            ),
            timing_cache=self._timing_cache,
            report=self._report,
            is_cancelled=self._is_cancelled,
        )
        self._timing_cache = built.timing_cache
        return built

    def _measure(
        self, tensorrt: TensorRt, prepared: Prepared, built: BuiltPlan
    ) -> tuple[list[Segmentation | None], PrecisionAudit | None]:
        """The engine's results on the frames, and the precision of its layers.

        Another precision than requested is a warning where the graph's types are binding, and a BuildError where they are a hint.
        """
        name, precision, frames = self._card.name, self._request.precision, prepared.reference.frames
        runner = Runner(tensorrt, built.plan, prepared.card, dla_core=self._request.dla_core)
        try:
            layers = audit.read_layers(runner.inspect())
            lack = audit.shortfall(layers, precision)
            if lack and not is_strongly_typed(tensorrt, self._request.dla_core):
                what = f"{tensorrt.title} built {name} in another precision than requested: {lack}"
                raise BuildError(what, "Try another --precision, or another version of TensorRT")
            self._warnings = [lack] if lack else []
            family = open_family(prepared.card)
            found, sure = [], []
            for frame in frames:
                self._check_cancelled()
                run = runner.infer(frame)
                found.append(decoded(family, run.outputs, run.geometry, CANDIDATE_SETTINGS))
                sure.append(decoded(family, run.outputs, run.geometry, REFERENCE_SETTINGS))
            if runner.batch > 1:
                check_engine(runner, family, frames, sure, precision)
            self._kernels = runner.contexts.kernels()
            return found, audit.audit(layers, runner.layer_times(frames[0]))
        finally:
            runner.close()

    def _outcome(
        self,
        prepared: Prepared,
        built: BuiltPlan,
        precision_audit: PrecisionAudit | None,
        parity: ParityReport | None,
        start_s: float,
    ) -> Outcome:
        folder = Path(self._task.scratch)
        (folder / PLAN).write_bytes(built.plan)
        for name, data in ((TIMING_CACHE, built.timing_cache), (KERNELS, self._kernels)):
            if data is not None:
                (folder / name).write_bytes(data)
        inputs, outputs = read_tensors(prepared.network)
        return Outcome(
            card=msgspec.to_builtins(prepared.card),
            inputs=_tensor_ios(inputs),
            outputs=_tensor_ios(outputs),
            audit=precision_audit,
            parity=parity,
            build_seconds=time.monotonic() - start_s,
            without_kernel=prepared.without_kernel,
            warnings=tuple(self._warnings),
            calibration=self._calibration,
        )

    def _begin(self, phase: str) -> None:
        self._check_cancelled()
        self._report(phase, None)

    def _check_cancelled(self) -> None:
        if self._is_cancelled():
            raise BuildCancelledError("the build was cancelled")


def _tensor_ios(tensors: Sequence[TensorFacts]) -> tuple[TensorIo, ...]:
    return tuple(TensorIo(tensor.name, tensor.dtype, tuple(length or 0 for length in tensor.shape)) for tensor in tensors)
