"""The card of an exported model: facts of the recipe and measured figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from engines.files import sha256_of, write_whole
from engines.models.card import ModelCard, card_from_dict, to_toml
from engines.training.evaluate import SetScore
from engines.training.recipe import Recipe


def card_facts(recipe: Recipe, model: Path, outputs: Sequence[str], scores: Sequence[SetScore], parity: float) -> dict[str, Any]:
    """The card's facts of the exported `model`: the recipe's [card] table and the measured figures."""
    sha256 = sha256_of(model)
    figures = {"size_bytes": float(model.stat().st_size), "labels_equal_to_checkpoint_percent": round(100 * parity, 4)}
    for score in scores:
        if math.isnan(score.miou):  # only void was held out
            continue
        figures[f"{score.name} held out: mIoU"] = round(score.miou, 1)
        figures |= {f"{score.name} held out: {name}": round(iou, 1) for name, iou in score.iou.items()}
    return {**_of_recipe(recipe, outputs), "file": model.name, "sha256": sha256, "figures": figures}


def check_card(recipe: Recipe) -> None:
    """Raise CardError for an error in the recipe's [card] table, before a long run."""
    card_from_dict(_of_recipe(recipe, ()), f'recipe "{recipe.name}", [card]')


def _of_recipe(recipe: Recipe, outputs: Sequence[str]) -> dict[str, Any]:
    """The facts that are known before anything is measured."""
    return {
        "name": recipe.name,
        "family": family(recipe),
        "classes": list(recipe.classes[1:] if recipe.output == "alpha" else recipe.classes),  # a matte has only the foreground
        "things": list(recipe.things),
        **_of_the_data(recipe),
        **recipe.card,
        "input": {key: value for key, value in msgspec.to_builtins(recipe.input).items() if key not in ("mean", "std")},
        "outputs": {name: name for name in outputs},
    }


def family(recipe: Recipe) -> str:
    """The module of `engines.families` that reads the exported model."""
    if "instances" in recipe.heads:
        return "panoptic"
    return "matting" if recipe.output == "alpha" else "semantic"


def write_card(path: Path, facts: Mapping[str, Any]) -> ModelCard:
    """Check `facts` like any card, and write them. Raises CardError."""
    card = card_from_dict(dict(facts), str(path))
    write_whole(path, to_toml(facts))
    return card


def _of_the_data(recipe: Recipe) -> dict[str, str]:
    """Data and licence as the sets' dataset.toml state them, for recipes without these keys."""
    terms = [f"{settings.name}: {settings.licence}" for settings in recipe.sets if settings.licence]
    names = ", ".join(settings.name for settings in recipe.sets)
    facts = {"data": f"Trained on {names}."} if names else {}
    return {**facts, "licence": "; ".join(terms)} if terms else facts
