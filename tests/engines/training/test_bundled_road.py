"""The bundled model `road`: it is the file its card describes, and as good as its card says. Needs no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

from engines.card import ModelCard, card_from_dict, read_toml
from engines.datasets.folder import DataSet, labelled_pairs, read_sample
from engines.training.evaluate import score_set
from engines.training.recipe import read_recipe
from engines.types import U8

FOLDER = Path(__file__).parents[3] / "assets" / "models" / "road"
CAMVID = Path(__file__).parents[3].parent / "shared" / "data" / "camvid"


@pytest.fixture(scope="module")
def card() -> ModelCard:
    return card_from_dict(read_toml(FOLDER / "card.toml"), str(FOLDER / "card.toml"))


def test_card_describes_this_file(card: ModelCard) -> None:
    content = (FOLDER / card.file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == card.sha256
    assert len(content) <= 10_000_000
    assert card.things == ("car", "pedestrian", "bicyclist")
    assert set(card.palette) == set(card.classes)
    assert card.licence
    assert card.limits
    assert "engines.training train --recipe road" in card.recipe


def test_card_agrees_with_the_recipe_it_names(card: ModelCard) -> None:
    recipe = read_recipe("road")
    assert card.classes == recipe.classes
    assert card.input.size_px == recipe.input_px


def test_it_runs_and_answers_in_the_card_s_shapes(card: ModelCard) -> None:
    session = onnxruntime.InferenceSession(str(FOLDER / card.file), providers=["CPUExecutionProvider"])
    width, height = card.input.size_px
    # A made-up street: bright above, dark below.
    frame = np.full((height, width, 3), 235, np.uint8)
    cv2.rectangle(frame, (0, height // 2), (width, height), (85, 85, 85), cv2.FILLED)
    labels, confidence = session.run([card.outputs["labels"], card.outputs["confidence"]], {card.input.tensor: frame[None]})
    assert (labels.shape, labels.dtype) == ((1, height, width), np.uint8)
    assert (confidence.shape, confidence.dtype) == ((1, height // 4, width // 4), np.uint8)
    assert labels.max() < len(card.classes)
    assert np.mean(labels[0, :60] == card.classes.index("sky")) > 0.5
    assert np.mean(labels[0, -60:] == card.classes.index("road")) > 0.5


@pytest.mark.skipif(not CAMVID.is_dir(), reason="needs shared/data/camvid beside the checkout")
def test_it_reaches_50_miou_on_a_clip_it_has_not_seen(card: ModelCard) -> None:
    recipe = read_recipe("road")
    settings = next(data_set for data_set in recipe.sets if data_set.name == "camvid")
    pairs = [pair for pair in labelled_pairs(CAMVID) if pair[0].stem.startswith("0001TP_")][::3]
    samples = tuple(read_sample(image, label, settings) for image, label in pairs)
    session = onnxruntime.InferenceSession(str(FOLDER / card.file), providers=["CPUExecutionProvider"])

    def predict(image: U8) -> U8:
        labels = session.run([card.outputs["labels"]], {card.input.tensor: image[None]})
        return np.asarray(labels[0][0], np.uint8)

    score = score_set(predict, DataSet(settings, (), samples), recipe)
    assert score.images >= 20
    assert score.miou >= 50, score
    assert score.iou["road"] >= 85, score
    assert score.iou["car"] >= 60, score
