"""The work of `run.py models` with the user's own models: add, verify, remove; and the trial of a new one on real frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engines.backends import check_backend
from engines.building.frames import real_frames
from engines.errors import ModelFileError
from engines.families import DecodeSettings
from engines.models import zoo
from engines.models.card import ModelCard
from engines.models.collection.add import add_file
from engines.models.collection.folders import fault_of, name_for, new_model, remove_model
from engines.models.model import Model
from engines.segmenter import Segmenter
from engines.types import VOID_CLASS, Image, Segmentation, Size
from realtime.commands.common.checking import write_png
from realtime.commands.common.listing import print_card
from realtime.errors import SettingsError
from realtime.knobs import Knobs
from realtime.render import Look, compose
from realtime.types import Frame, Result

if TYPE_CHECKING:
    from realtime.commands.models import Add, TrialOptions

TRIAL_FRAMES = 4
OUT = Path("out")

PREVIEW_WIDTH_PX = 640
"""Of one frame."""

COLUMNS = 2
MOST_CLASSES = 6
"""In the description of what was found, the most frequent first."""


def add(options: Add) -> int:
    """Give an ONNX file a name."""
    path = Path(options.file).expanduser()
    name = options.name or name_for(path)
    card_path = Path(options.card).expanduser() if options.card else None
    classes = options.classes
    keys = {"classes": classes if isinstance(classes, str) else list(classes)} if classes else {}
    return keep(name, options.trial, lambda folder: add_file(path, name, folder, card_path, keys))


def verify(model: str | None) -> int:
    """Compare one model's file, or all of them, with the cards. Raises ModelFileError when one differs."""
    faults = {name: fault_of(name) for name in ([model] if model else zoo.names())}
    for name, fault in faults.items():
        print(f"{name:<24}{fault or 'matches its card'}")
    bad = [name for name, fault in faults.items() if fault]
    if bad:
        what = f"{len(bad)} of {len(faults)} models differ from their cards: {', '.join(bad)}"
        raise ModelFileError(what, "Get or add them again")
    return 0


def remove(model: str) -> int:
    """Delete one of the user's own models."""
    print(f"removed  {remove_model(model)}")
    return 0


def keep(name: str, options: TrialOptions, fill: Callable[[Path], Model]) -> int:
    """Let `fill` put a model into a new folder, try it, print its card, and keep it as `name`. After an error nothing stays."""
    preview_path = Path(options.preview or OUT / f"{name}-preview.png")
    if preview_path.suffix.lower() != ".png":
        raise SettingsError(f"--preview {preview_path}: not a .png file")
    check_backend(options.backend)
    with new_model(name) as folder:
        model = fill(folder)
        frames = real_frames(Path(options.frames) if options.frames else None, TRIAL_FRAMES)
        trial = try_model(model, frames, options.backend)
        write_png(preview_path, trial.preview, "Name another file with --preview")
    kept = zoo.find(name)
    print_card(kept.card, kept.path, model.assumed)
    print(f"ran      {trial.ms:.1f} ms per frame on {trial.description}")
    doubt = " (is the card right about mean, std and channels?)" if trial.found == "nothing" else ""
    print(f"found    {trial.found}, in {len(frames)} frames{doubt}")
    print(f"preview  {preview_path}")
    print(f"\nAdded: use it with --model {name}. If the picture is wrong, remove the model, write the missing facts (mean, std,")
    print("channels, classes ...) into a card next to the file (docs/models.md), and add it again.")
    return 0


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
