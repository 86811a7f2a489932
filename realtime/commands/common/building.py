"""Building a TensorRT engine: its progress on stderr, its passport on stdout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engines.backends import EngineOptions
from engines.backends.common.opening import at_size
from engines.backends.trt import first_runtime
from engines.building.builder import BuildLimits, EngineBuilder, environment_for
from engines.building.footage import check_footage
from engines.building.job import JobProgress
from engines.errors import NoGpuError
from engines.gpu.driver import Driver
from engines.models import zoo
from engines.models.model import Model
from engines.plans.passport import ParityReport, Passport
from engines.plans.requests import request_for
from engines.plans.store import Found, Store
from engines.plans.verdict import ANY_GPU, runtime_name
from engines.trt.runtime import installed
from engines.types import Size
from realtime.errors import SettingsError, SourceLostError
from realtime.process.progress import Progress
from realtime.sources import open_source
from realtime.streams.fitting import InputFit

if TYPE_CHECKING:
    from realtime.commands.build import Options


def build(options: Options) -> int:
    """Build a model's engine, or find the cached one, and print its passport."""
    frames, calibrate = (
        _footage(option, text) for option, text in (("--frames", options.frames), ("--calibrate", options.calibrate))
    )
    limits = BuildLimits(
        timeout_s=options.timeout * 60.0,
        memory_bytes=options.memory * 2**30 if options.memory else None,
        workspace_bytes=options.workspace * 2**20,
    )
    target = "" if options.target is None else _capability(options.target)
    engine, model = EngineOptions(**options.engine), zoo.find(options.model)
    if engine.precision == "int8-qdq":
        check_footage(model, calibrate)
    elif calibrate is not None:
        raise SettingsError(f"--calibrate: only int8-qdq measures ranges, not {engine.precision}", "Leave it out")
    size, reason = engine.size, ""
    if options.source is not None:
        size, reason = _size_for(options.source, engine, model)
    runtime = engine.runtime or ("tensorrt-rtx" if target else _runtime_here())
    request = request_for(
        model,
        precision=engine.precision,
        runtime=runtime,
        size=size,
        batch=options.batch,
        target=target,
        dla_core=engine.dla_core,
    )
    builder = EngineBuilder(model, request, environment_for(request), Store(), limits, frames, calibrate)
    is_new = False
    with Progress(f"{model.card.name}, {engine.precision}") as progress:

        def show(job: JobProgress) -> None:
            nonlocal is_new
            is_new = True
            progress.show(job.fraction or 0.0, 1.0, job.phase)

        wait = "another process builds the same engine; waiting for it"
        found = builder.run(force=options.force, on_progress=show, on_wait=lambda: progress.show(0.0, 1.0, wait))
    print(describe(found, is_new=is_new))
    if reason:
        print(f"input    {reason}")
    return 0


def _footage(option: str, text: str | None) -> Path | None:
    if text is not None and not Path(text).exists():
        raise SettingsError(f"{option} {text}: no such file or folder", "Name a video or a folder of pictures")
    return None if text is None else Path(text)


def _size_for(source: str, engine: EngineOptions, model: Model) -> tuple[Size, str]:
    """The input size for a source's pictures, and the reason in words. Raises SettingsError with --size, and SourceError."""
    if engine.input_px != "auto":
        raise SettingsError("--for with --size: both say the size", "Leave out one of them")
    opened = open_source(source, decode="cpu")
    try:
        first = next(iter(opened), None)
    finally:
        opened.close()
    if first is None:
        raise SourceLostError(f"{opened.name}: ended without a picture", "Name a source that plays")
    fit = InputFit(engine)
    fitted = fit.apply(model, lambda limit_s: [first.image])
    with at_size(fitted, engine) as sized:  # it is tried on the CPU, as for a run
        return sized.card.input.size, str(fit.note(sized.card))


def describe(found: Found, *, is_new: bool) -> str:
    """A passport in a few lines."""
    passport = found.passport
    request, environment = passport.request, passport.environment
    where = environment.gpu_name
    if where == ANY_GPU:
        where = f"any GPU of compute capability {environment.compute_capability}"
    kind = f"{request.precision}, {request.size_px[1]}x{request.size_px[0]}"  # as --size takes it
    if request.batch > 1:
        kind += f", up to {request.batch} images at a time"
    state = "built" if is_new else "cached"
    return "\n".join(
        [
            f"{state:<8} {request.model_name}, {kind}, for {where} with {runtime_name(environment)}",
            f"engine   {found.plan_path} ({passport.plan_bytes / 1e6:.1f} MB, built in {passport.build_seconds:.0f} s)",
            f"layers   {_layers(passport)}",
            f"parity   {describe_parity(passport.parity)}",
            *_ranges(passport),
            *_remarks(passport),
        ]
    )


def _ranges(passport: Passport) -> list[str]:
    """What INT8 ranges were measured on."""
    facts = passport.calibration
    if facts is None:
        return []
    checked = f"; compared on {facts.checks} others" if facts.checks else ""
    return [f"ranges   of {facts.frames} frames of {facts.source}, {facts.percentile:g} % of the values{checked}"]


def _remarks(passport: Passport) -> list[str]:
    """What differs from the request."""
    nodes = passport.without_kernel
    named = f"{', '.join(nodes[:5])}{f' and {len(nodes) - 5} more' if len(nodes) > 5 else ''}"
    runtime = runtime_name(passport.environment)
    kernels = [f"kernels  {runtime} has none in {passport.request.precision} for these nodes, so they are in fp32: {named}"]
    return [*(kernels if nodes else []), *(f"warning  {warning}" for warning in passport.warnings)]


def _layers(passport: Passport) -> str:
    if passport.audit is None:
        has_run = passport.parity is not None and passport.parity.measured_on == "engine"
        return "not reported by TensorRT" if has_run else "not measured: the engine has not run on its GPU yet"
    shares = ", ".join(f"{share:.0%} {name}" for name, share in passport.audit.layer_share.items())
    times = ", ".join(f"{share:.0%} {name}" for name, share in passport.audit.time_share.items())
    return f"{shares} (of their time: {times})" if times else shares


def describe_parity(parity: ParityReport | None) -> str:
    """How results compare with those of FP32, in words."""
    if parity is None:
        return "not measured: fp32 is the reference"
    texts = {
        "{:.2%} of the labels as in fp32": parity.label_agreement,
        "opacity within {:.2%} of fp32's on average": parity.alpha_difference,
        "masks overlap those of fp32 by {:.3f} (IoU)": parity.mask_iou,
    }
    figures = [text.format(value) for text, value in texts.items() if value is not None] or ["no object was found in them"]
    kept = f", with {len(parity.kept_fp32)} nodes kept in fp32" if parity.kept_fp32 else ""
    rounded = ", on the CPU with every result rounded as the GPU would" if parity.measured_on == "cpu" else ""
    return f"{', '.join(figures)}, over {parity.frames} frames{kept}{rounded}"


def _runtime_here() -> str:
    """The first runtime that is installed. Without a GPU any will do: its absence is the error to report first."""
    try:
        Driver()
    except NoGpuError:
        return installed()[0] if installed() else "tensorrt"
    return first_runtime()


def _capability(text: str) -> str:
    """The compute capability of --target: "8.6" and "sm86" as "86". Raises SettingsError."""
    target = text.lower().removeprefix("sm").replace(".", "")
    if not target.isdigit():
        raise SettingsError(f'--target "{text}" is not a compute capability', "Write it as 86 or 8.6")
    return target
