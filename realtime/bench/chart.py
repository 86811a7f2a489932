"""The card as one picture: the main figures, stage times of both modes, frames processed and dropped. Pure."""

from collections.abc import Sequence

import cv2
import numpy as np

from engines.types import Image
from realtime.bench.card import Card, Conditions, Figure, Mode, Percentiles
from realtime.bench.comparing import Change
from realtime.render.text import label
from realtime.reports.sheets import paste

Bgr = tuple[int, int, int]

WIDTH_PX, MARGIN_PX, GAP_PX = 1280, 28, 14
PAPER: Bgr = (28, 26, 26)
TILE: Bgr = (44, 41, 41)
TITLE_PX, TEXT_PX, SMALL_PX, BIG_PX = 24, 15, 13, 30
ROW_PX, BAR_PX, NAME_PX, TIMES_PX = 26, 14, 112, 148

SMALL_ROW_PX = 22
OF_A_BOARD = ("board", "jetson linux", "power mode")
"""Facts of the machine that have a line of their own: with all the others they would be cut off."""

# Okabe and Ito's colours, which colour-blind people can distinguish: blue, orange, vermilion, green.
BLUE, ORANGE, VERMILION, GREEN = (178, 114, 0), (0, 159, 230), (0, 94, 213), (115, 158, 0)
TITLE_LETTERS = 80
VERDICTS = {"worse": VERMILION, "worse?": ORANGE, "better?": ORANGE, "better": GREEN}


def chart(card: Card, changes: Sequence[Change] = ()) -> Image:
    """(H, 1280, 3) uint8 BGR, as high as needed."""
    parts = [_head(card), _tiles(card), _stages(card)]
    if card.fixed is not None:
        parts.append(_frames(card))
    if changes:
        parts.append(_verdicts([change for change in changes if change.verdict != "same"], len(changes)))
    return np.vstack([_strip(MARGIN_PX), *parts, _strip(MARGIN_PX)])


def _head(card: Card) -> Image:
    machine = {key: value for key, value in card.machine.items() if key != "cores"}
    board = ", ".join(machine.pop(key) for key in OF_A_BOARD if key in machine)
    cores, commit = card.machine.get("cores", "?"), card.program["commit"]
    facts = f"{', '.join(machine.values())}, {cores} cores; {card.date[:10]}, commit {commit}"
    lines = [facts, *filter(None, (board, _state(card.conditions) if card.conditions else ""))]
    strip = _strip(74 + SMALL_ROW_PX * len(lines))
    _write(strip, MARGIN_PX, 0, _shortened(f"{card.model.name} on {card.source.name}"), TITLE_PX)
    _write(strip, MARGIN_PX, 38, f"{card.model.runs_on}; input {card.model.input}, picture {card.source.size}", TEXT_PX)
    for row, line in enumerate(lines):
        _write(strip, MARGIN_PX, 62 + SMALL_ROW_PX * row, line, SMALL_PX, is_faint=True)
    return strip


def _state(conditions: Conditions) -> str:
    """Clocks, the hottest sensor, and throttling, as far as they are known."""
    parts = []
    for name, clock in conditions.clocks.items():
        limit = f" of {clock.limit_mhz:.0f}" if clock.limit_mhz is not None else ""
        parts.append(f"{name} {clock.median_mhz:.0f}{limit} MHz")
    if conditions.temperatures:
        name, hottest = max(conditions.temperatures.items(), key=lambda item: item[1].highest_c)
        parts.append(f"{name} up to {hottest.highest_c:.0f} °C")
    if conditions.throttled is not None:
        parts.append(f"clocks lowered: {'; '.join(conditions.throttled)}" if conditions.throttled else "not throttled")
    return ", ".join(parts)


def _tiles(card: Card) -> Image:
    """Six figures, each with the range of its repeats."""
    rate_hz = card.method.get("rate_hz")
    at = f"at {rate_hz:g} Hz" if rate_hz else "live"
    modes = {"max": card.maximum, "fix": card.fixed}
    wanted = (
        ("max", "fps", "frames/s, maximum"),
        ("fix", "fps", f"frames/s {at}"),
        ("fix", "age_p50", f"ms of age, {at}"),
        ("max" if card.maximum else "fix", "cpu_per_frame", "ms of CPU per frame"),
        ("max" if card.maximum else "fix", "memory_peak", "MB of memory, peak"),
        ("max" if card.maximum else "fix", "energy_per_frame", "J per frame"),
    )
    strip, width = _strip(112), (WIDTH_PX - 2 * MARGIN_PX + GAP_PX) // len(wanted) - GAP_PX
    for index, (mode, name, caption) in enumerate(wanted):
        x = MARGIN_PX + index * (width + GAP_PX)
        cv2.rectangle(strip, (x, 0), (x + width - 1, 95), TILE, cv2.FILLED)
        measured = modes[mode]
        one = measured.figures.get(name) if measured else None
        below = _range(one) if one else "not readable here" if measured else "a camera has its own rate"
        _write(strip, x + 4, 2, _short(one.median) if one else "-", BIG_PX, background=TILE)
        _write(strip, x + 6, 44, caption, SMALL_PX, background=TILE)
        _write(strip, x + 6, 66, below, SMALL_PX, background=TILE, is_faint=True)
    return strip


def _stages(card: Card) -> Image:
    """Stage times, both modes next to each other on one scale."""
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
    _write(strip, x, strip.shape[0] - 27, "wall time; stages run in parallel on their own threads", SMALL_PX, is_faint=True)
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
    """Frames at the fixed rate, or of a camera: one bar up to the model, another up to the screen."""
    assert card.fixed is not None, "only called with this mode"
    strip, counts = _strip(118), card.fixed.doors
    captured = [
        (counts.processed, "through the model", GREEN),
        (counts.dropped_before_model, "dropped before the model", ORANGE),
        (max(0, counts.in_flight), "in flight", BLUE),
        (counts.missed_by_the_feed, "missed by the feed itself", VERMILION),
    ]
    drawn = [(counts.shown, "shown", GREEN), (counts.dropped_before_screen, "dropped before the screen", ORANGE)]
    _write(strip, MARGIN_PX - 4, 0, f"Frames, {_pace(card)}", TEXT_PX)
    for y, shares in ((30, captured), (74, drawn)):
        total, left = max(1, sum(count for count, _, _ in shares)), float(MARGIN_PX)
        text_x = MARGIN_PX - 4
        for count, name, colour in shares:
            right = left + (WIDTH_PX - 2 * MARGIN_PX) * count / total
            if count:
                cv2.rectangle(strip, (round(left), y), (max(round(left), round(right) - 2), y + BAR_PX), colour, cv2.FILLED)
                cv2.rectangle(strip, (text_x + 4, y + 23), (text_x + 13, y + 32), colour, cv2.FILLED)
                text_x = _write(strip, text_x + 16, y + 17, f"{count} {name}", SMALL_PX) + 12
            left = right
    return strip


def _verdicts(changes: Sequence[Change], compared: int) -> Image:
    strip = _strip(34 + ROW_PX * max(1, len(changes)))
    _write(strip, MARGIN_PX - 4, 6, "Compared with the baseline", TEXT_PX)
    if not changes:
        _write(strip, MARGIN_PX - 4, 34, f"none of {compared} figures differs beyond the noise", SMALL_PX)
    for row, one in enumerate(changes):
        y = 34 + row * ROW_PX
        cv2.rectangle(strip, (MARGIN_PX, y + 5), (MARGIN_PX + 11, y + 16), VERDICTS[one.verdict], cv2.FILLED)
        values = f"{_short(one.before.median)} to {_short(one.now.median)} {one.now.unit} ({one.text})"
        _write(strip, MARGIN_PX + 16, y, f"{one.verdict}: {one.mode}, {one.title}: {values}", SMALL_PX)
    return strip


def _strip(height: int) -> Image:
    return np.full((height, WIDTH_PX, 3), PAPER, np.uint8)


def _write(paper: Image, x: int, y: int, text: str, size_px: int, *, background: Bgr = PAPER, is_faint: bool = False) -> int:
    """Draw white text, cut off at the right edge; returns the x after it."""
    patch = label(text, size_px, background)
    if is_faint:
        patch = np.asarray(cv2.addWeighted(patch, 0.65, np.full_like(patch, background), 0.35, 0), np.uint8)
    return x + paste(paper, patch, x, y)


def _shortened(text: str) -> str:
    """Long titles without their middle: the ends of an address are the most informative."""
    return text if len(text) <= TITLE_LETTERS else f"{text[: TITLE_LETTERS // 2]} ... {text[-TITLE_LETTERS // 3 :]}"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _range(one: Figure) -> str:
    return f"{_short(one.low)} to {_short(one.high)} ({len(one.repeats)} repeats)"
