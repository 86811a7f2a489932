"""Hugging Face's files beside a network: nothing is asked for then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from engines.errors import CardError
from engines.models.model import load_model
from engines.models.sidecars import input_beside
from engines.types import Size

LABELS = {"id2label": {"1": "sky", "0": "road", "2": "car"}}
PREPROCESSOR = {
    "image_processor_type": "SegformerImageProcessor",
    "do_rescale": True,
    "rescale_factor": 0.00392156862745098,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "size": {"height": 128, "width": 256},
}


def segformer(nets, config: dict[str, Any] | None, preprocessor: dict[str, Any] | None) -> Path:
    """Logits at a quarter of an input whose every dimension is open, as `optimum-cli export onnx` writes it."""
    folder = nets.folder / "onnx"
    folder.mkdir(exist_ok=True)
    nets.folder, top = folder, nets.folder
    node = helper.make_node("Conv", ["pixel_values", "w"], ["logits"], strides=[4, 4], kernel_shape=[4, 4])
    weights = {"w": np.zeros((3, 3, 4, 4), np.float32)}
    image = [("pixel_values", "float32", ["batch_size", "num_channels", "height", "width"])]
    out = [("logits", "float32", ["batch_size", "num_labels", "height/4", "width/4"])]
    path: Path = nets.save("model", [node], image, out, weights)
    nets.folder = top
    for name, said in (("config.json", config), ("preprocessor_config.json", preprocessor)):
        if said is not None:
            (top / name).write_text(json.dumps(said))
    return path


def test_everything_is_read_from_them(nets) -> None:
    model = load_model(segformer(nets, LABELS, PREPROCESSOR))
    card = model.card
    assert (card.family, card.outputs, card.classes) == ("semantic", {"logits": "logits"}, ("road", "sky", "car"))
    assert card.input.size == Size(256, 128)
    np.testing.assert_allclose((card.input.mean, card.input.std), ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)), atol=1e-3)
    assert model.assumed == ()


@pytest.mark.parametrize(
    ("changed", "mean", "std"),
    [
        ({"do_normalize": False}, 0, 255),
        ({"image_mean": 0.5, "image_std": 0.5}, 127.5, 127.5),
        ({"do_rescale": False, "image_mean": [100] * 3, "image_std": [50] * 3}, 100, 50),
    ],
    ids=["0..1", "-1..1", "bytes"],
)
def test_pixels_are_scaled_and_normalised_as_it_says(nets, changed: dict[str, Any], mean: float, std: float) -> None:
    image = load_model(segformer(nets, LABELS, PREPROCESSOR | changed)).card.input
    np.testing.assert_allclose((image.mean, image.std), ((mean,) * 3, (std,) * 3), atol=1e-3)


def test_a_square_and_swapped_channels(nets) -> None:
    image = load_model(segformer(nets, LABELS, PREPROCESSOR | {"size": 64, "do_flip_channel_order": True})).card.input
    assert (image.size, image.channels) == (Size(64, 64), "bgr")


@pytest.mark.parametrize("names", [None, ["LABEL_0", "LABEL_1", "LABEL_2"], ["x"], ["x", "x", "y"]])
def test_names_that_are_none_or_too_few_are_passed_over(nets, names: list[str] | None) -> None:
    config = None if names is None else {"id2label": {str(number): name for number, name in enumerate(names)}}
    assert load_model(segformer(nets, config, PREPROCESSOR)).lacks_names


def test_a_card_wins_and_other_files_say_nothing(nets) -> None:
    path = segformer(nets, LABELS, PREPROCESSOR)
    path.with_suffix(".toml").write_text('classes = ["a", "b", "c"]\n[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n')
    card = load_model(path).card
    assert (card.classes, card.input.std) == (("a", "b", "c"), (255, 255, 255))
    path.with_suffix(".toml").unlink()
    (path.parent.parent / "preprocessor_config.json").write_text('{"tokenizer": "words"}')
    with pytest.raises(CardError, match=r"input\.size_px"):
        load_model(path)


def test_what_is_no_json_is_ignored_and_said(nets, caplog: pytest.LogCaptureFixture) -> None:
    path = segformer(nets, LABELS, PREPROCESSOR)
    (path.parent.parent / "config.json").write_text("{")
    assert load_model(path).lacks_names
    assert "config.json: ignored" in caplog.text


def test_a_byte_order_mark_is_read_over(nets) -> None:
    path = segformer(nets, LABELS, PREPROCESSOR)
    (path.parent.parent / "config.json").write_text(json.dumps(LABELS), encoding="utf-8-sig")
    assert load_model(path).card.classes == ("road", "sky", "car")


@pytest.mark.parametrize(
    "changed", [{"rescale_factor": None}, {"rescale_factor": "1/255"}, {"image_std": [0, 1, 1]}, {"image_std": 0}], ids=str
)
def test_numbers_that_make_no_sense_are_ignored(nets, changed: dict[str, Any]) -> None:
    path = segformer(nets, LABELS, PREPROCESSOR | changed)
    assert input_beside(path) == {}
