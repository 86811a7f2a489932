"""Outputs that stay on the GPU: masks are painted from there, and what else asks for them brings them to the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.errors import InferenceError
from engines.gpu.buffer import Buffer
from engines.gpu.device import Device
from engines.gpu.masks import MaskPainter
from engines.models.card import ModelCard
from engines.types import F32, I32, U8, GpuOutputs, Outputs, Rows, Size

ROLES = ("prototypes", "mask_logits")
"""Of the outputs in a card that are used for nothing else."""


class MaskOutput:
    """An output of one image that stays on the GPU: a `types.MaskGrids`. Valid as long as the image's other outputs."""

    def __init__(self, painter: MaskPainter, buffer: Buffer, is_current: Callable[[], bool] = lambda: True, row: int = 0) -> None:
        """is_current: whether the image's outputs are still there. row: the image's place in its batch."""
        self._array = buffer.array[row : row + 1]
        self.shape, self.dtype = tuple(self._array.shape), self._array.dtype
        self.address = buffer.address + row * self._array.nbytes
        self.painter, self._buffer, self._row, self._is_current = painter, buffer, row, is_current
        self._is_here = False

    def array(self) -> npt.NDArray[Any]:
        """The whole output, on the host. Raises InferenceError."""
        self._check()
        if not self._is_here:
            self.painter.fetch(self._buffer, self._row)
            self._is_here = True
        return self._array

    def mixed(self, cuts: I32, coefficients: F32, size: Size) -> U8:
        """See MaskPainter.paint."""
        self._check()
        return self.painter.paint(self, cuts, coefficients, None, size)

    def chosen(self, cuts: I32, planes: Rows, size: Size) -> U8:
        """See MaskPainter.paint."""
        self._check()
        return self.painter.paint(self, cuts, None, planes, size)

    def _check(self) -> None:
        if not self._is_current():
            raise InferenceError("a later image has taken the place of this one's masks", "Read an image's outputs sooner")


class StayingMasks:
    """Which outputs of an engine stay on the GPU, to be painted from there. painter: None where there is none such."""

    def __init__(self, staying: frozenset[str], painter: MaskPainter | None) -> None:
        self.staying, self.painter = staying, painter

    def outputs(
        self, buffers: Mapping[str, Buffer], is_current: Callable[[], bool] = lambda: True, row: int | None = None
    ) -> Outputs:
        """One image's outputs. is_current: whether they are still there. row: the image's place in a batch; None: it has none."""
        rows = ... if row is None else slice(row, row + 1)
        here = {name: buffer.array[rows] for name, buffer in buffers.items() if name not in self.staying}
        if self.painter is None:
            return here
        return GpuOutputs(here, {name: MaskOutput(self.painter, buffers[name], is_current, row or 0) for name in self.staying})


def painted(card: ModelCard) -> frozenset[str]:
    """The outputs that masks are painted from."""
    return frozenset(card.outputs[role] for role in ROLES if role in card.outputs)


def painter_of(device: Device, card: ModelCard, buffers: Mapping[str, Buffer], batch: int = 1) -> StayingMasks:
    """buffers: of the engine's outputs, for `batch` images. Raises BackendUnavailableError, as MaskPainter does."""
    names = painted(card)
    shapes = {
        name: buffer.array.shape
        for name, buffer in buffers.items()
        if name in names and _is_of(batch, buffer.array.shape) and buffer.array.dtype in (np.float32, np.float16)
    }
    if not shapes:
        return StayingMasks(frozenset(), None)
    painter = MaskPainter(device, max(shapes.values(), key=lambda shape: shape[2] * shape[3]))
    for name in shapes:
        painter.warm_up(MaskOutput(painter, buffers[name]))
    return StayingMasks(frozenset(shapes), painter)


def _is_of(batch: int, shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[0] == batch and all(shape)
