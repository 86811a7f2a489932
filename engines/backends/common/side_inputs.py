"""What a network is fed beside the image: constants, and the states of a recurrent one, which come back from the frame before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engines.models.card import ModelCard
from engines.onnx_graph.reading import TensorFacts
from engines.types import Outputs


class SideInputs:
    """The arrays for one stream of frames. `feeds` goes into a run, `keep` takes its states for the next; `reset` begins anew."""

    def __init__(self, card: ModelCard, inputs: Sequence[TensorFacts]) -> None:
        """inputs: the network's, as its file declares them; those that the card names beside the image are fed."""
        by_name = {tensor.name: tensor for tensor in inputs}
        self._back_from = dict(card.states)
        self._constants = {name: _filled(by_name[name], number) for name, number in card.constants.items()}
        # An open dimension becomes 1: networks that leave it open take what broadcasts, and give the true size back.
        self._first = {name: _filled(by_name[name], 0) for name in card.states}
        self._states = dict(self._first)
        self.outputs = tuple(self._back_from.values())
        """The output tensors that `keep` wants."""

    @property
    def feeds(self) -> dict[str, npt.NDArray[np.generic]]:
        """Arrays by input tensor; not to be written to."""
        return {**self._constants, **self._states}

    def keep(self, outputs: Outputs) -> None:
        """Copy the states of the run that has just ended: the runtime may write over its outputs in the next one."""
        for name, output in self._back_from.items():
            self._states[name] = np.array(outputs[output], self._first[name].dtype)

    def reset(self) -> None:
        """Forget the frames so far: what comes next has nothing to do with them."""
        self._states = dict(self._first)


def _filled(tensor: TensorFacts, number: float) -> npt.NDArray[np.generic]:
    return np.full([length or 1 for length in tensor.shape], number, tensor.dtype)
