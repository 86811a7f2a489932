"""SegmentationNet: a small STDC-like encoder, a global context, a top-down path to 1/4 of the input's size, one head per task.

Sources: the STDC module and its use as an encoder: Fan et al., "Rethinking BiSeNet for Real-time Semantic Segmentation"
(CVPR 2021); the global context: BiSeNet (Yu et al., ECCV 2018); the top-down path: FPN (Lin et al., CVPR 2017); centres and
offsets of objects: Panoptic-DeepLab (Cheng et al., CVPR 2020).
Only dense 3x3 and 1x1 convolutions: on CPUs and GPUs they reach a far larger share of the peak speed than depthwise ones.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.errors import choices
from engines.training import TrainingError
from engines.training.augment import DARK_GREY, LARGEST_GAIN
from engines.training.recipe import NetSettings

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(0.1, inplace=True),
    "hardswish": lambda: nn.Hardswish(inplace=True),
    "silu": lambda: nn.SiLU(inplace=True),
}

PIXEL_MEAN, PIXEL_STD = 114.0, 58.0
"""The same for all channels: about the mean and spread of street images. The net learns white balance."""


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm, activation. The norm folds into the convolution at export."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, activation: str, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(channels_out),
            ACTIVATIONS[activation](),
        )


class StdcBlock(nn.Module):
    """Four convolutions in sequence, their results concatenated.

    The first has half the channels, the next 1/4, 1/8 and 1/8, so one block combines several receptive fields at low cost.
    With stride 2 the second convolution strides, and the first's result is averaged to match.
    """

    def __init__(self, channels_in: int, channels_out: int, activation: str, stride: int = 1) -> None:
        super().__init__()
        half, quarter, eighth = channels_out // 2, channels_out // 4, channels_out // 8
        self.first = ConvNorm(channels_in, half, 1, activation)
        self.second = ConvNorm(half, quarter, 3, activation, stride)
        self.third = ConvNorm(quarter, eighth, 3, activation)
        self.fourth = ConvNorm(eighth, eighth, 3, activation)
        self.match: nn.Module = nn.AvgPool2d(3, 2, 1) if stride == 2 else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        first = self.first(features)
        second = self.second(first)
        third = self.third(second)
        return torch.cat((self.match(first), second, third, self.fourth(third)), dim=1)


class Encoder(nn.Module):
    """Image (N, 3, H, W) to features at 1/4, 1/8, 1/16 and 1/32, fine to coarse."""

    def __init__(self, channels: Sequence[int], depths: Sequence[int], activation: str) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvNorm(3, channels[0] // 2, 3, activation, stride=2),
            ConvNorm(channels[0] // 2, channels[0], 3, activation, stride=2),
        )
        self.stages = nn.ModuleList(
            nn.Sequential(
                StdcBlock(channels[level], channels[level + 1], activation, stride=2),
                *(StdcBlock(channels[level + 1], channels[level + 1], activation) for _ in range(depth - 1)),
            )
            for level, depth in enumerate(depths)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        features = [self.stem(image)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features


class TopDown(nn.Module):
    """Features of all levels to one map at 1/4: coarse levels know what is there, fine ones where.

    The mean over the whole image is added at 1/32, so that "a street at dusk" influences every pixel.
    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int], activation: str) -> None:
        super().__init__()
        coarsest = widths[0]
        self.enter = ConvNorm(channels[3], coarsest, 1, activation)
        self.context = nn.Sequential(nn.Conv2d(channels[3], coarsest, 1), ACTIVATIONS[activation]())
        inputs = (coarsest, *widths[:2])
        self.laterals = nn.ModuleList(
            nn.Conv2d(level, width, 1, bias=False) for level, width in zip(reversed(channels[:3]), inputs, strict=True)
        )
        self.merges = nn.ModuleList(
            ConvNorm(width_in, width_out, 3, activation) for width_in, width_out in zip(inputs, widths, strict=True)
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        merged: Tensor = self.enter(features[3]) + self.context(features[3].mean(dim=(2, 3), keepdim=True))
        for lateral, merge, finer in zip(self.laterals, self.merges, reversed(features[:3]), strict=True):
            merged = merge(upsampled(merged, 2) + lateral(finer))
        return merged


class Net(nn.Module):
    """What training and export need of any net: normalised images to one map per task, each named as its head.

    semantic_step, in pixels of the input: of the class logits' map. The other heads' maps have a step of 4.
    centres_must_agree: with the offsets, when exported; see `deployed.centre_heat`.
    """

    heads: nn.ModuleDict
    semantic_step: int
    centres_must_agree: bool = False


SURFACE_WEIGHTS = (1.0, 1.0, 4.0)
"""Of nothing, drivable and lane line in the loss: lines are about a hundredth of the pixels."""
SEMANTIC_HEAD = "heads.semantic.1."
"""Prefix of the last layer's `weight` and `bias` in a state dictionary; both have a row per class."""


class SegmentationNet(Net):
    """Normalised images to one map per task, all at 1/4 of their size: multi-task learning with hard sharing.

    Input (N, 3, H, W) float in about -2..2; H and W are multiples of 32, so that every level is exactly half the one before.
    Output by head, each (N, channels, H / 4, W / 4) float:
        semantic   class logits
        surface    logits of nothing, drivable, lane line; if in `heads`
        instances  the logit of "a centre is here", and dx, dy to the centre of this pixel's object; if in `heads`
    """

    semantic_step = 4

    def __init__(self, settings: NetSettings, class_count: int, heads: Sequence[str] = ()) -> None:
        super().__init__()
        if settings.activation not in ACTIVATIONS:
            raise TrainingError(f'unknown net.activation "{settings.activation}"', choices(settings.activation, ACTIVATIONS))
        channels, widths = ([_scaled(c, settings.width) for c in counts] for counts in (settings.channels, settings.top_down))
        fine = widths[-1]
        self.encoder = Encoder(channels, settings.depths, settings.activation)
        self.top_down = TopDown(channels, widths, settings.activation)
        self.heads = nn.ModuleDict({"semantic": nn.Sequential(nn.Dropout2d(settings.dropout), nn.Conv2d(fine, class_count, 1))})
        if "surface" in heads:
            self.heads["surface"] = nn.Sequential(nn.Dropout2d(settings.dropout), nn.Conv2d(fine, 3, 1))
        if "instances" in heads:
            self.heads["instances"] = nn.Sequential(ConvNorm(fine, fine, 3, settings.activation), nn.Conv2d(fine, 3, 1))
        self.apply(_initialise)
        if "instances" in heads:
            # Centres are rare: start at a probability of 0.01, or the first steps only unlearn "everywhere" (Lin et al., 2017).
            bias = cast(nn.Conv2d, cast(nn.Sequential, self.heads["instances"])[1]).bias
            nn.init.constant_(cast(Tensor, bias)[:1], -4.6)

    def features(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to the features that every head reads, (N, top_down[-1], H / 4, W / 4)."""
        merged: Tensor = self.top_down(self.encoder(images))
        return merged

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.features(images)
        return {name: head(features) for name, head in self.heads.items()}


def exposed(image: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 or float → float32 0..255, each dark frame brightened."""
    pixels = image.float()
    gain = (DARK_GREY / pixels.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1.0)).clamp(1.0, LARGEST_GAIN)
    return (pixels * gain).clamp(max=255.0)


def normalised(images: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 BGR, as OpenCV reads them, to the net's input (N, 3, H, W) float32."""
    return (exposed(images).permute(0, 3, 1, 2) - PIXEL_MEAN) / PIXEL_STD


def upsampled(maps: Tensor, factor: int) -> Tensor:
    """(N, C, H, W) to (N, C, H * factor, W * factor), bilinear between pixel centres."""
    return functional.interpolate(maps, scale_factor=float(factor), mode="bilinear", align_corners=False)


def parameter_count(net: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)


def _scaled(channels: int, width: float) -> int:
    """`channels` times `width`, as a multiple of 8: an STDC block divides its channels into eighths."""
    return max(8, round(channels * width / 8) * 8)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
