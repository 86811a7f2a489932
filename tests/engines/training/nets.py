"""Untrained nets whose outputs vary over the image; after initialisation alone a net predicts one class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engines.training.recipe import NetSettings

if TYPE_CHECKING:
    from engines.training.model import SegmentationNet

INPUT_PX = (96, 64)
TINY = NetSettings(width=0.25, depths=(1, 1, 1))


def random_net(class_count: int = 5, heads: Sequence[str] = ()) -> SegmentationNet:
    """A net with norm statistics, varying logits and some centres."""
    import torch

    from engines.training.model import SegmentationNet

    torch.manual_seed(0)
    net = SegmentationNet(TINY, class_count, heads)
    net.train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(4, 3, INPUT_PX[1], INPUT_PX[0]))
        for name in set(heads) & {"instances"}:
            net.heads[name][1].bias[0] = 0.0
    return net.eval()


def ripples(size_px: tuple[int, int] = INPUT_PX, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8, random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (size_px[1], size_px[0], 3), np.uint8)
