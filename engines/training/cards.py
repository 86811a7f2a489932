"""The card of an exported model: what the recipe says of it, and what was measured."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from engines.models.card import ModelCard, card_from_dict
from engines.models.card_text import to_toml
from engines.training.evaluate import SetScore
from engines.training.recipe import Recipe


def card_facts(recipe: Recipe, model: Path, outputs: Sequence[str], scores: Sequence[SetScore], parity: float) -> dict[str, Any]:
    """The facts of the card of the exported `model`: the recipe's [card] table and the measured figures."""
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    figures = {"size_bytes": float(model.stat().st_size), "labels_equal_to_checkpoint_percent": round(100 * parity, 4)}
    for score in scores:
        if math.isnan(score.miou):  # nothing but void was held out
            continue
        figures[f"{score.name} held out: mIoU"] = round(score.miou, 1)
        figures |= {f"{score.name} held out: {name}": round(iou, 1) for name, iou in score.iou.items()}
    return {**_told(recipe, outputs), "file": model.name, "sha256": sha256, "figures": figures}


def check_card(recipe: Recipe) -> None:
    """Raises CardError when the recipe's [card] table has a fault: before a long run, not after it."""
    card_from_dict(_told(recipe, ()), f'recipe "{recipe.name}", [card]')


def _told(recipe: Recipe, outputs: Sequence[str]) -> dict[str, Any]:
    """What can be said before anything is measured."""
    return {
        "name": recipe.name,
        "family": family(recipe),
        "classes": list(shown_classes(recipe)),
        "things": list(recipe.things),
        **_of_the_data(recipe),
        **recipe.card,
        "input": msgspec.to_builtins(_input(recipe)),
        "outputs": {name: name for name in outputs},
    }


def family(recipe: Recipe) -> str:
    """Which module of `engines.families` reads the exported model."""
    if "instances" in recipe.heads:
        return "panoptic"
    return "matting" if recipe.output == "alpha" else "semantic"


def shown_classes(recipe: Recipe) -> tuple[str, ...]:
    """The classes of the exported model: a matte knows only what is in front."""
    return recipe.classes[1:] if recipe.output == "alpha" else recipe.classes


def write_card(path: Path, facts: Mapping[str, Any]) -> ModelCard:
    """Check `facts` as any card is checked, and write them. Raises CardError when the recipe's [card] table has a fault."""
    card = card_from_dict(dict(facts), str(path))
    part = path.with_name(path.name + ".part")
    part.write_text(to_toml(facts), encoding="utf-8")
    part.replace(path)
    return card


def _input(recipe: Recipe) -> Mapping[str, Any]:
    spec = recipe.input
    facts = {"tensor": spec.tensor, "size_px": list(spec.size_px), "layout": spec.layout, "dtype": spec.dtype}
    return {**facts, "channels": spec.channels, "fit": spec.fit}


def _of_the_data(recipe: Recipe) -> dict[str, str]:
    """What the sets' own dataset.toml say of their terms, for recipes that do not say it themselves."""
    terms = [f"{settings.name}: {settings.licence}" for settings in recipe.sets if settings.licence]
    names = ", ".join(settings.name for settings in recipe.sets)
    facts = {"data": f"Trained on {names}."} if names else {}
    return {**facts, "licence": "; ".join(terms)} if terms else facts
