"""The trial of a new model on a few frames that suit it: what it found, in words, and a picture with a legend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from engines.building.frames import real_frames
from engines.families import DecodeSettings
from engines.models.card import ModelCard
from engines.models.model import Model
from engines.segmenter import Segmenter
from engines.types import F64, VOID_CLASS, Image, Segmentation, Size
from realtime.knobs import Knobs
from realtime.render import Look, compose
from realtime.render.masks import CARPET_BGR, STROKE_BGR
from realtime.reports.sheets import patches_in_lines
from realtime.sources.sample import find
from realtime.sources.street.scene import Street
from realtime.types import Frame, Result

TRIAL_FRAMES = 4

PREVIEW_WIDTH_PX = 640
"""Of one frame."""

LEAST_WIDTH_PX = 480
"""Smaller frames are enlarged to that."""

COLUMNS = 2
MOST_CLASSES = 6
"""In the description of what was found, the most frequent first."""

PEOPLE = (("carphone", 20), ("carphone", 80), ("bikes", 36), ("bikes", 120))
STREETS = (("bikes", 156), ("bikes", 120))
"""Clip and number of a frame: a face, a man before cars, a cyclist, a wide street."""

STREET_SIZE = Size(1280, 720)
STREET_OBJECTS = 12
STREET_TIMES_S = (2.0, 5.0)

STREET_CLASSES = frozenset(
    ("sidewalk", "pavement", "car", "building", "vegetation", "tree", "traffic sign", "sign", "pole", "fence")
)
"""A model that knows road and three of these is for streets."""


@dataclass(frozen=True, slots=True)
class Trial:
    """description: of the engine that ran. ms: median time of pre-processing, inference and decoding together. found: objects and
    classes, in words. preview: the drawn frames, side by side, over a legend. frames: their number."""

    description: str
    ms: float
    found: str
    preview: Image
    frames: int


def trial_frames(card: ModelCard, chosen: str | None) -> list[Image]:
    """Frames of the file or folder `chosen`, or of what suits a model: people in the sample clips, or streets, real and drawn."""
    if chosen:
        return real_frames(Path(chosen), TRIAL_FRAMES)
    if not is_for_streets(card):
        return _of_samples(PEOPLE)
    street = Street(STREET_SIZE, STREET_OBJECTS, seed=0)
    return [*_of_samples(STREETS), *(street.draw(t_s) for t_s in STREET_TIMES_S)]


def _of_samples(wanted: Sequence[tuple[str, int]]) -> list[Image]:
    """The frames with those numbers of the sample clips. Raises SourceNotFoundError where these are not installed."""
    images = []
    for clip, number in wanted:
        capture = cv2.VideoCapture(str(find(clip, f"sample://{clip}")))
        is_there = all(capture.grab() for _ in range(number + 1))
        images += [image for read, image in [capture.retrieve()] if is_there and read]
        capture.release()
    return images


def is_for_streets(card: ModelCard) -> bool:
    """Whether it sees a road's surface, or the classes of a street."""
    names = {name.lower() for name in card.classes}
    sees_surface = bool({"surface", "drivable"} & set(card.outputs))
    return sees_surface or ("road" in names and len(names & STREET_CLASSES) >= 3)


def try_model(model: Model, frames: Sequence[Image], backend: str = "auto") -> Trial:
    """Run `model` on each frame. backend: "auto" for the fastest that works.

    Raises CardError, BackendUnavailableError or InferenceError.
    """
    settings = DecodeSettings(score_threshold=model.card.threshold, map_width_px=PREVIEW_WIDTH_PX, fine_class_maps=True)
    with Segmenter(model, backend) as segmenter:
        segmenter.warm_up(Size.of(frames[0]))
        seen = [segmenter(frame, settings) for frame in frames]
        description, card = segmenter.choice.engine.description, segmenter.card
    times_ms = [sum(segmentation.stage_ms.values()) for segmentation in seen]
    pictures = [_drawn(frame, segmentation, card) for frame, segmentation in zip(frames, seen, strict=True)]
    preview = _over_legend(_tiled(pictures), legend_of(seen, card))
    return Trial(description, float(np.median(times_ms)), describe(seen, card), preview, len(frames))


def describe(seen: Sequence[Segmentation], card: ModelCard) -> str:
    """Such as "2 car, 1 person; 61 % road, 22 % sky"; "nothing" when the network found nothing in any frame."""
    parts = []
    objects = Counter(card.class_name(int(class_id)) for each in seen for class_id in each.instances.class_ids)
    if objects:
        parts.append(", ".join(f"{count} {name}" for name, count in objects.most_common(MOST_CLASSES)))
    if (shares := _class_shares(seen)) is not None:
        often = [class_id for class_id in np.argsort(-shares).tolist() if class_id != VOID_CLASS and shares[class_id] >= 0.005]
        if often:
            parts.append(", ".join(f"{shares[class_id]:.0%} {card.class_name(class_id)}" for class_id in often[:MOST_CLASSES]))
    alphas = [each.alpha for each in seen if each.alpha is not None]
    if alphas:
        parts.append(f"{np.mean([alpha.mean() for alpha in alphas]) / 255:.0%} foreground")
    surfaces = [each.surface for each in seen if each.surface is not None]
    if surfaces and "drivable" not in card.outputs:
        parts.append(f"{np.mean([(surface > 0).mean() for surface in surfaces]):.0%} drivable or lane line")
    return "; ".join(parts) or "nothing"


def legend_of(seen: Sequence[Segmentation], card: ModelCard) -> list[tuple[str, tuple[int, int, int]]]:
    """Name and BGR of everything that was painted, in the card's order; a road's surface as it is drawn."""
    found = {int(class_id) for each in seen for class_id in each.instances.class_ids}
    if (shares := _class_shares(seen)) is not None:
        found |= set(np.flatnonzero(shares[:VOID_CLASS]).tolist())
    if any(each.surface is not None for each in seen):
        classes = [] if "drivable" in card.outputs else _coloured(found, card)
        return [*classes, ("drivable", CARPET_BGR), ("lane line", STROKE_BGR)]
    return _coloured(found, card)


def _coloured(class_ids: set[int], card: ModelCard) -> list[tuple[str, tuple[int, int, int]]]:
    colours = Look(card).class_bgr
    return [(card.class_name(class_id), tuple(colours[class_id].tolist())) for class_id in sorted(class_ids)]


def _class_shares(seen: Sequence[Segmentation]) -> F64 | None:
    """(256,) the mean share of the pictures that each class has; None without class maps."""
    maps = [each.class_map for each in seen if each.class_map is not None]
    return (
        np.mean([np.bincount(class_map.ravel(), minlength=256) / class_map.size for class_map in maps], axis=0) if maps else None
    )


def _drawn(frame: Image, segmentation: Segmentation, card: ModelCard) -> Image:
    result = Result(Frame(frame, 0, 0.0, 0), segmentation, None)
    return compose(result, Knobs(threshold=card.threshold), Look(card, PREVIEW_WIDTH_PX, least_width_px=LEAST_WIDTH_PX)).image


def _over_legend(picture: Image, legend: Sequence[tuple[str, tuple[int, int, int]]]) -> Image:
    if not legend:
        return picture
    patches = patches_in_lines(legend, picture.shape[1])
    width = max(picture.shape[1], patches.shape[1])
    return np.concatenate([_padded(picture, picture.shape[0], width), _padded(patches, patches.shape[0], width)])


def _tiled(pictures: Sequence[Image]) -> Image:
    """Rows of pictures, filled up with black where one is smaller than its neighbours."""
    rows = [pictures[start : start + COLUMNS] for start in range(0, len(pictures), COLUMNS)]
    strips = [np.concatenate([_padded(p, max(q.shape[0] for q in row), p.shape[1]) for p in row], axis=1) for row in rows]
    width = max(strip.shape[1] for strip in strips)
    return np.concatenate([_padded(strip, strip.shape[0], width) for strip in strips])


def _padded(picture: Image, height: int, width: int) -> Image:
    below, beside = height - picture.shape[0], width - picture.shape[1]
    return np.pad(picture, ((0, below), (beside // 2, beside - beside // 2), (0, 0)))
