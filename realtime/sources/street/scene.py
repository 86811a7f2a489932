"""A street that is drawn, so that its truth is known to the pixel. Everything is a pure function of seed and time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from engines.types import F32, I32, U8, Image, Size
from realtime.sources.street.background import BACKGROUND_CLASSES, paint_background
from realtime.sources.street.camera import F64, CameraPath
from realtime.sources.street.meetings import Meetings, Walker
from realtime.sources.street.occluders import occluders as stand_occluders
from realtime.sources.street.shapes import Shape, car_shapes, person_shapes

CLASSES = (*BACKGROUND_CLASSES, "person", "car")
PERSON, CAR = CLASSES.index("person"), CLASSES.index("car")
_BUILDING = CLASSES.index("building")

_SUBPIXEL_BITS = 4  # objects glide instead of hopping from pixel to pixel
_LANES = ((-3.5, -9.0), (0.0, 7.0), (3.5, 5.0))  # x in metres, speed in m/s; negative: towards the camera
_CAR_NEAR_M, _CAR_FAR_M = 3.5, 75.0
_WALK_M_PER_S = 1.3
_CAR_COLOURS = ((60, 60, 200), (180, 120, 40), (215, 215, 215), (70, 70, 75), (60, 150, 200), (90, 140, 60), (160, 160, 170))
_SHIRT_COLOURS = ((50, 60, 190), (190, 110, 60), (70, 160, 220), (90, 150, 70), (150, 80, 140), (200, 200, 205))


@dataclass(frozen=True, slots=True)
class SyntheticTruth:
    """What is really in a synthetic frame. Row i of every array is the same object; rows run from far to near.

    boxes_px:   (N, 4) float32 x_min, y_min, x_max, y_max of the whole object, hidden parts too, cut at the frame's rim.
    ids:        (N,) int32 > 0, never used again.
    class_ids:  (N,) int32 into `class_names`.
    visibility: (N,) float32, visible share of the object's area, in (0, 1].
    label_map:  (H, W) uint8, 0 = no object, i + 1 = row i.
    class_map:  (H, W) uint8 into `class_names`.
    """

    boxes_px: F32
    ids: I32
    class_ids: I32
    visibility: F32
    label_map: U8
    class_map: U8
    class_names: tuple[str, ...] = CLASSES


@dataclass(frozen=True, slots=True)
class _Actor:
    """Something to draw, shapes back to front. id: 0 for what is no object, such as a column."""

    id: int
    class_id: int
    x_m: float
    z_m: float
    shapes: list[Shape]


class Street:
    """A traffic camera's view of a street: cars in three lanes, people on the pavements and crossing."""

    def __init__(
        self,
        size: Size,
        objects: int,
        seed: int,
        *,
        pan_px_s: float = 0.0,
        shake_px: float = 0.0,
        occluders: int = 0,
        crossings: int = 0,
    ) -> None:
        """pan_px_s: the camera pans to and fro, at most that fast. shake_px: by how much it shakes.

        occluders: how many columns and pillars stand in the way. crossings: pairs of people, besides `objects`, who meet.
        """
        self.size = size
        self._camera = CameraPath(size, pan_px_s, shake_px, seed)
        self._view = self._camera.wide_view()
        self._objects = objects
        self._crossings = crossings
        self._meetings = Meetings(crossings, seed)
        self._occluders = stand_occluders(self._view, occluders, seed)
        self._seed = seed
        rng = np.random.default_rng(seed)
        self._phases = rng.random(max(objects, 1))
        self._background, self._background_classes = paint_background(self._view, rng)

    def draw(self, t_s: float) -> Image:
        """The picture at `t_s` seconds: a new (H, W, 3) uint8 BGR array."""
        seen = self._seen_by_camera(t_s)
        image: Image = self._shown(self._background, t_s, cv2.INTER_LINEAR)
        for actor in self._actors(t_s):
            for shape in actor.shapes:
                _fill(image, seen(shape.points_px), shape.colour, cv2.LINE_AA)
        return image

    def camera_between(self, from_s: float, to_s: float) -> F64:
        """(2, 3) float64: where the background's pixels at `from_s` are at `to_s`; the identity where the camera stands."""
        return self._camera.between(from_s, to_s)

    def truth(self, t_s: float) -> SyntheticTruth:
        """The truth of `draw(t_s)`."""
        shape = (self.size.height, self.size.width)
        label_map = np.zeros(shape, np.uint8)
        alone = np.zeros(shape, np.uint8)
        class_map = self._shown(self._background_classes, t_s, cv2.INTER_NEAREST)
        seen = self._seen_by_camera(t_s)
        rows: list[tuple[_Actor, F32, int]] = []
        for actor in self._actors(t_s):
            solid = [seen(shape.points_px) for shape in actor.shapes if shape.is_solid]
            box_px = _clipped_box(np.concatenate(solid), self.size)
            x0, y0, x1, y1 = (int(edge) for edge in (*np.floor(box_px[:2]), *np.ceil(box_px[2:])))
            if x1 <= x0 or y1 <= y0:
                continue
            alone[:] = 0
            for points_px in solid:
                _fill(alone, points_px, (1,), cv2.LINE_8)
            covered = alone > 0
            if not covered.any():
                continue
            if actor.id:
                rows.append((actor, box_px, int(covered.sum())))
            label_map[covered] = len(rows) if actor.id else 0
            class_map[covered] = actor.class_id
        return _seen_only(rows, label_map, class_map)

    def _shown(self, wide: U8, t_s: float, interpolation: int) -> U8:
        """The part of the wide picture (or map) that the camera shows at `t_s`; a new array."""
        if self._camera.is_still:
            return wide.copy()
        matrix = self._camera.matrix(t_s)[:2]
        return np.asarray(cv2.warpAffine(wide, matrix, (self.size.width, self.size.height), flags=interpolation), np.uint8)

    def _seen_by_camera(self, t_s: float) -> Callable[[F32], F32]:
        """From (K, 2) pixels of the wide picture to those of the picture at `t_s`."""
        if self._camera.is_still:
            return lambda points_px: points_px
        matrix = self._camera.matrix(t_s)
        turn, shift = matrix[:2, :2].T.astype(np.float32), matrix[:2, 2].astype(np.float32)
        return lambda points_px: points_px @ turn + shift

    def _actors(self, t_s: float) -> list[_Actor]:
        """Who is in the scene at `t_s`, far to near."""
        cars = math.ceil(self._objects * 0.6)
        actors = [self._car(i, t_s) if i < cars else self._person(i, i - cars, t_s) for i in range(self._objects)]
        for pair in range(self._crossings):
            actors += [self._walker(pair, second, walker) for second, walker in enumerate(self._meetings.pair(pair, t_s))]
        actors.sort(key=lambda actor: -actor.z_m)
        for thing in self._occluders:
            hidden = [thing.hides(actor.x_m, actor.z_m) for actor in actors]
            behind = [actor for actor, is_hidden in zip(actors, hidden, strict=True) if is_hidden]
            before = [actor for actor, is_hidden in zip(actors, hidden, strict=True) if not is_hidden]
            actors = [*behind, _Actor(0, _BUILDING, thing.x_m, thing.z_m, thing.shapes), *before]
        return actors

    def _car(self, i: int, t_s: float) -> _Actor:
        lane = i % len(_LANES)
        x_m, speed = _LANES[lane]
        in_lane = math.ceil(math.ceil(self._objects * 0.6) / len(_LANES))
        # Cars of a lane keep their distance: evenly spread, the same speed, a little jitter.
        start = (i // len(_LANES) + 0.35 * self._phases[i]) / in_lane
        share, lap = _lap(start + t_s * abs(speed) / (_CAR_FAR_M - _CAR_NEAR_M))
        travelled_m = share * (_CAR_FAR_M - _CAR_NEAR_M)
        z_m = _CAR_FAR_M - travelled_m if speed < 0 else _CAR_NEAR_M + travelled_m
        number = self._number(i, lap)
        colour = _CAR_COLOURS[(number * 3 + self._seed) % len(_CAR_COLOURS)]
        return _Actor(number, CAR, x_m, z_m, car_shapes(self._view, x_m, z_m, colour, shows_front=speed < 0))

    def _person(self, i: int, order: int, t_s: float) -> _Actor:
        phase = float(self._phases[i])
        side = 1.0 if order % 2 else -1.0
        if order % 3 == 1:  # crosses the road
            share, lap = _lap(phase + t_s * _WALK_M_PER_S / 19.0)
            x_m, z_m = side * (share * 19.0 - 9.5), 13.0 + 9.0 * phase
        else:  # follows the pavement
            share, lap = _lap(phase + t_s * _WALK_M_PER_S / 32.0)
            x_m, z_m = side * (6.4 + 1.1 * phase), 42.0 - 32.0 * share
        return self._walking(self._number(i, lap), x_m, z_m, stride=t_s * 1.9 + phase)

    def _walker(self, pair: int, second: int, walker: Walker) -> _Actor:
        number = self._number(self._objects + 2 * pair + second, walker.lap)
        return self._walking(number, walker.x_m, walker.z_m, stride=walker.paces)

    def _walking(self, number: int, x_m: float, z_m: float, *, stride: float) -> _Actor:
        colour = _SHIRT_COLOURS[(number * 5 + self._seed) % len(_SHIRT_COLOURS)]
        return _Actor(number, PERSON, x_m, z_m, person_shapes(self._view, x_m, z_m, colour, stride=stride))

    def _number(self, i: int, lap: int) -> int:
        """The id of the i-th object on its lap: a new one each time it comes into the picture anew."""
        return 1 + i + lap * (self._objects + 2 * self._crossings)


def _lap(position: float) -> tuple[float, int]:
    lap = math.floor(position)
    return position - lap, lap


def _fill(image: U8, points_px: F32, colour: tuple[int, ...], line: int) -> None:
    fixed = np.round(points_px * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillConvexPoly(image, fixed, colour, line, _SUBPIXEL_BITS)


def _clipped_box(points_px: F32, size: Size) -> F32:
    limits = np.array((size.width, size.height), np.float32)
    return np.concatenate((points_px.min(axis=0).clip(0, limits), points_px.max(axis=0).clip(0, limits))).astype(np.float32)


def _seen_only(rows: list[tuple[_Actor, F32, int]], label_map: U8, class_map: U8) -> SyntheticTruth:
    """Drops the objects that are wholly hidden, and renumbers the label map."""
    visible_px = np.bincount(label_map.reshape(-1), minlength=len(rows) + 1)
    kept = [row for row in range(len(rows)) if visible_px[row + 1] > 0]
    renumber = np.zeros(256, np.uint8)
    for new, old in enumerate(kept):
        renumber[old + 1] = new + 1
    return SyntheticTruth(
        boxes_px=np.array([rows[row][1] for row in kept], np.float32).reshape(-1, 4),
        ids=np.array([rows[row][0].id for row in kept], np.int32),
        class_ids=np.array([rows[row][0].class_id for row in kept], np.int32),
        visibility=np.array([visible_px[row + 1] / rows[row][2] for row in kept], np.float32),
        label_map=cv2.LUT(label_map, renumber),
        class_map=class_map,
    )
