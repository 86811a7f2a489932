"""Settings: presets load, and faults are reported with their place and their cure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from engines.models import zoo
from engines.models.card import InputSpec, ModelCard
from engines.tables import MAX_BYTES
from realtime.errors import SettingsError
from realtime.knobs import Knobs
from realtime.settings import Settings, load_settings, preset_names
from realtime.tracking import open_tracker

PRESETS = zoo.assets_dir() / "presets"

CARD = ModelCard(
    name="streets",
    family="semantic",
    input=InputSpec("image", (64, 48), "nhwc", "uint8", "rgb", "stretch"),
    outputs={"labels": "labels"},
    classes=("road", "sky", "car", "unlabelled"),
    void=("unlabelled",),
)


@pytest.mark.parametrize("name", preset_names(PRESETS))
def test_every_preset_loads_and_its_tracker_accepts_it(name: str) -> None:
    settings = load_settings(PRESETS, name, {})
    open_tracker(settings.tracker, **settings.tracking)
    settings.decode_settings(0.1)


def test_the_promised_presets_are_there() -> None:
    assert {"webcam", "dashcam"} <= set(preset_names(PRESETS))


def test_the_command_line_overrides_the_preset() -> None:
    plain, changed = load_settings(PRESETS, "dashcam", {}), load_settings(PRESETS, "dashcam", {"width": 640, "opacity": 0.9})
    assert (changed.width, changed.opacity) == (640, 0.9)
    assert (changed.hide, changed.trails) == (plain.hide, plain.trails)
    assert load_settings(PRESETS, None, {}) == Settings()


def test_a_preset_can_be_a_file_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('width = 320\nhide = ["sky"]\n[tracking]\nlost_s = 2.0\n')
    settings = load_settings(PRESETS, str(path), {})
    assert (settings.width, settings.hide, settings.tracking) == (320, ("sky",), {"lost_s": 2.0})


def test_a_wrong_preset_name_gets_the_list_and_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r'no preset "dashcm"\. Did you mean "dashcam"\?'):
        load_settings(PRESETS, "dashcm", {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("widht = 3", r'unknown key "widht"\. Did you mean "width"\?'),
        ("zzz = 3", r'unknown key "zzz"\. Known: model, backend'),
        ('width = "wide"', "key `width`"),
        ("masks = 1", "key `masks`"),
        ("hide = [1]", r"key `hide\["),
        ("tracking = 3", "key `tracking`"),
        ('precision = "fp32"', r'unknown key "precision"\. Did you mean "engine\.precision"\?'),
        ("[engine]\nprecison = 3", r'unknown key "engine\.precison"\. Did you mean "engine\.precision"\?'),
        ('overlay = "lve"', "key `overlay`. Known: live, locked"),
        ("threshold = 1.5", "Expected `float` <= 1.0, at key `threshold`"),
        ("threshold = nan", "Expected `float` >= 0.0, at key `threshold`"),
        ("opacity = -1", "Expected `float` >= 0.0, at key `opacity`"),
        ("width = 20", "Expected `int` >= 160, at key `width`"),
        ("max_objects = 255", "Expected `int` <= 254, at key `max_objects`"),
        ("width = ", "not valid TOML"),
        ("width = 1\nopacity = = 2", "not valid TOML.*line 2"),
        ("width = " + "9" * 5000, "cannot be read|not valid"),
        ("a = " + "[" * 5000, "cannot be read|not valid"),
        ("# " + "x" * MAX_BYTES, "larger than 64 KiB"),
    ],
    ids=lambda value: value[:24],
)
def test_a_fault_in_a_preset_is_reported_with_its_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=rf"mine\.toml: .*({message})") as caught:
        load_settings(PRESETS, str(path), {})
    assert "\n" not in str(caught.value).strip()


def test_a_preset_s_input_size_is_for_every_backend_and_the_rest_of_its_engine_for_tensorrt(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('backend = "trt"\n[engine]\ninput_px = [512, 256]\ninflight = 2\n')
    assert load_settings(PRESETS, str(path), {}).engine.inflight == 2
    on_cpu = load_settings(PRESETS, str(path), {"backend": "ort"})
    assert (on_cpu.engine.input_px, on_cpu.engine.inflight) == ((512, 256), None)
    path.write_text("[engine]\ninput_px = [512, 256]\n")
    assert load_settings(PRESETS, str(path), {}).backend == "auto"
    path.write_text("[engine]\ninput_px = [512, 256]\ninflight = 2\n")
    with pytest.raises(SettingsError, match=r"\[engine\]: --inflight: not with --backend auto\. Add --backend trt"):
        load_settings(PRESETS, str(path), {})


def test_a_preset_may_say_a_word_for_the_input_s_size(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[engine]\ninput_px = "model"\n')
    assert load_settings(PRESETS, str(path), {}).engine.input_px == "model"
    assert load_settings(PRESETS, None, {}).engine.input_px == "auto"
    path.write_text('[engine]\ninput_px = "modell"\n')
    with pytest.raises(SettingsError, match="input_px"):
        load_settings(PRESETS, str(path), {})


def test_a_preset_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(PRESETS, str(path), {})


def test_a_wrong_option_is_not_blamed_on_the_preset() -> None:
    with pytest.raises(SettingsError, match="Expected `int` >= 160, at key `width`") as caught:
        load_settings(PRESETS, "dashcam", {"width": 20})
    assert "dashcam" not in str(caught.value)


def test_knobs_start_as_the_settings_say() -> None:
    settings = Settings(hide=("sky", "no such class"), masks=False, trails=False, threshold=0.6, opacity=0.2)
    knobs = settings.knobs(CARD, settings.first_knobs())
    assert knobs == Knobs(threshold=0.6, opacity=0.2, masks=False, trails=False, hidden_classes=frozenset({1, 3}))


def test_a_class_is_hidden_and_shown_again() -> None:
    knobs = Knobs(hidden_classes=frozenset({1}))
    assert knobs.with_class(2, visible=False) == {1, 2}
    assert knobs.with_class(1, visible=True) == frozenset()
    assert knobs.hidden_classes == {1}


def test_the_threshold_is_the_model_s_unless_settings_or_knobs_change_it() -> None:
    card = msgspec.structs.replace(CARD, threshold=0.55)
    plain, asked = Settings(), Settings(threshold=0.4)
    assert plain.knobs(card, plain.first_knobs()).threshold == 0.55
    assert asked.knobs(card, asked.first_knobs()).threshold == 0.4
    assert plain.knobs(card, replace(plain.first_knobs(), threshold=0.8)).threshold == 0.8, "turned while the model was opening"
