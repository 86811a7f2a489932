"""Why there is no engine to load: passports in, errors out."""

from collections.abc import Sequence

from engines.errors import EngineNotBuiltError
from engines.plans.passport import RUNTIMES, BuildRequest, Environment, Passport

ANY_GPU = "any"
"""The GPU's name in the environment of an engine that was built for a compute capability, on any machine."""


def missing(
    request: BuildRequest, environment: Environment, siblings: Sequence[Passport], typed: str = ""
) -> EngineNotBuiltError:
    """The error for an engine that does not exist. siblings: passports of the same model's other engines, trusted or not.

    typed: the arguments of `run.py build` for this model and size; the model's name if empty.
    """
    alike = [passport for passport in siblings if not _differences(passport.request, request)]
    if alike:
        nearest = min(alike, key=lambda passport: len(_changes(passport, request, environment)))
        return outdated(nearest, request, environment, siblings, typed)
    name = _line(request.model_name)
    at_a_time = f", {request.batch} images at a time" if request.batch > 1 else ""
    wanted = f"{request.precision}, {_size(request)}{at_a_time}"
    what = f"no engine for {name} ({wanted}) yet"
    if siblings:
        nearest = min(siblings, key=lambda passport: len(_differences(passport.request, request)))
        what += f", only one for {', '.join(_differences(nearest.request, request))}"
    return EngineNotBuiltError(what, f"Build it: {how_to_build(request, siblings, typed)}")


def outdated(
    found: Passport, request: BuildRequest, environment: Environment, siblings: Sequence[Passport] = (), typed: str = ""
) -> EngineNotBuiltError:
    """The error for an engine of the same kind that does not fit; it names only the differences."""
    name = _line(request.model_name)
    cure = f"Build it again: {how_to_build(request, siblings or [found], typed)}"
    changed = _changed_files(found.request, request)
    then, now = _machines(found.environment, environment)
    if not then:
        what = " and ".join(changed) or "request"
        return EngineNotBuiltError(f"the {what} of {name} changed since its engine was built", cure)
    also = f", and the {' and '.join(changed)} changed" if changed else ""
    return EngineNotBuiltError(_line(f"the engine of {name} was built {then}; {now}{also}"), cure)


def broken(found: Passport, what: str) -> EngineNotBuiltError:
    """The error for an engine whose file or passport cannot be trusted. what: "is cut off at 3 of 5 bytes"."""
    name = _line(found.request.model_name)
    return EngineNotBuiltError(f"the engine of {name} {what}", f"Build it again: {how_to_build(found.request, [found])}")


def how_to_build(request: BuildRequest, siblings: Sequence[Passport] = (), typed: str = "") -> str:
    """ "run.py build road --precision bf16 (about 4 min)", with the time of the model's last build if there was one."""
    options = [f"run.py build {_line(typed or request.model_name)}"]
    if request.precision != "fp16":
        options.append(f"--precision {request.precision}")
    if request.batch != 1:
        options.append(f"--batch {request.batch}")
    if request.runtime != "tensorrt":
        options.append(f"--runtime {request.runtime}")
    if request.target:
        options.append(f"--target {request.target}")
    if request.dla_core is not None:
        options.append(f"--dla {request.dla_core}")
    command = " ".join(options)
    if not siblings:
        return command
    seconds = max(siblings, key=lambda passport: passport.built_at).build_seconds
    return f"{command} ({_duration(seconds)})"


def runtime_name(environment: Environment) -> str:
    """ "TensorRT 10.3.0"."""
    return f"{RUNTIMES.get(environment.runtime, environment.runtime)} {environment.runtime_version}"


def _differences(built: BuildRequest, asked: BuildRequest) -> list[str]:
    """The properties of `built` that differ from `asked`, except those of the model's files."""
    facts = (
        (built.precision, asked.precision, built.precision),
        (built.size_px, asked.size_px, _size(built)),
        (built.batch, asked.batch, f"batches of {built.batch}" if built.batch > 1 else "single images"),
        (built.runtime, asked.runtime, RUNTIMES.get(built.runtime, built.runtime)),
        (built.target, asked.target, f"compute capability {_dotted(built.target)}" if built.target else "this machine's GPU"),
        (built.dla_core, asked.dla_core, "the GPU" if built.dla_core is None else f"DLA core {built.dla_core}"),
    )
    return [_line(words) for then, now, words in facts if then != now]


def _changed_files(built: BuildRequest, asked: BuildRequest) -> list[str]:
    pairs = ((built.onnx_sha256, asked.onnx_sha256, "model file"), (built.card_sha256, asked.card_sha256, "card"))
    return [words for then, now, words in pairs if then != now]


def _changes(found: Passport, request: BuildRequest, environment: Environment) -> list[str]:
    """The fields that differ."""
    then, now = found.environment, environment
    fields = [field for field in Environment.__struct_fields__ if getattr(then, field) != getattr(now, field)]
    return fields + _changed_files(found.request, request)


def _machines(then: Environment, now: Environment) -> tuple[str, str]:
    """("for RTX 3060 with TensorRT 10.3.0", "this is Orin with TensorRT 10.3.0"); empty if nothing differs."""
    if then == now:
        return "", ""
    other_gpu = then.gpu_name != now.gpu_name and ANY_GPU not in (then.gpu_name, now.gpu_name)
    if other_gpu:  # capability, driver and CUDA then differ as well
        return f"for {then.gpu_name} with {runtime_name(then)}", f"this is {now.gpu_name} with {runtime_name(now)}"
    facts = (
        (runtime_name(then), runtime_name(now), ""),
        (then.compute_capability, now.compute_capability, "compute capability "),
        (then.driver_version, now.driver_version, "driver "),
        (then.cuda_version, now.cuda_version, "CUDA "),
    )
    differing = [(f"{what}{before}", f"{what}{after}") for before, after, what in facts if before != after and before and after]
    if not differing:
        return "for another machine", f"this is {now.gpu_name}"
    built, here = zip(*differing, strict=True)
    return f"with {', '.join(built)}", f"this machine has {', '.join(here)}"


def _duration(seconds: float) -> str:
    return f"about {round(seconds / 60)} min" if seconds >= 90 else f"about {max(1, round(seconds))} s"


def _size(request: BuildRequest) -> str:
    """Height x width, as in --size."""
    return f"{request.size_px[1]}x{request.size_px[0]}"


def _dotted(target: str) -> str:
    """ "86" as "8.6"."""
    return f"{target[:-1]}.{target[-1]}"


def _line(text: str) -> str:
    """In one line: names come from files and may contain line breaks."""
    return " ".join(text.split())
