"""Mattes: how opaque the foreground is at every pixel, with soft edges for hair, hands and whatever moves fast.

Outputs by role, one of
    `alpha`         (1, 1, H, W), (1, H, W, 1), (1, H, W) or (H, W): floats 0..1, or uint8 0..255
    `alpha_softmax` (1, 2, H, W) or (1, H, W, 2): the shares of background and foreground, 0..1
    `alpha_logits`  before a sigmoid, shaped as `alpha`; or before a softmax, shaped as `alpha_softmax`
and optionally `surface` (1, any, any) uint8 of a road: 0 nothing, 1 drivable, 2 lane line. Further outputs, such as the
foreground's own colours, are left alone. The card's classes are the foreground's alone, or "background" and the foreground's in
the order of the channels. Regions that are more than half opaque are objects.
"""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engines.decoding.maps import not_finite, surface_map
from engines.decoding.postprocess import as_instances, components
from engines.errors import CardError, InferenceError
from engines.families import DecodeSettings
from engines.families.common.class_maps import words
from engines.families.common.ranges import OVERSHOOT, Look, is_flat, sampled
from engines.families.common.recognising import Network, Proposal, Recognised, one_role
from engines.models.card import ModelCard
from engines.models.class_sets import void_among
from engines.models.fit import Fit
from engines.onnx_graph.reading import NetworkFacts, TensorFacts
from engines.types import F32, U8, Instances, Outputs, Segmentation, Size

ROLES = ("alpha", "alpha_softmax", "alpha_logits")

MIN_OBJECT_SHARE = 1e-3
"""Smaller regions, as a share of the map, are specks, painted but not objects: 110 pixels of 384x288."""

LARGEST_LOGIT = 30.0
"""exp(-30) is nothing beside 1, and overflows in no precision."""


OPACITIES = frozenset({"alpha", "alphas", "pha", "matte", "mattes", "matting"})
NO_OPACITIES = frozenset(
    {"depth", "disp", "disparity", "edge", "edges", "boundary", "contour", "heatmap", "heat", "lane", "ll", "drivable", "da"}
)
"""Words in an output's name: a map of 0..1 is an opacity, or is none."""

SIDE_OUTPUTS = 6
"""So many maps of one size are one matte at several depths, the fused one first. Source: U²-Net (Qin et al., 2020)."""

RVM_STATES = {f"r{number}i": f"r{number}o" for number in (1, 2, 3, 4)}
RVM_INPUTS = {"src", "downsample_ratio", *RVM_STATES}
RVM_OUTPUTS = {"fgr", "pha", *RVM_STATES.values()}
"""As its authors export it. Source: Robust Video Matting (Lin et al., 2021), documentation/inference.md."""

RVM_COARSE_PX = 512
"""Its longer side at the coarse stage, by the same source: `downsample_ratio` scales the input down to that."""

GIVES_MAPS = True


class Family:
    def __init__(self, card: ModelCard) -> None:
        role = one_role(card, ROLES)
        seen = [name for name in card.classes if name != "background" and name not in card.void]
        if len(seen) != 1 or len(card.classes) > 2:
            raise CardError(
                f"{card.name}: classes = [{', '.join(card.classes)}], but a matte has one foreground",
                'Write classes = ["person"], or classes = ["background", "person"] in the order of its channels',
            )
        self._class_id = card.classes.index(seen[0])
        self._channel = self._class_id if len(card.classes) == 2 else 1
        self._output = card.outputs[role]
        self._surface = card.outputs.get("surface")
        self._read = {"alpha": self._alpha, "alpha_softmax": self._softmax, "alpha_logits": self._logits}[role]

    def decode(self, outputs: Outputs, geometry: Fit, settings: DecodeSettings) -> Segmentation:
        alpha = self._read(outputs[self._output])
        finer = geometry.cells_per_edge(Size.of(alpha))
        if finer > 1:
            alpha = cv2.resize(alpha, None, fx=finer, fy=finer, interpolation=cv2.INTER_LINEAR)
        alpha = np.array(geometry.cut(alpha), np.uint8)  # a copy: the network's own memory is another's with its next run
        objects, surface = self._objects(alpha, geometry, settings), surface_map(outputs, self._surface, geometry)
        return Segmentation(objects, alpha=alpha, surface=surface)

    def _objects(self, alpha: U8, geometry: Fit, settings: DecodeSettings) -> Instances:
        class_map = np.where(alpha > 127, np.uint8(self._class_id), np.uint8(255))
        found = []
        for class_id, mask, rectangle in components(class_map, (self._class_id,), max(16, round(MIN_OBJECT_SHARE * alpha.size))):
            x, y, w, h = rectangle
            score = float(cv2.mean(alpha[y : y + h, x : x + w], mask)[0]) / 255
            if score >= settings.score_threshold:
                found.append((score, class_id, mask, rectangle))
        return as_instances(found, Size.of(alpha), geometry.frame, settings.max_objects)

    def _alpha(self, output: npt.NDArray[np.generic]) -> U8:
        if output.dtype == np.uint8:
            return np.asarray(self._channels(output, (1,))[0], np.uint8)
        return self._as_bytes(self._floats(output, (1,))[0])

    def _softmax(self, output: npt.NDArray[np.generic]) -> U8:
        return self._as_bytes(self._floats(output, (2,))[self._channel])

    def _logits(self, output: npt.NDArray[np.generic]) -> U8:
        logits = self._floats(output, (1, 2))
        with np.errstate(over="ignore"):
            difference = logits[0] if len(logits) == 1 else logits[self._channel] - logits[1 - self._channel]
        bounded = np.clip(difference, -LARGEST_LOGIT, LARGEST_LOGIT)
        return self._as_bytes(1 / (1 + np.exp(-bounded)))

    def _floats(self, output: npt.NDArray[np.generic], counts: tuple[int, ...]) -> F32:
        """As (C, H, W) float32, all of them finite."""
        if output.dtype.kind != "f":
            raise InferenceError(f"output {self._output} is {output.dtype}, not floats, or uint8 under outputs.alpha")
        with np.errstate(over="ignore", invalid="ignore"):
            channels = np.asarray(self._channels(output, counts), np.float32)
            total = channels.sum()  # one value that is not finite poisons it: each is looked at only then
        if not np.isfinite(total) and not np.isfinite(channels).all():
            raise not_finite(f"output {self._output}")
        return channels

    def _channels(self, output: npt.NDArray[np.generic], counts: tuple[int, ...]) -> npt.NDArray[np.generic]:
        """A (C, H, W) view, C one of `counts`. Raises InferenceError for another shape."""
        if 1 in counts and output.ndim in (2, 3):
            output = output.reshape((1,) * (4 - output.ndim) + output.shape)
        if output.ndim == 4 and output.shape[0] == 1 and output.size:
            if output.shape[1] in counts:
                return output.reshape(output.shape[1:])
            if output.shape[3] in counts:
                return np.moveaxis(output.reshape(output.shape[1:]), 2, 0)
        channels = " or ".join(map(str, counts))
        raise InferenceError(f"output {self._output} is {output.shape}, not a matte of {channels} channels: (1, C, H, W) or last")

    def _as_bytes(self, alpha: F32) -> U8:
        """(H, W) 0..1 → 0..255; a new array. Raises InferenceError for numbers outside of 0..1."""
        low, high, _, _ = cv2.minMaxLoc(np.ascontiguousarray(alpha))
        if low < -OVERSHOOT or high > 1 + OVERSHOOT:
            raise InferenceError(
                f"output {self._output} goes from {low:g} to {high:g}, which is not an opacity of 0..1",
                "If it comes before a sigmoid, call it outputs.alpha_logits in the card",
            )
        return np.rint(np.clip(alpha, 0, 1) * 255).astype(np.uint8)


def recognise(network: Network) -> Recognised | None:
    """Robust Video Matting; a map of one channel after a sigmoid; or the shares of background and foreground."""
    facts = network.facts
    if _is_rvm(facts):
        return Recognised({"alpha": "pha"}, is_named=True)
    if (matte := _matte(network)) is not None:
        return Recognised({"alpha": matte.name}, is_named=True)
    if len(facts.outputs) != 1 or facts.activations.get(facts.outputs[0].name) != "softmax":
        return None
    (output,) = facts.outputs
    has_other_names = bool(network.names) and not void_among(network.names)
    is_pair = _channels(output, network) == 2 and not has_other_names
    return Recognised({"alpha_softmax": output.name}, is_named=True) if is_pair else None


def _matte(network: Network) -> TensorFacts | None:
    """The output of one channel that is an opacity; None where that is in doubt."""
    facts = network.facts
    maps = [output for output in facts.outputs if _channels(output, network) == 1 and not words(output) & NO_OPACITIES]
    mattes = [output for output in maps if facts.activations.get(output.name) == "sigmoid"]
    if len(facts.outputs) == 1:
        return mattes[0] if mattes or (maps and words(maps[0]) & OPACITIES and _is_bounded(maps[0], facts)) else None
    named = [output for output in maps if words(output) & OPACITIES]
    if len(named) == 1 and (named[0] in mattes or _is_bounded(named[0], facts)):
        return named[0]
    is_supervised = len(mattes) == len(facts.outputs) >= SIDE_OUTPUTS and len({output.shape for output in mattes}) == 1
    return mattes[0] if is_supervised else None


def _is_bounded(output: TensorFacts, facts: NetworkFacts) -> bool:
    return facts.activations.get(output.name) == "clip"


def examine(card: ModelCard, outputs: Outputs) -> Look:
    """An opacity that went through its sigmoid already, or that has two values only."""
    role = one_role(card, ROLES)
    name = card.outputs[role]
    output = outputs[name]
    if output.dtype == np.uint8:
        doubt = f"output {name} contains 0 and 1 only, and an opacity of bytes goes to 255,"
        return Look(odd=frozenset([doubt] if output.max(initial=0) == 1 else []))
    if output.dtype.kind != "f" or not np.isfinite(output).all():
        return Look()
    numbers = sampled(output.reshape(1, -1))
    flat = {name: float(numbers.flat[0])} if is_flat(numbers) and numbers.flat[0] != 0 else {}  # 0 of a picture of nobody
    low, high = float(numbers.min(initial=0)), float(numbers.max(initial=0))
    is_sigmoid = role == "alpha_logits" and not flat and low >= 0 and high <= 1 and high - low > 0.5
    doubts: tuple[str, ...] = ()
    if role == "alpha_softmax" and output.ndim == 4 and 2 in (output.shape[1], output.shape[3]):
        sums = output.sum(axis=1 if output.shape[1] == 2 else 3)
        if float(np.abs(sums - 1).max(initial=0)) > OVERSHOOT:
            doubts = (f"the shares of background and foreground in output {name} add up to {float(sums.max()):.3g}, not to 1",)
    channels = output.shape[1] if output.ndim == 4 else 1
    role_now = ("alpha" if channels == 1 or output.shape[-1] == 1 else "alpha_softmax") if is_sigmoid else role
    changed = {role_now if key == role else key: tensor for key, tensor in card.outputs.items()} if is_sigmoid else None
    return Look(changed, doubts, None, flat)


def card_keys(network: Network, outputs: Mapping[str, str], names: list[str], written: Mapping[str, Any]) -> dict[str, Any]:
    """One foreground, whatever it is of."""
    given = written.get("outputs")
    is_pair = "alpha_softmax" in {*outputs, *(given if isinstance(given, dict) else ())}
    classes = names or ["background", "foreground"] if is_pair else names or ["foreground"]
    void = void_among(classes)
    return {"classes": classes, "things": [name for name in classes if name not in void]} | ({"void": void} if void else {})


def side_inputs(facts: NetworkFacts, written: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Of Robust Video Matting."""
    if not _is_rvm(facts):
        return {}
    # Without a size the ratio does not matter: the card must name the size first.
    ratio = min(1.0, RVM_COARSE_PX / max(_size_px(facts, written) or (1, 1)))
    return {"states": dict(RVM_STATES), "constants": {"downsample_ratio": ratio}}


def propose(network: Network) -> Proposal | None:
    mattes = [output for output in network.facts.outputs if _channels(output, network) == 1]
    if not mattes:
        return None
    role = "alpha" if network.facts.activations.get(mattes[0].name) == "sigmoid" else "alpha_logits"
    return Proposal("matting", {role: mattes[0].name}, "a foreground's opacity")


def _channels(output: TensorFacts, network: Network) -> int:
    """1 or 2, of floats (1, C, H, W), (1, H, W, C) or (1, H, W) of the image's aspect; 0 for anything else."""
    if not output.dtype.startswith("float") or len(output.shape) not in (3, 4) or output.shape[0] not in (1, None):
        return 0
    lengths = output.shape[1:]
    if len(lengths) == 2:
        return int(None not in lengths and network.has_aspect(*lengths))
    for count, (rows, columns) in ((lengths[0], lengths[1:]), (lengths[2], lengths[:2])):
        if count in (1, 2) and network.has_aspect(rows, columns):
            return count
    return 0


def _is_rvm(facts: NetworkFacts) -> bool:
    return {t.name for t in facts.inputs} == RVM_INPUTS and {t.name for t in facts.outputs} >= RVM_OUTPUTS


def _size_px(facts: NetworkFacts, written: Mapping[str, Any]) -> tuple[int, int] | None:
    """Of the input, from the card or the graph; None where neither says it."""
    table = written.get("input")
    size = table.get("size_px") if isinstance(table, dict) else None
    if isinstance(size, list) and len(size) == 2 and all(isinstance(length, int) for length in size):
        return size[0], size[1]
    height, width = next(tensor.shape for tensor in facts.inputs if tensor.name == "src")[2:4]
    return (width, height) if height and width else None
