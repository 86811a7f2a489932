"""Every layer against Keras: the same weights, pixels and numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.importing.layers import KINDS, OPERATORS
from engines.importing.loaded import KerasModel
from engines.importing.parity import OnnxRun, probe_images
from engines.importing.translation import Pixels, translated
from engines.types import Size

Make = Callable[[Any, Any], Any]
"""keras.layers, a symbolic (17, 22, 3) input → a symbolic output."""

LAYERS: dict[str, Make] = {
    "conv same": lambda k, x: k.Conv2D(5, 3, padding="same", activation="relu")(x),
    "conv same strided": lambda k, x: k.Conv2D(5, (3, 4), strides=2, padding="same")(x),
    "conv dilated": lambda k, x: k.Conv2D(5, 3, dilation_rate=(2, 1), padding="same", use_bias=False)(x),
    "conv grouped": lambda k, x: k.Conv2D(6, 3, groups=3)(x),
    "depthwise": lambda k, x: k.DepthwiseConv2D((3, 2), depth_multiplier=2, activation="tanh")(x),
    "depthwise strided": lambda k, x: k.DepthwiseConv2D(3, strides=2, padding="same")(x),
    "separable": lambda k, x: k.SeparableConv2D(5, 3, depth_multiplier=2, activation="silu")(x),
    "transposed 2x2": lambda k, x: k.Conv2DTranspose(5, 2, strides=2)(x),
    "transposed 3x3 same": lambda k, x: k.Conv2DTranspose(5, 3, strides=2, padding="same", activation="elu")(x),
    "transposed 4x5 same": lambda k, x: k.Conv2DTranspose(5, (4, 5), strides=(2, 3), padding="same")(x),
    "transposed with gaps": lambda k, x: k.Conv2DTranspose(5, 1, strides=2, padding="same")(x),
    "transposed, more": lambda k, x: k.Conv2DTranspose(5, 3, strides=2, padding="same", output_padding=1)(x),
    "max pool": lambda k, x: k.MaxPooling2D((2, 3))(x),
    "max pool same": lambda k, x: k.MaxPooling2D(3, strides=2, padding="same")(x),
    "average pool": lambda k, x: k.AveragePooling2D(3, strides=2)(x),
    "average pool same": lambda k, x: k.AveragePooling2D(2, padding="same")(x),
    "squeeze": lambda k, x: k.Multiply()([x, k.Dense(3, activation="sigmoid")(k.GlobalAveragePooling2D(keepdims=True)(x))]),
    "squeeze, reshaped": lambda k, x: k.Multiply()([x, k.Reshape((1, 1, 3))(k.Dense(3)(k.GlobalMaxPooling2D()(x)))]),
    "dense per pixel": lambda k, x: k.Dense(4, activation="softsign")(x),
    "autoencoder": lambda k, x: k.Reshape((2, 3, 4))(k.Dense(24)(k.Flatten()(x))),
    "reshaped": lambda k, x: k.Reshape((11, -1, 3))(x),
    "zero padding": lambda k, x: k.Conv2D(2, 3)(k.ZeroPadding2D(((1, 2), (0, 3)))(x)),
    "zero padding, one number": lambda k, x: k.ZeroPadding2D(2)(x),
    "cropping": lambda k, x: k.Cropping2D(((1, 0), (2, 3)))(x),
    "upsampling": lambda k, x: k.UpSampling2D((2, 3))(x),
    "upsampling bilinear": lambda k, x: k.UpSampling2D(2, interpolation="bilinear")(x),
    "resizing": lambda k, x: k.Resizing(25, 13)(x),
    "resizing nearest": lambda k, x: k.Resizing(25, 13, interpolation="nearest")(x),
    "rescaling": lambda k, x: k.Rescaling(1 / 127.5, offset=-1)(x),
    "normalization": lambda k, x: k.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.5, 1.0, 2.0])(x),
    "batch normalisation": lambda k, x: k.BatchNormalization(epsilon=0.01)(x),
    "batch normalisation, bare": lambda k, x: k.BatchNormalization(center=False, scale=False)(x),
    "relu": lambda k, x: k.ReLU(max_value=0.5, negative_slope=0.1)(k.Rescaling(2, offset=-1)(x)),
    "leaky relu": lambda k, x: k.LeakyReLU(negative_slope=0.2)(k.Rescaling(2, offset=-1)(x)),
    "elu": lambda k, x: k.ELU(alpha=0.7)(k.Rescaling(2, offset=-1)(x)),
    "prelu": lambda k, x: k.PReLU(alpha_initializer="ones", shared_axes=[1, 2])(k.Rescaling(-2)(x)),
    "prelu everywhere": lambda k, x: k.PReLU(alpha_initializer="glorot_uniform")(k.Rescaling(-2)(x)),
    "softmax": lambda k, x: k.Softmax()(x),
    "activation as a layer": lambda k, x: k.Conv2D(4, 1, activation=k.LeakyReLU(negative_slope=0.4))(x),
    "add": lambda k, x: k.Add()([x, k.Rescaling(2)(x), k.Rescaling(3)(x)]),
    "subtract": lambda k, x: k.Subtract()([x, k.Rescaling(2)(x)]),
    "average": lambda k, x: k.Average()([x, k.Rescaling(2)(x), k.Rescaling(4)(x)]),
    "maximum": lambda k, x: k.Minimum()([k.Maximum()([x, k.Rescaling(-1, offset=1)(x)]), k.Rescaling(3)(x)]),
    "concatenate": lambda k, x: k.Concatenate()([x, k.Conv2D(2, 1)(x)]),
    "concatenate rows": lambda k, x: k.Concatenate(axis=1)([x, k.Cropping2D(((0, 9), (0, 0)))(x)]),
    "operators": lambda k, x: (x / 2.0 - 0.25) * x + k.Rescaling(2)(x),
    "passing through": lambda k, x: k.GaussianNoise(0.5)(k.RandomFlip()(k.Dropout(0.5)(k.SpatialDropout2D(0.5)(x)))),
    "shared": lambda k, x: _twice(k.Conv2D(3, 3, padding="same"), x),
}  # fmt: skip

ACTIVATIONS = (
    "relu", "relu6", "sigmoid", "hard_sigmoid", "tanh", "elu", "selu", "softplus", "softsign", "exponential", "softmax",
    "log_softmax", "leaky_relu", "silu", "hard_silu", "mish", "gelu",
)  # fmt: skip


def _twice(layer: Any, x: Any) -> Any:
    return layer(layer(x))


def difference(path: Path) -> tuple[float, tuple[int, ...], tuple[int, ...]]:
    """The largest difference between Keras and the graph, and both shapes."""
    model, pixels, worst = KerasModel(path), Pixels(3, "rgb", 1 / 255, 0.0), 0.0
    made = translated(model.network, pixels, Size(22, 17))
    run, theirs, ours = OnnxRun(made.model), (), ()
    for image in probe_images(Size(22, 17)):
        wanted, found = model.predict(pixels.prepared(image)[None])[0], run(image).transpose(1, 2, 0)
        theirs, ours = tuple(wanted.shape), tuple(found.shape)
        worst = max(worst, float(np.abs(wanted - found.reshape(wanted.shape)).max()))
    assert made.result.shape == theirs
    return worst, theirs, ours


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_equals_keras(name: str, keras: Any, layers: Any, save: Callable[..., Path]) -> None:
    x = keras.Input((17, 22, 3))
    worst, theirs, ours = difference(save(keras.Model(x, LAYERS[name](layers, x))))
    assert theirs == ours
    assert worst < 2e-5


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_equals_keras(activation: str, keras: Any, layers: Any, save: Callable[..., Path]) -> None:
    x = keras.Input((17, 22, 3))
    worst, *_ = difference(save(keras.Model(x, layers.Activation(activation)(layers.Rescaling(12, offset=-6)(x)))))
    assert worst < 2e-5 if activation != "exponential" else 1e-3


def test_adapted_statistics_are_used(keras: Any, layers: Any, save: Callable[..., Path]) -> None:
    norm = layers.Normalization()
    norm.adapt(np.random.default_rng(0).uniform(0, 1, (4, 17, 22, 3)))
    x = keras.Input((17, 22, 3))
    assert difference(save(keras.Model(x, norm(x))))[0] < 2e-5


def test_models_inside_models_are_flattened(keras: Any, layers: Any, save: Callable[..., Path]) -> None:
    """A backbone of open size, called twice, behind a Sequential in a Sequential."""
    inside = keras.Input((None, None, 3))
    backbone = keras.Model(inside, layers.Conv2D(3, 3, padding="same")(layers.ReLU()(inside)), name="backbone")
    outer = keras.Sequential([keras.Input((17, 22, 3)), layers.Rescaling(2), keras.Sequential([layers.Rescaling(0.7)])])
    x = keras.Input((17, 22, 3))
    path = save(keras.Model(x, backbone(backbone(outer(x)))))
    assert difference(path)[0] < 2e-5
    assert [step.kind for step in KerasModel(path).network.steps] == ["Rescaling", "Rescaling", *["ReLU", "Conv2D"] * 2]


def test_averages_that_differ_between_keras_backends_are_refused(keras: Any, layers: Any, save: Callable[..., Path]) -> None:
    x = keras.Input((17, 22, 3))
    with pytest.raises(ValueError, match="backends disagree"):
        difference(save(keras.Model(x, layers.AveragePooling2D((2, 3), strides=2, padding="same")(x))))


def test_every_layer_is_tested() -> None:
    """By the names in this file."""
    text = Path(__file__).read_text(encoding="utf-8")
    kinds = [kind for kind in (*KINDS, *OPERATORS) if not kind.startswith(("ops.", "Random"))]
    passing = ("GaussianDropout", "AlphaDropout", "ActivityRegularization", "Identity")
    assert not [kind for kind in kinds if f"k.{kind}(" not in text and kind not in passing and f"layers.{kind}(" not in text]
