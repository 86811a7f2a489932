"""Activations: those of layers' configurations, layers of their own, and `keras.ops`."""

from collections.abc import Callable, Mapping
from typing import Any

from engines.errors import choices
from engines.importing import KerasImportError
from engines.importing.maker import Maker
from engines.importing.network import Step

PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "elu": ("Elu", {"alpha": 1.0}),
    "selu": ("Selu", {}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "exponential": ("Exp", {}),
    "softmax": ("Softmax", {"axis": 1}),
    "log_softmax": ("LogSoftmax", {"axis": 1}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.2}),  # Keras' default slope of the function; the layer's is 0.3
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
}
"""Keras' name → the same ONNX operator, with channels as axis 1."""

ACROSS_CHANNELS = ("softmax", "log_softmax")


def activate(maker: Maker, tensor: str, activation: Any, step: Step) -> str:
    """`tensor` after an activation of `step`'s configuration. Raises KerasImportError for an unknown one."""
    if activation is None or activation == "linear":
        return tensor
    if isinstance(activation, Mapping):  # a layer instead of a function: Conv2D(..., activation=keras.layers.ReLU(6))
        layer, config = str(activation.get("class_name")), activation.get("config")
        if layer in LAYERS and isinstance(config, Mapping):
            return LAYERS[layer](maker, tensor, config, step)
        activation = config if layer == "function" else layer
    name = f"{step.name}/{activation}"
    if activation in PLAIN:
        op_type, attributes = PLAIN[activation]
        return maker.node(op_type, [tensor], name, **attributes)
    if activation in COMPOSED:
        return COMPOSED[activation](maker, tensor, name)
    raise KerasImportError(f'{step}: unknown activation "{activation}"', choices(str(activation), sorted({*PLAIN, *COMPOSED})))


def _relu6(maker: Maker, tensor: str, name: str) -> str:
    return maker.node("Clip", [tensor, maker.weight(f"{name}/0", 0.0), maker.weight(f"{name}/6", 6.0)], name)


def _silu(maker: Maker, tensor: str, name: str) -> str:
    return maker.node("Mul", [tensor, maker.node("Sigmoid", [tensor], f"{name}/gate")], name)


def _hard_silu(maker: Maker, tensor: str, name: str) -> str:
    gate = maker.node("HardSigmoid", [tensor], f"{name}/gate", alpha=1 / 6, beta=0.5)
    return maker.node("Mul", [tensor, gate], name)


def _mish(maker: Maker, tensor: str, name: str) -> str:
    gate = maker.node("Tanh", [maker.node("Softplus", [tensor], f"{name}/softplus")], f"{name}/gate")
    return maker.node("Mul", [tensor, gate], name)


def _gelu(maker: Maker, tensor: str, name: str) -> str:
    """x (1 + erf(x / sqrt 2)) / 2; opset 17 has no operator for it."""
    scaled = maker.node("Mul", [tensor, maker.weight(f"{name}/scale", 0.5**0.5)], f"{name}/scaled")
    share = maker.node("Add", [maker.node("Erf", [scaled], f"{name}/erf"), maker.weight(f"{name}/1", 1.0)], f"{name}/share")
    half = maker.node("Mul", [tensor, maker.weight(f"{name}/half", 0.5)], f"{name}/halved")
    return maker.node("Mul", [half, share], name)


COMPOSED: dict[str, Callable[[Maker, str, str], str]] = {
    "relu6": _relu6,
    "silu": _silu,
    "swish": _silu,
    "hard_silu": _hard_silu,
    "hard_swish": _hard_silu,
    "mish": _mish,
    "gelu": _gelu,
}


def _relu_layer(maker: Maker, tensor: str, config: Mapping[str, Any], step: Step) -> str:
    if config.get("threshold"):
        raise KerasImportError(f"{step}: a ReLU with a threshold of {config['threshold']} is not supported", "Leave it at 0")
    slope, limit = config.get("negative_slope") or 0.0, config.get("max_value")
    name = f"{step.name}/relu"
    bent = maker.node("LeakyRelu", [tensor], name, alpha=slope) if slope else maker.node("Relu", [tensor], name)
    return bent if limit is None else maker.node("Min", [bent, maker.weight(f"{name}/max", limit)], f"{name}/capped")


def _leaky_relu_layer(maker: Maker, tensor: str, config: Mapping[str, Any], step: Step) -> str:
    slope = config.get("negative_slope", config.get("alpha", 0.3))  # alpha until Keras 3
    return maker.node("LeakyRelu", [tensor], f"{step.name}/leaky_relu", alpha=float(slope))


def _elu_layer(maker: Maker, tensor: str, config: Mapping[str, Any], step: Step) -> str:
    return maker.node("Elu", [tensor], f"{step.name}/elu", alpha=float(config.get("alpha", 1.0)))


def _softmax_layer(maker: Maker, tensor: str, config: Mapping[str, Any], step: Step) -> str:
    if config.get("axis", -1) not in (-1, 3):
        what = f"{step}: a softmax over axis {config['axis']} is not supported"
        raise KerasImportError(what, "Take it over the last axis, channels")
    return maker.node("Softmax", [tensor], f"{step.name}/softmax", axis=1)


LAYERS: dict[str, Callable[[Maker, str, Mapping[str, Any], Step], str]] = {
    "ReLU": _relu_layer,
    "LeakyReLU": _leaky_relu_layer,
    "ELU": _elu_layer,
    "Softmax": _softmax_layer,
}
