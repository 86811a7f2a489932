"""The store: built engines on disk. Returns only bytes that this machine signed."""

import contextlib
import hashlib
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engines.errors import BuildError, EngineNotBuiltError, cure_of
from engines.files import publish
from engines.plans import verdict
from engines.plans.kernels import SUFFIX, KernelFile
from engines.plans.passport import (
    BuildRequest,
    Environment,
    Passport,
    SealedPassport,
    canonical_json,
    looks_like_onnx,
    read_file,
    read_passport,
)
from engines.plans.scratch import ELSEWHERE, hold_scratch
from engines.plans.signing import SIGNATURE_BYTES, MachineKey
from engines.system.places import user_folder

MAX_TIMING_CACHE_BYTES = 2**28
TIMING_CACHE = "timing.cache"
FOREIGN = ".foreign"
"""The folder of what belongs to engines that lie elsewhere."""


@dataclass(frozen=True, slots=True)
class Found:
    """An engine in the store. `Store.find` has verified the signature of its passport, `Store.engines` has not."""

    plan_path: Path
    passport: Passport
    signature: str


class Store:
    """A folder of engines, one per request and environment, which processes may share."""

    def __init__(self, root: Path | None = None, key_path: Path | None = None) -> None:
        """root: None uses the user's cache folder. key_path: see `MachineKey`. Touches no file."""
        self.root = root or user_folder("cache") / "engines"
        self._key = MachineKey(key_path)

    def find(self, request: BuildRequest, environment: Environment, typed: str = "") -> Found:
        """The engine for `request` on `environment`, built on it or for its compute capability.

        typed: the arguments of `run.py build` for this model. Raises EngineNotBuiltError with the reason and how to build it.
        """
        try:
            for path in self._candidates(request, environment):
                found = self._signed(path, request)
                if serves(found.passport, request, environment):
                    return found
                raise verdict.outdated(found.passport, request, environment, typed=typed)
            siblings = [found.passport for found in self.engines() if found.passport.request.model_name == request.model_name]
        except OSError as error:
            what = f"{self.root}: engines cannot be read there ({error.strerror})"
            raise EngineNotBuiltError(what, cure_of(error, ELSEWHERE)) from error
        raise verdict.missing(request, environment, siblings, typed)

    def read(self, found: Found) -> bytes:
        """The engine's verified bytes. Raises EngineNotBuiltError if they are not those that this machine signed."""
        passport = found.passport
        if not self._key.verify(canonical_json(passport), found.signature):
            raise verdict.broken(passport, "was not signed by this machine")
        try:
            plan, size_bytes = read_file(found.plan_path, passport.plan_bytes)
        except OSError as error:
            raise verdict.broken(passport, f"cannot be read ({error.strerror})") from error
        if size_bytes == 0:
            raise verdict.broken(passport, "is an empty file")
        if looks_like_onnx(plan):
            raise verdict.broken(passport, "was replaced by an ONNX file")
        if size_bytes < passport.plan_bytes:
            raise verdict.broken(passport, f"is cut off at {size_bytes:,} of {passport.plan_bytes:,} bytes")
        if size_bytes > passport.plan_bytes:
            raise verdict.broken(passport, f"has {size_bytes:,} bytes instead of {passport.plan_bytes:,}")
        if hashlib.sha256(plan).hexdigest() != passport.plan_sha256:
            raise verdict.broken(passport, "was changed after it was built")
        return plan

    def save(self, passport: Passport, plan: bytes, timing_cache: bytes | None = None) -> Found:
        """Sign and write an engine, its passport last, so that an incomplete engine is never found.

        Raises BuildError if the disk refuses, and then leaves nothing behind; ValueError for another plan's passport.
        """
        if (passport.plan_bytes, passport.plan_sha256) != (len(plan), hashlib.sha256(plan).hexdigest()):
            raise ValueError(f"the passport of {passport.request.model_name} describes another plan")
        plan_path = self._path(passport.request, passport.environment)
        sealed = SealedPassport(passport, self._key.sign(canonical_json(passport)))
        files = {plan_path: plan, plan_path.with_suffix(".json"): sealed.to_json()}
        if timing_cache is not None:
            signature = self._key.sign(_tagged(timing_cache)).encode()
            files = {plan_path.parent / TIMING_CACHE: signature + timing_cache, **files}
        try:
            publish(files)
        except OSError as error:
            what = f"{plan_path.parent}: the engine ({len(plan) / 1e6:.1f} MB) cannot be written there ({error.strerror})"
            raise BuildError(what, cure_of(error, ELSEWHERE)) from error
        return Found(plan_path, passport, sealed.signature)

    def timing_cache(self, request: BuildRequest, environment: Environment) -> bytes | None:
        """TensorRT's timing cache of an earlier build; None if there is none that this machine signed."""
        try:
            data, _ = read_file(self._path(request, environment).parent / TIMING_CACHE, MAX_TIMING_CACHE_BYTES)
        except OSError:
            return None
        signature, cache = data[:SIGNATURE_BYTES].decode("latin-1"), data[SIGNATURE_BYTES:]
        return cache if self._key.verify(_tagged(cache), signature) else None

    def kernels(self, found: Found, environment: Environment) -> KernelFile:
        """Where the kernels of an engine of this store are kept, for this machine's environment: next to its plan."""
        path = found.plan_path.with_suffix(f".{_digest(environment)[:8]}{SUFFIX}")
        return KernelFile(path, self._key, found.passport.plan_sha256, environment)

    def foreign_kernels(self, plan: bytes, environment: Environment) -> KernelFile:
        """Where the kernels of an engine that lies elsewhere are kept: here, since its folder may belong to others."""
        sha256 = hashlib.sha256(plan).hexdigest()
        path = self.root / FOREIGN / f"{sha256[:16]}.{_digest(environment)[:8]}{SUFFIX}"
        return KernelFile(path, self._key, sha256, environment)

    def building(
        self,
        request: BuildRequest,
        environment: Environment,
        wait_s: float = math.inf,
        on_wait: Callable[[], None] = lambda: None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> contextlib.AbstractContextManager[Path]:
        """Hold this engine's lock and yield a scratch folder, removed at the end. Call `find` again inside.

        wait_s, on_wait, is_cancelled: for another process that builds the same engine, see `hold_scratch`. Raises BuildError if
        the wait takes too long or the folder cannot be written, BuildCancelledError, BackendUnavailableError for a bad key.
        """
        self._key.sign(b"")  # a bad key fails before minutes of building, not after
        path, name = self._path(request, environment), _hash(request, environment)
        parts = path.parent.glob(f".{path.stem}-*.part")  # of killed builds; searched once the lock is held
        return hold_scratch(self.root, name, wait_s=wait_s, on_wait=on_wait, is_cancelled=is_cancelled, leftovers=parts)

    def engines(self) -> list[Found]:
        """Every engine with a readable passport, sorted by model, for listings and messages: signatures are not checked."""
        found = []
        for path in self.root.glob("[!.]*/*/*.json"):
            with contextlib.suppress(ValueError):
                sealed = read_passport(path)
                found.append(Found(path.with_suffix(".plan"), sealed.passport, sealed.signature))
        return sorted(found, key=lambda each: (each.passport.request.model_name, each.passport.built_at))

    def remove(self, found: Found) -> None:
        """Delete an engine and then empty folders. Raises ValueError for an engine of another store."""
        if self.root not in found.plan_path.parents or ".." in found.plan_path.parts:
            raise ValueError(f"{found.plan_path} is not in {self.root}")
        found.plan_path.with_suffix(".json").unlink(missing_ok=True)
        found.plan_path.unlink(missing_ok=True)
        for kernels in found.plan_path.parent.glob(f"{found.plan_path.stem}.*{SUFFIX}"):
            kernels.unlink(missing_ok=True)
        folder = found.plan_path.parent
        if not any(folder.glob("*.plan")):
            (folder / TIMING_CACHE).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # they contain other engines
            folder.rmdir()
            folder.parent.rmdir()

    def _path(self, request: BuildRequest, environment: Environment) -> Path:
        return self._folder(request) / f"{_hash(request, environment)[:8]}.plan"

    def _folder(self, request: BuildRequest) -> Path:
        """road-1f3a9c02/fp16-640x384-b1-tensorrt: for people; the hash in the file's name identifies an engine."""
        width, height = request.size_px
        parts = [request.precision, f"{width}x{height}", f"b{request.batch}", request.runtime]
        if request.target:
            parts.append(f"sm{request.target}")
        if request.dla_core is not None:
            parts.append(f"dla{request.dla_core}")
        return self.root / _safe(f"{request.model_name[:60]}-{request.onnx_sha256[:8]}") / _safe("-".join(parts))

    def _candidates(self, request: BuildRequest, environment: Environment) -> Iterator[Path]:
        """Paths of passports: that of the engine built for exactly this, else of those for this compute capability."""
        exact = self._path(request, environment).with_suffix(".json")
        if exact.exists():
            yield exact
            return
        target = environment.compute_capability.replace(".", "")
        if request.target not in ("", target):
            return
        ahead = msgspec.structs.replace(request, target=target)
        for path in sorted(self._folder(ahead).glob("*.json")):
            with contextlib.suppress(ValueError):
                if serves(read_passport(path).passport, request, environment):
                    yield path

    def _signed(self, path: Path, request: BuildRequest) -> Found:
        try:
            sealed = read_passport(path)
        except ValueError as error:
            cure = f"Build it again: {verdict.how_to_build(request)}"
            raise EngineNotBuiltError(f"{path}: the engine's passport {error}", cure) from error
        if not self._key.verify(canonical_json(sealed.passport), sealed.signature):
            raise verdict.broken(sealed.passport, "was not signed by this machine, or its passport was changed")
        return Found(path.with_suffix(".plan"), sealed.passport, sealed.signature)


def serves(passport: Passport, request: BuildRequest, environment: Environment) -> bool:
    """Whether an engine fits `request` and `environment`."""
    built = passport.environment
    if built.gpu_name != verdict.ANY_GPU:
        return passport.request == request and built == environment
    facts = ("runtime", "runtime_version", "compute_capability")
    fits = all(getattr(built, fact) == getattr(environment, fact) for fact in facts)
    asked = msgspec.structs.replace(request, target=passport.request.target)
    return fits and passport.request == asked and request.target in ("", passport.request.target)


def _tagged(timing_cache: bytes) -> bytes:
    """Prevents that the signature of a timing cache is used for a passport."""
    return b"timing cache\n" + timing_cache


def _hash(request: BuildRequest, environment: Environment) -> str:
    return hashlib.sha256(canonical_json(request) + canonical_json(environment)).hexdigest()[:16]


def _digest(environment: Environment) -> str:
    return hashlib.sha256(canonical_json(environment)).hexdigest()


def _safe(part: str) -> str:
    """`part` as the name of one folder on every system: "../x" must not leave the store."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", part).lstrip(".") or "_"
