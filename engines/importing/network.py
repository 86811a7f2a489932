"""A network as plain steps: what Keras knows of each layer, without Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.types import F32

Source = str | float | npt.NDArray[np.generic]
"""Where a step's operand comes from: the value of that name, or a constant."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a layer.

    kind: Keras' class name, as "Conv2D"; with "ops." before it for one of `keras.ops`. name: the layer's own. config: what its
    `get_config` says. weights: as its `get_weights` orders them. inputs: its operands. output: the name of its value.
    """

    kind: str
    name: str
    config: Mapping[str, Any]
    weights: tuple[F32, ...]
    inputs: tuple[Source, ...]
    output: str

    def __str__(self) -> str:
        return f'layer "{self.name}" ({self.kind.removeprefix("ops.")})'


@dataclass(frozen=True, slots=True)
class Network:
    """Steps in an order in which they can be run, models inside models taken apart.

    image: the name of the input's value. input_shape: height, width, channels; a height or width of None is open.
    result: the name of the output's value. result_shape: as Keras tells it, without the batch; () where it does not.
    tolerance: how far its numbers may be off; low precision rounds more.
    """

    steps: tuple[Step, ...]
    image: str
    input_shape: tuple[int | None, int | None, int]
    result: str
    result_shape: tuple[int | None, ...] = ()
    tolerance: float = 1e-3
