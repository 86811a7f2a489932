"""People of the synthetic street who cross each other's way, in pairs. A pure function of seed and time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_WALK_M_PER_S = 1.3
_PACES_PER_M = 1.46
_TALK_S = 1.2
_ROAD_HALF_M = 9.5
_TO_MEETING_M = 8.0
MAX_CROSSINGS = 20


class Walker(NamedTuple):
    """Where somebody is. lap: how often the same two have met before. paces: how far the walk has come."""

    x_m: float
    z_m: float
    paces: float
    lap: int


class Meetings:
    """Pairs of people: some cross the road towards each other, some on ways that form an X, some meet, talk, and turn back."""

    def __init__(self, pairs: int, seed: int) -> None:
        rng = np.random.default_rng((seed, 2))
        self._phases = rng.random(pairs)
        self._places = rng.random(pairs)
        self._kinds = (np.arange(pairs) + rng.integers(3)) % 3

    def pair(self, number: int, t_s: float) -> tuple[Walker, Walker]:
        """The two of one pair at `t_s`."""
        phase, place, kind = float(self._phases[number]), float(self._places[number]), int(self._kinds[number])
        return _talk(phase, place, t_s) if kind == 2 else _cross(phase, place, t_s, is_slanted=kind == 1)


def _cross(phase: float, place: float, t_s: float, *, is_slanted: bool) -> tuple[Walker, Walker]:
    """Over the road from both sides; the two meet in its middle."""
    laps = phase + t_s * _WALK_M_PER_S / (2 * _ROAD_HALF_M)
    lap = int(np.floor(laps))
    x_m = (laps - lap) * 2 * _ROAD_HALF_M - _ROAD_HALF_M
    z_m = 14.0 + 6.0 * place
    slant_m = 0.25 * x_m if is_slanted else 0.0
    paces = (laps - lap) * 2 * _ROAD_HALF_M * _PACES_PER_M
    return Walker(x_m, z_m + slant_m, paces, lap), Walker(-x_m, z_m + slant_m + 0.4, paces + 0.4, lap)


def _talk(phase: float, place: float, t_s: float) -> tuple[Walker, Walker]:
    """Along a pavement towards each other, a short talk, and back."""
    side = 1.0 if place < 0.5 else -1.0
    walk_s = _TO_MEETING_M / _WALK_M_PER_S
    whole_s = 2 * walk_s + _TALK_S
    laps = phase + t_s / whole_s
    lap = int(np.floor(laps))
    passed_s = (laps - lap) * whole_s
    walked_s = min(passed_s, walk_s) + max(0.0, passed_s - walk_s - _TALK_S)
    away_m = abs(walk_s - walked_s) * _WALK_M_PER_S
    x_m, z_m, paces = side * 7.3, 21.0 + 2 * place, walked_s * _WALK_M_PER_S * _PACES_PER_M
    return Walker(x_m - 0.15, z_m - 0.3 - away_m, paces, lap), Walker(x_m + 0.15, z_m + 0.3 + away_m, paces + 0.4, lap)
