"""Ranges: whether the numbers of a network are what its card says they are. Pure, and cheap: large outputs are sampled.

A shape alone does not say it: probabilities pass for logits, shares of the picture for pixels, centres for corners. `Look` is
what a family's `examine` finds in one frame; what is certainly wrong is a CardError, with the card's line to write.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engines.errors import CardError
from engines.models.card import ModelCard
from engines.types import F32, VOID_CLASS

Array = npt.NDArray[np.generic]

SAMPLED = 1 << 14
"""Pixels of a map that are looked at, evenly spread."""

ROUNDING = 0.02
"""By so much a sum of probabilities in half precision or bfloat16 may miss one."""

OVERSHOOT = 0.1
"""Networks that upsample probabilities with a cubic go past 0 and 1 by a few per cent; more is another kind of number."""

FAR_OUTSIDE = 0.5
"""No resize takes probabilities so far beyond 0 and 1."""

PADDING = -1.0
"""The score of a row that stands for nothing, where an exporter fills up the rows of NMS so."""

FEW_SCORES = 3
MANY_ROWS = 50
"""From so many rows on, what holds in all of them is no accident."""

COARSE_STEP = 0.02
"""Scores in INT8 steps of more than that are of no use: fifty of them between 0 and 1."""

SHARES_END = 1.5
"""No coordinate is above: they are shares of the picture, the largest a little beyond its edge. No picture is so few pixels."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one frame's outputs look like.

    outputs: the card's, by other roles, where the numbers say so. doubts: what looks wrong. best: the highest score of anything;
    None where there is no saying. flat: outputs that are one number throughout, and the number. odd: what looks wrong if it is so
    in every frame.
    """

    outputs: Mapping[str, str] | None = None
    doubts: tuple[str, ...] = ()
    best: float | None = None
    flat: Mapping[str, float] = field(default_factory=dict)
    odd: frozenset[str] = frozenset()


NOTHING_SEEN = Look()


def sampled(planes: Array) -> F32:
    """(C, P) float32 of (C, H, W): up to `SAMPLED` of its pixels, evenly spread; a copy."""
    flat = planes.reshape(len(planes), -1)
    return np.asarray(flat[:, :: max(1, flat.shape[1] // SAMPLED)], np.float32)


def is_flat(numbers: Array) -> bool:
    """Whether it is one finite number throughout, and more than a few of them."""
    return numbers.size > FEW_SCORES and bool(np.isfinite(numbers.flat[0])) and bool((numbers == numbers.flat[0]).all())


def are_probabilities(pixels: F32) -> bool:
    """(C, P), of C classes: whether a softmax or sigmoids made them. Logits of a whole picture within 0..1 do not happen."""
    low, high = float(pixels.min(initial=np.inf)), float(pixels.max(initial=-np.inf))
    if not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT) or is_flat(pixels):
        return False
    sums = pixels.sum(axis=0)
    if float(np.abs(sums - 1).max()) <= ROUNDING:
        return True
    return low >= 0 and high <= 1 and high - low > 0.5


def check_shares(pixels: F32, card: ModelCard, output: str) -> None:
    """Raises CardError unless they are in 0..1, as a card that calls them probabilities says."""
    low, high = float(pixels.min(initial=0)), float(pixels.max(initial=0))
    if low < -FAR_OUTSIDE or high > 1 + FAR_OUTSIDE:
        what = f"{card.name}: output {output} goes from {low:.3g} to {high:.3g}, which are not probabilities"
        raise CardError(what, f'Write in its card: outputs = {{ logits = "{output}" }}')


def largest_softmax(pixels: F32) -> float:
    """The largest share that a softmax over C gives any of the (C, P) pixels."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float((1 / np.exp(pixels - pixels.max(axis=0)).sum(axis=0)).max(initial=0))


def twice(class_count: int) -> float:
    """The largest share that a softmax over a softmax can give: of one class that was sure."""
    return float(np.e / (np.e + class_count - 1))


def strange_labels(labels: Array, card: ModelCard, output: str) -> tuple[bool, tuple[str, ...]]:
    """Whether a map of labels is a mask of 0 and 255; and a doubt about labels that the card has no class for, which become void.

    Void (255) and -1, as of pixels to be ignored, need none.
    """
    values = labels.reshape(-1)
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    classes = len(card.classes)
    if high == VOID_CLASS and low >= 0:
        between = values[(values != 0) & (values != VOID_CLASS)]
        if not len(between):
            return classes == 2, ()
        high = int(between.max())
    if high < classes and low >= -1:
        return False, ()
    strange = high if high >= classes else low
    return False, (f"output {output} contains the label {strange}, which is none of the card's {classes} classes: not shown",)


def examine_rows(card: ModelCard, role: str, output: Array, extra: int = 0) -> Look:
    """A detector's rows, by their role (see `boxes` and `yolo_seg`). extra: numbers after each row's boxes and scores."""
    name = card.outputs[role]
    if output.ndim != 3 or len(output) != 1 or not np.isfinite(output).all():
        return NOTHING_SEEN  # the family reports it
    rows = np.asarray(output[0] if role != "predictions" else output[0].T, np.float32)
    if role == "detections" and rows.shape[1] > 4:
        rows = rows[rows[:, 4] != PADDING]
    first = {"predictions": 4, "queries": 4, "detections": 4, "candidates": 8}.get(role, 5)
    count = 1 if role in ("detections", "candidates") else len(card.classes)
    if rows.shape[1] < first + count:
        return NOTHING_SEEN
    scores, boxes = rows[:, first : first + count], rows[:, :4]
    _check_scores(card, name, scores if first != 5 else rows[:, 4 : 5 + count])
    if role == "detections":
        _check_finished(card, name, rows)
    live = boxes[(rows[:, : first + count] != 0).any(axis=1)]
    if role == "queries":
        _check_centred_shares(card, name, live)
    elif role != "cells":
        _check_pixels(card, name, live, has_centres=role in ("predictions", "rows"))
    shown = scores * rows[:, 4:5] if first == 5 else scores
    if role == "detections" and not len(live):
        return NOTHING_SEEN  # rows of nothing: NMS left none
    flat = {name: float(rows.flat[0])} if is_flat(rows) else {}
    return Look(doubts=_few_scores(name, shown, live), best=float(shown.max(initial=0)), flat=flat)


def _check_scores(card: ModelCard, name: str, scores: F32) -> None:
    low = float(scores.min(initial=0))
    if low < -ROUNDING:  # above one, the family refuses them itself
        what = f"{card.name}: the scores in output {name} begin at {low:.3g}, not at 0"
        raise CardError(what, "Export it with the sigmoid inside, or correct `outputs` and `classes` in its card")


def _check_finished(card: ModelCard, name: str, rows: F32) -> None:
    """Rows of NMS: corners, score, class id. Two scores after a centre and a size have the same shape."""
    live = rows[(rows[:, :6] != 0).any(axis=1)]
    ids = live[:, 5]
    wrong = ""
    if len(ids) and (ids != np.rint(ids)).any():
        wrong = f"{ids[ids != np.rint(ids)][0]:.3g} where a class's number should be"
    elif len(live) and ((live[:, 2] < live[:, 0] - 1) | (live[:, 3] < live[:, 1] - 1)).mean() > 0.5:
        wrong = "boxes whose right end is left of their left end"
    elif len(live) and live[:, :4].max() <= SHARES_END and rows.shape[1] == 6 and len(card.classes) == 2 and _are_centred(live):
        wrong = "boxes that are no corners in pixels"
    if not wrong:
        return
    what = f"{card.name}: output {name} has {wrong}, so its rows are not corners, score, class"
    cure = "Export it with NMS inside, or another way"
    if rows.shape[1] == 4 + len(card.classes):
        cure = (
            f"If they are centre, width, height (0..1) and {len(card.classes)} scores, as RT-DETR gives them, write in its card: "
            f'family = "boxes", outputs = {{ queries = "{name}" }}, and under [input]: fit = "stretch"'
        )
    raise CardError(what, cure)


def _are_centred(live: F32) -> bool:
    """Whether boxes within 0..1 are centres and sizes, not corners: some of these would end before they begin."""
    return bool(((live[:, 2] < live[:, 0]) | (live[:, 3] < live[:, 1])).any())


def _check_centred_shares(card: ModelCard, name: str, boxes: F32) -> None:
    if len(boxes) and (boxes.max() > 1 + OVERSHOOT or boxes.min() < -OVERSHOOT):
        what = f"{card.name}: the boxes in output {name} go from {boxes.min():.3g} to {boxes.max():.3g}, not from 0 to 1"
        raise CardError(what, "Correct `outputs` in its card: `queries` are shares of the picture")


def _check_pixels(card: ModelCard, name: str, boxes: F32, *, has_centres: bool) -> None:
    """Boxes in network pixels: centre, width, height; or what the family makes corners of itself."""
    if not len(boxes) or not boxes.any():
        return
    if 0 < boxes.max() <= SHARES_END and boxes.min() >= -SHARES_END:
        what = f"{card.name}: the boxes in output {name} end at {boxes.max():.3g}: they are shares of the picture, not pixels"
        raise CardError(what, "Export it with boxes in pixels of its input")
    if not has_centres:
        return
    if boxes[:, 2:].min() < -1:
        what = f"{card.name}: output {name} has boxes of the width or height {boxes[:, 2:].min():.3g}"
        raise CardError(what, "Export it with boxes as centre, width, height in pixels")
    if len(boxes) >= MANY_ROWS and (boxes[:, 2:] > boxes[:, :2]).all():
        what = f"{card.name}: all {len(boxes)} boxes in output {name} are wider than their centre is far from the edge"
        raise CardError(what, "They seem to be corners: export it with boxes as centre, width, height in pixels")


def _few_scores(name: str, scores: F32, boxes: F32) -> tuple[str, ...]:
    """A doubt where thousands of boxes differ and their scores do not: one INT8 scale for both leaves no steps to a score."""
    if len(boxes) < MANY_ROWS or is_flat(boxes):
        return ()
    found = np.unique(scores)
    if len(found) > FEW_SCORES:
        return ()
    listed = ", ".join(f"{score:.3g}" for score in found)
    return (f"the scores of {len(boxes)} boxes in output {name} are only {listed}: do both share one INT8 scale?",)


def coarse_output(card: ModelCard, scales: Mapping[str, float]) -> str:
    """Why a detector's scores are lost in the INT8 scale that they share with its boxes; "" where they are not.

    scales: output → the step of its quantisation, where all of it has one.
    """
    for role in ("predictions", "rows", "detections", "queries"):
        step = scales.get(card.outputs.get(role, ""), 0.0)
        if step > COARSE_STEP:
            return f"boxes and scores share one INT8 scale in output {card.outputs[role]}: steps of {step:.3g}, scores end at 1"
    return ""
