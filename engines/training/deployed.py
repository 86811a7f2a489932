"""The net as it is deployed: bytes of a frame in, bytes of a label map out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from engines.training.evaluate import Predictor
from engines.training.model import RoadNet, normalised, upsampled
from engines.types import U8


class Deployed(nn.Module):
    """The net with everything around it that a frame needs, so that a backend uploads bytes and downloads bytes.

    Input `image` (N, H, W, 3) uint8 BGR. Outputs `labels` (N, H, W) uint8, the class of each pixel: argmax of the logits
    upsampled to full size, which keeps edges smooth; and `confidence` (N, H / 4, W / 4) uint8, 255 times the largest softmax
    probability, on the grid of the logits, where it is cheap.
    """

    def __init__(self, net: RoadNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.net(normalised(image))
        confidence = torch.softmax(logits, dim=1).amax(dim=1) * 255
        labels = upsampled(logits, 4).argmax(dim=1)
        return labels.to(torch.uint8), confidence.round().to(torch.uint8)


def torch_predictor(net: RoadNet) -> Predictor:
    """Predict with the net as it is in memory, in float32."""
    deployed = Deployed(net).eval()

    def predict(image: U8) -> U8:
        with torch.inference_mode():
            labels, _ = deployed(torch.from_numpy(image)[None])
        return np.asarray(labels[0].numpy(), np.uint8)

    return predict
