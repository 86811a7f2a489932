"""Semantic segmentation: a class for every pixel. Thing classes are cut into objects by connected components.

Outputs by role: `logits` (1, C, H, W) or (1, H, W, C) float; or `probabilities`, the same after a softmax or sigmoids; or
`labels` (1, H, W), (H, W), (1, 1, H, W) or (1, H, W, 1) integers, the argmax in the graph; or `mask`, the same of two classes, 0
and 255. Optional: `confidence` (1, h, w) uint8, 255 x the largest softmax probability, at any resolution; `surface` (1, any, any)
uint8, 0 nothing, 1 drivable, 2 lane line, or `drivable` and `lane`, a map of each; and `logit_mean` (1,) float, finite just when
all the logits were. `drivable` and `lane` alone are enough: they are the two classes then.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from engines.decoding.maps import byte_map, class_planes, fine_enough, labels_of, not_finite, one_map
from engines.decoding.postprocess import Rectangle, argmax_channels, as_instances, components
from engines.decoding.upsampling import upsampled_labels
from engines.errors import CardError, InferenceError
from engines.families import DecodeSettings
from engines.families.common.class_maps import proposed_maps, recognised_maps
from engines.families.common.map_ranges import examine_map
from engines.families.common.ranges import Look
from engines.families.common.recognising import Network, Recognised, channel_classes, has_aspect, length_of, one_role
from engines.families.common.surfaces import CLASSES, PAIR, PALETTE, Surface
from engines.models.card import ModelCard
from engines.models.fit import Fit
from engines.onnx_graph.editing import GraphEditor, tensor_facts
from engines.onnx_graph.reducing import PREFIX, are_channel_numbers, as_bytes, batch_of, checked, largest_byte, largest_share
from engines.types import F32, U8, VOID_CLASS, Instances, Outputs, Segmentation, Size

ROLES = ("logits", "labels", "probabilities", "mask")

MIN_OBJECT_SHARE = 2e-4
"""Smaller components, as a share of the map, are specks: 49 pixels of 640x384."""

SCORE_SAMPLES = 256
"""Pixels of an object that its score is averaged over, when it must be computed from logits."""

SUPPORTED = "semantic logits [1,C,H,W]; semantic labels [1,H,W] (integers); two maps called drivable and lane"


Score = Callable[[int, U8, Rectangle], float]
"""class id, mask over a rectangle of the class map, the rectangle (x, y, w, h) → score in [0, 1]."""

GIVES_MAPS = True


class Family:
    def __init__(self, card: ModelCard) -> None:
        self._surface = Surface(card)
        self._role = one_role(card, ROLES) if set(ROLES) & set(card.outputs) or not self._surface.is_pair else ""
        self._class_count = len(card.classes)
        self._logits = card.outputs.get("logits") or card.outputs.get("probabilities")
        self._labels = card.outputs.get("labels") or card.outputs.get("mask", "")
        self._confidence = card.outputs.get("confidence")
        self._mean = card.outputs.get("logit_mean")
        self._things = tuple(dict.fromkeys(card.classes.index(name) for name in card.things))
        self._to_class = channel_classes(card)
        if not self._role and self._class_count != len(CLASSES):
            what = f"{card.name}: a road's surface has two classes, drivable and lane line; its card has {self._class_count}"
            raise CardError(what, "Correct `classes`")
        if self._role == "mask":
            if self._class_count != 2:
                raise CardError(f"{card.name}: a mask has two classes, its card {self._class_count}", "Correct `classes`")
            self._to_class = np.repeat(self._to_class[:2], 128)  # 0 and 255, or what a resize made between them

    def decode(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Segmentation:
        surface = self._surface(outputs, geometry)
        if not self._role and surface is not None:  # its classes are those of the surface
            classes = cv2.LUT(surface - np.uint8(1), self._to_class)
            return Segmentation(Instances.none(Size.of(surface)), classes, surface=surface)
        if self._logits:
            logits = self._checked_logits(outputs[self._logits], geometry)
            class_map: U8 = argmax_channels(logits)
            picture = geometry.frame.fitted_to_width(settings.map_width_px)
            shown_map = self._smooth(class_map, logits, picture) if settings.fine_class_maps else class_map
            score: Score = _LogitScore(logits) if self._role == "logits" else _ShareScore(logits)
        else:
            if self._mean and not np.isfinite(np.asarray(outputs[self._mean], np.float32)).all():
                raise not_finite(f"output {self._mean}")
            class_map = shown_map = self._checked_labels(outputs[self._labels], geometry)
            if self._confidence:
                score = _MapScore(self._checked_confidence(outputs[self._confidence], geometry), class_map.shape)
            else:
                score = _no_score
        objects = self._objects(cv2.LUT(class_map, self._to_class), geometry, settings, score)
        return Segmentation(objects, cv2.LUT(shown_map, self._to_class), surface=surface)

    def _smooth(self, class_map: U8, logits: F32, picture: Size) -> U8:
        """The class map at the picture's resolution where the network's is coarser: objects are found on the latter still."""
        here = Size.of(class_map)
        is_coarser = picture.width >= here.width and picture.height >= here.height and picture != here
        return upsampled_labels(class_map, logits, picture) if is_coarser else class_map

    def _checked_logits(self, output: npt.NDArray[np.generic], geometry: Fit) -> F32:
        planes = class_planes(output, self._class_count)
        if planes is None:
            raise InferenceError(f"output {self._logits} is {output.shape}, not logits (1, {self._class_count}, H, W)")
        logits = np.asarray(planes, np.float32)
        finer = geometry.cells_per_edge(Size.of(logits[0]))
        if finer > 1:
            logits = np.stack([cv2.resize(plane, None, fx=finer, fy=finer, interpolation=cv2.INTER_LINEAR) for plane in logits])
        logits = np.ascontiguousarray(geometry.cut(logits))
        # One value that is not finite poisons the sum: one cheap pass, and a look at each value only then.
        with np.errstate(invalid="ignore", over="ignore"):
            total = logits.sum()
        if not np.isfinite(total) and not np.isfinite(logits).all():
            raise not_finite(f"output {self._logits}")
        return logits

    def _checked_labels(self, output: npt.NDArray[np.generic], geometry: Fit) -> U8:
        labels = one_map(output, self._labels)
        if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.rint(labels)).all():
            labels = labels.astype(np.int32)  # some exporters cast an argmax back to floats
        return labels_of(geometry.cut(fine_enough(labels, geometry)), self._labels)

    def _checked_confidence(self, output: npt.NDArray[np.generic], geometry: Fit) -> U8:
        confidence = byte_map(output, self._confidence or "", "255 x the probability")
        return cast(U8, geometry.cut(confidence))

    def _objects(self, class_map: U8, geometry: Fit, settings: DecodeSettings, score: Score) -> Instances:
        height, width = class_map.shape
        min_area = max(16, round(MIN_OBJECT_SHARE * height * width))
        found = []
        for class_id, mask, rectangle in components(class_map, self._things, min_area):
            value = score(class_id, mask, rectangle)
            if value >= settings.score_threshold:
                found.append((value, class_id, mask, rectangle))
        return as_instances(found, Size(width, height), geometry.frame, settings.max_objects)


class _LogitScore:
    """Mean softmax probability of the object's class over a sample of its pixels."""

    def __init__(self, logits: F32) -> None:
        self._logits = logits

    def __call__(self, class_id: int, mask: U8, rectangle: Rectangle) -> float:
        x, y, _, _ = rectangle
        rows, columns = _sample(mask)
        pixels = self._logits[:, y + rows, x + columns]
        exponentials = np.exp(pixels - pixels.max(axis=0))
        return float((exponentials[class_id] / exponentials.sum(axis=0)).mean())


class _ShareScore:
    """Mean probability of the object's class over a sample of its pixels."""

    def __init__(self, shares: F32) -> None:
        self._shares = shares

    def __call__(self, class_id: int, mask: U8, rectangle: Rectangle) -> float:
        x, y, _, _ = rectangle
        rows, columns = _sample(mask)
        return float(np.clip(self._shares[class_id, y + rows, x + columns].mean(), 0, 1))


class _MapScore:
    """Mean of a confidence map over the object; the map may be coarser than the class map."""

    def __init__(self, confidence: U8, class_map_shape: tuple[int, ...]) -> None:
        height, width = class_map_shape
        self._map: U8 = confidence
        self._is_fine = confidence.shape == (height, width)
        if not self._is_fine:
            self._map = cv2.resize(np.ascontiguousarray(confidence), (width, height), interpolation=cv2.INTER_NEAREST)

    def __call__(self, class_id: int, mask: U8, rectangle: Rectangle) -> float:
        x, y, w, h = rectangle
        if self._is_fine:  # a fused network's: the same pixels as of its logits, so the same score
            rows, columns = _sample(mask)
            return float(self._map[y + rows, x + columns].mean()) / 255
        return float(cv2.mean(self._map[y : y + h, x : x + w], mask)[0]) / 255


def _sample(mask: U8) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns of SCORE_SAMPLES pixels of an object and up to twice as many, evenly spread."""
    pixels = np.flatnonzero(mask)
    return np.divmod(pixels[:: max(1, len(pixels) // SCORE_SAMPLES)], mask.shape[1])


def _no_score(class_id: int, mask: U8, rectangle: Rectangle) -> float:
    """Of a network that gives labels only."""
    return 1.0


def recognise(network: Network) -> Recognised | None:
    """A map of classes, a road's surface, or both; or what `fuse` made."""
    outputs = network.facts.outputs
    found = {tensor.name for tensor in outputs}
    if "labels" in found and len(found) > 1 and found <= {"labels", "confidence", "logit_mean"}:
        return Recognised({tensor.name: tensor.name for tensor in outputs}, is_named=True)
    return recognised_maps(network)


propose = proposed_maps


def card_keys(network: Network, outputs: Mapping[str, str], names: list[str], written: Mapping[str, Any]) -> dict[str, Any]:
    """The classes of a network that sees a road's surface alone."""
    given = written.get("outputs")
    roles = {*outputs, *(given if isinstance(given, dict) else ())}
    if names or "classes" in written or "drivable" not in roles or roles & set(ROLES):
        return {}
    return {"classes": list(CLASSES), "palette": dict(PALETTE)}


def class_count(card: ModelCard, shapes: Mapping[str, tuple[int | None, ...]]) -> int | None:
    output = card.outputs.get("logits") or card.outputs.get("probabilities")
    if output is None:
        return len(CLASSES) if "drivable" in card.outputs and not set(ROLES) & set(card.outputs) else None
    shape, size = shapes[output], card.input.size
    is_last = (
        len(shape) == 4 and length_of(shape, 1) != len(card.classes) and has_aspect(shape[1], shape[2], size.height, size.width)
    )
    return length_of(shape, 3 if is_last and not has_aspect(shape[2], shape[3], size.height, size.width) else 1)


def examine(card: ModelCard, outputs: Outputs) -> Look:
    return examine_map(card, one_role(card, ROLES), outputs) if set(ROLES) & set(card.outputs) else Look()


def fuse(model: Any, card: ModelCard) -> tuple[Any, ModelCard]:
    """logits (N, C, H, W)    ▶ labels (N, H, W) uint8, and for cards with things also confidence (N, H, W) uint8
    probabilities (the same) ▶ the same
    labels (N, H, W) int64 ▶ labels (N, H, W) uint8
    surface, drivable, lane ▶ as they are
    """
    if "logits" in card.outputs or "probabilities" in card.outputs:
        return _fuse_logits(model, card)
    return _fuse_labels(model, card) if "labels" in card.outputs else (model, card)


def _fuse_logits(model: Any, card: ModelCard) -> tuple[Any, ModelCard]:
    import onnx

    is_unit = "probabilities" in card.outputs
    logits = card.outputs["probabilities" if is_unit else "logits"]
    elem_type, shape = tensor_facts(model, card.input, [logits])[logits]
    grid = [length for length in shape[2:] if length]
    # Coarse logits of a letterboxed frame: the family cuts the padding off between interpolated logits, which labels are not.
    cuts_inside_a_cell = card.input.fit != "stretch" and shape[2:] != (card.input.size.height, card.input.size.width)
    if len(shape) != 4 or shape[1] != len(card.classes) or len(grid) != 2 or cuts_inside_a_cell:
        return model, card
    batch = batch_of(model, card)
    edit = GraphEditor(model, PREFIX)
    # Rows and columns as one axis: OpenVINO keeps maps channels last, and reduces those over channels ten times slower.
    flat = edit.add("Reshape", [logits, edit.integers("flat/shape", [0, 0, -1])], "flat")

    def as_map(numbers: str, name: str) -> tuple[str, int, tuple[Any, ...]]:
        rows = edit.add("Reshape", [numbers, edit.integers(f"{name}/shape", [0, *grid])], f"{name}/map")
        return as_bytes(edit, rows, name), onnx.TensorProto.UINT8, (batch, *grid)

    # The first of equals wins, as in the family's own argmax.
    made = {"labels": as_map(edit.add("ArgMax", [flat], "labels/argmax", axis=1, keepdims=0), "labels")}
    if card.things:
        best = largest_byte(edit, flat, elem_type) if is_unit else largest_share(edit, flat, elem_type)
        made["confidence"] = as_map(best, "confidence")
    # Bytes hold no NaN: this one number shows every one, and every infinity, among the logits.
    # In float32: halves overflow when so many are added up.
    exact = flat if elem_type == onnx.TensorProto.FLOAT else edit.add("Cast", [flat], "exact", to=onnx.TensorProto.FLOAT)
    mean = edit.reduce("ReduceMean", exact, [1, 2], "mean", keepdims=False, output="logit_mean")
    made["logit_mean"] = (mean, onnx.TensorProto.FLOAT, (batch,))
    surface = {role: tensor for role, tensor in card.outputs.items() if role in ("surface", *PAIR)}
    edit.set_outputs(made.values(), kept=surface.values())
    edit.pin_size(card.input)
    return checked(edit, card, {role: tensor for role, (tensor, _, _) in made.items()} | surface)


def _fuse_labels(model: Any, card: ModelCard) -> tuple[Any, ModelCard]:
    import onnx

    kinds = onnx.TensorProto
    labels = card.outputs["labels"]
    facts = tensor_facts(model, card.input)
    elem_type, shape = facts[labels]
    if elem_type not in (kinds.INT16, kinds.INT32, kinds.INT64, kinds.UINT16, kinds.UINT32, kinds.UINT64):
        return model, card
    edit = GraphEditor(model, PREFIX)
    index = labels
    if not are_channel_numbers(edit, facts, labels, VOID_CLASS + 1):
        index = edit.add("Cast", [labels], "labels/wide", to=kinds.INT64)
        least, void = (
            edit.constant(f"labels/{name}", value, kinds.INT64) for name, value in (("least", 0), ("void", VOID_CLASS))
        )
        below, above = (edit.add(op, [index, limit], f"labels/{op}") for op, limit in (("Less", least), ("Greater", void)))
        strange = edit.add("Or", [below, above], "labels/strange")
        index = edit.add("Where", [strange, void, index], "labels/bounded")
    names = (batch_of(model, card), "rows", "columns", "one") if len(shape) > 2 else ("rows", "columns")
    dims = tuple(length or name for length, name in zip(shape, names, strict=False))
    if len(shape) > 2:
        dims = (names[0], *dims[1:])
    made = as_bytes(edit, index, "labels")
    edit.set_outputs([(made, kinds.UINT8, dims)], kept=[tensor for role, tensor in card.outputs.items() if role != "labels"])
    return checked(edit, card, {**card.outputs, "labels": made})
