"""Label maps of objects, made on the GPU from prototypes or mask logits that stay there. Equals engines/decoding/masks.py.

An image's boxes and coefficients go up (at most 254 x (14 + K) numbers), two kernels run, and one map of bytes comes down, with a
flag: whether a number under a box was not finite. Their sizes vary from frame to frame, so this is no CUDA graph. It has a stream
of its own: the next frame's network, which may be running, is not waited for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import BackendUnavailableError, InferenceError
from engines.gpu.buffer import Buffer
from engines.gpu.device import Device, Memory
from engines.types import F32, I32, MAX_OBJECTS, U8, Rows, Size

if TYPE_CHECKING:
    from engines.gpu.staying import MaskOutput

PTX = Path(__file__).with_name("masks.ptx")

CUT_NUMBERS, MAP_NUMBERS = 14, 9
"""`struct Cut` and `struct MaskMap` of masks.cu, all of whose members are 32-bit integers."""

CELLS_BLOCK, LABELS_BLOCK = (256, 1, 1), (32, 8, 1)
"""Threads of a block. A block of labels must have 256 or more."""

ROOM_CELLS = 1 << 20
"""Cells under all boxes that are mixed at a time, 4 MiB: 40 objects over the whole of a 640 x 640 input. If there are more, the
objects are painted in several turns."""

USUAL_MAP = Size(1280, 720)
"""The map's memory is taken for this size when an engine is loaded, and again where a larger one is asked for."""

STEPS = ("upload", "kernels", "download")

FLAG_BYTES = 16
"""Before the map, so that both come down at once."""


class MaskPainter:
    """The kernels and their memory, for outputs of one engine. Valid until its Device closes."""

    def __init__(self, device: Device, largest: tuple[int, ...]) -> None:
        """largest: (1, K, h, w), the shape of the output. Raises BackendUnavailableError: no memory, or the driver refuses."""
        ptx = PTX.read_bytes()
        sizes = [int(found) for found in re.findall(rb"\bmask_(?:cut|map)_bytes = (\d+);", ptx)]
        if sorted(sizes) != sorted((4 * CUT_NUMBERS, 4 * MAP_NUMBERS)):
            raise BackendUnavailableError(f"{PTX.name} is of another version", "Install this program again")
        self._device = device
        module = device.module(ptx)
        with device.taking("find its kernels"):
            self._cell_kernels: dict[str, Any] = {
                dtype: module.get_function(f"mask_cells_{dtype}") for dtype in ("float32", "float16")
            }
            self._label_kernel: Any = module.get_function("mask_labels")
        struct = np.dtype(f"V{4 * MAP_NUMBERS}")
        for kernel in self._cell_kernels.values():
            kernel.prepare(["P", "P", "P", "P", "P", struct])
        self._label_kernel.prepare(["P", "P", "P", struct])
        device.on_close(self._forget)
        self._stream, self._done = device.stream(), device.event()
        _, planes, height, width = largest
        self._room = max(ROOM_CELLS, height * width)
        self._cells: Memory = device.memory(4 * self._room)
        # In memory of the GPU also where that shares the host's: every thread reads them.
        self._staged = device.pinned((MAX_OBJECTS * 4 * (CUT_NUMBERS + planes),), np.uint8)
        self._numbers: Memory = device.memory(self._staged.array.nbytes)
        self._result: Buffer | None = None
        self._ticket = 0

    def paint(self, output: MaskOutput, cuts: I32, coefficients: F32 | None, planes: Rows | None, size: Size) -> U8:
        """The label map of N objects, rows by falling score; a new (H, W) uint8 array of that size.

        cuts: (N, 12), the table of `decoding.cuts`. coefficients: (N, K), with which the output's K planes are mixed; or planes:
        (N,), which one is each object's mask. Raises FloatingPointError where a number under a box is not finite, InferenceError.
        """
        with self._device.running("paint masks"):
            steps = self._steps(output, cuts, coefficients, planes, size)
            if not steps:
                return np.zeros((size.height, size.width), np.uint8)
            for enqueue in steps.values():
                enqueue()
            self._done.record(self._stream)
        self._done.synchronise()
        result = self._result_of(size).array
        if int(result[:4].view(np.int32)[0]) == self._ticket:
            raise FloatingPointError("a mask's number is not finite")
        return np.array(result[FLAG_BYTES : FLAG_BYTES + size.width * size.height].reshape(size.height, size.width))

    def part_times(self, output: MaskOutput, cuts: I32, coefficients: F32, size: Size, runs: int) -> dict[str, list[float]]:
        """Milliseconds on the GPU of each of STEPS, of `runs` paintings as `paint` makes them."""
        marks = [self._device.event(timed=True) for _ in range(len(STEPS) + 1)]
        times: dict[str, list[float]] = {name: [] for name in STEPS}
        for _ in range(runs):
            with self._device.running("paint masks"):
                marks[0].record(self._stream)
                for enqueue, mark in zip(self._steps(output, cuts, coefficients, None, size).values(), marks[1:], strict=True):
                    enqueue()
                    mark.record(self._stream)
            marks[-1].synchronise()
            for name, before, after in zip(STEPS, marks, marks[1:], strict=False):
                times[name].append(after.ms_since(before))
        return times

    def warm_up(self, output: MaskOutput) -> None:
        """Paint one object, so that no real one pays for what CUDA and this make lazily. Raises BackendUnavailableError."""
        cut = np.zeros((1, CUT_NUMBERS - 2), np.int32)
        cut[0, (2, 3, 6, 7, 8, 9)] = 1  # a box of one pixel over one cell
        try:
            with self._device.running("take memory for masks"):
                self._result_of(USUAL_MAP)
            self.paint(output, cut, np.zeros((1, output.shape[1]), np.float32), None, Size(1, 1))
        except FloatingPointError:  # no network has written there yet
            pass
        except InferenceError as error:
            raise BackendUnavailableError(error.what, error.cure) from error

    def fetch(self, buffer: Buffer, row: int) -> None:
        """Bring one image's output to the host, and wait for it. Raises InferenceError."""
        with self._device.running("download masks"):
            buffer.download(self._stream, 1, row)
            self._done.record(self._stream)
        self._done.synchronise()

    def _steps(
        self, output: MaskOutput, cuts: I32, coefficients: F32 | None, planes: Rows | None, size: Size
    ) -> dict[str, Callable[[], None]]:
        """What to enqueue in turn, by the names in STEPS; nothing where no box covers a pixel."""
        objects = _with_offsets(cuts, planes)
        turns = list(self._turns(objects))
        if not turns:
            return {}
        self._ticket = self._ticket % (2**31 - 1) + 1
        mixed = 0 if coefficients is None else coefficients.shape[1]
        used, result = self._stage(objects, coefficients), self._result_of(size)

        def upload() -> None:
            self._device.upload(self._numbers.address, self._staged.array[:used], self._stream)

        def run() -> None:
            _, _, height, width = output.shape
            for first, stop in turns:
                shape = (stop - first, mixed, width, height, size.width, size.height)
                numbers = np.array((*shape, first, first != turns[0][0], self._ticket), np.int32)
                cuts_at = self._numbers.address + 4 * CUT_NUMBERS * first
                coefficients_at = self._numbers.address + objects.nbytes + 4 * mixed * first
                self._launch(output, objects[first:stop], numbers, (cuts_at, coefficients_at), result)

        def download() -> None:
            result.download(self._stream, FLAG_BYTES + size.width * size.height)

        return dict(zip(STEPS, (upload, run, download), strict=True))

    def _turns(self, objects: I32) -> Iterator[tuple[int, int]]:
        """Ranges of objects whose cells have room at a time; sets the places of their cells."""
        counts = objects[:, 6] * objects[:, 7]
        if not counts.any():
            return
        first, taken = 0, 0
        for row, count in enumerate(counts.tolist()):
            if taken + count > self._room:
                yield first, row
                first, taken = row, 0
            objects[row, 13] = taken
            taken += count
        yield first, len(objects)

    def _stage(self, objects: I32, coefficients: F32 | None) -> int:
        """Put the objects into pinned memory, followed by the coefficients; how many bytes they are."""
        staged = self._staged.array
        np.copyto(staged[: objects.nbytes].view(np.int32).reshape(objects.shape), objects)
        if coefficients is None:
            return objects.nbytes
        used = objects.nbytes + 4 * coefficients.size
        np.copyto(staged[objects.nbytes : used].view(np.float32).reshape(coefficients.shape), coefficients)
        return used

    def _launch(self, output: MaskOutput, objects: I32, numbers: I32, addresses: tuple[int, int], result: Buffer) -> None:
        cuts, coefficients = addresses
        packed, stream = numbers.tobytes(), self._stream.raw
        most = int((objects[:, 6] * objects[:, 7]).max())
        if most:
            grid = (-(-most // CELLS_BLOCK[0]), len(objects))
            self._cell_kernels[output.dtype.name].prepared_async_call(
                grid, CELLS_BLOCK, stream, output.address, cuts, coefficients, self._cells.address, result.address, packed
            )
        grid = (-(-int(numbers[4]) // LABELS_BLOCK[0]), -(-int(numbers[5]) // LABELS_BLOCK[1]))
        labels = result.address + FLAG_BYTES
        self._label_kernel.prepared_async_call(grid, LABELS_BLOCK, stream, cuts, self._cells.address, labels, packed)

    def _result_of(self, size: Size) -> Buffer:
        """The flag and the map. It grows to the largest map and never shrinks."""
        needed = FLAG_BYTES + size.width * size.height
        if self._result is None or self._result.array.nbytes < needed:
            before, self._result = self._result, None  # if the next lines fail, no freed memory is referenced
            if before is not None:
                before.free()
            self._result = Buffer(self._device, (needed,), np.uint8)
            self._result.array[:FLAG_BYTES] = 0  # no ticket
            self._result.upload(self._stream, FLAG_BYTES)
        return self._result

    def _forget(self) -> None:
        self._cell_kernels.clear()
        self._label_kernel = None


def _with_offsets(cuts: I32, planes: Rows | None) -> I32:
    """(N, 14): `struct Cut` of each object, the last number left 0. A box that covers no pixel has no cells."""
    objects = np.zeros((len(cuts), CUT_NUMBERS), np.int32)
    objects[:, :12] = cuts
    objects[np.any(cuts[:, 2:4] <= cuts[:, :2], axis=1), 6:8] = 0
    if planes is not None:
        objects[:, 12] = planes
    return objects
