"""What a network is fed beside the image: constants, and the states of a recurrent one, which come back from the frame before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from engines.models.card import ModelCard
from engines.onnx_graph.reading import TensorFacts
from engines.types import Outputs

Array: TypeAlias = npt.NDArray[np.generic]


class SideInputs:
    """The arrays beside the image. Each stream of frames has its own states; a stream is known by a number."""

    def __init__(self, card: ModelCard, inputs: Sequence[TensorFacts]) -> None:
        """inputs: the network's, as its file declares them; those that the card names beside the image are fed."""
        by_name = {tensor.name: tensor for tensor in inputs}
        self._back_from = dict(card.states)
        self._constants = {name: _filled(by_name[name], number) for name, number in card.constants.items()}
        # An open dimension becomes 1: networks that leave it open take what broadcasts, and give the true size back.
        self._first = {name: _filled(by_name[name], 0) for name in card.states}
        self._states: dict[int, dict[str, Array]] = {}
        self.outputs = tuple(self._back_from.values())
        """The output tensors that `keep` copies."""

    def feeds(self, stream: int) -> dict[str, Array]:
        """Arrays by input tensor; not to be written to."""
        return {**self._constants, **self._states.get(stream, self._first)}

    def keep(self, stream: int, outputs: Outputs) -> None:
        """Copy the states of the run that has just ended: the runtime may write over its outputs in the next one."""
        if self._back_from:
            self._states[stream] = {
                name: np.array(outputs[output], self._first[name].dtype) for name, output in self._back_from.items()
            }

    def forget(self, stream: int) -> None:
        """The next frame of `stream` starts from zero states."""
        self._states.pop(stream, None)

    def reset(self) -> None:
        """So does every stream's."""
        self._states.clear()


def _filled(tensor: TensorFacts, number: float) -> Array:
    return np.full([length or 1 for length in tensor.shape], number, tensor.dtype)
