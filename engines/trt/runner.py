"""Runner: a loaded engine, from a frame in host memory to outputs in host memory.

A frame is uploaded once as bytes; one kernel turns it into the network's input; the network runs; its outputs are downloaded to
pinned memory; one wait. From the second frame of one size on all this is one CUDA graph. With `inflight` 2 the upload of the next
frame overlaps the computation of this one, and the graph begins after the upload. Each frame in flight has its own execution
context, since a graph is valid only as long as its context does not change.

An engine for batches takes 1 to `batch` images in a run. It has a context and a graph for each number of images; the graph begins
after the kernels, which differ with the frames. A GPU that shares the host's memory reads the frame and writes the outputs where
the host has them: nothing is uploaded or downloaded, and the graph is the kernel and the network.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from engines.errors import BackendUnavailableError, InferenceError
from engines.gpu.device import Device, Graph
from engines.gpu.letterbox import LetterboxKernel
from engines.gpu.staying import StayingMasks, painter_of
from engines.models.card import ModelCard
from engines.models.fit import Fit
from engines.pictures.raw import PictureLike
from engines.trt.contexts import Contexts, is_capturable
from engines.trt.loaded import check_tensors, inspect, layer_times
from engines.trt.runtime import TensorRt, load_plan
from engines.trt.slots import Loaded, Shaped, Slot
from engines.types import Image

log = logging.getLogger(__name__)

WARM_UP_RUNS, TIMED_RUNS = 3, 10
"""For measuring layers."""

PARTS = ("upload", "kernel", "network", "download")
"""The steps of a frame on the GPU."""


@dataclass(frozen=True, slots=True)
class Finished:
    """One image's run. outputs: valid until `inflight` more runs are started.

    staged_ms: the copy into pinned memory. ran_ms: from then until the outputs are in host memory; with several in flight, by
    the GPU's clock from when the run before is done, without the upload, which overlaps it. Of a batch, each image's share.
    """

    outputs: Mapping[str, npt.NDArray[Any]]
    geometry: Fit
    staged_ms: float
    ran_ms: float


class Runner:
    """A loaded engine, opened, used and closed on one GPU and one thread."""

    def __init__(
        self,
        tensorrt: TensorRt,
        plan: bytes,
        card: ModelCard,
        inflight: int = 1,
        dla_core: int | None = None,
        kernels: bytes | None = None,
    ) -> None:
        """Load `plan`, which must be trusted. Raises BackendUnavailableError, with nothing left open.

        kernels: of `contexts.kernels()` in an earlier run of this plan; must be trusted too.

        inflight: runs at a time, if the GPU has the memory for so many; what there is, `self.inflight` says.
        """
        self.card = card
        self.inflight, self.batch = inflight, 1
        self.uses_graphs = True
        self._tensorrt = tensorrt
        self._loaded = Loaded()
        self._pending: deque[Slot] = deque()
        self._turn = 0
        with ExitStack() as stack:
            self._device = stack.enter_context(Device())
            self._computes = self._device.stream()
            # One stream for the lowest latency; an upload on a second stream overlaps the frame before.
            self._uploads = self._computes if inflight == 1 or self.shares_memory else self._device.stream()
            self._kernel = LetterboxKernel(self._device, card.input)
            self._device.on_close(self._loaded.forget)  # before its streams, after the memory that its contexts use
            self._load(plan, dla_core)
            check_tensors(tensorrt, self._loaded.engine, card)
            self.contexts = Contexts(self._device, tensorrt, self._loaded.engine, card, kernels)
            self._loaded.contexts = self.contexts
            self._masks = self._make_slots(inflight)
            self._stack = stack.pop_all()

    def _make_slots(self, count: int) -> StayingMasks:
        """As many as there is memory for, and after the first, which it needs, what paints masks."""
        self.batch = self.contexts.batch
        slots = self._loaded.slots
        slots.append(Slot(self._device, self.contexts, timed=count > 1))
        masks = painter_of(self._device, self.card, slots[0].buffers, self.batch)
        for _ in range(count - 1):
            try:
                with self._device.attempt():
                    slots.append(Slot(self._device, self.contexts, timed=count > 1))
            except BackendUnavailableError as error:
                log.warning("%s, so %d of %d frames are in flight", error.what, len(slots), count)
                break
        self.inflight = len(slots)
        return masks

    @property
    def shares_memory(self) -> bool:
        """Whether frames and outputs are never copied between host and GPU."""
        return self._device.shares_memory

    def _load(self, plan: bytes, dla_core: int | None) -> None:
        try:
            self._loaded.runtime, self._loaded.engine = load_plan(self._tensorrt, plan, dla_core)
        except BackendUnavailableError as error:
            if not self._tensorrt.messages.is_out_of_memory:
                raise
            raise self._device.out_of_memory(f"load the {len(plan) / 2**20:.0f} MiB of {self.card.name}") from error

    def infer(self, image: PictureLike) -> Finished:
        """Start and finish one image. Raises InferenceError."""
        self.start([image])
        return self.finish()[0]

    def start(self, images: Sequence[PictureLike]) -> None:
        """Start a run of 1 to `batch` images, which may change once this returns.

        Raises InferenceError, also if `inflight` are in flight already.
        """
        self._device.check_thread()
        if len(self._pending) == len(self._loaded.slots):
            raise InferenceError(f"{len(self._pending)} images are in flight already", "Finish one first")
        if not 1 <= len(images) <= self.batch:
            raise ValueError(f"a run of {len(images)} images; this engine takes 1 to {self.batch}")
        begin_s = time.perf_counter()
        slot = self._loaded.slots[self._turn]
        slot.stage(images)
        slot.started_s = time.perf_counter()
        slot.staged_ms = (slot.started_s - begin_s) * 1e3
        shaped = slot.shaped(len(images))
        with self._device.running(f"run {self.card.name}"):
            self._enqueue(slot, shaped)
            slot.done.record(self._computes)
        self._pending.append(slot)
        self._turn = (self._turn + 1) % len(self._loaded.slots)

    def finish(self) -> list[Finished]:
        """Wait for the oldest run in flight: a result for each of its images. Raises InferenceError."""
        if not self._pending:
            raise InferenceError("no image is in flight", "Start one first")
        slot = self._pending.popleft()
        slot.done.synchronise()
        if self.inflight == 1:
            ran_ms = (time.perf_counter() - slot.started_s) * 1e3
        else:  # the frame may have ended long before this call
            ran_ms = slot.done.ms_since(slot.begun)
        count = len(slot.looks)
        return [
            Finished(slot.outputs(index, self._masks), geometry, slot.staged_ms / count, ran_ms / count)
            for index, (geometry, _) in enumerate(slot.looks)
        ]

    def forget_graphs(self) -> None:
        """Drop the recorded graphs: the next frames run without, or are recorded again if `uses_graphs` is set."""
        self._device.check_thread()
        for slot in self._loaded.slots:
            for shaped in slot.contexts:
                shaped.forget_graph()

    def inspect(self) -> str:
        """TensorRT's JSON about the engine's layers."""
        self._device.check_thread()
        return inspect(self._tensorrt, self._loaded.engine, self._loaded.slots[0].shaped(self.batch).context)

    def layer_times(self, image: Image) -> dict[str, float]:
        """Median milliseconds of each layer, by name. Close the engine afterwards: it has become slower."""
        self.uses_graphs = False
        self.forget_graphs()  # a profiler sees no layers in a graph
        slot = self._loaded.slots[self._turn]
        with layer_times(self._tensorrt, slot.shaped(self.batch).context) as result:
            for _ in range((WARM_UP_RUNS + TIMED_RUNS) * len(self._loaded.slots)):
                self.start([image] * self.batch)
                self.finish()
            return result()

    def part_times(self, image: PictureLike, runs: int) -> dict[str, list[float]]:
        """Milliseconds on the GPU of each part of a run of `batch` images, `runs` times; the network as a graph if possible."""
        slot = self._loaded.slots[self._turn]
        images = [image] * self.batch
        self.start(images)
        self.finish()
        shaped = slot.shaped(self.batch)
        graph: Graph | None = None
        if self.uses_graphs:
            with suppress(InferenceError):
                graph = self._computes.capture(lambda: self._compute(shaped))
        marks = [self._device.event(timed=True) for _ in range(len(PARTS) + 1)]
        times: dict[str, list[float]] = {name: [] for name in PARTS}
        stream = self._computes
        parts: tuple[Callable[[], None], ...] = (
            lambda: slot.upload(stream),
            lambda: slot.fill(self._kernel, stream),
            lambda: self._compute(shaped),
            lambda: slot.download(stream, self._masks.staying),
        )
        work = dict(zip(PARTS, parts, strict=True))
        for _ in range(runs):
            slot.stage(images)
            with self._device.running(f"run {self.card.name}"):
                marks[0].record(self._computes)
                for part, mark in zip(PARTS, marks[1:], strict=True):
                    if part == "network" and graph is not None:
                        graph.launch()
                    else:
                        work[part]()
                    mark.record(self._computes)
            marks[-1].synchronise()
            for name, before, after in zip(PARTS, marks, marks[1:], strict=False):
                times[name].append(after.ms_since(before))
        if graph is not None:
            graph.free()
        return times

    def close(self) -> None:
        """Wait for frames in flight and release everything. Idempotent."""
        if self._loaded.runtime is not None:
            for stream in (self._uploads, self._computes):
                with suppress(InferenceError):
                    stream.synchronise()
        self._pending.clear()
        self._stack.close()

    def _enqueue(self, slot: Slot, shaped: Shaped) -> None:
        if self._uploads is not self._computes:
            slot.upload(self._uploads)
            slot.uploaded.record(self._uploads)
            self._computes.wait_for(slot.uploaded)
        if self.inflight > 1:  # behind the run before: waiting for that is no time of this one
            slot.begun.record(self._computes)
        is_known = True
        if self.batch > 1:
            self._fill(slot)
        elif shaped.looks != slot.looks:  # a graph is for frames of one size and format; those of several sources may alternate
            shaped.forget_graph()
            shaped.looks, is_known = slot.looks, False
        # TensorRT completes its set-up in the first run, which cannot be recorded.
        if shaped.graph is None and shaped.ran and is_known and self.uses_graphs:
            self._capture(slot, shaped)
        if shaped.graph is not None:
            shaped.graph.launch()
        else:
            self._work(slot, shaped)
        shaped.ran = True

    def _capture(self, slot: Slot, shaped: Shaped) -> None:
        if not is_capturable(shaped.context, self._computes.handle):
            self.uses_graphs = False
            return
        try:
            shaped.graph = self._computes.capture(lambda: self._work(slot, shaped))
        except InferenceError:  # some networks copy or allocate while they run, which a graph cannot contain
            self.uses_graphs = False

    def _work(self, slot: Slot, shaped: Shaped) -> None:
        """The contents of a graph: from the upload (if on the same stream), the kernel or the network to the outputs."""
        if self.batch == 1:
            self._fill(slot)
        self._compute(shaped)
        slot.download(self._computes, self._masks.staying)

    def _fill(self, slot: Slot) -> None:
        if self._uploads is self._computes:
            slot.upload(self._computes)
        slot.fill(self._kernel, self._computes)

    def _compute(self, shaped: Shaped) -> None:
        self._tensorrt.messages.clear()
        if not shaped.context.execute_async_v3(self._computes.handle):
            what = f"{self._tensorrt.title} failed to run {self.card.name}: {self._tensorrt.messages.reason()}"
            raise InferenceError(what, "Build the engine again")
