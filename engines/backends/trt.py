"""TensorRT and TensorRT-RTX: runs the engines that `run.py build` made on this machine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from engines.backends import EngineOptions, Inference
from engines.backends.common.options import declared
from engines.errors import BackendUnavailableError, EngineNotBuiltError
from engines.gpu.device import import_pycuda
from engines.gpu.driver import Driver
from engines.models.card import ModelCard, card_from_dict
from engines.models.model import Model
from engines.models.sizing import size_option
from engines.pictures.raw import FORMATS, PictureLike
from engines.plans.kernels import KernelFile
from engines.plans.passport import BuildRequest, Environment, Passport, load_foreign
from engines.plans.requests import environment_of, request_for
from engines.plans.store import Store, serves
from engines.trt.runner import Finished, Runner
from engines.trt.runtime import installed, not_installed, open_tensorrt

log = logging.getLogger(__name__)

INFLIGHT = 2
"""Unless asked otherwise: the GPU computes while the CPU copies the next frame and reads the outputs of the last."""

RANK = 10
OPTIONS = tuple(declared())
TAKES_SIDE_INPUTS = False


def missing() -> str | None:
    try:
        Driver()
        import_pycuda()
        first_runtime()
    except BackendUnavailableError as error:
        return error.what
    return None


def open_engine(model: Model, options: EngineOptions) -> TrtEngine:
    """The engine that was built for `model` on this machine, or the foreign one in `options.trust`.

    Raises EngineNotBuiltError when there is none that fits, BackendUnavailableError when it cannot run here.
    """
    facts = Driver().facts()  # before TensorRT: see there
    import_pycuda()  # or a build would be proposed for nothing
    tensorrt = open_tensorrt(options.runtime or first_runtime())
    environment = environment_of(tensorrt.name, tensorrt.version, facts)
    if options.trust:
        plan, foreign = load_foreign(Path(options.trust))
        card, precision = _card(foreign, model), "of unknown origin"
        kernels = Store().foreign_kernels(plan, environment)
    else:
        plan, passport, kernels = _stored(model, options, tensorrt.name, environment)
        card, precision = _card(passport, model), options.precision
        if passport.audit is None:
            precision += " (unproved)"
    known = kernels.read() if tensorrt.name == "tensorrt-rtx" else None
    runner = Runner(tensorrt, plan, card, options.inflight or INFLIGHT, options.dla_core, known)
    known = known if runner.contexts.knew_kernels else None
    return TrtEngine(runner, f"{tensorrt.title}, {facts.short_name}, {precision}", kernels, known)


def _stored(model: Model, options: EngineOptions, runtime: str, environment: Environment) -> tuple[bytes, Passport, KernelFile]:
    """The engine of the size that is asked for; or of the first that is built: the one that fits the pictures, the model's own.

    Of a size the one for as many images at a time as there are streams; or else one for another number, since each serves any
    number of streams, if need be one after the other. Raises EngineNotBuiltError: of the first of these, where none is built.
    """
    fitting = model.fitting if options.input_px == "auto" else None
    fitting = None if fitting is not None and fitting.refused else fitting
    own = model.card.input.size
    sizes = (*(fitting.sizes if fitting is not None else ()), options.size or own)
    batch = batch_for(model, options)
    request = request_for(model, precision=options.precision, size=own, batch=batch, runtime=runtime, dla_core=options.dla_core)
    store, typed, missing = Store(), model.typed or str(model.path), None
    for size in sizes:
        asked = "" if size == own else f" --size {size_option(size)}"
        sized = replace(request, size_px=(size.width, size.height))
        for number in (batch, *_other_batches(store, sized, environment, is_asked=options.batch is not None)):
            try:
                found = store.find(replace(sized, batch=number), environment, typed + asked)
                plan = store.read(found)
            except EngineNotBuiltError as error:
                missing = missing or error
                continue
            if missing is not None and fitting is not None and size == own:
                fitting.refused = "no engine of another size is built"
                log.warning("%s, so the one of the model's own size runs. %s", missing.what, missing.cure)
            elif missing is not None:
                log.warning("%s, so %s runs. %s", missing.what, _the_one(number), missing.cure)
            return plan, found.passport, store.kernels(found, environment)
    assert missing is not None, "at least one size was tried"
    raise missing


def batch_for(model: Model, options: EngineOptions) -> int:
    """How many images at a time an engine is to take."""
    return options.batch or model.streams


def _other_batches(store: Store, request: BuildRequest, environment: Environment, *, is_asked: bool) -> tuple[int, ...]:
    """The other numbers of images that engines are built for, best first: the next larger ones, then the next smaller ones.

    is_asked: the number is asked for, so that smaller ones do not do.
    """
    found = (one.passport for one in store.engines())
    built = {one.request.batch for one in found if serves(one, replace(request, batch=one.request.batch), environment)}
    larger = sorted(number for number in built if number > request.batch)
    smaller = sorted((number for number in built if number < request.batch), reverse=True)
    return (*larger, *(() if is_asked else smaller))


def _the_one(batch: int) -> str:
    return f"the one for up to {batch} images at a time" if batch > 1 else "the one for single images, each stream in its turn,"


def first_runtime() -> str:
    """The runtime to use when none is named. Raises BackendUnavailableError when none is installed."""
    found = installed()
    if not found:
        raise not_installed("tensorrt")
    return found[0]


def _card(passport: Passport | None, model: Model) -> ModelCard:
    """The model's card with what the build changed: its input's size and type, and its outputs."""
    if passport is None:
        return model.card
    built = card_from_dict(passport.card, "the engine's passport")
    return replace(model.card, input=built.input, outputs=built.outputs)


class TrtEngine:
    def __init__(self, runner: Runner, title: str, kernels: KernelFile, known: bytes | None) -> None:
        """kernels: where those that TensorRT-RTX compiles are kept. known: those that are there already."""
        self.runner = runner
        self._kernels, self._known = kernels, known
        self._works = self._has_run = False
        self.card = runner.card
        self.inflight, self.batch = runner.inflight, runner.batch
        self.takes = frozenset(FORMATS)
        self._title = f"{title}, batches of {runner.batch}" if runner.batch > 1 else title

    @property
    def description(self) -> str:
        notes = (", zero copy" if self.runner.shares_memory else "", "" if self.runner.uses_graphs else ", no CUDA graph")
        return self._title + "".join(notes)

    def infer(self, image: PictureLike) -> Inference:
        return self.infer_batch([image])[0]

    def infer_batch(self, images: Sequence[PictureLike]) -> list[Inference]:
        self.start_batch(images)
        return self.finish_batch()

    def start(self, image: PictureLike) -> None:
        self.start_batch([image])

    def finish(self) -> Inference:
        return self.finish_batch()[0]

    def start_batch(self, images: Sequence[PictureLike]) -> None:
        self.runner.start(images)

    def finish_batch(self) -> list[Inference]:
        self._works = False
        runs = self.runner.finish()
        self._works = True
        if not self._has_run and self._known is None:  # now, since a program that is killed closes nothing
            self._keep_kernels()
        self._has_run = True
        return [_inference(run) for run in runs]

    def close(self) -> None:
        if self._works:  # after a crash of the GPU they are worth nothing
            self._keep_kernels()
        self.runner.close()

    def _keep_kernels(self) -> None:
        kernels = self.runner.contexts.kernels()
        if kernels is not None and kernels != self._known:
            self._kernels.write(kernels)
            self._known = kernels


def _inference(run: Finished) -> Inference:
    return Inference(run.outputs, run.geometry, run.staged_ms, run.ran_ms)
