"""Settings of one stream: a preset's TOML with the command line's options over it, checked."""

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from engines.backends import check_options, names, options_of
from engines.backends.common.options import EngineOptions
from engines.errors import BackendUnavailableError, choices, nearest
from engines.families import DecodeSettings
from engines.models.card import ModelCard
from engines.tables import checked, read_table
from realtime.errors import SettingsError
from realtime.knobs import Knobs

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

BACKGROUNDS = ("none", "blur")
"""Words for what can be behind a foreground, besides colours and paths of pictures."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every field is also a preset key."""

    model: str = "road"
    """Name of a bundled model, or path of an ONNX file."""
    backend: str = "auto"
    tracker: str = "auto"
    width: Annotated[int, msgspec.Meta(ge=160, le=7680)] = 1280
    """The canvas is at most this many pixels wide."""
    threshold: Share | None = None
    """Lowest score of an object that is shown. None: the recommendation of the model's card."""
    opacity: Share = 0.45
    masks: bool = True
    boxes: bool = True
    labels: bool = True
    trails: bool = True
    overlay: Literal["locked", "live"] = "locked"
    """locked: the picture is the frame that the masks were made from; live: the newest one, masks and boxes moved to it."""
    smooth: bool | None = None
    """No flicker where the picture stands still, of mattes and class maps. None: of mattes always, of class maps on screens."""
    background: str = "none"
    """Of a model that gives a matte: "none", "blur", a colour as "#rrggbb", or the path of a picture. With one, nothing else is
    drawn at first."""
    hide: tuple[str, ...] = ()
    """Classes that are not shown. Names of other models' classes are ignored, so that a preset fits many models."""
    max_objects: Annotated[int, msgspec.Meta(ge=1, le=254)] = 254
    """A label map holds 254."""
    tracking: dict[str, Any] = {}
    """Settings of the tracker, by name; each tracker's module lists its own."""
    observers: dict[str, dict[str, Any]] = {}
    """Settings of observers by their names, beside those that every stream has; each observer's module lists its own."""
    decode: Literal["auto", "cpu", "gpu"] = "auto"
    """Where video is decoded. auto: on the GPU where that works, else on the CPU; gpu: an error where it does not."""
    encoder: Literal["auto", "cpu", "gpu"] = "auto"
    """The same of recordings."""
    engine: EngineOptions = EngineOptions()

    def first_knobs(self) -> Knobs:
        """The first positions of the knobs, before the model's classes are known."""
        threshold = Knobs().threshold if self.threshold is None else self.threshold
        knobs = Knobs(
            threshold, self.opacity, self.masks, self.boxes, self.labels, self.trails, live_overlay=self.overlay == "live"
        )
        if self.background == "none":
            return knobs
        # The picture is for other people: nothing of the model is drawn on it.
        return replace(knobs, masks=False, boxes=False, labels=False, trails=False, background=True)

    def knobs(self, card: ModelCard, turned: Knobs) -> Knobs:
        """`turned` (perhaps since the model began to open) with what `card` adds: classes to hide, a threshold."""
        hidden = frozenset(card.classes.index(name) for name in (*self.hide, *card.void) if name in card.classes)
        is_untouched = turned.threshold == self.first_knobs().threshold
        threshold = card.threshold if self.threshold is None and is_untouched else turned.threshold
        return replace(turned, threshold=threshold, hidden_classes=turned.hidden_classes | hidden)

    def decode_settings(self, score_threshold: float) -> DecodeSettings:
        return DecodeSettings(
            score_threshold=score_threshold, max_objects=self.max_objects, map_width_px=self.width, fine_class_maps=True
        )


def preset_names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.toml")))


def load_settings(folder: Path, preset: str | None, overrides: dict[str, Any]) -> Settings:
    """The preset of that name in `folder` (or that TOML file; None: the defaults) with `overrides` over it.

    Raises SettingsError that names the file, the key, and the nearest right one.
    """
    written: dict[str, Any] = {}
    where = "settings"
    if preset is not None:
        path = Path(preset) if preset.endswith(".toml") else folder / f"{preset}.toml"
        if not path.is_file():
            cure = choices(preset, preset_names(folder))
            raise SettingsError(f'no preset "{preset}"', f"{cure} Or give the path of a .toml file")
        written, where = read_table(path, SettingsError), str(path)
    _convert(written, where)  # alone, so that its faults are reported as the file's
    if (backend := overrides.get("backend")) in ("auto", *names()) and "engine" in written:
        used = options_of(backend)  # a preset's engine is for its own backend
        written["engine"] = {key: value for key, value in written["engine"].items() if key in used}
    tables = [facts["engine"] for facts in (written, overrides) if isinstance(facts.get("engine"), dict)]
    merged = {"engine": {**tables[0], **tables[1]}} if len(tables) == 2 else {}  # key by key, as the other settings
    settings = _convert({**written, **overrides, **merged}, "settings")
    defaults = EngineOptions()
    changed = [key for key, value in asdict(settings.engine).items() if value != getattr(defaults, key)]
    if changed and settings.backend in ("auto", *names()):
        try:
            check_options(settings.backend, changed)
        except BackendUnavailableError as error:
            raise SettingsError(f"{where}: its table [engine]: {error.what}", error.cure) from error
    return settings


def _convert(facts: dict[str, Any], where: str) -> Settings:
    """Checked settings. `where` names their origin in error texts."""
    settings = checked(facts, Settings, where, SettingsError)
    background = settings.background
    is_colour = re.fullmatch("#[0-9a-fA-F]{6}", background)
    if not (background in BACKGROUNDS or is_colour or Path(background).suffix):
        known = 'Known: none, blur, a colour such as "#00b140", the path of a picture'
        cure = choices(background, BACKGROUNDS) if nearest(background, BACKGROUNDS) else known
        raise SettingsError(f'{where}: background is "{background}"', cure)
    return settings
