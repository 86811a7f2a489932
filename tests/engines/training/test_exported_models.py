# ruff: noqa: E402
"""An exported folder is a model like any other: its card is read, its file opened, frames segmented."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason='needs torch: pip install -e ".[train]"')

from engines.datasets.folder import DataSet, Sample, open_set
from engines.errors import CardError
from engines.models.card import card_from_dict, read_toml
from engines.models.model import load_model
from engines.segmenter import Segmenter
from engines.training.checkpoint import Checkpoint, load_checkpoint
from engines.training.deployed import predict_frame, torch_predictor
from engines.training.export import check_card, export_checkpoint
from engines.training.recipe import Recipe, recipe_from_dict
from engines.training.train import train

from .nets import random_net, ripples

Facts = Callable[..., dict[str, Any]]
TWO = {"classes": ["background", "car"], "sets": []}
MODELS: dict[str, tuple[dict[str, Any], str]] = {
    "labels": ({}, "semantic"),
    "labels, objects": ({"heads": ["instances"]}, "panoptic"),
    "labels, surface": ({"heads": ["surface"]}, "semantic"),
    "labels, surface, objects": ({"heads": ["surface", "instances"]}, "panoptic"),
    "alpha": ({**TWO, "output": "alpha"}, "matting"),
    "alpha, objects": ({**TWO, "output": "alpha", "heads": ["instances"]}, "panoptic"),
    "alpha, surface": ({**TWO, "output": "alpha", "heads": ["surface"]}, "matting"),
    "alpha, surface, objects": ({**TWO, "output": "alpha", "heads": ["surface", "instances"]}, "panoptic"),
}


def checkpoint(facts: dict[str, Any]) -> Checkpoint:
    recipe = recipe_from_dict(facts, "toy")
    weights = random_net(len(recipe.classes), recipe.heads).state_dict()
    return Checkpoint(recipe, 6, weights, weights)


@pytest.mark.parametrize(("change", "family"), MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_every_kind_of_model_is_opened_and_segments(
    change: dict[str, Any], family: str, fit: str, toy_facts: Facts, tmp_path: Path
) -> None:
    made = checkpoint(toy_facts() | change | {"fit": fit})
    exported = export_checkpoint(made, tmp_path / "model")
    model = load_model(exported.model)
    assert model.card.family == family
    frame = ripples((200, 100))
    with Segmenter(model, "ort") as segmenter:
        seen = segmenter(frame)
    recipe = made.recipe
    if recipe.output == "alpha":
        assert seen.class_map is None
        assert seen.alpha is not None
        assert seen.alpha.std() > 0
    else:
        assert seen.alpha is None
        assert seen.class_map is not None
        ours = predict_frame(torch_predictor(made.net()), frame, recipe.input)
        theirs = cv2.resize(seen.class_map, (200, 100), interpolation=cv2.INTER_NEAREST_EXACT)
        assert np.mean(ours == theirs) > 0.999, "the net's labels, mapped back as for scores"
    if "surface" in recipe.heads:
        assert seen.surface is not None
        assert set(np.unique(seen.surface)) <= {0, 1, 2}
        assert len(np.unique(seen.surface)) > 1
    else:
        assert seen.surface is None
    width_over_height = 2 if fit == "letterbox" else 1.5
    for found in (seen.class_map, seen.alpha, seen.surface):
        if found is not None:
            assert found.shape[1] / found.shape[0] == pytest.approx(width_over_height, rel=0.05), "padding is cut away"
    assert set(seen.instances.class_ids.tolist()) <= {model.card.classes.index("car")}


@pytest.mark.slow
def test_learned_objects_are_found_in_the_frame(toy_set: Path, street_facts: Facts, tmp_path: Path) -> None:
    """Through the exported file and the family that reads it, with a class head that was fitted to the colours."""
    made = checkpoint(street_facts())
    fit_colours(made)
    exported = export_checkpoint(made, tmp_path / "model")
    sample = open_set(toy_set, made.recipe.sets[0]).training[0]
    assert sample.instances is not None
    with Segmenter(load_model(exported.model), "ort") as segmenter:
        seen = segmenter(sample.image)
    assert seen.class_map is not None
    label = sample.label[::2, ::2]
    assert seen.class_map.shape == label.shape
    overlap = (seen.class_map == 2) & (label == 2)
    assert overlap.sum() / ((seen.class_map == 2) | (label == 2)).sum() > 0.5


def fit_colours(made: Checkpoint) -> None:
    """Fit only the class head, by least squares on features: faster than training."""
    from engines.training.model import normalised

    from .conftest import BGR_OF_CLASS

    net = made.net()
    label = np.kron(np.random.default_rng(0).integers(0, 3, (8, 12)), np.ones((8, 8), int)).astype(np.uint8)
    image = BGR_OF_CLASS[label]
    with torch.inference_mode():
        features = net.features(normalised(torch.from_numpy(image)[None]))[0].flatten(1).T
    inputs = torch.cat((features, torch.ones(len(features), 1)), dim=1)
    wanted = torch.nn.functional.one_hot(torch.from_numpy(label[2::4, 2::4].reshape(-1)).long(), 3).float() * 10 - 5
    solved = torch.linalg.lstsq(inputs, wanted, driver="gelsd").solution
    made.ema["heads.semantic.1.weight"] = solved[:-1].T.reshape(3, -1, 1, 1).contiguous()
    made.ema["heads.semantic.1.bias"] = solved[-1].contiguous()


@pytest.fixture
def exported_card(toy_facts: Facts, toy_set: Path, tmp_path: Path) -> Callable[..., Any]:
    def made(**change: Any) -> tuple[Any, Path]:
        state = checkpoint(toy_facts() | change)
        sets = [open_set(toy_set, state.recipe.sets[0])]
        folder = tmp_path / "model"
        export_checkpoint(state, folder, sets)
        return card_from_dict(read_toml(folder / "card.toml"), "card.toml"), folder

    return made


def test_the_card_has_the_recipe_s_facts_and_the_measured_figures(exported_card: Callable[..., Any]) -> None:
    card, folder = exported_card()
    assert (card.name, card.family, card.classes, card.things) == ("toy", "semantic", ("sky", "road", "car"), ("car",))
    assert (card.input.tensor, card.input.size_px, card.input.layout, card.input.dtype) == ("image", (96, 64), "nhwc", "uint8")
    assert (card.input.channels, card.input.fit, card.input.mean, card.input.std) == ("bgr", "stretch", (0, 0, 0), (1, 1, 1))
    assert card.outputs == {"labels": "labels", "confidence": "confidence"}
    assert card.limits == 'knows three\ncolours and "nothing" else'
    content = (folder / card.file).read_bytes()
    assert card.figures["size_bytes"] == len(content)
    assert card.sha256 == hashlib.sha256(content).hexdigest()
    assert card.figures["labels_equal_to_checkpoint_percent"] >= 99.99
    assert 0 <= card.figures["toy held out: mIoU"] <= 100
    assert set(card.figures) >= {f"toy held out: {name}" for name in card.classes}
    assert sorted(path.name for path in folder.iterdir()) == ["card.toml", "model.onnx", "weights.pt"]


def test_the_exported_weights_are_those_of_the_checkpoint(exported_card: Callable[..., Any], toy_facts: Facts) -> None:
    _, folder = exported_card(rebalance=0.5)
    read = load_checkpoint(folder / "weights.pt")
    for name, value in checkpoint(toy_facts()).ema.items():
        torch.testing.assert_close(read.ema[name], value, rtol=1e-3, atol=1e-3)


def test_licences_of_the_sets_are_in_the_card_unless_the_recipe_has_its_own(toy_facts: Facts, tmp_path: Path) -> None:
    facts = toy_facts()
    sets = [{**facts["sets"][0], "licence": "research only"}, {"name": "other", "classes": ["car"], "licence": "CC BY 4.0"}]
    export_checkpoint(checkpoint(facts | {"sets": sets, "card": {}}), tmp_path / "without")
    export_checkpoint(checkpoint(facts | {"sets": sets, "card": {"licence": "mine"}}), tmp_path / "with")
    without, own = (read_toml(tmp_path / name / "card.toml") for name in ("without", "with"))
    assert without["licence"] == "toy: research only; other: CC BY 4.0"
    assert without["data"] == own["data"] == "Trained on toy, other."
    assert own["licence"] == "mine"


def test_rebalancing_happens_at_export(toy_facts: Facts, tmp_path: Path) -> None:
    """A weight of 1e6 in the loss makes a class disappear."""
    made = checkpoint(toy_facts() | {"rebalance": 1.0})

    def class_map_of(weights: list[float]) -> np.ndarray:
        made.class_weights = weights
        exported = export_checkpoint(made, tmp_path / "model")
        with Segmenter(load_model(exported.model), "ort") as segmenter:
            class_map = segmenter(ripples()).class_map
        assert class_map is not None
        return class_map

    commonest = int(np.bincount(class_map_of([1.0, 1.0, 1.0]).ravel()).argmax())
    assert not (class_map_of([1e6 if class_id == commonest else 1.0 for class_id in range(3)]) == commonest).any()


def test_held_out_void_has_no_figure(toy_facts: Facts, tmp_path: Path) -> None:
    made = checkpoint(toy_facts())
    void = Sample("v", ripples(), np.full((64, 96), 255, np.uint8))
    export_checkpoint(made, tmp_path, [DataSet(made.recipe.sets[0], (), (void,))])
    assert set(read_toml(tmp_path / "card.toml")["figures"]) == {"size_bytes", "labels_equal_to_checkpoint_percent"}


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"licens": "x"}, 'unknown key "licens"'),
        ({"palette": {"cat": "#112233"}}, '"palette" names "cat"'),
        ({"threshold": 3}, "threshold"),
    ],
)
def test_a_wrong_card_is_refused_before_the_first_step(
    toy_set: Path, toy_facts: Facts, tmp_path: Path, card: dict[str, Any], words: str
) -> None:
    recipe: Recipe = recipe_from_dict(toy_facts() | {"card": card}, "toy")
    with pytest.raises(CardError, match=rf'recipe "toy", \[card\]: .*{words}'):
        train(recipe, [open_set(toy_set, recipe.sets[0])], tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["road", "road-small", "people"])
def test_cards_of_the_bundled_recipes_are_valid(name: str) -> None:
    from engines.training.opening import read_recipe

    check_card(read_recipe(name))
    assert msgspec.to_builtins(read_recipe(name))["card"]
