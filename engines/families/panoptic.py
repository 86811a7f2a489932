"""Panoptic segmentation: a class, or an opacity, for every pixel, and objects, separated by their centres.

Outputs by role, H x W being the size of the network's input, h x w a whole fraction of it:
    `labels`      (1, H, W) integers, the argmax in the graph; or `alpha` (1, H, W) uint8, a foreground's opacity 0..255
    `peaks`       (1, K, 3) float: x, y in network px and score 0..1 of the centres found, a score of 0 for an empty slot
    `offsets`     (1, 2, h, w) float: x and y, in network px, from the middle of the cell to the centre of its object
    `confidence`  (1, any, any) uint8, optional: 255 x the largest softmax probability; of an alpha, this itself
    `surface`     (1, any, any) uint8, optional: 0 nothing, 1 drivable, 2 lane line
Objects are the pixels of `things`, or those more than half opaque. Source: Panoptic-DeepLab (Cheng et al., 2020).
"""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engines.decoding.detections import check_scores, floats
from engines.decoding.grouping import Cells, Groups, group, make_cells
from engines.decoding.maps import byte_map, fine_enough, labels_of, not_finite, one_map, surface_map
from engines.decoding.outlining import HIDDEN, outline
from engines.errors import CardError, InferenceError
from engines.families import DecodeSettings
from engines.families.common.ranges import Look, strange_labels
from engines.families.common.recognising import Network, Recognised, channel_classes, one_role
from engines.models.card import ModelCard
from engines.models.fit import Fit
from engines.types import F32, F64, I32, U8, Instances, Outputs, Segmentation, Size

MIN_OBJECT_SHARE = 2e-4
"""Smaller objects, as a share of the map, are specks: 49 pixels of 640x384, counted in whole cells."""

PEAK_POWER = 0.25
"""How much the height of its peak counts in an object's score, beside the confidence of its cells. Little: a peak is low where a
centre is hard to find, as of a lorry that the frame cuts off, and such an object must not vanish."""

GIVES_MAPS = True


class Family:
    def __init__(self, card: ModelCard) -> None:
        outputs = card.outputs
        one_role(card, ("labels", "alpha"), also=("peaks", "offsets"))
        if not card.things:
            raise CardError(f"{card.name}: a panoptic card needs things", 'Write things = [...], or family = "semantic"')
        if "alpha" in outputs and (len(card.classes) != 1 or set(card.things) != set(card.classes)):
            raise CardError(f"{card.name}: an alpha has one class, which is a thing; its classes are {', '.join(card.classes)}")
        self._outputs = outputs
        self._class_count = len(card.classes)
        self._is_plain = not card.void
        self._to_class = channel_classes(card)
        self._to_thing = np.zeros(256, np.uint8)
        for class_id, name in enumerate(card.classes):
            if name in card.things and name not in card.void:
                self._to_thing[class_id] = class_id + 1
        ids = np.flatnonzero(self._to_thing)
        is_range = len(ids) > 0 and len(ids) == ids[-1] - ids[0] + 1
        self._thing_range = (int(ids[0]), len(ids)) if is_range else (0, 0)

    def decode(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Segmentation:
        peaks, offsets = self._peaks(outputs), self._offsets(outputs)
        class_map, alpha, surface = None, None, surface_map(outputs, self._outputs.get("surface"), geometry)
        if "alpha" in self._outputs:
            name = self._outputs["alpha"]
            whole = fine_enough(byte_map(outputs[name], name, "255 x the opacity"), geometry)
            alpha = np.array(geometry.cut(whole), np.uint8)
            things = np.greater(whole, 127).view(np.uint8)
        else:
            name = self._outputs["labels"]
            whole = labels_of(fine_enough(one_map(outputs[name], name), geometry), name)
            class_map = self._class_map(np.asarray(geometry.cut(whole), np.uint8))
            things = self._things(whole)
        things = _within(things, geometry)
        steps = [length / cells for length, cells in zip(things.shape, offsets.shape[1:], strict=True)]
        if not all(step.is_integer() for step in steps):
            raise InferenceError(f"output {name} is {things.shape}, not a multiple of the {offsets.shape[1:]} cells of offsets")
        cells = make_cells(things, offsets, (geometry.net.width / offsets.shape[2], geometry.net.height / offsets.shape[1]))
        least_pixels = max(16, round(MIN_OBJECT_SHARE * geometry.cut(things).size))
        groups = group(cells, peaks, max(1, int(least_pixels // (steps[0] * steps[1]))))
        confidence = self._confidence(outputs, whole, Size(offsets.shape[2], offsets.shape[1]))
        instances = self._instances(things, cells, groups, confidence, geometry, settings)
        return Segmentation(instances, class_map, alpha, surface)

    def _class_map(self, labels: U8) -> U8:
        """A new array; what has no class, or one that is void, becomes void."""
        is_plain = self._is_plain and labels.max(initial=0) < self._class_count
        return labels.copy() if is_plain else cv2.LUT(np.ascontiguousarray(labels), self._to_class)

    def _things(self, labels: U8) -> U8:
        """(H, W) uint8, 0 = nothing countable, c + 1 = class c; a new array."""
        first, count = self._thing_range
        if count:  # they follow one another, which two comparisons find in a third of a look-up's time
            is_thing = labels - np.uint8(first) < count
            return np.asarray((labels + np.uint8(1)) * is_thing.view(np.uint8), np.uint8)
        return np.asarray(cv2.LUT(labels, self._to_thing), np.uint8)

    def _peaks(self, outputs: Outputs) -> F64:
        """(K, 3) x, y, score, falling."""
        name = self._outputs["peaks"]
        peaks = floats(outputs[name], name, 3)
        if peaks.shape[1] != 3:
            raise InferenceError(f"output {name} is {outputs[name].shape}, not peaks (1, K, 3): x, y, score")
        if not np.isfinite(peaks).all():
            raise not_finite(f"output {name}")
        check_scores(peaks[:, 2])
        falling = peaks[np.argsort(-peaks[:, 2], kind="stable")].astype(np.float64)
        return np.asarray(np.minimum(falling, (np.inf, np.inf, 1)))

    def _offsets(self, outputs: Outputs) -> F32:
        name = self._outputs["offsets"]
        offsets = floats(outputs[name], name, 4)
        if len(offsets) != 2 or offsets.size == 0:
            raise InferenceError(f"output {name} is {outputs[name].shape}, not offsets (1, 2, h, w): x and y")
        if not np.isfinite(offsets).all():
            raise not_finite(f"output {name}")
        return np.ascontiguousarray(offsets)

    def _confidence(self, outputs: Outputs, whole: npt.NDArray[np.generic], cells: Size) -> F32 | None:
        """(h, w) 0..1, of each cell; None where the network gives none."""
        name = self._outputs.get("confidence")
        if name is not None:
            found = byte_map(outputs[name], name, "255 x the probability")
        elif "alpha" in self._outputs:
            found = np.asarray(whole, np.uint8)
        else:
            return None
        if Size.of(found) != cells:
            found = cv2.resize(np.ascontiguousarray(found), (cells.width, cells.height), interpolation=cv2.INTER_NEAREST_EXACT)
        return np.asarray(found, np.float32) / np.float32(255)

    def _instances(
        self, things: U8, cells: Cells, groups: Groups, confidence: F32 | None, geometry: Fit, settings: DecodeSettings
    ) -> Instances:
        scores, class_ids, sizes = _judged(cells, groups, confidence, self._class_count)
        # Best first; of equals the larger, so that a flood of fragments never pushes out a big object.
        order = np.lexsort((-sizes, -scores))
        sure = order[scores[order] >= settings.score_threshold]
        order = sure[: settings.max_objects]
        cut_off = len(sure) - len(order)
        labels = np.full(len(groups) + 1, HIDDEN, np.uint8)
        labels[0] = 0
        labels[order + 1] = np.arange(1, len(order) + 1)
        rows = _named(groups.cells, labels)
        label_map = outline(things, cells, groups, labels, rows)
        boxes_map = _boxes(label_map, rows, len(order))
        seen = np.flatnonzero(boxes_map[:, 2] > boxes_map[:, 0])
        if len(seen) < len(order):  # a few cells between others can lose every pixel on the way
            renumbered = np.zeros(256, np.uint8)
            renumbered[seen + 1] = np.arange(1, len(seen) + 1)
            label_map, order, boxes_map = cv2.LUT(label_map, renumbered), order[seen], boxes_map[seen]
        to_net = np.array((geometry.net.width / things.shape[1], geometry.net.height / things.shape[0]) * 2, np.float32)
        return Instances(
            geometry.to_frame(boxes_map * to_net),
            scores[order].astype(np.float32),
            class_ids[order],
            np.ascontiguousarray(geometry.cut(label_map), np.uint8),
            cut_off,
        )


def _within(things: U8, geometry: Fit) -> U8:
    """`things` without what the network sees in the padding of a letterbox."""
    if geometry.content == geometry.net:
        return things
    within = np.zeros_like(things)
    geometry.cut(within)[...] = geometry.cut(things)
    return within


def _judged(cells: Cells, groups: Groups, confidence: F32 | None, class_count: int) -> tuple[F64, I32, npt.NDArray[np.intp]]:
    """Scores, class ids and numbers of voting cells of each object.

    The score is a weighted geometric mean of the peak's and of the mean confidence of its cells: see PEAK_POWER. The class is
    that of most cells.
    """
    has_owner = np.flatnonzero(groups.owners)
    voters, objects, count = cells.voters[has_owner], groups.owners[has_owner].astype(np.int64) - 1, len(groups)
    sizes = np.bincount(objects, minlength=count)
    scores = groups.peak_scores.copy()
    if confidence is not None:
        bordered = np.zeros(cells.classes.shape, np.float32)
        bordered[1:-1, 1:-1] = confidence
        means = np.bincount(objects, bordered.ravel()[voters], count) / np.maximum(sizes, 1)
        scores = np.where(np.isfinite(groups.centres[:, 0]), scores**PEAK_POWER * means ** (1 - PEAK_POWER), means)
        scores = scores.round(6)  # what differs by rounding alone is equal, and then the larger comes first
    votes = np.bincount(objects * class_count + cells.classes.ravel()[voters] - 1, minlength=count * class_count)
    return scores, votes.reshape(count, class_count).argmax(axis=1).astype(np.int32), sizes


def _named(cells: I32, labels: U8) -> U8:
    """`labels` at `cells`; looked up by OpenCV where they are few enough, in a fifth of the time."""
    if len(labels) > 256:
        return labels[cells]
    table = np.zeros(256, np.uint8)
    table[: len(labels)] = labels
    return np.asarray(cv2.LUT(cells.astype(np.uint8), table), np.uint8)


def _boxes(label_map: U8, rows: U8, count: int) -> F32:
    """(count, 4) float32 boxes around the pixels of each row, in pixels of `label_map`; zeros for a row without pixels.

    rows: (h + 2, w + 2) the row of each cell, with a border: no pixel of a row is farther away than a cell beside these.
    """
    height, width = rows.shape[0] - 2, rows.shape[1] - 2
    step_y, step_x = label_map.shape[0] // height, label_map.shape[1] // width
    places = np.flatnonzero(rows.view(np.int8) > 0) if count < 128 else np.flatnonzero((rows > 0) & (rows < HIDDEN))
    owners = rows.ravel()[places].astype(np.int64) - 1
    lines, columns = np.divmod(places, width + 2)
    down = _first_and_last(owners, lines, count, height + 2)
    across = _first_and_last(owners, columns, count, width + 2)
    boxes = []
    for row, (y0, y1, x0, x1) in enumerate(zip(*down, *across, strict=True)):
        # One cell more on each side, less the border's.
        y, x = max(0, y0 - 2) * step_y, max(0, x0 - 2) * step_x
        own = np.equal(label_map[y : (y1 + 1) * step_y, x : (x1 + 1) * step_x], row + 1).view(np.uint8)
        box_x, box_y, box_w, box_h = cv2.boundingRect(own)
        boxes.append((x + box_x, y + box_y, x + box_x + box_w, y + box_y + box_h) if box_w else (0, 0, 0, 0))
    return np.array(boxes, np.float32).reshape(-1, 4)


def _first_and_last(
    owners: npt.NDArray[np.int64], places: npt.NDArray[np.int64], count: int, length: int
) -> tuple[list[int], list[int]]:
    """The first and the last of the `places`, below `length`, that each of `count` owners has."""
    is_there = np.zeros((count, length), bool)
    is_there.ravel()[owners * length + places] = True
    return is_there.argmax(axis=1).tolist(), (length - 1 - is_there[:, ::-1].argmax(axis=1)).tolist()


def recognise(network: Network) -> Recognised | None:
    """The project's own networks, whose outputs are named after their roles."""
    found = {tensor.name for tensor in network.facts.outputs}
    maps = {"labels", "alpha"} & found
    is_ours = len(maps) == 1 and {"peaks", "offsets"} <= found <= {*maps, "peaks", "offsets", "confidence", "surface"}
    return Recognised({tensor.name: tensor.name for tensor in network.facts.outputs}, is_named=True) if is_ours else None


def examine(card: ModelCard, outputs: Outputs) -> Look:
    """Labels that the card has no class for."""
    labels = outputs[card.outputs["labels"]] if "labels" in card.outputs else None
    if labels is not None and labels.dtype.kind in "ui":
        is_mask, doubts = strange_labels(labels, card, card.outputs["labels"])
        return Look(doubts=("the labels are 0 and 255 only, and 255 is no class",) if is_mask else doubts)
    return Look()


def card_keys(network: Network, outputs: Mapping[str, str], names: list[str], written: Mapping[str, Any]) -> dict[str, Any]:
    foreground = names or ["foreground"]
    return {"classes": foreground, "things": foreground} if "alpha" in outputs else {}
