"""The card as one picture: the figures that are asked for first, stage times of both modes, and where frames went. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from engines.types import Image
from realtime.bench.card import Card, Figure, Mode, Percentiles
from realtime.bench.comparing import Change
from realtime.bench.report import TITLES
from realtime.render.text import label

Bgr = tuple[int, int, int]

WIDTH_PX, MARGIN_PX, GAP_PX = 1280, 28, 14
PAPER: Bgr = (28, 26, 26)
TILE: Bgr = (44, 41, 41)
TITLE_PX, TEXT_PX, SMALL_PX, BIG_PX = 24, 15, 13, 30
ROW_PX, BAR_PX, NAME_PX, TIMES_PX = 26, 14, 112, 148

# Okabe and Ito's colours, which colour-blind eyes tell apart: blue, orange, vermilion, green.
BLUE, ORANGE, VERMILION, GREEN = (178, 114, 0), (0, 159, 230), (0, 94, 213), (115, 158, 0)
TITLE_LETTERS = 80
VERDICTS = {"worse": VERMILION, "worse?": ORANGE, "better?": ORANGE, "better": GREEN}


def chart(card: Card, changes: Sequence[Change] = ()) -> Image:
    """(H, 1280, 3) uint8 BGR; as high as it has to be."""
    parts = [_head(card), _tiles(card), _stages(card)]
    if card.fixed is not None:
        parts.append(_frames(card))
    worth = [change for change in changes if change.verdict != "same"]
    if changes:
        parts.append(_verdicts(worth, len(changes)))
    paper = np.full((sum(part.shape[0] for part in parts) + 2 * MARGIN_PX, WIDTH_PX, 3), PAPER, np.uint8)
    y = MARGIN_PX
    for part in parts:
        paper[y : y + part.shape[0]] = part
        y += part.shape[0]
    return paper


def _head(card: Card) -> Image:
    strip = _strip(96)
    _write(strip, MARGIN_PX, 0, _shortened(f"{card.model.name} on {card.source.name}"), TITLE_PX)
    machine = ", ".join(value for key, value in card.machine.items() if key != "cores")
    _write(strip, MARGIN_PX, 38, f"{card.model.runs_on}; input {card.model.input}, picture {card.source.size}", TEXT_PX)
    facts = f"{machine}, {card.machine.get('cores', '?')} cores; {card.date[:10]}, commit {card.program['commit']}"
    _write(strip, MARGIN_PX, 62, facts, SMALL_PX, is_faint=True)
    return strip


def _tiles(card: Card) -> Image:
    """Six figures, each over the range of its repeats."""
    rate_hz = card.method.get("rate_hz")
    at = f"at {rate_hz:g} Hz" if rate_hz else "live"
    modes = {"max": card.maximum, "fix": card.fixed}
    wanted = (
        ("max", "fps", "frames/s, maximum"),
        ("fix", "fps", f"frames/s {at}"),
        ("fix", "age_p50", f"ms old when shown, {at}"),
        ("max" if card.maximum else "fix", "cpu_per_frame", "ms of CPU a frame"),
        ("max" if card.maximum else "fix", "memory_peak", "MB of memory, peak"),
        ("max" if card.maximum else "fix", "energy_per_frame", "J a frame"),
    )
    strip, width = _strip(112), (WIDTH_PX - 2 * MARGIN_PX + GAP_PX) // len(wanted) - GAP_PX
    for index, (mode, name, caption) in enumerate(wanted):
        x = MARGIN_PX + index * (width + GAP_PX)
        cv2.rectangle(strip, (x, 0), (x + width - 1, 95), TILE, cv2.FILLED)
        measured = modes[mode]
        one = measured.figures.get(name) if measured else None
        below = _range(one) if one else "not readable here" if measured else "a camera sets its own pace"
        _write(strip, x + 4, 2, _short(one.median) if one else "-", BIG_PX, background=TILE)
        _write(strip, x + 6, 44, caption, SMALL_PX, background=TILE)
        _write(strip, x + 6, 66, below, SMALL_PX, background=TILE, is_faint=True)
    return strip


def _stages(card: Card) -> Image:
    """Stage times, both modes beside each other on one scale."""
    modes = [(name, mode) for name, mode in ((_pace(card), card.fixed), ("maximum", card.maximum)) if mode is not None]
    rows = [_rows(mode) for _, mode in modes]
    longest_ms = max((one.p95_ms for times in rows for _, one in times), default=1.0) or 1.0
    width = (WIDTH_PX - 2 * MARGIN_PX - GAP_PX * (len(modes) - 1)) // len(modes)
    strip = _strip(40 + ROW_PX * max(map(len, rows)) + 34)
    for index, ((name, _), times) in enumerate(zip(modes, rows, strict=True)):
        x = MARGIN_PX + index * (width + GAP_PX)
        _write(strip, x - 4, 4, f"Stages, {name}", TEXT_PX)
        _write(strip, x + width - TIMES_PX, 6, "p50 / p95 / p99 ms", SMALL_PX, is_faint=True)
        for row, (stage, one) in enumerate(times):
            _bar(strip, x, 40 + row * ROW_PX, width, stage, one, longest_ms)
    x = MARGIN_PX
    for colour, text in ((BLUE, "to p50"), (ORANGE, "to p95")):
        y = strip.shape[0] - 26
        cv2.rectangle(strip, (x, y + 3), (x + 13, y + 14), colour, cv2.FILLED)
        x = _write(strip, x + 18, y - 1, text, SMALL_PX, is_faint=True) + 16
    _write(
        strip, x, strip.shape[0] - 27, "wall time; stages run beside each other on threads of their own", SMALL_PX, is_faint=True
    )
    return strip


def _rows(mode: Mode) -> list[tuple[str, Percentiles]]:
    ages = {"age when shown": mode.age, "age of masks": mode.mask_age}
    return [*mode.stages.items(), *((name, one) for name, one in ages.items() if one is not None)]


def _bar(strip: Image, x: int, y: int, width: int, name: str, one: Percentiles, longest_ms: float) -> None:
    _write(strip, x - 4, y, name, SMALL_PX)
    room = width - NAME_PX - TIMES_PX - 8
    top, left = y + 4, x + NAME_PX
    for ms, colour in ((one.p95_ms, ORANGE), (one.p50_ms, BLUE)):
        right = left + max(1, round(room * min(1.0, ms / longest_ms)))
        cv2.rectangle(strip, (left, top), (right, top + BAR_PX), colour, cv2.FILLED)
    times = f"{_short(one.p50_ms)} / {_short(one.p95_ms)} / {_short(one.p99_ms)}"
    _write(strip, x + width - TIMES_PX, y, times, SMALL_PX)


def _pace(card: Card) -> str:
    return "fixed rate" if card.method.get("rate_hz") else "live"


def _frames(card: Card) -> Image:
    """Where the frames of the fixed rate, or of a camera, went, as shares of one bar; and the pictures, of another."""
    assert card.fixed is not None, "asked for where it is there"
    strip, doors = _strip(118), card.fixed.doors
    given = [
        (doors.processed, "through the model", GREEN),
        (doors.dropped_before_model, "dropped before the model", ORANGE),
        (max(0, doors.in_flight), "in flight", BLUE),
        (doors.missed_by_the_feed, "missed by the feed itself", VERMILION),
    ]
    drawn = [(doors.shown, "shown", GREEN), (doors.dropped_before_screen, "dropped before the screen", ORANGE)]
    _write(strip, MARGIN_PX - 4, 0, f"Frames, {_pace(card)}", TEXT_PX)
    for y, shares in ((30, given), (74, drawn)):
        total, left = max(1, sum(count for count, _, _ in shares)), float(MARGIN_PX)
        text_x = MARGIN_PX - 4
        for count, name, colour in shares:
            right = left + (WIDTH_PX - 2 * MARGIN_PX) * count / total
            if count:
                cv2.rectangle(strip, (round(left), y), (max(round(left), round(right) - 2), y + BAR_PX), colour, cv2.FILLED)
                cv2.rectangle(strip, (text_x + 4, y + 23), (text_x + 13, y + 32), colour, cv2.FILLED)
            left = right
            if count:
                text_x = _write(strip, text_x + 16, y + 17, f"{count} {name}", SMALL_PX) + 12
    return strip


def _verdicts(changes: Sequence[Change], judged: int) -> Image:
    strip = _strip(34 + ROW_PX * max(1, len(changes)))
    _write(strip, MARGIN_PX - 4, 6, "Against the baseline", TEXT_PX)
    if not changes:
        _write(strip, MARGIN_PX - 4, 34, f"none of {judged} figures differs beyond the noise", SMALL_PX)
    for row, one in enumerate(changes):
        y = 34 + row * ROW_PX
        cv2.rectangle(strip, (MARGIN_PX, y + 5), (MARGIN_PX + 11, y + 16), VERDICTS[one.verdict], cv2.FILLED)
        name = TITLES.get(one.name, one.name)
        text = f"{one.verdict}: {one.mode}, {name}: {_short(one.before.median)} to {_short(one.now.median)} {one.now.unit}"
        _write(strip, MARGIN_PX + 16, y, f"{text} ({one.text})", SMALL_PX)
    return strip


def _strip(height: int) -> Image:
    return np.full((height, WIDTH_PX, 3), PAPER, np.uint8)


def _write(paper: Image, x: int, y: int, text: str, size_px: int, *, background: Bgr = PAPER, is_faint: bool = False) -> int:
    """White letters, cut off at the paper's right edge; the x after them."""
    patch = label(text, size_px, background)
    if is_faint:
        patch = np.asarray(cv2.addWeighted(patch, 0.65, np.full_like(patch, background), 0.35, 0), np.uint8)
    height: int = min(patch.shape[0], paper.shape[0] - y)
    width: int = max(0, min(patch.shape[1], paper.shape[1] - x))
    paper[y : y + height, x : x + width] = patch[:height, :width]
    return x + width


def _shortened(text: str) -> str:
    """Without its middle where it is too long for the head: an address tells most at its ends."""
    return text if len(text) <= TITLE_LETTERS else f"{text[: TITLE_LETTERS // 2]} ... {text[-TITLE_LETTERS // 3 :]}"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _range(one: Figure) -> str:
    return f"{_short(one.low)} to {_short(one.high)} ({len(one.repeats)} repeats)"
