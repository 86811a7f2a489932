"""The head: what the last activation says about a network's outputs. The imported network gives what comes before it.

A semantic model's scores are softmax probabilities of its logits, so a softmax inside the network would be taken twice.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from engines.importing.network import Network, Step
from engines.types import F32

Head = Literal["softmax", "sigmoid", "none"]


def split_head(network: Network) -> tuple[Network, Head]:
    """`network` without its last activation, and which that was. A last Reshape of a map to a list of its pixels goes too."""
    steps = list(network.steps)
    result, readers = network.result, 0
    head: Head = "none"
    for index in reversed(range(len(steps))):
        step = steps[index]
        read = [source for other in steps for source in other.inputs if isinstance(source, str)]
        if step.output != result or read.count(result) > readers:  # something else reads it too
            break
        found = _activation_of(step) if head == "none" else None
        if found:
            steps[index], head = _without(step), found
        elif step.kind == "Reshape" and len(step.config["target_shape"]) == 2:
            steps[index] = dataclasses.replace(step, kind="Identity", config={})
        if not _is_transparent(steps[index]):
            break
        result, readers = str(step.inputs[0]), 1
    return dataclasses.replace(network, steps=tuple(steps)), head


def apply_head(head: Head, logits: F32) -> F32:
    """(N, C) → what Keras would give."""
    if head == "softmax":
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float32)
    if head == "sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), np.float32)
    return logits


def _activation_of(step: Step) -> Head | None:
    name = step.config.get("activation")
    if step.kind in ("Softmax", "ops.Softmax") and step.config.get("axis", -1) in (-1, 3):
        return "softmax"
    if step.kind == "ops.Sigmoid":
        return "sigmoid"
    return name if name in ("softmax", "sigmoid") else None


def _without(step: Step) -> Step:
    """The step, its activation left out."""
    if step.kind in ("Softmax", "ops.Softmax", "ops.Sigmoid"):
        return dataclasses.replace(step, kind="Identity", config={})
    return dataclasses.replace(step, config={**step.config, "activation": "linear"})


def _is_transparent(step: Step) -> bool:
    """Whether an activation may just as well come after `step`."""
    is_linear = step.kind == "Activation" and step.config.get("activation") == "linear"
    return is_linear or step.kind in ("Identity", "Dropout", "SpatialDropout2D")
