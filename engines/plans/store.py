"""The store: built engines on this machine's disk. Gives out bytes that this machine signed, or says in words why not."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import platformdirs

from engines.errors import BackendUnavailableError, BuildError, EngineNotBuiltError
from engines.files import publish
from engines.plans import verdict
from engines.plans.files import looks_like_onnx, read_file
from engines.plans.passport import BuildRequest, Environment, Passport, SealedPassport, canonical_json, sealed_from_json
from engines.plans.scratch import hold_scratch
from engines.plans.signing import MachineKey

TRUST_WARNING = "a TensorRT engine is native code: loading one that somebody else made lets its author run anything as you"

MAX_PASSPORT_BYTES = 2**20
MAX_TIMING_CACHE_BYTES = 2**28
MAX_PLAN_BYTES = 2**32
TIMING_CACHE = "timing.cache"
SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Found:
    """An engine in the store. From `Store.find` its passport is signed by this machine; from `Store.engines` it may not be."""

    plan_path: Path
    passport: Passport
    signature: str


class Store:
    """A folder of engines, one per request and environment. Processes may share it."""

    def __init__(self, root: Path | None = None, key_path: Path | None = None) -> None:
        """root: the user's cache folder when None. key_path: of the machine's key, see `MachineKey`. Touches no file."""
        self.root = root or platformdirs.user_cache_path("realtime-segmentation") / "engines"
        self._key = MachineKey(key_path)

    def find(self, request: BuildRequest, environment: Environment, typed: str = "") -> Found:
        """The engine for `request` on `environment`: built for it, or ahead for its compute capability.

        typed: what `run.py build` is to be given for this model. Raises EngineNotBuiltError: one sentence that says why there is
        none, and how to build it.
        """
        for path in self._candidates(request, environment):
            found = self._signed(path, request)
            if serves(found.passport, request, environment):
                return found
            raise EngineNotBuiltError(verdict.outdated(found.passport, request, environment, typed=typed))
        siblings = [found.passport for found in self.engines() if found.passport.request.model_name == request.model_name]
        raise EngineNotBuiltError(verdict.missing(request, environment, siblings, typed))

    def read(self, found: Found) -> bytes:
        """The engine's bytes, read once; what is returned is what was verified.

        Raises EngineNotBuiltError when they are not those that this machine signed: damaged engines are built again.
        """
        passport = found.passport
        if not self._key.verify(canonical_json(passport), found.signature):
            raise EngineNotBuiltError(verdict.broken(passport, "was not signed by this machine"))
        try:
            plan, size_bytes = read_file(found.plan_path, passport.plan_bytes)
        except OSError as error:
            raise EngineNotBuiltError(verdict.broken(passport, f"cannot be read ({error.strerror})")) from error
        if size_bytes == 0:
            raise EngineNotBuiltError(verdict.broken(passport, "is an empty file"))
        if looks_like_onnx(plan):
            raise EngineNotBuiltError(verdict.broken(passport, "was replaced: this is an ONNX file, not an engine"))
        if size_bytes < passport.plan_bytes:
            raise EngineNotBuiltError(verdict.broken(passport, f"is cut off at {size_bytes:,} of {passport.plan_bytes:,} bytes"))
        if size_bytes > passport.plan_bytes:
            raise EngineNotBuiltError(verdict.broken(passport, f"has {size_bytes:,} bytes instead of {passport.plan_bytes:,}"))
        if hashlib.sha256(plan).hexdigest() != passport.plan_sha256:
            raise EngineNotBuiltError(verdict.broken(passport, "was changed since it was built"))
        return plan

    def save(self, passport: Passport, plan: bytes, timing_cache: bytes | None = None) -> Found:
        """Sign and write an engine; the passport comes last, so that no half engine is ever found.

        Raises BuildError, in words, when the disk refuses, with nothing left behind; ValueError for another plan's passport.
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
            raise BuildError(
                f"{plan_path.parent}: the engine ({len(plan) / 1e6:.1f} MB) cannot be written there ({error.strerror}); "
                "make room, or name another disk with XDG_CACHE_HOME"
            ) from error
        return Found(plan_path, passport, sealed.signature)

    def timing_cache(self, request: BuildRequest, environment: Environment) -> bytes | None:
        """What TensorRT measured when it built this engine before; None when there is nothing that this machine signed."""
        try:
            data, _ = read_file(self._path(request, environment).parent / TIMING_CACHE, MAX_TIMING_CACHE_BYTES)
        except OSError:
            return None
        signature, cache = data[:SIGNATURE_BYTES].decode("latin-1"), data[SIGNATURE_BYTES:]
        return cache if self._key.verify(_tagged(cache), signature) else None

    @contextlib.contextmanager
    def building(
        self,
        request: BuildRequest,
        environment: Environment,
        wait_s: float | None = None,
        on_wait: Callable[[], None] = lambda: None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Path]:
        """Hold this engine's lock, and a scratch folder that is always removed. Look with `find` again once inside.

        wait_s: for another process that builds the same; None waits as long as it lives. on_wait: called once if there is one.
        is_cancelled: asked while it waits; BuildCancelledError then.
        Raises BuildError when the wait is over or the folder cannot be written, BackendUnavailableError for a bad key.
        """
        self._key.sign(b"")  # a key that cannot be used is told before minutes of building, not after
        plan_path = self._path(request, environment)

        def sweep() -> None:
            for part in plan_path.parent.glob(f".{plan_path.stem}-*.part"):
                part.unlink(missing_ok=True)

        name = _hash(request, environment)
        with hold_scratch(self.root, name, wait_s=wait_s, on_wait=on_wait, is_cancelled=is_cancelled, before=sweep) as scratch:
            yield scratch

    def engines(self) -> list[Found]:
        """Every engine with a readable passport, by model; for listings and words: signatures are not checked."""
        found = []
        for path in self.root.glob("[!.]*/*/*.json"):
            with contextlib.suppress(OSError, ValueError):
                sealed = _unseal(path)
                found.append(Found(path.with_suffix(".plan"), sealed.passport, sealed.signature))
        return sorted(found, key=lambda each: (each.passport.request.model_name, each.passport.built_at))

    def remove(self, found: Found) -> None:
        """Delete an engine, and folders that are empty then. Raises ValueError for one that is not in this store."""
        if self.root not in found.plan_path.parents or ".." in found.plan_path.parts:
            raise ValueError(f"{found.plan_path} is not in {self.root}")
        found.plan_path.with_suffix(".json").unlink(missing_ok=True)
        found.plan_path.unlink(missing_ok=True)
        folder = found.plan_path.parent
        if not any(folder.glob("*.plan")):
            (folder / TIMING_CACHE).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # other engines are in there
            folder.rmdir()
            folder.parent.rmdir()

    def _path(self, request: BuildRequest, environment: Environment) -> Path:
        return self._folder(request) / f"{_hash(request, environment)[:8]}.plan"

    def _folder(self, request: BuildRequest) -> Path:
        """road-1f3a9c02/fp16-640x384-b1-tensorrt: for people; what tells engines apart is the hash in the file's name."""
        width, height = request.size_px
        parts = [request.precision, f"{width}x{height}", f"b{request.batch}", request.runtime]
        if request.target:
            parts.append(f"sm{request.target}")
        if request.dla_core is not None:
            parts.append(f"dla{request.dla_core}")
        return self.root / _safe(f"{request.model_name[:60]}-{request.onnx_sha256[:8]}") / _safe("-".join(parts))

    def _candidates(self, request: BuildRequest, environment: Environment) -> Iterator[Path]:
        """Passports to look at: of the engine built for just this, then of those built ahead for this compute capability."""
        exact = self._path(request, environment).with_suffix(".json")
        if exact.exists():
            yield exact
            return
        target = environment.compute_capability.replace(".", "")
        if request.target not in ("", target):
            return
        ahead = msgspec.structs.replace(request, target=target)
        for path in sorted(self._folder(ahead).glob("*.json")):
            with contextlib.suppress(OSError, ValueError):
                if serves(_unseal(path).passport, request, environment):
                    yield path

    def _signed(self, path: Path, request: BuildRequest) -> Found:
        how = f"it must be built again ({verdict.how_to_build(request)})"
        try:
            sealed = _unseal(path)
        except OSError as error:
            raise EngineNotBuiltError(f"{path}: the engine's passport cannot be read ({error.strerror}): {how}") from error
        except ValueError as error:
            raise EngineNotBuiltError(f"{path}: the engine's passport {error}: {how}") from error
        if not self._key.verify(canonical_json(sealed.passport), sealed.signature):
            raise EngineNotBuiltError(
                verdict.broken(sealed.passport, "was not signed by this machine, or its passport was changed")
            )
        return Found(path.with_suffix(".plan"), sealed.passport, sealed.signature)


def serves(passport: Passport, request: BuildRequest, environment: Environment) -> bool:
    """Whether an engine is what `request` asks for, and runs on `environment`."""
    built = passport.environment
    if built.gpu_name != verdict.ANY_GPU:
        return passport.request == request and built == environment
    facts = ("runtime", "runtime_version", "compute_capability")
    fits = all(getattr(built, fact) == getattr(environment, fact) for fact in facts)
    asked = msgspec.structs.replace(request, target=passport.request.target)
    return fits and passport.request == asked and request.target in ("", passport.request.target)


def load_foreign(path: Path) -> tuple[bytes, Passport | None]:
    """An engine that somebody else built, and its passport if one lies beside it. Nothing vouches for either: see TRUST_WARNING.

    Raises BackendUnavailableError when the file cannot be an engine, or its passport is another's.
    """
    try:
        plan, size_bytes = read_file(path, MAX_PLAN_BYTES)
    except OSError as error:
        raise BackendUnavailableError(
            f"{path}: the engine cannot be read ({error.strerror}); name a TensorRT engine file"
        ) from error
    if size_bytes == 0:
        raise BackendUnavailableError(f"{path}: this file is empty; name a TensorRT engine file")
    if looks_like_onnx(plan):
        raise BackendUnavailableError(
            f"{path}: this is an ONNX file, not an engine; run it with --model, or build it: run.py build"
        )
    if size_bytes > MAX_PLAN_BYTES:
        raise BackendUnavailableError(
            f"{path}: {size_bytes / 2**30:.1f} GiB is absurdly large for an engine; name a TensorRT engine file"
        )
    passport_path = path.with_suffix(".json")
    if not passport_path.exists():
        return plan, None
    try:
        passport = _unseal(passport_path).passport
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise BackendUnavailableError(f"{passport_path}: the engine's passport {why}; copy it again, or remove it") from error
    if passport.plan_sha256 != hashlib.sha256(plan).hexdigest():
        raise BackendUnavailableError(f"{passport_path}: this passport is another engine's; copy both files again, or remove it")
    return plan, passport


def _unseal(path: Path) -> SealedPassport:
    """Raises OSError, or ValueError that says what the passport is."""
    data, size_bytes = read_file(path, MAX_PASSPORT_BYTES)
    if size_bytes > MAX_PASSPORT_BYTES:
        raise ValueError("is absurdly large")
    return sealed_from_json(data)


def _tagged(timing_cache: bytes) -> bytes:
    """So that a signed cache can never stand for a signed passport."""
    return b"timing cache\n" + timing_cache


def _hash(request: BuildRequest, environment: Environment) -> str:
    return hashlib.sha256(canonical_json(request) + canonical_json(environment)).hexdigest()[:16]


def _safe(part: str) -> str:
    """`part` as the name of one folder, on every system: "../x" must not climb."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", part).lstrip(".") or "_"
