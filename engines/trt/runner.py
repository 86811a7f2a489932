"""Runner: a loaded engine at work, from a frame in the machine's memory to outputs there again.

A frame goes up once as bytes; one kernel makes the input of it in place; the network runs; its outputs come down into pinned
memory; one wait. From the second frame on all that is one CUDA graph. With `inflight` 2 the upload of the next frame runs beside
the computing of this one, and a graph holds what comes after the upload. Each frame in flight has an execution context of its
own: a graph lasts only as long as nothing about its context changes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from engines.errors import BackendUnavailableError, InferenceError
from engines.gpu.device import Device, Graph
from engines.gpu.letterbox import LetterboxKernel
from engines.models.card import ModelCard
from engines.models.fit import Fit, fit
from engines.trt.inspecting import inspect, layer_times
from engines.trt.runtime import TensorRt, load_plan
from engines.trt.slots import Slot, check_tensors, make_slot
from engines.types import Image, Size

WARM_UP_RUNS, TIMED_RUNS = 3, 10
"""Of the measuring of layers."""

PARTS = ("upload", "kernel", "network", "download")
"""What a frame goes through on the GPU."""


@dataclass(frozen=True, slots=True)
class Finished:
    """One image's run. outputs: valid until the image after the next `inflight` is started.

    staged_ms: the copy into pinned memory. ran_ms: from then until the outputs were here, upload and kernel included; with
    several in flight on the GPU's clock, from the upload's begin.
    """

    outputs: Mapping[str, npt.NDArray[Any]]
    geometry: Fit
    staged_ms: float
    ran_ms: float


@dataclass(slots=True)
class _Loaded:
    """TensorRT's objects. Forgotten all at once, the newest first, while the CUDA context is still there."""

    runtime: Any = None
    engine: Any = None
    slots: list[Slot] = field(default_factory=list)

    def forget(self) -> None:
        for slot in self.slots:
            slot.context = None
        self.slots.clear()
        self.engine = None
        self.runtime = None


class Runner:
    """A loaded engine on one GPU and one thread: opened, used and closed there."""

    def __init__(self, tensorrt: TensorRt, plan: bytes, card: ModelCard, inflight: int = 1, dla_core: int | None = None) -> None:
        """Load `plan`, which somebody has vouched for. Raises BackendUnavailableError; nothing stays open then."""
        self.card = card
        self.inflight = inflight
        self.uses_graphs = True
        self._tensorrt = tensorrt
        self._loaded = _Loaded()
        self._pending: deque[Slot] = deque()
        self._turn = 0
        with ExitStack() as stack:
            self._device = stack.enter_context(Device())
            self._computes = self._device.stream()
            # One stream for both where latency counts; an upload on a stream of its own overlaps the frame before.
            self._uploads = self._computes if inflight == 1 else self._device.stream()
            self._kernel = LetterboxKernel(self._device, card.input)
            self._device.on_close(self._loaded.forget)  # before its streams, and after the memory that its contexts use
            self._load(plan, dla_core)
            check_tensors(tensorrt, self._loaded.engine, card)
            for _ in range(inflight):
                self._loaded.slots.append(make_slot(self._device, tensorrt, self._loaded.engine, card, timed=inflight > 1))
            self._stack = stack.pop_all()

    def _load(self, plan: bytes, dla_core: int | None) -> None:
        try:
            self._loaded.runtime, self._loaded.engine = load_plan(self._tensorrt, plan, dla_core)
        except BackendUnavailableError as error:
            if not self._tensorrt.messages.is_out_of_memory:
                raise
            text = self._device.out_of_memory(f"take the {len(plan) / 2**20:.0f} MiB of {self.card.name}")
            raise BackendUnavailableError(text) from error

    def infer(self, image: Image) -> Finished:
        """Begin and wait. Raises InferenceError."""
        self.start(image)
        return self.finish()

    def start(self, image: Image) -> None:
        """Begin with `image`, which may change once this returns. Raises InferenceError, also when `inflight` are under way."""
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
        slot.staged_ms = (slot.started_s - begin_s) * 1e3
        with self._device.running(f"run {self.card.name}"):
            self._enqueue(slot)
            slot.done.record(self._computes)
        self._pending.append(slot)
        self._turn = (self._turn + 1) % len(self._loaded.slots)

    def finish(self) -> Finished:
        """Wait for the first image that was started and not finished. Raises InferenceError."""
        if not self._pending:
            raise InferenceError("no image is in flight: start one first")
        slot = self._pending.popleft()
        slot.done.synchronise()
        assert slot.geometry is not None, "staged before it was started"
        outputs = {name: pinned.array for name, (pinned, _) in slot.outputs.items()}
        if self.inflight == 1:
            ran_ms = (time.perf_counter() - slot.started_s) * 1e3
        else:  # who finishes later has not been running since
            ran_ms = slot.done.ms_since(slot.begun)
        return Finished(outputs, slot.geometry, slot.staged_ms, ran_ms)

    def forget_graphs(self) -> None:
        """Let go of what was recorded: the next frames run without, or, where `uses_graphs` is set, are recorded anew."""
        self._device.check_thread()
        for slot in self._loaded.slots:
            self._forget_graph(slot)

    def inspect(self) -> str:
        """TensorRT's JSON of the engine's layers."""
        self._device.check_thread()
        return inspect(self._tensorrt, self._loaded.engine, self._loaded.slots[0].context)

    def layer_times(self, image: Image) -> dict[str, float]:
        """Median milliseconds of each layer, by name. The engine is slower afterwards: close it then."""
        self.uses_graphs = False
        self.forget_graphs()  # a graph tells a profiler nothing
        with layer_times(self._tensorrt, self._loaded.slots[0].context) as result:
            for _ in range(WARM_UP_RUNS + TIMED_RUNS):
                self.infer(image)
            return result()

    def part_times(self, image: Image, runs: int) -> dict[str, list[float]]:
        """Milliseconds on the GPU of each part of a frame, over `runs` frames; the network as a graph, where it can be one."""
        slot = self._loaded.slots[0]
        self.infer(image)
        graph: Graph | None = None
        if self.uses_graphs:
            with suppress(InferenceError):
                graph = self._computes.capture(lambda: self._compute(slot))
        marks = [self._device.event(timed=True) for _ in range(len(PARTS) + 1)]
        times: dict[str, list[float]] = {name: [] for name in PARTS}
        work = dict(zip(PARTS, (self._upload, self._fill, self._compute, self._download), strict=True))
        for _ in range(runs):
            slot.frame.stage(image)
            with self._device.running(f"run {self.card.name}"):
                marks[0].record(self._computes)
                for part, mark in zip(PARTS, marks[1:], strict=True):
                    if part == "network" and graph is not None:
                        graph.launch()
                    else:
                        work[part](slot)
                    mark.record(self._computes)
            marks[-1].synchronise()
            for name, before, after in zip(PARTS, marks, marks[1:], strict=False):
                times[name].append(after.ms_since(before))
        if graph is not None:
            graph.free()
        return times

    def close(self) -> None:
        """Wait for what is under way, and give everything back in order. Once more is harmless."""
        if self._loaded.runtime is not None:
            for stream in (self._uploads, self._computes):
                with suppress(InferenceError):
                    stream.synchronise()
        self._pending.clear()
        self._stack.close()

    def _enqueue(self, slot: Slot) -> None:
        if self._uploads is not self._computes:
            slot.begun.record(self._uploads)
            self._upload(slot)
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

    def _capture(self, slot: Slot) -> None:
        try:
            slot.graph = self._computes.capture(lambda: self._work(slot))
        except InferenceError:  # some networks copy or allocate while they run; they work, only not as a graph
            self.uses_graphs = False

    def _work(self, slot: Slot) -> None:
        """All that a graph holds: from the frame (from its upload, where that is on the same stream) to the outputs."""
        if self._uploads is self._computes:
            self._upload(slot)
        self._fill(slot)
        self._compute(slot)
        self._download(slot)

    def _upload(self, slot: Slot) -> None:
        slot.frame.upload(self._uploads)

    def _fill(self, slot: Slot) -> None:
        assert slot.geometry is not None, "staged before it is worked on"
        self._kernel.enqueue(slot.frame.address, slot.input.address, slot.geometry, self._computes)

    def _compute(self, slot: Slot) -> None:
        self._tensorrt.messages.clear()
        if not slot.context.execute_async_v3(self._computes.handle):
            raise InferenceError(f"{self._tensorrt.title} failed to run {self.card.name}: {self._tensorrt.messages.reason()}")

    def _download(self, slot: Slot) -> None:
        for pinned, memory in slot.outputs.values():
            self._device.download(pinned.array, memory.address, self._computes)

    @staticmethod
    def _forget_graph(slot: Slot) -> None:
        graph, slot.graph = slot.graph, None
        if graph is not None:
            graph.free()
