"""A network as plain steps, Keras' data of each layer without Keras; and its head, the last activation.

The imported network ends before the head: a semantic model's scores are softmax probabilities of its logits, so a softmax inside
the network would be taken twice.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax

from engines.types import F32

Source = str | float | npt.NDArray[np.generic]
"""A step's operand: the name of a value, or a constant."""

Head = Literal["softmax", "sigmoid", "none"]
TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a layer.

    kind: Keras' class name, such as "Conv2D", or "ops.Add" for one of `keras.ops`. name: the layer's. config: from its
    `get_config`. weights: in the order of its `get_weights`. inputs: its operands. output: the name of its value.
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
    """Steps in an order in which they can run; models inside models are flattened.

    image: the name of the input's value. input_shape: height, width, channels; a height or width of None is open.
    result: the name of the output's value. result_shape: Keras', without the batch; () if unknown.
    tolerance: the allowed difference of its numbers; low precision rounds more.
    """

    steps: tuple[Step, ...]
    image: str
    input_shape: tuple[int | None, int | None, int]
    result: str
    result_shape: tuple[int | None, ...] = ()
    tolerance: float = TOLERANCE


def split_head(network: Network) -> tuple[Network, Head]:
    """`network` without its last activation, and that activation. A last Reshape of a map to a list of pixels is removed too."""
    steps = list(network.steps)
    result, readers = network.result, 0
    head: Head = "none"
    for index in reversed(range(len(steps))):
        step = steps[index]
        read = [source for other in steps for source in other.inputs if isinstance(source, str)]
        if step.output != result or read.count(result) > readers:  # another step reads it too
            break
        if head == "none" and (found := _activation_of(step)):
            steps[index], head = _without(step), found
        elif step.kind == "Reshape" and len(step.config["target_shape"]) == 2:
            steps[index] = dataclasses.replace(step, kind="Identity", config={})
        if not _is_transparent(steps[index]):
            break
        result, readers = str(step.inputs[0]), 1
    return dataclasses.replace(network, steps=tuple(steps)), head


def apply_head(head: Head, logits: F32) -> F32:
    """(N, C) logits → Keras' outputs."""
    if head == "none":
        return logits
    return np.asarray(softmax(logits, axis=1) if head == "softmax" else expit(logits), np.float32)


def _activation_of(step: Step) -> Head | None:
    name = step.config.get("activation")
    if step.kind in ("Softmax", "ops.Softmax") and step.config.get("axis", -1) in (-1, 3):
        return "softmax"
    if step.kind == "ops.Sigmoid":
        return "sigmoid"
    return name if name in ("softmax", "sigmoid") else None


def _without(step: Step) -> Step:
    """The step without its activation."""
    if step.kind in ("Softmax", "ops.Softmax", "ops.Sigmoid"):
        return dataclasses.replace(step, kind="Identity", config={})
    return dataclasses.replace(step, config={**step.config, "activation": "linear"})


def _is_transparent(step: Step) -> bool:
    """Whether an activation before `step` may as well come after it."""
    is_linear = step.kind == "Activation" and step.config.get("activation") == "linear"
    return is_linear or step.kind in ("Identity", "Dropout", "SpatialDropout2D")
