"""A drawn street whose truth is known to the pixel. Everything is a pure function of seed and time."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from engines.types import F32, F64, I32, U8, Image, Size
from realtime.sources.street.background import paint_background
from realtime.sources.street.camera import CameraPath
from realtime.sources.street.occluders import make_occluders
from realtime.sources.street.traffic import CLASSES, Actor, Traffic

_BUILDING = CLASSES.index("building")
_SUBPIXEL_BITS = 4  # objects glide instead of jumping from pixel to pixel


@dataclass(frozen=True, slots=True)
class SyntheticTruth:
    """The contents of a synthetic frame. Row i of every array is the same object; rows run from far to near.

    boxes_px:   (N, 4) float32 x_min, y_min, x_max, y_max of the whole object, hidden parts included, cut at the frame's edge.
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
        """pan_px_s: the camera's greatest panning speed. shake_px: the amplitude of its shaking.

        occluders: number of columns and pillars in front of the objects. crossings: pairs of people, in addition to `objects`.
        """
        self.size = size
        self._camera = CameraPath(size, pan_px_s, shake_px, seed)
        self._view = self._camera.wide_view()
        self._occluders = make_occluders(self._view, occluders, seed)
        rng = np.random.default_rng(seed)
        self._traffic = Traffic(self._view, objects, crossings, seed, rng)
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
        """(2, 3) float64, from the background's pixels at `from_s` to those at `to_s`; the identity for a camera at rest."""
        return self._camera.between(from_s, to_s)

    def truth(self, t_s: float) -> SyntheticTruth:
        """The truth of `draw(t_s)`."""
        label_map = np.zeros((self.size.height, self.size.width), np.uint8)
        alone, limits = np.zeros_like(label_map), np.array((self.size.width, self.size.height), np.float32)
        class_map = self._shown(self._background_classes, t_s, cv2.INTER_NEAREST)
        seen = self._seen_by_camera(t_s)
        rows: list[tuple[Actor, F32, int]] = []
        for actor in self._actors(t_s):
            solid = [seen(shape.points_px) for shape in actor.shapes if shape.is_solid]
            outline_px = np.concatenate(solid)
            box_px = np.concatenate((outline_px.min(axis=0).clip(0, limits), outline_px.max(axis=0).clip(0, limits)))
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
        return _visible_only(rows, label_map, class_map)

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

    def _actors(self, t_s: float) -> list[Actor]:
        """The traffic at `t_s` and the occluders, far to near."""
        actors = self._traffic.actors(t_s)
        for thing in self._occluders:
            behind = [actor for actor in actors if thing.hides(actor.x_m, actor.z_m)]
            before = [actor for actor in actors if not thing.hides(actor.x_m, actor.z_m)]
            actors = [*behind, Actor(0, _BUILDING, thing.x_m, thing.z_m, thing.shapes), *before]
        return actors


def _fill(image: U8, points_px: F32, colour: tuple[int, ...], line: int) -> None:
    fixed = np.round(points_px * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillConvexPoly(image, fixed, colour, line, _SUBPIXEL_BITS)


def _visible_only(rows: list[tuple[Actor, F32, int]], label_map: U8, class_map: U8) -> SyntheticTruth:
    """The truth without the objects that are entirely hidden; the label map is renumbered."""
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
