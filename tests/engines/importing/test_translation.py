"""Steps to a graph, compared with NumPy: the classic small classifier, on one window and sliding over a frame. No Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engines.importing import KerasImportError
from engines.importing.layers import KINDS
from engines.importing.network import Network, Step, split_head
from engines.importing.parity import OnnxRun
from engines.importing.sliding import windows
from engines.importing.translation import Pixels, translated
from engines.types import F32, Size

RNG = np.random.default_rng(0)
PIXELS = Pixels(1, "rgb", 1 / 255, 0.0)


def uniform(*shape: int) -> F32:
    return RNG.uniform(-0.5, 0.5, shape).astype(np.float32)


FIRST, FIRST_BIAS = uniform(3, 3, 1, 4), uniform(4)
HIDDEN, HIDDEN_BIAS = uniform(4 * 3 * 4, 6), uniform(6)
LAST, LAST_BIAS = uniform(6, 3), uniform(3)


def classifier(*between: Step) -> Network:
    """13 x 10 pixels: a convolution to 11 x 8, a pool to 5 x 4 that drops a row, a crop of a row, and Dense layers."""
    steps = (
        Step("Conv2D", "conv", {"activation": "relu"}, (FIRST, FIRST_BIAS), ("image",), "a"),
        Step("MaxPooling2D", "pool", {"pool_size": (2, 2)}, (), ("a",), "b"),
        Step("Cropping2D", "crop", {"cropping": ((0, 1), (0, 1))}, (), ("b",), "c"),
        Step("Flatten", "flatten", {}, (), ("c",), "d"),
        *between,
        Step("Dense", "hidden", {"activation": "tanh"}, (HIDDEN, HIDDEN_BIAS), (between[-1].output if between else "d",), "e"),
        Step("Dropout", "dropout", {}, (), ("e",), "f"),
        Step("Dense", "last", {"activation": "linear"}, (LAST, LAST_BIAS), ("f",), "g"),
    )
    return Network(steps, "image", (13, 10, 1), "g")


def expected(window: Any, scale: Any = 1.0) -> F32:
    """The same on (13, 10) grey pixels, in Keras' order of axes."""
    image = window.astype(np.float32)[..., None] / 255
    patches = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(0, 1))  # (11, 8, 1, 3, 3)
    first = np.maximum(np.einsum("yxcij,ijco->yxo", patches, FIRST) + FIRST_BIAS, 0)
    pooled = first[:10].reshape(5, 2, 4, 2, 4).max(axis=(1, 3))[:4, :3]
    hidden = np.tanh(pooled.reshape(-1) * scale @ HIDDEN + HIDDEN_BIAS)
    return np.asarray(hidden @ LAST + LAST_BIAS, np.float32)


def grey_of(image: Any) -> Any:
    return PIXELS.prepared(image)[..., 0] * 255


def noise(height: int, width: int) -> Any:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


def test_one_window_equals_the_layers() -> None:
    image = noise(13, 10)
    for is_sliding in (False, True):
        made = translated(classifier(), PIXELS, Size(10, 13), is_sliding=is_sliding)
        assert made.result.shape == (3,)
        np.testing.assert_allclose(OnnxRun(made.model)(image)[:, 0, 0], expected(grey_of(image)), atol=1e-5)


@pytest.mark.parametrize("frame", [Size(10, 14), Size(2, 2), Size(34, 26)])
def test_every_window_of_a_frame_equals_the_layers(frame: Size) -> None:
    network, image = classifier(), noise(frame.height, frame.width)
    small = translated(network, PIXELS, Size(10, 13), is_sliding=True)
    grid = windows((13, 10), small.result.stride, frame, "test")
    assert grid.stride == (2, 2)
    made = translated(network, PIXELS, frame, grid)
    logits = OnnxRun(made.model)(image)
    assert logits.shape == (3, frame.height // 2, frame.width // 2)
    top, left, bottom, right = grid.pads
    padded = np.pad(grey_of(image), ((top, bottom), (left, right)), mode="edge")
    for row, column in np.ndindex(grid.cells):
        y, x = grid.corner(row, column)
        np.testing.assert_allclose(logits[:, row, column], expected(padded[y : y + 13, x : x + 10]), atol=1e-5)
    assert made.approximate == ()


def test_a_layer_on_flattened_numbers_gets_them_in_order() -> None:
    """A normalisation after Flatten has a factor per number: they must be in Keras' order, sliding or not."""
    scale = np.linspace(0.5, 2, 48).astype(np.float32)
    variance = (1 / scale**2).astype(np.float32)
    statistics = (np.ones(48, np.float32), np.zeros(48, np.float32), np.zeros(48, np.float32), variance)
    network = classifier(Step("BatchNormalization", "norm", {"epsilon": 1e-12}, statistics, ("d",), "n"))
    image = noise(13, 10)
    for is_sliding in (False, True):
        made = translated(network, PIXELS, Size(10, 13), is_sliding=is_sliding)
        np.testing.assert_allclose(OnnxRun(made.model)(image)[:, 0, 0], expected(grey_of(image), scale), atol=1e-4)


def test_layers_used_twice_have_unique_names() -> None:
    add = Step("Add", "add", {}, (), ("a", "b"), "c")
    steps = tuple(Step("Conv2D", "shared", {}, (FIRST, FIRST_BIAS), ("image",), name) for name in "ab")
    made = translated(Network((*steps, add), "image", (13, 10, 1), "c"), PIXELS, Size(10, 13))
    names = [node.name for node in made.model.graph.node]
    assert len(names) == len(set(names))


TAILS: dict[str, tuple[tuple[tuple[str, dict[str, Any]], ...], str]] = {
    "in the layer": ((("Dense", {"activation": "softmax"}),), "softmax"),
    "a layer": ((("Dense", {"activation": "linear"}), ("Softmax", {"axis": -1})), "softmax"),
    "before a layer that does nothing": ((("Dense", {}), ("Activation", {"activation": "sigmoid"}), ("Dropout", {})), "sigmoid"),
    "on a list of pixels": ((("Conv2D", {}), ("Reshape", {"target_shape": (130, 3)}), ("Softmax", {})), "softmax"),
    "before a list of pixels": ((("Conv2D", {"activation": "sigmoid"}), ("Reshape", {"target_shape": (-1, 3)})), "sigmoid"),
    "before a layer that does something": ((("Dense", {"activation": "softmax"}), ("Rescaling", {"scale": 2})), "none"),
    "another one": ((("Dense", {"activation": "relu"}),), "none"),
    "over other axes": ((("Conv2D", {}), ("Softmax", {"axis": 1})), "none"),
}


@pytest.mark.parametrize("name", TAILS)
def test_the_last_activation_is_found_and_left_out(name: str) -> None:
    tail, wanted = TAILS[name]
    steps = [Step(kind, kind, config, (), (str(number),), str(number + 1)) for number, (kind, config) in enumerate(tail)]
    network, head = split_head(Network(tuple(steps), "0", (13, 10, 1), str(len(tail))))
    assert head == wanted
    kinds = [step.kind for step in network.steps if step.kind != "Identity"]
    assert kinds == [kind for kind, _ in tail if kind != "Reshape" and (wanted == "none" or kind != "Softmax")]
    assert "softmax" not in [step.config.get("activation") for step in network.steps] or wanted == "none"


def test_an_activation_with_another_reader_stays() -> None:
    first = Step("Dense", "a", {"activation": "softmax"}, (), ("image",), "a")
    gated = (first, Step("Dropout", "b", {}, (), ("a",), "b"), Step("Multiply", "c", {}, (), ("a", "b"), "c"))
    assert split_head(Network(gated, "image", (13, 10, 1), "c"))[1] == "none"
    assert split_head(Network(gated, "image", (13, 10, 1), "b"))[1] == "none"
    assert split_head(Network(gated[:2], "image", (13, 10, 1), "b"))[1] == "softmax"


def refused(*steps: Step, sliding: bool = False) -> str:
    with pytest.raises(KerasImportError) as caught:
        translated(Network(steps, "image", (13, 10, 1), steps[-1].output), PIXELS, Size(10, 13), is_sliding=sliding)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_layer_is_named() -> None:
    message = refused(Step("MaxPooling3D", "deep", {}, (), ("image",), "a"))
    assert message.startswith('layer "deep" (MaxPooling3D): this kind of layer is not supported. Did you mean "MaxPooling2D"?')
    message = refused(Step("Activation", "bend", {"activation": "celu"}, (), ("image",), "a"))
    assert 'layer "bend" (Activation): unknown activation "celu". Did you mean "elu"?' in message
    message = refused(Step("Conv2D", "conv", {"data_format": "channels_first"}, (FIRST, FIRST_BIAS), ("image",), "a"))
    assert "channels_last" in message


def test_shapes_that_do_not_fit_are_refused() -> None:
    pool = Step("MaxPooling2D", "pool", {"pool_size": 2}, (), ("image",), "half")
    up = Step("UpSampling2D", "up", {"size": 2}, (), ("half",), "back")
    join = Step("Concatenate", "join", {"axis": -1}, (), ("image", "back"), "both")
    assert 'layer "join" (Concatenate): maps of 13x10 and 12x10 cannot be joined. Choose a --size' in refused(pool, up, join)
    add = Step("Add", "sum", {}, (), ("image", "back"), "both")
    assert 'layer "sum" (Add): maps of' in refused(pool, up, add)
    large = Step("Conv2D", "wide", {}, (uniform(15, 3, 1, 2), uniform(2)), ("image",), "a")
    assert 'layer "wide" (Conv2D): its 15x3 window does not fit a map of 13x10' in refused(large)


def test_layers_that_cannot_slide_are_refused() -> None:
    mean = Step("GlobalAveragePooling2D", "mean", {"keepdims": True}, (), ("image",), "mean")
    gate = Step("Multiply", "gate", {}, (), ("image", "mean"), "gated")
    end = "so this classifier cannot slide over a frame"
    assert end in refused(mean, gate, sliding=True)
    assert end in refused(Step("UpSampling2D", "up", {"size": 2}, (), ("image",), "a"), sliding=True)
    assert end in refused(Step("Resizing", "half", {"height": 5, "width": 5}, (), ("image",), "a"), sliding=True)
    assert end in refused(Step("Reshape", "turn", {"target_shape": (10, 13, 1)}, (), ("image",), "a"), sliding=True)
    translated(Network((mean, gate), "image", (13, 10, 1), "gated"), PIXELS, Size(10, 13))  # a whole picture has one mean


def test_the_tutorial_lists_every_layer(repo_root: Any) -> None:
    text = (repo_root / "docs/keras.md").read_text(encoding="utf-8")
    missing = [kind for kind in KINDS if not kind.startswith(("ops.", "Random")) and f"`{kind}`" not in text]
    assert not missing
