"""Slots: what one run in flight needs. Memory for its frames, input and outputs, and a context for each number of images."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engines.gpu.device import Device, Graph, Memory, Stream
from engines.gpu.letterbox import FrameBuffer, LetterboxKernel
from engines.gpu.staying import StayingMasks
from engines.models.card import InputSpec
from engines.models.fit import Fit, fit
from engines.onnx_graph.editing import input_shape
from engines.pictures.pixels import Pixels
from engines.pictures.raw import PictureLike, size_of
from engines.trt.contexts import Contexts
from engines.types import Outputs


@dataclass(slots=True)
class Shaped:
    """A context whose shapes stay as they are, so that its graph remains valid. looks: of the frames in the graph."""

    context: Any
    graph: Graph | None = None
    looks: tuple[tuple[Fit, Pixels], ...] = ()
    ran: bool = False

    def forget_graph(self) -> None:
        graph, self.graph = self.graph, None
        if graph is not None:
            graph.free()


class Slot:
    """One run in flight, of 1 to as many images as the engine takes."""

    def __init__(self, device: Device, contexts: Contexts, *, timed: bool) -> None:
        """timed: its events record the GPU's clock. Raises BackendUnavailableError, CardError."""
        self._contexts, self._spec = contexts, contexts.card.input
        self._frames = [FrameBuffer(device) for _ in range(contexts.batch)]
        self._input, self._image_bytes = _input_memory(device, self._spec, contexts.batch)
        self._shaped: dict[int, Shaped] = {}
        largest = contexts.create(contexts.batch)
        self.buffers = contexts.buffers(largest)
        self._keep(contexts.batch, largest)
        self.begun, self.uploaded, self.done = device.event(timed=timed), device.event(), device.event(timed=timed)
        self._runs = 0
        self.looks: tuple[tuple[Fit, Pixels], ...] = ()
        """Geometry and format of each image of this run."""
        self.staged_ms = self.started_s = 0.0

    def shaped(self, count: int) -> Shaped:
        """For that many images; made when it is first asked for. Raises BackendUnavailableError."""
        if count not in self._shaped:
            self._keep(count, self._contexts.create(count))
        return self._shaped[count]

    def _keep(self, count: int, context: Any) -> None:
        context.set_tensor_address(self._spec.tensor, self._input.address)
        for name, output in self.buffers.items():
            context.set_tensor_address(name, output.address)
        self._shaped[count] = Shaped(context)

    @property
    def contexts(self) -> tuple[Shaped, ...]:
        """Those that were made so far."""
        return tuple(self._shaped.values())

    def stage(self, pictures: Sequence[PictureLike]) -> None:
        """Copy the pictures, which may change once this returns. Raises ValueError for a wrong shape or type."""
        self._runs += 1
        looks = []
        for frame, picture in zip(self._frames, pictures, strict=False):
            frame.stage(picture)
            looks.append((fit(size_of(picture), self._spec.size, self._spec.fit), frame.pixels))
        self.looks = tuple(looks)

    def upload(self, stream: Stream) -> None:
        for frame, _ in zip(self._frames, self.looks, strict=False):
            frame.upload(stream)

    def fill(self, kernel: LetterboxKernel, stream: Stream) -> None:
        """Write the network's input, each image after the one before."""
        for index, (frame, (geometry, pixels)) in enumerate(zip(self._frames, self.looks, strict=False)):
            kernel.enqueue(frame.address, self._input.address + index * self._image_bytes, geometry, stream, pixels)

    def download(self, stream: Stream, staying: Collection[str]) -> None:
        """staying: the outputs that are not downloaded."""
        for name, output in self.buffers.items():
            if name not in staying:
                output.download(stream, len(self.looks) if self._contexts.batch > 1 else None)

    def outputs(self, index: int, masks: StayingMasks) -> Outputs:
        """Of one image, with a leading axis of 1; of an engine for single images as it gives them."""
        run = self._runs
        return masks.outputs(self.buffers, lambda: self._runs == run, index if self._contexts.batch > 1 else None)

    def forget(self) -> None:
        """Let go of TensorRT's objects, although the frames of a traceback may still refer to this."""
        for shaped in self._shaped.values():
            shaped.context = None
        self._shaped.clear()


@dataclass(slots=True)
class Loaded:
    """TensorRT's objects. Released together, the newest first, while the CUDA context still exists."""

    runtime: Any = None
    engine: Any = None
    contexts: Contexts | None = None
    slots: list[Slot] = field(default_factory=list)

    def forget(self) -> None:
        for slot in self.slots:
            slot.forget()
        self.slots.clear()
        if self.contexts is not None:
            self.contexts.forget()
        self.engine = None
        self.runtime = None


def _input_memory(device: Device, spec: InputSpec, batch: int) -> tuple[Memory, int]:
    """For the network's input, and the bytes of one image in it."""
    image_bytes = int(np.prod(input_shape(spec))) * np.dtype(spec.dtype).itemsize
    return device.memory(batch * image_bytes), image_bytes
