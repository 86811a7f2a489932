"""A checkpoint to the ONNX file that the program runs, checked label by label against the net it came from."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch

from engines.training.deployed import Deployed, torch_predictor
from engines.training.errors import TrainingError
from engines.training.evaluate import CONFIDENCE, INPUT, LABELS, Predictor, onnx_predictor
from engines.training.model import RoadNet
from engines.types import U8

OPSET = 17
SMALLEST_PARITY = 0.9999
"""Share of labels that must agree. Two runtimes add in different orders, so a tie between classes may fall either way."""


def export_onnx(net: RoadNet, input_px: tuple[int, int], path: Path, images: Iterable[U8]) -> float:
    """Write `net` to `path` with a fixed input of one frame, whole or not at all. Returns the share of labels that agree.

    images: (H, W, 3) uint8 BGR of the input's size, to compare the two on. Raises TrainingError when they disagree.
    """
    part = path.with_name(path.name + ".part")
    example = torch.zeros(1, input_px[1], input_px[0], 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        # The tracing exporter is called legacy, but it needs no further package and folds every batch norm.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            Deployed(net).eval(), (example,), str(part), input_names=[INPUT], output_names=[LABELS, CONFIDENCE],
            opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    onnx.checker.check_model(str(part), full_check=True)
    parity = label_parity(torch_predictor(net), onnx_predictor(part), images)
    if parity < SMALLEST_PARITY:
        part.unlink()
        raise TrainingError(f"{path}: only {parity:.4%} of the exported model's labels are the checkpoint's; not written")
    part.replace(path)
    return parity


def label_parity(one: Predictor, other: Predictor, images: Iterable[U8]) -> float:
    """Share of pixels that both give the same label, 0..1, over all `images`; 1 when there are none."""
    agreeing = [np.mean(one(image) == other(image)) for image in images]
    return float(np.mean(agreeing)) if agreeing else 1.0


def probe_images(input_px: tuple[int, int], count: int = 4) -> list[U8]:
    """Images to compare two runtimes on where no data is at hand: smooth colour fields, of which the net makes many classes."""
    width, height = input_px
    images = []
    for seed in range(count):
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
        images.append(np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8))
    return images
