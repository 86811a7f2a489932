"""TensorRT and TensorRT-RTX: engines that `run.py build` made on this machine, run from PyCUDA's primary context.

A frame goes up once as bytes; one kernel makes the input of it in place; the network runs; its small outputs come down into
pinned memory; one wait. From the second frame on all that is one CUDA graph. With `inflight` 2 the upload of the next frame runs
beside the computing of this one, which graphs without the upload leave room for.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from engines.backends import EngineOptions, Inference
from engines.card import ModelCard, card_from_dict
from engines.editing import input_shape
from engines.errors import BackendUnavailableError, CardError, InferenceError
from engines.fit import Fit, fit
from engines.gpu.device import Device, Event, Graph, Memory, Pinned
from engines.gpu.driver import Driver
from engines.gpu.frame import FrameBuffer
from engines.gpu.letterbox import LetterboxKernel
from engines.model import Model
from engines.plans.passport import Passport
from engines.plans.requests import environment_of, request_for
from engines.plans.store import Store, load_foreign
from engines.trt.inspecting import device_memory_bytes, inspect, layer_times, numpy_type
from engines.trt.runtime import TensorRt, how_to_install, installed, load_plan, open_tensorrt
from engines.types import Image, Size

WARM_UP_RUNS, TIMED_RUNS = 3, 10
"""Of the measuring of layers."""


def open_engine(model: Model, options: EngineOptions) -> TrtEngine:
    """The engine that was built for `model` on this machine, or the one that the user vouches for.

    Raises EngineNotBuiltError when there is none that fits, BackendUnavailableError when it cannot run here: both in words.
    """
    facts = Driver().facts()  # before TensorRT: see there
    tensorrt = open_tensorrt(options.runtime or first_runtime())
    if options.trusted_plan is not None:
        plan, passport = load_foreign(options.trusted_plan)
        return TrtEngine(tensorrt, plan, _card(passport, model), options.inflight, "unsigned")
    request = request_for(model, precision=options.precision, size=options.size, runtime=tensorrt.name, dla_core=options.dla_core)
    store = Store()
    found = store.find(request, environment_of(tensorrt.name, tensorrt.version, facts))
    return TrtEngine(tensorrt, store.read(found), _card(found.passport, model), options.inflight, request.precision)


def first_runtime() -> str:
    """The runtime to use when none is named. Raises BackendUnavailableError when none is installed."""
    found = installed()
    if not found:
        raise BackendUnavailableError(how_to_install("tensorrt"))
    return found[0]


def _card(passport: Passport | None, model: Model) -> ModelCard:
    """The model's card with what the build changed: its input's size and type, and its outputs."""
    if passport is None:
        return model.card
    built = card_from_dict(passport.card, "the engine's passport")
    return msgspec.structs.replace(model.card, input=built.input, outputs=built.outputs)


@dataclass(slots=True)
class _Slot:
    """What one image in flight needs: a context, and memory on both sides."""

    context: Any
    frame: FrameBuffer
    input: Memory
    outputs: dict[str, tuple[Pinned, Memory]]
    uploaded: Event
    done: Event
    geometry: Fit | None = None
    graph: Graph | None = None
    ran: bool = False
    preprocess_ms: float = 0.0
    started_s: float = 0.0


@dataclass(slots=True)
class _Loaded:
    """TensorRT's objects. Forgotten all at once, the newest first, while the CUDA context is still there."""

    runtime: Any = None
    engine: Any = None
    slots: list[_Slot] = field(default_factory=list)

    def forget(self) -> None:
        for slot in self.slots:
            slot.context = None
        self.slots.clear()
        self.engine = None
        self.runtime = None


class TrtEngine:
    def __init__(self, tensorrt: TensorRt, plan: bytes, card: ModelCard, inflight: int, precision: str) -> None:
        """Load `plan`, which somebody has vouched for. Raises BackendUnavailableError; nothing stays open then."""
        self.card = card
        self.inflight = inflight
        self.uses_graphs = True
        self._tensorrt = tensorrt
        self._loaded = _Loaded()
        self._pending: deque[_Slot] = deque()
        self._turn = 0
        with ExitStack() as stack:
            self._device = stack.enter_context(Device())
            self._device.on_close(self._loaded.forget)
            self._computes = self._device.stream()
            # One stream for both where latency counts; an upload on a stream of its own overlaps the frame before.
            self._uploads = self._computes if inflight == 1 else self._device.stream()
            self._kernel = LetterboxKernel(self._device, card.input)
            self._loaded.runtime, self._loaded.engine = load_plan(tensorrt, plan)
            self._check_tensors()
            for _ in range(inflight):
                self._loaded.slots.append(self._make_slot())
            self._stack = stack.pop_all()
        self.description = f"{tensorrt.title}, {self._device.facts.name}, {precision}"

    def infer(self, image: Image) -> Inference:
        self.start(image)
        return self.finish()

    def start(self, image: Image) -> None:
        self._device.check_thread()
        if len(self._pending) == len(self._loaded.slots):
            raise InferenceError(f"{len(self._pending)} images are in flight already: finish one first")
        begin_s = time.perf_counter()
        slot = self._loaded.slots[self._turn]
        slot.frame.stage(image)
        geometry = fit(Size.of(image), self.card.input.size, self.card.input.fit)
        if geometry != slot.geometry:  # what a graph holds is for frames of one size
            self._forget_graph(slot)
            slot.geometry = geometry
        slot.started_s = time.perf_counter()
        slot.preprocess_ms = (slot.started_s - begin_s) * 1e3
        with self._device.running(f"run {self.card.name}"):
            self._enqueue(slot)
            slot.done.record(self._computes)
        self._pending.append(slot)
        self._turn = (self._turn + 1) % len(self._loaded.slots)

    def finish(self) -> Inference:
        if not self._pending:
            raise InferenceError("no image is in flight: start one first")
        slot = self._pending.popleft()
        slot.done.synchronise()
        assert slot.geometry is not None, "staged before it was started"
        outputs = {name: pinned.array for name, (pinned, _) in slot.outputs.items()}
        return Inference(outputs, slot.geometry, slot.preprocess_ms, (time.perf_counter() - slot.started_s) * 1e3)

    def inspect(self) -> str:
        """TensorRT's JSON of the engine's layers."""
        self._device.check_thread()
        return inspect(self._tensorrt, self._loaded.engine)

    def layer_times(self, image: Image) -> dict[str, float]:
        """Median milliseconds of each layer, by name. The engine is slower afterwards: close it then."""
        self.uses_graphs = False
        with layer_times(self._tensorrt, self._loaded.slots[0].context) as result:
            for _ in range(WARM_UP_RUNS + TIMED_RUNS):
                self.infer(image)
            return result()

    def close(self) -> None:
        self._pending.clear()
        self._stack.close()

    def _check_tensors(self) -> None:
        """The engine must take and give what the card says."""
        engine, trt = self._loaded.engine, self._tensorrt.trt
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        if inputs != [self.card.input.tensor]:
            raise CardError(
                f"{self.card.name}: the engine's inputs are {', '.join(inputs)}, its card says {self.card.input.tensor}"
            )
        missing = [name for name in self.card.outputs.values() if name not in names]
        if missing:
            raise CardError(f"{self.card.name}: the engine has no output {', '.join(missing)}; it has {', '.join(names)}")
        dtype = numpy_type(self._tensorrt, engine, self.card.input.tensor)
        if dtype != np.dtype(self.card.input.dtype):
            raise CardError(f"{self.card.name}: the engine's input is {dtype}, its card says {self.card.input.dtype}")

    def _make_slot(self) -> _Slot:
        engine, device, spec = self._loaded.engine, self._device, self.card.input
        needed = device_memory_bytes(engine)
        context = engine.create_execution_context()
        if context is None:
            raise BackendUnavailableError(device.out_of_memory(f"take {needed / 2**20:.0f} MiB to run {self.card.name}"))
        shape = input_shape(spec)
        if not context.set_input_shape(spec.tensor, shape):
            raise CardError(
                f"{self.card.name}: the engine takes no input of {shape}, as its card says ({self._tensorrt.messages.reason()})"
            )
        memory = device.memory(int(np.prod(shape)) * np.dtype(spec.dtype).itemsize)
        context.set_tensor_address(spec.tensor, memory.address)
        outputs: dict[str, tuple[Pinned, Memory]] = {}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            if name == spec.tensor:
                continue
            dims = tuple(int(length) for length in context.get_tensor_shape(name))
            if -1 in dims:
                raise BackendUnavailableError(
                    f"{self.card.name}: the size of output {name} depends on the picture, which is not supported; "
                    "leave it out of the network, or run it on the CPU"
                )
            pinned = device.pinned(dims, numpy_type(self._tensorrt, engine, name))
            there = device.memory(pinned.array.nbytes)
            context.set_tensor_address(name, there.address)
            outputs[name] = pinned, there
        return _Slot(context, FrameBuffer(device), memory, outputs, device.event(), device.event())

    def _enqueue(self, slot: _Slot) -> None:
        if self._uploads is not self._computes:
            slot.frame.upload(self._uploads)
            slot.uploaded.record(self._uploads)
            self._computes.wait_for(slot.uploaded)
        # TensorRT sets up the rest of itself in the first run, which cannot be recorded.
        if slot.graph is None and slot.ran and self.uses_graphs:
            self._capture(slot)
        if slot.graph is not None:
            slot.graph.launch()
        else:
            self._work(slot)
        slot.ran = True

    def _capture(self, slot: _Slot) -> None:
        try:
            slot.graph = self._computes.capture(lambda: self._work(slot))
        except InferenceError:  # some networks copy or allocate while they run; they work, only not as a graph
            self.uses_graphs = False
            self.description += ", no CUDA graph"

    def _work(self, slot: _Slot) -> None:
        """All that a graph holds: from the frame (from its upload, where that is on the same stream) to the outputs."""
        assert slot.geometry is not None, "staged before it is worked on"
        if self._uploads is self._computes:
            slot.frame.upload(self._computes)
        self._kernel.enqueue(slot.frame.address, slot.input.address, slot.geometry, self._computes)
        self._tensorrt.messages.clear()
        if not slot.context.execute_async_v3(self._computes.handle):
            raise InferenceError(f"{self._tensorrt.title} failed to run {self.card.name}: {self._tensorrt.messages.reason()}")
        for pinned, memory in slot.outputs.values():
            self._device.download(pinned.array, memory.address, self._computes)

    @staticmethod
    def _forget_graph(slot: _Slot) -> None:
        graph, slot.graph = slot.graph, None
        if graph is not None:
            graph.free()
