"""The net as it is deployed: bytes of a frame in, bytes of a label map or a matte out; and its scores on held-out images.

`run.py evaluate` scores a finished model on any backend (engines/evaluation).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.datasets.folder import DataSet, Sample
from engines.evaluation.mapping import class_table, truth_table
from engines.evaluation.scores import class_iou, confusion, mean_iou
from engines.models.card import InputSpec
from engines.models.fit import InputFiller
from engines.training.data import CELL_PX, OFFSET_SCALE_PX
from engines.training.model import Net, normalised, upsampled
from engines.training.recipe import Recipe
from engines.types import I64, U8

Output: TypeAlias = Literal["labels", "alpha"]
Answer: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""The outputs for one image by name, with the batch axis."""
Answerer: TypeAlias = Callable[[U8], Answer]
Predictor: TypeAlias = Callable[[U8], U8]
"""(H, W, 3) uint8 BGR of the model's input size to (H, W) uint8 class ids."""

IDENTITY = np.arange(256, dtype=np.uint8)

FINER = 2
"""Labels' resolution, relative to that of the logits they come from."""
PEAKS = 64
"""The graph's maximum number of centres."""
PEAK_WINDOW_CELLS = 7
"""A centre is the maximum of a window of this many cells: 28 pixels."""


class Deployed(nn.Module):
    """The net with normalisation and post-processing, so that a backend uploads bytes and downloads bytes.

    Input `image` (N, H, W, 3) uint8 BGR. Outputs, as far as the net has heads for them:
        labels     (N, H / s, W / s) uint8, a class each: argmax of the logits at twice their resolution, which keeps edges smooth
        alpha      (N, H, W) uint8, instead of labels: 255 x the probability of the second of two classes
        confidence (N, h / 2, w / 2) uint8, 255 x the largest softmax probability, of every second of h x w cells of the logits
        peaks      (N, 64, 3) float32, x, y in input pixels and score of the centres, by falling score; score 0: an empty slot
        offsets    (N, 2, H / 4, W / 4) float32, input pixels from each cell's middle to the centre of its object
        surface    (N, H / 2, W / 2) uint8, 0 nothing, 1 drivable, 2 lane line
    s is 2 where the logits have a step of 4. At full size the argmax alone took a third of such a net's time on CPUs.
    """

    def __init__(self, net: Net, output: Output = "labels") -> None:
        super().__init__()
        self.net = net
        self.output = output
        heads = net.heads
        instances = ["peaks", "offsets"] if "instances" in heads else []
        first = ["alpha"] if output == "alpha" else ["labels", "confidence"]
        self.output_names = (*first, *instances, *(["surface"] if "surface" in heads else []))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps = self.net(normalised(image))
        outputs: list[Tensor] = []
        logits = maps["semantic"]
        if self.output == "alpha":
            # Upsample the difference of logits: upsampled probabilities would blur the edge.
            difference = upsampled(logits[:, 1:2] - logits[:, :1], self.net.semantic_step)[:, 0]
            outputs.append(as_byte(torch.sigmoid(difference)))
        else:
            outputs.append(upsampled(logits, FINER).argmax(dim=1).to(torch.uint8))
            outputs.append(as_byte(torch.softmax(logits[:, :, ::2, ::2], dim=1).amax(dim=1)))
        if "instances" in maps:
            outputs.append(peaks(centre_heat(maps["instances"], self.net.centres_must_agree)))
            outputs.append(maps["instances"][:, 1:3] * OFFSET_SCALE_PX)
        if "surface" in maps:
            outputs.append(upsampled(maps["surface"], FINER).argmax(dim=1).to(torch.uint8))
        return tuple(outputs)


def as_byte(share: Tensor) -> Tensor:
    """0..1 → 0..255 uint8, rounded."""
    return (share * 255).round().to(torch.uint8)


def centre_heat(maps: Tensor, must_agree: bool) -> Tensor:
    """(N, 3, h, w) centre logit, dx, dy → (N, 1, h, w) 0..1, where a centre is.

    must_agree: a cell that points to a centre elsewhere is none. Large objects have peaks off their centre, such as a shoulder.
    """
    heat = torch.sigmoid(maps[:, :1])
    return heat * torch.exp(-maps[:, 1:3].square().sum(dim=1, keepdim=True)) if must_agree else heat


def peaks(heat: Tensor) -> Tensor:
    """(N, 1, h, w) 0..1 → (N, PEAKS, 3): x, y in input pixels and value of the highest local maxima, by falling value."""
    width = heat.shape[3]
    highest = functional.max_pool2d(heat, PEAK_WINDOW_CELLS, 1, PEAK_WINDOW_CELLS // 2)
    values, cells = (heat * (heat == highest)).flatten(1).topk(PEAKS, dim=1)
    x, y = (cells % width).float(), torch.div(cells, width, rounding_mode="floor").float()
    return torch.stack(((x + 0.5) * CELL_PX, (y + 0.5) * CELL_PX, values), dim=2)


def torch_answerer(deployed: Deployed) -> Answerer:
    """Every output of the net in memory, in float32, on its device."""
    device = next(deployed.parameters()).device

    def answer(image: U8) -> Answer:
        with torch.inference_mode():
            outputs = deployed(torch.from_numpy(image)[None].to(device))
        return {name: output.cpu().numpy() for name, output in zip(deployed.output_names, outputs, strict=True)}

    return answer


def torch_predictor(net: Net, output: Output = "labels") -> Predictor:
    """Predict with the net in memory, in float32, on its device."""
    return predictor(torch_answerer(Deployed(net, output).eval()), output)


def predictor(answer: Answerer, output: Output) -> Predictor:
    """Class ids from a model's outputs; of a matte, whether the opacity is above one half."""

    def predict(image: U8) -> U8:
        first = answer(image)[output][0]
        return np.asarray(first > 127 if output == "alpha" else first, np.uint8)

    return predict


class SetScore(NamedTuple):
    """The scores of a model on one set, in percent. iou lacks classes that do not occur."""

    name: str
    images: int
    miou: float
    iou: dict[str, float]


def score_set(predict: Predictor, data_set: DataSet, recipe: Recipe, samples: Iterable[Sample] | None = None) -> SetScore:
    """Score `predict` on the set's held-out images, or on `samples`, at the size of their labels.

    It is scored in the set's classes; in the model's where the model has fewer, since it cannot distinguish the set's.
    """
    names, table, truth = data_set.settings.classes, class_table(data_set.settings, recipe.classes), IDENTITY
    if len(recipe.classes) < len(names):
        names, table, truth = recipe.classes, IDENTITY, truth_table(data_set.settings, recipe.classes)
    counts: I64 = np.zeros((len(names), len(names) + 1), np.int64)
    chosen = list(data_set.held_out if samples is None else samples)
    for sample in chosen:
        counts += confusion(truth[sample.label], table[predict_frame(predict, sample.image, recipe.input)], len(names))
    iou = {name: float(100 * value) for name, value in zip(names, class_iou(counts), strict=True) if not np.isnan(value)}
    return SetScore(data_set.settings.name, len(chosen), mean_iou(counts), iou)


def predict_frame(predict: Predictor, image: U8, spec: InputSpec) -> U8:
    """(H, W, 3) uint8 BGR of any size to (H, W) uint8 class ids: fitted to the input, labels cut and resized back."""
    tensor, geometry = InputFiller(spec)(image)
    labels = np.ascontiguousarray(geometry.cut(predict(np.asarray(tensor[0], np.uint8))))
    height, width = image.shape[:2]
    return np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
