"""Settings: what a run is asked to do. A preset's TOML with the command line laid over it, checked once."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from engines.backends import check_options, names, options_of
from engines.backends.common.options import EngineOptions, declared
from engines.errors import BackendUnavailableError, did_you_mean
from engines.families import DecodeSettings
from engines.models.card import ModelCard
from engines.tables import explained
from realtime.errors import SettingsError
from realtime.knobs import Knobs

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_PRESET_BYTES = 64 * 1024

WIDTHS_PX = (160, 7680)

ENGINE_KEYS = tuple(declared())

OVERLAYS = ("locked", "live")

BACKGROUNDS = ("none", "blur")
"""Words for what may be behind a foreground, besides colours and paths of pictures."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run's settings; every field is also a preset key."""

    model: str = "road"
    """A bundled model's name, or the path of an ONNX file."""
    backend: str = "auto"
    tracker: str = "auto"
    width: int = 1280
    """The canvas is at most this many pixels wide."""
    threshold: float | None = None
    """Lowest score of an object that is shown; None: what the model's card recommends."""
    opacity: float = 0.45
    masks: bool = True
    boxes: bool = True
    labels: bool = True
    trails: bool = True
    overlay: str = "locked"
    """"locked": the picture is the frame that the masks were made of; "live": the newest one, masks and boxes moved on to it."""
    smooth: bool | None = None
    """No flicker where the picture stands still: of mattes and class maps. None: of mattes always, of class maps on a screen."""
    background: str = "none"
    """Of a model that gives a matte: "none", "blur", a colour as "#rrggbb", or the path of a picture. With one, nothing else is
    drawn to begin with."""
    hide: tuple[str, ...] = ()
    """Names of classes not to show; names the model does not have are ignored, so that presets fit many models."""
    max_objects: int = 100
    tracking: dict[str, Any] = {}
    """Settings of the tracker, by name; each tracker's module lists its own."""
    observers: dict[str, dict[str, Any]] = {}
    """Settings of observers by their names, beside those that every stream has; each observer's module lists its own."""
    engine: EngineOptions = EngineOptions()

    def first_knobs(self) -> Knobs:
        """The knobs' first positions, before it is known which classes there are."""
        threshold = Knobs().threshold if self.threshold is None else self.threshold
        live = self.overlay == "live"
        if self.background != "none":  # who replaces the background wants a picture for others, not for a look at the model
            return Knobs(
                threshold, self.opacity, masks=False, boxes=False, labels=False, trails=False, background=True, live_overlay=live
            )
        return Knobs(threshold, self.opacity, self.masks, self.boxes, self.labels, self.trails, live_overlay=live)

    def knobs(self, card: ModelCard, turned: Knobs) -> Knobs:
        """`turned` (perhaps moved while the model was opening) with what `card` adds: classes to hide, a threshold."""
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
    """The preset of that name in `folder` (or that TOML file; None: the defaults) with `overrides` laid over it.

    Raises SettingsError that names the file, the key, and the nearest right one.
    """
    written: dict[str, Any] = {}
    where = "settings"
    if preset is not None:
        path = Path(preset) if preset.endswith(".toml") else folder / f"{preset}.toml"
        if not path.is_file():
            known = preset_names(folder)
            hint = did_you_mean(preset, known)
            raise SettingsError(f'no preset "{preset}"; there are: {", ".join(known)}{hint} (or give the path of a .toml file)')
        written, where = _read(path), str(path)
    _convert(written, where)  # alone, so that its mistakes are told as its own
    if (backend := overrides.get("backend")) in ("auto", *names()) and "engine" in written:
        used = options_of(backend)  # a preset's engine is for its own backend
        written["engine"] = {key: value for key, value in written["engine"].items() if key in used}
    both = [facts["engine"] for facts in (written, overrides) if isinstance(facts.get("engine"), dict)]
    merged = {"engine": {**both[0], **both[1]}} if len(both) == 2 else {}  # a table: option by option, as the others
    settings = _convert({**written, **overrides, **merged}, "settings")
    changed = [key for key in ENGINE_KEYS if getattr(settings.engine, key) != getattr(EngineOptions(), key)]
    if changed and settings.backend in ("auto", *names()):
        try:
            check_options(settings.backend, changed)
        except BackendUnavailableError as error:
            raise SettingsError(f"{where}: its table [engine]: {error.what}", error.cure) from error
    return settings


def _convert(facts: dict[str, Any], where: str) -> Settings:
    """Checked settings. `where` names their origin in error texts."""
    _reject_unknown(facts, Settings.__struct_fields__, where)
    if isinstance(facts.get("engine"), dict):
        _reject_unknown(facts["engine"], ENGINE_KEYS, f"{where} [engine]")
    try:
        settings = msgspec.convert(facts, Settings)
    except msgspec.ValidationError as error:
        what, cure = explained(error, Settings)
        raise SettingsError(f"{where}: {what}", cure) from error
    _check(settings, where)
    return settings


def _reject_unknown(facts: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in facts:
        if key not in known:
            hint = did_you_mean(key, known) or f"; known keys: {', '.join(known)}"
            belongs = "; it belongs under [engine]" if key in ENGINE_KEYS else hint
            raise SettingsError(f'{where}: unknown key "{key}"{belongs}')


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_PRESET_BYTES:
            raise SettingsError(f"{path}: larger than {MAX_PRESET_BYTES // 1024} KiB; this is no preset")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error
    except (OSError, ValueError, RecursionError) as error:  # not UTF-8; a number of 5000 digits; 10000 brackets
        raise SettingsError(f"{path}: cannot be read ({error})") from error


def _check(settings: Settings, where: str) -> None:
    for key in ("threshold", "opacity"):
        value = getattr(settings, key)
        if value is not None and not 0 <= value <= 1:
            raise SettingsError(f"{where}: {key} is {value}; it must lie between 0 and 1")
    low, high = WIDTHS_PX
    if not low <= settings.width <= high:
        raise SettingsError(f"{where}: width is {settings.width}; the canvas can be {low} to {high} pixels wide")
    if settings.overlay not in OVERLAYS:
        known = ", ".join(OVERLAYS)
        hint = did_you_mean(settings.overlay, OVERLAYS)
        raise SettingsError(f'{where}: overlay is "{settings.overlay}"; it can be {known}{hint}')
    _check_background(settings.background, where)
    if not 1 <= settings.max_objects <= 254:
        raise SettingsError(f"{where}: max_objects is {settings.max_objects}; a label map holds 1 to 254")


def _check_background(background: str, where: str) -> None:
    is_colour = len(background) == 7 and background[0] == "#" and all(c in "0123456789abcdefABCDEF" for c in background[1:])
    if background in BACKGROUNDS or is_colour or Path(background).suffix:
        return
    hint = did_you_mean(background, BACKGROUNDS)
    raise SettingsError(
        f'{where}: background is "{background}"; it can be none, blur, a colour such as "#00b140", or the path of a picture{hint}'
    )
