"""The parent's side of a build: one engine, built in a child process, signed and stored here, or found in the store."""

import contextlib
import datetime
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from engines.building.footage import check_footage
from engines.building.job import BuildJob, JobProgress
from engines.building.watch import CANCEL_GRACE_S
from engines.errors import BuildCancelledError, BuildError, EngineNotBuiltError, NoGpuError
from engines.files import write_whole
from engines.gpu.device import import_pycuda
from engines.gpu.driver import Driver
from engines.models.model import Model
from engines.plans.passport import BuildRequest, Calibration, Environment, ParityReport, Passport, PrecisionAudit, TensorIo
from engines.plans.requests import environment_of, environment_of_target
from engines.plans.store import Found, Store
from engines.trt.builder import TARGETS_ARE_RTX, check_target
from engines.trt.runtime import open_tensorrt

log = logging.getLogger(__name__)

TARGET = "engines.building.work:build"
"""The function that the child process calls: a Task in, an Outcome out, as JSON."""

PLAN, TIMING_CACHE, EARLIER_CACHE, KERNELS = "engine.plan", "timing.cache", "earlier.cache", "engine.kernels"
"""Files in a task's scratch folder: all but the earlier cache from the child; only the plan is always there."""


class Task(msgspec.Struct, frozen=True):
    """What the child builds."""

    request: BuildRequest
    model_path: str
    card: dict[str, Any]
    scratch: str
    workspace_bytes: int
    frames: str | None
    calibrate: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What the child has built."""

    card: dict[str, Any]
    inputs: tuple[TensorIo, ...]
    outputs: tuple[TensorIo, ...]
    audit: PrecisionAudit | None
    parity: ParityReport | None
    build_seconds: float
    without_kernel: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class BuildLimits:
    """Limits of a build. memory_bytes: of the process; workspace_bytes: GPU memory for one layer."""

    timeout_s: float = 3600.0
    memory_bytes: int | None = None
    workspace_bytes: int = 2**30


def environment_for(request: BuildRequest) -> Environment:
    """Where an engine for `request` will run: on this machine, or on any with its target.

    Raises NoGpuError if this machine needs a GPU and has none, BackendUnavailableError if the runtime is missing, BuildError for
    an unknown target.
    """
    if request.dla_core is not None and request.precision != "fp16":
        raise BuildError(f"engines for the DLA are FP16, not {request.precision}", "Use --precision fp16")
    if request.target:
        if request.runtime != "tensorrt-rtx":
            raise BuildError(*TARGETS_ARE_RTX)
        tensorrt = open_tensorrt(request.runtime)
        check_target(tensorrt, request.target)
        return environment_of_target(request.runtime, tensorrt.version, request.target)
    try:
        facts = Driver().facts()
    except NoGpuError as error:
        raise NoGpuError(
            f"{error.what}, and an engine is built on the GPU that it runs on",
            f"{error.cure}. Or build for an RTX card elsewhere: --runtime tensorrt-rtx --target 86 (or another compute "
            "capability). run.py view and run.py process also run on the CPU, without an engine",
        ) from error
    import_pycuda()  # the engine is run and measured: fail now rather than after minutes
    return environment_of(request.runtime, open_tensorrt(request.runtime).version, facts)


class EngineBuilder:
    """Builds one engine. `run` may be called on any thread; `cancel` and `progress` on others."""

    def __init__(
        self,
        model: Model,
        request: BuildRequest,
        environment: Environment,
        store: Store,
        limits: BuildLimits | None = None,
        frames: Path | None = None,
        calibrate: Path | None = None,
    ) -> None:
        """frames: a video or folder to compare precisions on; None uses the installed clips, or footage that is not measured.

        calibrate: a video or folder that INT8 ranges are measured on, see `check_footage`.
        """
        self._model, self._request, self._environment, self._store = model, request, environment, store
        self._limits = limits or BuildLimits()
        self._frames, self._calibrate = frames, calibrate
        self._job: BuildJob | None = None
        self._is_cancelled = False

    @property
    def progress(self) -> JobProgress:
        """The progress of the build. Waiting for another process that builds the same engine counts as starting."""
        return self._job.progress if self._job else JobProgress("starting", None, 0.0)

    def run(
        self,
        *,
        force: bool = False,
        on_progress: Callable[[JobProgress], None] | None = None,
        on_wait: Callable[[], None] = lambda: None,
    ) -> Found:
        """Build and store an engine, unless another process has built it meanwhile; return the stored one.

        force: build even if it exists. on_wait: called if another process is building the same engine. Raises BuildError.
        """
        request, environment, store = self._request, self._environment, self._store
        with store.building(request, environment, on_wait=on_wait, is_cancelled=lambda: self._is_cancelled) as scratch:
            if not force:
                try:
                    found = store.find(request, environment)
                    store.read(found)
                except EngineNotBuiltError:
                    pass
                else:
                    if not self._is_measured_on_other(found):
                        return found
            return self._save(msgspec.convert(self._build_in_child(scratch, on_progress), Outcome), scratch)

    def _is_measured_on_other(self, found: Found) -> bool:
        """Whether the ranges of an engine are not of the footage that is asked for."""
        calibration = found.passport.calibration
        wanted = self._calibrate and str(self._calibrate.resolve())
        return wanted is not None and (calibration is None or calibration.source != wanted)

    def cancel(self, grace_s: float = CANCEL_GRACE_S) -> None:
        """Stop the build. Returns at once. grace_s: time for the child to stop by itself."""
        self._is_cancelled = True
        if self._job is not None:
            self._job.cancel(grace_s)

    def _build_in_child(self, scratch: Path, on_progress: Callable[[JobProgress], None] | None) -> dict[str, Any]:
        if self._request.precision == "int8-qdq":
            check_footage(self._model, self._calibrate)
        cache = self._store.timing_cache(self._request, self._environment)
        if cache is not None:
            with contextlib.suppress(OSError):  # without it the build is only slower
                write_whole(scratch / EARLIER_CACHE, cache)
        task = Task(
            request=self._request,
            model_path=str(self._model.path.resolve()),
            card=msgspec.to_builtins(self._model.card),
            scratch=str(scratch),
            workspace_bytes=self._limits.workspace_bytes,
            frames=str(self._frames.resolve()) if self._frames else None,
            calibrate=str(self._calibrate.resolve()) if self._calibrate else None,
        )
        options = msgspec.to_builtins(task)
        with BuildJob(TARGET, options, timeout_s=self._limits.timeout_s, memory_limit_bytes=self._limits.memory_bytes) as job:
            self._job = job
            if self._is_cancelled:
                raise BuildCancelledError("the build was cancelled")
            job.start()
            return job.wait(on_progress)

    def _save(self, outcome: Outcome, scratch: Path) -> Found:
        try:
            plan = (scratch / PLAN).read_bytes()
            cache, kernels = (
                (scratch / name).read_bytes() if (scratch / name).exists() else None for name in (TIMING_CACHE, KERNELS)
            )
        except OSError as error:
            raise BuildError(f"the built engine cannot be read ({error.strerror})", "Try again") from error
        passport = Passport(
            request=self._request,
            environment=self._environment,
            card=outcome.card,
            inputs=outcome.inputs,
            outputs=outcome.outputs,
            plan_sha256=hashlib.sha256(plan).hexdigest(),
            plan_bytes=len(plan),
            audit=outcome.audit,
            parity=outcome.parity,
            build_seconds=round(outcome.build_seconds, 1),
            built_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            without_kernel=outcome.without_kernel,
            warnings=outcome.warnings,
            calibration=outcome.calibration,
        )
        for warning in outcome.warnings:
            log.warning("%s: %s", self._request.model_name, warning)
        found = self._store.save(passport, plan, cache)
        if kernels is not None:
            self._store.kernels(found, self._environment).write(kernels)
        return found
