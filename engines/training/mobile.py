"""MobileNet: a pretrained MobileNetV2 as the encoder, with this project's way up and its heads.

Sources: MobileNetV2 (Sandler et al., CVPR 2018); the mean over the image beside its last level: DeepLabv3 (Chen et al., 2017).
The weights that `from_deeplab` reads are those of Google Coral's DeepLabv3 for Pascal VOC (Apache-2.0). Its norms are folded into
its convolutions, so the encoder has biases and no norms.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from engines.training import TrainingError
from engines.training.model import PIXEL_MEAN, PIXEL_STD, ConvNorm, Net
from engines.training.recipe import NetSettings

CHANNELS = (16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320)
"""MobileNetV2's: of its 17 blocks, at width 1."""
STRIDED = (1, 3, 6, 13)
"""The blocks that halve: to 1/4, 1/8, 1/16 and 1/32. The first convolution halves too. DeepLab leaves out the last
halving and dilates what follows, which gives the same numbers at every second cell, at four times the cost."""
COARSEST_STEP = 32
WIDTHS = (0.5, 1.0)
EXPANSION, STEM_CHANNELS, CONTEXT_CHANNELS = 6, 32, 256
VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "table",
    "dog", "horse", "motorbike", "person", "plant", "sheep", "sofa", "train", "tv",
)  # fmt: skip
ENCODER_MEAN, ENCODER_STD = 128.0, 128.0
"""Of the pixels that the pretrained encoder expects, in RGB."""
EVIDENCE = "encoder.evidence."
"""Prefix of the pretrained classifier's `weight` and `bias` in a state dictionary; both have a row per class."""
CENTRE_BIAS = -4.6
"""Centres are rare: start at a probability of 0.01, or the first steps only unlearn "everywhere" (Lin et al., 2017)."""


class Block(nn.Module):
    """Wider by a 1x1 convolution, one depthwise convolution, narrow again; added to the input where the shapes are equal."""

    def __init__(self, channels_in: int, wide: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.widen = nn.Conv2d(channels_in, wide, 1) if wide > channels_in else None
        self.depthwise = nn.Conv2d(wide, wide, 3, stride, 1, groups=wide)
        self.narrow = nn.Conv2d(wide, channels_out, 1)
        self.activation = nn.ReLU6()
        self.adds = stride == 1 and channels_in == channels_out

    def forward(self, maps: Tensor) -> Tensor:
        wide = maps if self.widen is None else self.activation(self.widen(maps))
        if self.training and self.depthwise.stride[0] == 2:
            # The same numbers: PyTorch's gradient of a strided depthwise convolution takes four times as long on CPUs.
            deep = functional.conv2d(wide, self.depthwise.weight, self.depthwise.bias, 1, 1, groups=wide.shape[1])[:, :, ::2, ::2]
        else:
            deep = self.depthwise(wide)
        out: Tensor = self.narrow(self.activation(deep))
        return out + maps if self.adds else out

    def layers(self) -> list[nn.Conv2d]:
        return [layer for layer in (self.widen, self.depthwise, self.narrow) if layer is not None]


class MobileEncoder(nn.Module):
    """Image (N, 3, H, W) to features at 1/2, 1/4, 1/8, 1/16 and, with the mean over the image, at 1/32."""

    def __init__(self, width: float, class_count: int) -> None:
        super().__init__()
        stem, *channels = (round(width * count) for count in (STEM_CHANNELS, *CHANNELS))
        self.channels = (channels[0], channels[2], channels[5], channels[12], CONTEXT_CHANNELS)
        self.stem = nn.Conv2d(3, stem, 3, 2, 1)
        self.blocks = nn.ModuleList()
        before = stem
        for index, after in enumerate(channels):
            wide = before * EXPANSION if index else before
            self.blocks.append(Block(before, wide, after, 2 if index in STRIDED else 1))
            before = after
        self.here = nn.Conv2d(before, CONTEXT_CHANNELS, 1)
        self.everywhere = nn.Conv2d(before, CONTEXT_CHANNELS, 1)
        self.both = nn.Conv2d(2 * CONTEXT_CHANNELS, CONTEXT_CHANNELS, 1)
        self.evidence = nn.Conv2d(CONTEXT_CHANNELS, class_count, 1)

    def forward(self, image: Tensor) -> list[Tensor]:
        maps, levels = torch.clamp(self.stem(image), 0, 6), []
        for index, block in enumerate(self.blocks):
            if index in STRIDED:
                levels.append(maps)
            maps = block(maps)
        here = torch.relu(self.here(maps))
        everywhere = torch.relu(self.everywhere(maps.mean(dim=(2, 3), keepdim=True)))
        # A convolution of both, concatenated, is the sum of one of each; that of the mean is one cell, and is broadcast.
        weight = self.both.weight
        of_mean = functional.conv2d(everywhere, weight[:, :CONTEXT_CHANNELS], self.both.bias)
        return [*levels, torch.relu(functional.conv2d(here, weight[:, CONTEXT_CHANNELS:]) + of_mean)]

    def layers(self) -> list[nn.Conv2d]:
        """All convolutions before the classifier, in the order of DeepLab's graph."""
        inner = [layer for block in self.blocks for layer in cast(Block, block).layers()]
        return [self.stem, *inner, self.here, self.everywhere, self.both]


class _ByCells(torch.autograd.Function):
    """`enlarged` as one ONNX node: Resize with asymmetric coordinates. PyTorch has no name for these."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, factor: int) -> Tensor:
        height, width = maps.shape[2] * factor, maps.shape[3] * factor
        maps = functional.pad(maps, (0, 1, 0, 1), mode="replicate")
        large = functional.interpolate(maps, (height + 1, width + 1), mode="bilinear", align_corners=True)
        return large[:, :, :-1, :-1]

    @staticmethod
    def symbolic(graph: Any, maps: Any, factor: int) -> Any:
        scales = graph.op("Constant", value_t=torch.tensor([1.0, 1.0, factor, factor]))
        nothing = graph.op("Constant", value_t=torch.tensor([], dtype=torch.float32))
        return graph.op("Resize", maps, nothing, scales, mode_s="linear", coordinate_transformation_mode_s="asymmetric")


def enlarged(maps: Tensor, factor: int) -> Tensor:
    """(N, C, H, W) to (N, C, H * factor, W * factor), bilinear, so that cell i becomes cell i * factor.

    That is where this encoder's strides have it: they keep every second cell, from the first. Beyond the last it is continued.
    """
    if torch.onnx.is_in_onnx_export():
        large: Tensor = _ByCells.apply(maps, factor)  # type: ignore[no-untyped-call]
        return large
    large = _ByCells.forward(None, maps, factor)
    return large


class Climb(nn.Module):
    """Coarse maps enlarged by two and joined with finer ones."""

    def __init__(self, coarse: int, fine: int, channels: int, activation: str) -> None:
        super().__init__()
        self.coarse, self.fine = nn.Conv2d(coarse, channels, 1, bias=False), nn.Conv2d(fine, channels, 1, bias=False)
        self.merge = ConvNorm(channels, channels, 3, activation)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        # A 1x1 convolution and bilinear enlargement commute, and it is cheaper on the small map.
        merged: Tensor = self.merge(enlarged(self.coarse(coarse), 2) + self.fine(fine))
        return merged


class MobileNet(Net):
    """Normalised images to one map per task.

    The classes have coarse evidence from the encoder, which its pretrained classifier begins with; the way up adds what is fine.
    Input (N, 3, H, W) float as `normalised` makes it; H and W are multiples of 32. Output by head, float:
        semantic   (N, classes, H / step, W / step) class logits; the step is 4 with two entries in `top_down`, and 2 with three
        surface    (N, 3, H / 4, W / 4) logits of nothing, drivable, lane line
        instances  (N, 3, H / 4, W / 4) the logit of "a centre is here", and dx, dy to the centre of this pixel's object
    """

    centres_must_agree = True

    def __init__(self, settings: NetSettings, class_count: int, heads: Sequence[str] = ()) -> None:
        super().__init__()
        if settings.width not in WIDTHS:
            raise TrainingError(f"net.width is {settings.width:g}, and a mobile net has {' or '.join(map(str, WIDTHS))}")
        self.encoder: MobileEncoder = MobileEncoder(settings.width, class_count)
        for layers in (self.encoder.stem, *self.encoder.blocks[: settings.frozen]) if settings.frozen else ():
            layers.requires_grad_(False)
        self.semantic_step = 4 if len(settings.top_down) == 2 else 2
        *finer, coarsest = self.encoder.channels[-len(settings.top_down) - 2 :]
        widths = (coarsest, settings.top_down[0], *settings.top_down)
        self.climbs = nn.ModuleList(
            Climb(coarse, fine, width, settings.activation)
            for coarse, fine, width in zip(widths[:-1], reversed(finer), widths[1:], strict=True)
        )
        at_8, at_4, finest = *settings.top_down[:2], settings.top_down[-1]
        self.heads = nn.ModuleDict({"semantic": nn.Sequential(nn.Dropout2d(settings.dropout), nn.Conv2d(finest, class_count, 1))})
        nn.init.zeros_(cast(nn.Conv2d, cast(nn.Sequential, self.heads["semantic"])[1]).weight)
        if "surface" in heads:
            self.heads["surface"] = nn.Conv2d(at_4, 3, 1)
        if "instances" in heads:
            self.object_climbs = nn.ModuleList(
                (Climb(at_8, at_8, at_4, settings.activation), Climb(at_4, at_4, at_4, settings.activation))
            )
            self.heads["instances"] = nn.Conv2d(at_4, 3, 1)
            nn.init.constant_(cast(Tensor, self.heads["instances"].bias)[:1], CENTRE_BIAS)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        *finer, coarsest = self.encoder(images)
        climbed = [coarsest]
        for climb, fine in zip(self.climbs, reversed(finer), strict=False):  # the finest level may have no way up to it
            climbed.append(climb(climbed[-1], fine))
        at_16, at_8, at_4 = climbed[1:4]
        evidence = enlarged(self.encoder.evidence(coarsest), COARSEST_STEP // self.semantic_step)
        maps = {"semantic": self.heads["semantic"](climbed[-1]) + evidence}
        if "surface" in self.heads:
            maps["surface"] = self.heads["surface"](at_4)
        if "instances" in self.heads:
            objects = self.object_climbs[1](self.object_climbs[0](at_16, at_8), at_4)
            maps["instances"] = self.heads["instances"](objects)
        return maps


def from_deeplab(net: MobileNet, classes: Sequence[str], path: Path) -> None:
    """Give the encoder of `net` the weights of Coral's DeepLabv3 MobileNetV2 for Pascal VOC, an ONNX file.

    Of its classifier it takes the rows of those `classes` that VOC has too.
    Its pixels are RGB, (x - 128) / 128, and the net's are as `normalised` makes them: the first layer takes that over.
    Raises TrainingError when the file is another network, or of another width.
    """
    graph = onnx.load(path).graph
    values = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    pairs = [[values.get(name) for name in node.input[1:]] for node in nodes]
    layers = net.encoder.layers()
    shapes = [[layer.weight.shape, cast(Tensor, layer.bias).shape] for layer in layers]
    if [[None if value is None else value.shape for value in pair] for pair in pairs[:-1]] != shapes:
        what = f"{path}: not Coral's DeepLabv3 MobileNetV2 for Pascal VOC of this net.width"
        raise TrainingError(what, "Name that file, or leave out --from")
    with torch.no_grad():
        for (weight, bias), layer in zip(pairs[:-1], layers, strict=True):
            layer.weight.copy_(cast(Tensor, weight))
            cast(Tensor, layer.bias).copy_(cast(Tensor, bias))
        for row, name in enumerate(classes):
            if name in VOC:
                net.encoder.evidence.weight[row] = cast(Tensor, pairs[-1][0])[VOC.index(name)]
                cast(Tensor, net.encoder.evidence.bias)[row] = cast(Tensor, pairs[-1][1])[VOC.index(name)]
        stem = layers[0]
        cast(Tensor, stem.bias).add_(stem.weight.sum(dim=(1, 2, 3)) * ((PIXEL_MEAN - ENCODER_MEAN) / ENCODER_STD))
        stem.weight.copy_(stem.weight.flip(1) * (PIXEL_STD / ENCODER_STD))
