"""Cars and people of the synthetic street: who is where at a time. A pure function of seed and time."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from realtime.sources.street.background import BACKGROUND_CLASSES
from realtime.sources.street.camera import View
from realtime.sources.street.shapes import Shape, car_shapes, person_shapes

CLASSES = (*BACKGROUND_CLASSES, "person", "car")
PERSON, CAR = CLASSES.index("person"), CLASSES.index("car")
MAX_CROSSINGS = 20

_LANES = ((-3.5, -9.0), (0.0, 7.0), (3.5, 5.0))  # x in metres, speed in m/s; negative: towards the camera
_CAR_NEAR_M, _CAR_FAR_M = 3.5, 75.0
_WALK_M_PER_S = 1.3
_CAR_COLOURS = ((60, 60, 200), (180, 120, 40), (215, 215, 215), (70, 70, 75), (60, 150, 200), (90, 140, 60), (160, 160, 170))
_SHIRT_COLOURS = ((50, 60, 190), (190, 110, 60), (70, 160, 220), (90, 150, 70), (150, 80, 140), (200, 200, 205))
_PACES_PER_M = 1.46
_TALK_S = 1.2
_ROAD_HALF_M = 9.5
_TO_MEETING_M = 8.0


@dataclass(frozen=True, slots=True)
class Actor:
    """Something to draw, shapes back to front. id: 0 for what is not an object, such as a column."""

    id: int
    class_id: int
    x_m: float
    z_m: float
    shapes: list[Shape]


class Traffic:
    """Cars in three lanes, people on the pavements and crossing, and pairs of people whose paths cross."""

    def __init__(self, view: View, objects: int, crossings: int, seed: int, rng: np.random.Generator) -> None:
        self._view, self._seed = view, seed
        self._objects, self._cars, self._crossings = objects, math.ceil(objects * 0.6), crossings
        self._phases = rng.random(max(objects, 1))
        meeting = np.random.default_rng((seed, 2))
        self._meetings = list(zip(meeting.random(crossings).tolist(), meeting.random(crossings).tolist(), strict=True))
        self._first_kind = int(meeting.integers(3))

    def actors(self, t_s: float) -> list[Actor]:
        """All in the scene at `t_s`, far to near."""
        actors = [self._car(i, t_s) if i < self._cars else self._person(i, t_s) for i in range(self._objects)]
        for pair, (phase, place) in enumerate(self._meetings):
            kind = (pair + self._first_kind) % 3  # across the road, on paths that form an X, or they meet, talk, and turn back
            walkers = _talk(phase, place, t_s) if kind == 2 else _cross(phase, place, t_s, is_slanted=kind == 1)
            for i, walker in enumerate(walkers, start=self._objects + 2 * pair):
                actors.append(self._walking(self._number(i, walker.lap), walker.x_m, walker.z_m, stride=walker.paces))
        actors.sort(key=lambda actor: -actor.z_m)
        return actors

    def _car(self, i: int, t_s: float) -> Actor:
        lane = i % len(_LANES)
        x_m, speed = _LANES[lane]
        in_lane = math.ceil(self._cars / len(_LANES))
        # Cars of a lane keep their distance: evenly spread, the same speed, a little jitter.
        start = (i // len(_LANES) + 0.35 * self._phases[i]) / in_lane
        share, lap = _lap(start + t_s * abs(speed) / (_CAR_FAR_M - _CAR_NEAR_M))
        travelled_m = share * (_CAR_FAR_M - _CAR_NEAR_M)
        z_m = _CAR_FAR_M - travelled_m if speed < 0 else _CAR_NEAR_M + travelled_m
        number = self._number(i, lap)
        colour = _CAR_COLOURS[(number * 3 + self._seed) % len(_CAR_COLOURS)]
        return Actor(number, CAR, x_m, z_m, car_shapes(self._view, x_m, z_m, colour, shows_front=speed < 0))

    def _person(self, i: int, t_s: float) -> Actor:
        phase, order = float(self._phases[i]), i - self._cars
        side = 1.0 if order % 2 else -1.0
        if order % 3 == 1:  # crosses the road
            share, lap = _lap(phase + t_s * _WALK_M_PER_S / 19.0)
            x_m, z_m = side * (share * 19.0 - 9.5), 13.0 + 9.0 * phase
        else:  # follows the pavement
            share, lap = _lap(phase + t_s * _WALK_M_PER_S / 32.0)
            x_m, z_m = side * (6.4 + 1.1 * phase), 42.0 - 32.0 * share
        return self._walking(self._number(i, lap), x_m, z_m, stride=t_s * 1.9 + phase)

    def _walking(self, number: int, x_m: float, z_m: float, *, stride: float) -> Actor:
        colour = _SHIRT_COLOURS[(number * 5 + self._seed) % len(_SHIRT_COLOURS)]
        return Actor(number, PERSON, x_m, z_m, person_shapes(self._view, x_m, z_m, colour, stride=stride))

    def _number(self, i: int, lap: int) -> int:
        """The id of the i-th object on its lap: a new one each time it enters the picture."""
        return 1 + i + lap * (self._objects + 2 * self._crossings)


class _Walker(NamedTuple):
    """The place of a person. lap: how often the same pair has met before. paces: the distance walked."""

    x_m: float
    z_m: float
    paces: float
    lap: int


def _cross(phase: float, place: float, t_s: float, *, is_slanted: bool) -> tuple[_Walker, _Walker]:
    """Across the road from both sides; the two meet in its middle."""
    share, lap = _lap(phase + t_s * _WALK_M_PER_S / (2 * _ROAD_HALF_M))
    walked_m = share * 2 * _ROAD_HALF_M
    x_m = walked_m - _ROAD_HALF_M
    z_m = 14.0 + 6.0 * place
    slant_m = 0.25 * x_m if is_slanted else 0.0
    paces = walked_m * _PACES_PER_M
    return _Walker(x_m, z_m + slant_m, paces, lap), _Walker(-x_m, z_m + slant_m + 0.4, paces + 0.4, lap)


def _talk(phase: float, place: float, t_s: float) -> tuple[_Walker, _Walker]:
    """Along a pavement towards each other, a short talk, and back."""
    side = 1.0 if place < 0.5 else -1.0
    walk_s = _TO_MEETING_M / _WALK_M_PER_S
    whole_s = 2 * walk_s + _TALK_S
    share, lap = _lap(phase + t_s / whole_s)
    passed_s = share * whole_s
    walked_s = min(passed_s, walk_s) + max(0.0, passed_s - walk_s - _TALK_S)
    away_m = abs(walk_s - walked_s) * _WALK_M_PER_S
    x_m, z_m, paces = side * 7.3, 21.0 + 2 * place, walked_s * _WALK_M_PER_S * _PACES_PER_M
    return _Walker(x_m - 0.15, z_m - 0.3 - away_m, paces, lap), _Walker(x_m + 0.15, z_m + 0.3 + away_m, paces + 0.4, lap)


def _lap(position: float) -> tuple[float, int]:
    lap = math.floor(position)
    return position - lap, lap
