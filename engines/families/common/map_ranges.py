"""Ranges of class maps: logits, probabilities, labels and masks of a semantic network, examined in one frame."""

import numpy as np

from engines.decoding.maps import class_planes
from engines.families.common.ranges import (
    Look,
    are_probabilities,
    check_shares,
    is_flat,
    largest_softmax,
    sampled,
    strange_labels,
    twice,
)
from engines.models.card import ModelCard
from engines.types import Outputs


def examine_map(card: ModelCard, role: str, outputs: Outputs) -> Look:
    """Probabilities that pass for logits, labels that the card has no class for, masks of 0 and 255."""
    name = card.outputs[role]
    output = outputs[name]
    if role in ("labels", "mask"):
        if output.dtype.kind not in "ui":
            return Look()
        is_mask, doubts = strange_labels(output, card, name) if role == "labels" else (False, ())
        if is_mask:
            return Look({"mask" if key == "labels" else key: tensor for key, tensor in card.outputs.items()})
        return _examine_confidence(card, outputs, doubts)
    planes = class_planes(output, len(card.classes)) if output.dtype.kind == "f" and output.size else None
    if planes is None:
        return Look()
    pixels = sampled(planes)
    if not np.isfinite(pixels).all():
        return Look()
    if role == "logits" and are_probabilities(pixels):
        return Look({"probabilities" if key == "logits" else key: tensor for key, tensor in card.outputs.items()})
    if role == "probabilities":
        check_shares(pixels, card, name)
    if is_flat(pixels):
        return Look(flat={name: float(pixels.flat[0])})
    best = largest_softmax(pixels) if role == "logits" else float(pixels.max())
    return Look(best=best, doubts=_unsure(card, name, best))


def _examine_confidence(card: ModelCard, outputs: Outputs, doubts: tuple[str, ...]) -> Look:
    """Of a fused network, whose logits are gone: a second softmax shows in what no pixel's confidence exceeds."""
    confidence = outputs.get(card.outputs.get("confidence", ""))
    if confidence is None or confidence.dtype != np.uint8:
        return Look(doubts=doubts)
    best, most = int(confidence.max(initial=0)), 255 * twice(len(card.classes))
    if len(card.classes) > 1 and most - 4 < best <= most + 1:
        doubt = f"no pixel is surer than {best / 255:.2f}, as after a softmax of probabilities (outputs.probabilities)"
        return Look(doubts=(*doubts, doubt), best=best / 255)
    return Look(best=best / 255, doubts=(*doubts, *_unsure(card, card.outputs["confidence"], best / 255)))


def _unsure(card: ModelCard, name: str, best: float) -> tuple[str, ...]:
    """A doubt where no object can ever be shown."""
    if not card.things or best >= card.threshold:
        return ()
    return (f"no pixel is surer than {best:.2f} in output {name}, and objects need {card.threshold:g}",)
