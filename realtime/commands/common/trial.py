"""Tries a model on a few real frames: backend, speed, what it finds, and a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engines.families import DecodeSettings
from engines.models.card import ModelCard
from engines.models.model import Model
from engines.segmenter import Segmenter
from engines.types import VOID_CLASS, Image, Segmentation, Size
from realtime.knobs import Knobs
from realtime.render import Look, compose
from realtime.types import Frame, Result

PREVIEW_WIDTH_PX = 640
"""Of one frame."""

COLUMNS = 2
MOST_CLASSES = 6
"""In the description of what was found, the most frequent first."""


@dataclass(frozen=True, slots=True)
class Trial:
    """description: of the engine that ran. ms: median time of pre-processing, inference and decoding together. found: objects and
    classes, in words. preview: the drawn frames, side by side."""

    description: str
    ms: float
    found: str
    preview: Image


def try_model(model: Model, frames: Sequence[Image], backend: str = "auto") -> Trial:
    """Run `model` on each frame. backend: "auto" for the fastest that works.

    Raises CardError, BackendUnavailableError or InferenceError.
    """
    settings = DecodeSettings(score_threshold=model.card.threshold, map_width_px=PREVIEW_WIDTH_PX)
    with Segmenter(model, backend) as segmenter:
        segmenter.warm_up(Size.of(frames[0]))
        seen = [segmenter(frame, settings) for frame in frames]
        description, card = segmenter.choice.engine.description, segmenter.card
    times_ms = [sum(segmentation.stage_ms.values()) for segmentation in seen]
    pictures = [_drawn(frame, segmentation, card) for frame, segmentation in zip(frames, seen, strict=True)]
    return Trial(description, float(np.median(times_ms)), describe(seen, card), _tiled(pictures))


def describe(seen: Sequence[Segmentation], card: ModelCard) -> str:
    """Such as "2 car, 1 person; 61 % road, 22 % sky"; "nothing" when the network found nothing in any frame."""
    parts = []
    objects = Counter(card.class_name(int(class_id)) for each in seen for class_id in each.instances.class_ids)
    if objects:
        parts.append(", ".join(f"{count} {name}" for name, count in objects.most_common(MOST_CLASSES)))
    maps = [each.class_map for each in seen if each.class_map is not None]
    if maps:
        shares = np.mean([np.bincount(class_map.ravel(), minlength=256) / class_map.size for class_map in maps], axis=0)
        often = [class_id for class_id in np.argsort(-shares).tolist() if class_id != VOID_CLASS and shares[class_id] >= 0.005]
        if often:
            parts.append(", ".join(f"{shares[class_id]:.0%} {card.class_name(class_id)}" for class_id in often[:MOST_CLASSES]))
    alphas = [each.alpha for each in seen if each.alpha is not None]
    if alphas:
        parts.append(f"{np.mean([alpha.mean() for alpha in alphas]) / 255:.0%} foreground")
    surfaces = [each.surface for each in seen if each.surface is not None]
    if surfaces:
        parts.append(f"{np.mean([(surface > 0).mean() for surface in surfaces]):.0%} drivable or lane line")
    return "; ".join(parts) or "nothing"


def _drawn(frame: Image, segmentation: Segmentation, card: ModelCard) -> Image:
    result = Result(Frame(frame, 0, 0.0, 0), segmentation, None)
    return compose(result, Knobs(threshold=card.threshold), Look(card, PREVIEW_WIDTH_PX)).image


def _tiled(pictures: Sequence[Image]) -> Image:
    """Rows of pictures, filled up with black where one is smaller than its neighbours."""
    rows = [pictures[start : start + COLUMNS] for start in range(0, len(pictures), COLUMNS)]
    strips = [np.concatenate([_padded(p, max(q.shape[0] for q in row), p.shape[1]) for p in row], axis=1) for row in rows]
    width = max(strip.shape[1] for strip in strips)
    return np.concatenate([_padded(strip, strip.shape[0], width) for strip in strips])


def _padded(picture: Image, height: int, width: int) -> Image:
    below, beside = height - picture.shape[0], width - picture.shape[1]
    return np.pad(picture, ((0, below), (0, beside), (0, 0)))
