"""The card of an exported model: what the recipe says of it, and what was measured."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engines.card import ModelCard, card_from_dict
from engines.card_toml import to_toml
from engines.training.evaluate import CONFIDENCE, INPUT, LABELS, SetScore
from engines.training.recipe import Recipe

INPUT_KIND = {"layout": "nhwc", "dtype": "uint8", "channels": "bgr", "fit": "stretch"}
"""Normalisation is in the graph, so mean and std are the card's default: none."""


def card_facts(recipe: Recipe, model: Path, scores: Sequence[SetScore], parity: float) -> dict[str, Any]:
    """Everything `engines.card` wants to know of the exported `model`: the recipe's [card] table, and the measured figures."""
    figures = {"size_bytes": float(model.stat().st_size), "labels_equal_to_checkpoint_percent": round(100 * parity, 4)}
    for score in scores:
        figures[f"{score.name} held out: mIoU"] = round(score.miou, 1)
        figures |= {f"{score.name} held out: {name}": round(iou, 1) for name, iou in score.iou.items()}
    return {
        "name": recipe.name,
        "family": "semantic",
        "file": model.name,
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "classes": list(recipe.classes),
        **recipe.card,
        "input": {"tensor": INPUT, "size_px": list(recipe.input_px), **INPUT_KIND},
        "outputs": {"labels": LABELS, "confidence": CONFIDENCE},
        "figures": figures,
    }


def write_card(path: Path, facts: Mapping[str, Any]) -> ModelCard:
    """Check `facts` as any card is checked, and write them. Raises CardError when the recipe's [card] table has a fault."""
    card = card_from_dict(dict(facts), str(path))
    part = path.with_name(path.name + ".part")
    part.write_text(to_toml(facts), encoding="utf-8")
    part.replace(path)
    return card
