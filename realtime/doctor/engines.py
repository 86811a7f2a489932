"""Engines: which TensorRT engines are built, and why one would not be used."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import BackendUnavailableError, EngineNotBuiltError, SegmentationError
from realtime.bench import gpus
from realtime.doctor.common.driver import gpu_facts
from realtime.doctor.common.finding import Finding, absent, ok, problem, warning
from realtime.doctor.common.machine import Machine

if TYPE_CHECKING:
    from engines.gpu.driver import GpuFacts
    from engines.plans.passport import BuildRequest, Passport
    from engines.plans.store import Store

RANK = 210
LIMIT_S = 20.0

READ_BYTES = 2**30
"""As much of engines' files is read and compared with their passports; the rest is compared when it is loaded."""


OTHER_FOLDER = "export XDG_CACHE_HOME=/path/to/a/folder  # or make this one readable"


def check(machine: Machine) -> Iterator[Finding]:
    from engines.plans.store import Store

    store = Store()
    try:
        passports = sorted(store.root.glob("[!.]*/*/*.json"))
        next(store.root.iterdir(), None) if store.root.exists() else None  # glob passes over a folder that it may not read
    except OSError as error:
        yield problem("engines", f"{store.root}: cannot be read ({error.strerror})", OTHER_FOLDER)
        return
    facts = gpu_facts(machine)
    if not passports:
        hint = f"{machine.run} build road" if facts is not None else ""
        yield absent("engines", "none is built" + ("" if facts is not None else ", and there is no GPU to build one for"), hint)
        return
    left = READ_BYTES
    for path in passports:
        machine.step(f"reading the engine {path.stem}")
        finding, read_bytes = _engine(machine, store, path, facts, left)
        left -= read_bytes
        yield finding
    total = sum(path.stat().st_size for path in store.root.rglob("*") if path.is_file())
    yield ok("engines", f"{len(passports)} in {store.root}, {total / 1e6:.0f} MB")


def _engine(machine: Machine, store: "Store", path: Path, facts: "GpuFacts | None", left: int) -> tuple[Finding, int]:
    """What is to be said of one engine, and how many bytes of it were read."""
    from engines.plans.passport import read_passport

    place = path.relative_to(store.root)
    try:
        passport = read_passport(path).passport
    except ValueError as error:
        return warning("engine", f"{place.parent}: not used, since its passport {error}", _remove(path)), 0
    request = passport.request
    name = f"{request.model_name}, {request.precision}, {request.size_px[1]}x{request.size_px[0]}"
    if request.batch != 1:
        name += f", batch {request.batch}"
    if facts is None:
        why = "the GPU cannot be used" if gpus.seen(machine.root) else "there is no GPU"
        return absent("engine", f"{name}: {passport.plan_bytes / 1e6:.1f} MB, not used: {why}"), 0
    return _judged(machine, store, path, passport, name, facts, left)


def _judged(
    machine: Machine, store: "Store", path: Path, passport: "Passport", name: str, facts: "GpuFacts", left: int
) -> tuple[Finding, int]:
    from engines.plans.passport import RUNTIMES
    from engines.plans.requests import environment_of
    from engines.trt.runtime import open_tensorrt

    try:
        tensorrt = open_tensorrt(passport.request.runtime)
    except KeyError:
        return warning(
            "engine", f"{name}: built with {passport.request.runtime}, which this version does not know", _remove(path)
        ), 0
    except BackendUnavailableError as error:
        cure = f"{machine.run} doctor tensorrt"
        return warning("engine", f"{name}: not used: {RUNTIMES[passport.request.runtime]}: {error.what}", cure), 0
    environment = environment_of(tensorrt.name, tensorrt.version, facts)
    try:
        wanted = _today(passport.request)
        found = store.find(wanted, environment)
        if found.plan_path != path.with_suffix(".plan"):
            return absent("engine", f"{name}: an older one, replaced by one of {found.passport.built_at[:10]}", _remove(path)), 0
        if found.passport.plan_bytes > left:
            return ok("engine", f"{name}: {found.passport.plan_bytes / 1e6:.0f} MB, its file not read here"), 0
        store.read(found)
    except EngineNotBuiltError as error:
        return warning("engine", f"{name}: not used: {error.what}", _command(machine, error.cure)), 0
    except BackendUnavailableError as error:  # the key of this machine
        return problem("engine", f"{name}: not used: {error.what}", _command(machine, error.cure)), 0
    except SegmentationError as error:  # the model is gone, or its card cannot be read
        return absent("engine", f"{name}: used only with the file that it was built for ({error.what})", _remove(path)), 0
    took = f"built on {passport.built_at[:10]} in {passport.build_seconds:.0f} s"
    return ok("engine", f"{name}: used; {passport.plan_bytes / 1e6:.1f} MB, {took}"), found.passport.plan_bytes


def _today(request: "BuildRequest") -> "BuildRequest":
    """The request for the same engine of the model as it is now. Raises ModelNotFoundError, ModelFileError or CardError."""
    from msgspec.structs import replace

    from engines.models import zoo
    from engines.plans.requests import request_for

    now = request_for(zoo.find(request.model_name), precision=request.precision, runtime=request.runtime)
    return replace(request, onnx_sha256=now.onnx_sha256, card_sha256=now.card_sha256)


def _command(machine: Machine, cure: str) -> str:
    """A cure such as "Build it again: run.py build road (about 4 min)" as a command."""
    _, colon, command = cure.partition(": ")
    if not colon or not command.startswith(("run.py", "chmod")):
        return cure
    command, _, time = command.partition(" (")
    return command.replace("run.py", machine.run, 1) + (f"  # {time.rstrip(')')}" if time else "")


def _remove(path: Path) -> str:
    return f"rm {shlex.quote(str(path))} {shlex.quote(str(path.with_suffix('.plan')))}"
