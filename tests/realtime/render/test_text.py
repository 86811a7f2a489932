"""Text is readable on every colour and drawn once, and no text ends a run."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.render import UNSEEN_SHADE
from realtime.render.palette import id_colours
from realtime.render.text import KEPT_CALLS, label, percent_label

COLOURS = [tuple(int(v) for v in colour) for colour in id_colours().tolist()]
SHADED = [tuple(round(v * UNSEEN_SHADE) for v in colour) for colour in COLOURS]


def luminance(bgr: np.ndarray) -> float:
    """Relative luminance. Source: WCAG 2.1."""
    linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in (bgr / 255).tolist()]
    return 0.0722 * linear[0] + 0.7152 * linear[1] + 0.2126 * linear[2]


@pytest.mark.parametrize("colour", [*COLOURS, *SHADED, (0, 0, 0), (255, 255, 255), (118, 118, 118), (0, 0, 255)])
def test_letters_contrast_with_their_background(colour: tuple[int, int, int]) -> None:
    """WCAG 2.1 requires 4.5:1 for small text (1.4.3, level AA)."""
    patch = label("car 12  87%", 16, colour)
    assert tuple(patch[0, 0].tolist()) == colour, "the margin is the background"
    pixels = patch.reshape(-1, 3).astype(float)
    ink = pixels[np.abs(pixels - colour).sum(axis=1).argmax()]
    light, dark = sorted((luminance(ink), luminance(np.array(colour, float))), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_a_label_is_drawn_once_and_is_read_only() -> None:
    first = label("car 1", 14, (10, 200, 30))
    assert label("car 1", 14, (10, 200, 30)) is first
    assert label("car 2", 14, (10, 200, 30)) is not first
    with pytest.raises(ValueError, match="read-only"):
        first[:] = 0


def test_labels_of_one_size_line_up() -> None:
    heights = {label(text, 14, (0, 0, 0)).shape[0] for text in ("car", "gypsy Ägypten", "", "...", "車")}
    assert len(heights) == 1


def test_longer_text_and_larger_letters_make_larger_labels() -> None:
    assert label("car", 14, (0, 0, 0)).shape[1] < label("caravan", 14, (0, 0, 0)).shape[1]
    assert label("car", 14, (0, 0, 0)).shape[0] < label("car", 20, (0, 0, 0)).shape[0]


@pytest.mark.parametrize("text", ["two\nlines", "tab\there", "", "half \ud800 pair", "\x00", "x" * 400, "🚗"])
def test_any_class_name_can_be_drawn(text: str) -> None:
    patch = label(text, 14, (40, 80, 120))
    assert patch.ndim == 3
    assert patch.dtype == np.uint8


def test_only_what_is_drawn_is_kept() -> None:
    """Ids are never used again: the labels of a day's objects would be megabytes that nobody draws any more."""
    crowd = 30
    for born in range(3 * KEPT_CALLS // crowd):  # each frame one object leaves and one comes
        for track_id in range(born, born + crowd):
            label(f"car {track_id}", 14, (10, 200, 30))
            percent_label(track_id % 100, 14, (track_id % 256, 200, 30))
    for cache in (label, percent_label):
        assert cache.kept() <= 2 * KEPT_CALLS // crowd + 2 * crowd + 2  # type: ignore[attr-defined]
    assert label(f"car {born}", 14, (10, 200, 30)) is label(f"car {born}", 14, (10, 200, 30))
