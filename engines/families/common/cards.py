"""What families share to check a card."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engines.errors import CardError
from engines.models.card import ModelCard
from engines.types import U8, VOID_CLASS


def one_role(card: ModelCard, roles: Sequence[str], also: Sequence[str] = ()) -> str:
    """The one of `roles` that the card gives an output. Raises CardError for none or several, or where one of `also` lacks."""
    found = [role for role in roles if role in card.outputs]
    if len(found) != 1 or any(role not in card.outputs for role in also):
        needed = [*(f"outputs.{role}" for role in also), f"one of {', '.join(f'outputs.{role}' for role in roles)}"]
        has = ", ".join(card.outputs) or "none"
        raise CardError(f"{card.name}: a {card.family} card needs {' and '.join(needed)}; it has {has}", "Correct `outputs`")
    return found[0]


def channel_classes(card: ModelCard) -> U8:
    """(256,) from a channel's number to its class: itself, or VOID_CLASS. Raises CardError for more classes than a map holds."""
    if len(card.classes) > VOID_CLASS:
        raise CardError(f"{card.name}: {len(card.classes)} classes do not fit a class map", f"Name at most {VOID_CLASS}")
    table = np.full(256, VOID_CLASS, np.uint8)
    for class_id, name in enumerate(card.classes):
        if name not in card.void:
            table[class_id] = class_id
    return table
