"""Parity: an exported ONNX file and the net that it was made from, on the same images, output by output."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from engines.datasets.folder import DataSet
from engines.loading import import_onnxruntime
from engines.models.card import InputSpec
from engines.models.fit import InputFiller
from engines.training import TrainingError
from engines.training.deployed import Answer, Answerer
from engines.types import U8

BYTE_STEP = 1
"""Opacities and confidences are rounded to bytes, and may round either way."""
OFFSET_PX = 0.5
"""A smaller difference between offsets leads to the same cell."""
LEAST_PEAK = 0.05
"""Lower peaks are noise, and their order means nothing."""
PEAK_SCORE = 0.01
MOST_PROBES = 16
"""Held-out frames of each set to compare on."""


def agreement(one: Answerer, other: Answerer, images: Iterable[U8]) -> dict[str, float]:
    """For each output the share of its numbers, 0..1, that are the same in two models over all `images`; {} without images.

    Labels and surfaces must be equal; other outputs may differ by this module's constants. Of peaks it is the share of either
    model's centres that the other one has in the same place.
    """
    shares: dict[str, list[float]] = {}
    for image in images:
        ours, theirs = one(image), other(image)
        for name, output in ours.items():
            shares.setdefault(name, []).append(_share(name, output, theirs[name]))
    return {name: float(np.mean(values)) for name, values in shares.items()}


def _share(name: str, one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    if one.shape != other.shape:
        return 0.0
    if name == "peaks":
        return min(_found(one[0], other[0]), _found(other[0], one[0]))
    if name == "offsets":
        return float(np.mean(np.abs(one - other) <= OFFSET_PX))
    if name in ("alpha", "confidence"):
        return float(np.mean(np.abs(one.astype(np.int16) - other.astype(np.int16)) <= BYTE_STEP))
    return float(np.mean(one == other))


def _found(peaks: npt.NDArray[Any], among: npt.NDArray[Any]) -> float:
    """The share of (K, 3) peaks above the noise that `among` has too."""
    real = peaks[peaks[:, 2] >= LEAST_PEAK]
    same_place = (real[:, None, :2] == among[None, :, :2]).all(axis=2)
    same_score = np.abs(real[:, None, 2] - among[None, :, 2]) <= PEAK_SCORE
    return float((same_place & same_score).any(axis=1).mean()) if len(real) else 1.0


def onnx_answerer(path: Path) -> Answerer:
    """Every output of an exported model in ONNX Runtime on the CPU. Raises TrainingError when it cannot be opened."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other work shares the cores
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no base class of their own
        raise TrainingError(f"{path}: ONNX Runtime cannot open it ({str(error).splitlines()[0]})", "Export it again") from error
    names = [output.name for output in session.get_outputs()]

    def answer(image: U8) -> Answer:
        return dict(zip(names, session.run(names, {session.get_inputs()[0].name: image[None]}), strict=True))

    return answer


def probes(spec: InputSpec, sets: Sequence[DataSet]) -> list[U8]:
    """Held-out frames of each set, fitted to the input; drawn images where there are none."""
    fill = InputFiller(spec)
    frames = [sample.image for data_set in sets for sample in data_set.held_out[:MOST_PROBES]]
    return [np.asarray(fill(frame)[0][0], np.uint8).copy() for frame in frames] or probe_images(spec.size_px)


def probe_images(input_px: tuple[int, int]) -> list[U8]:
    """Smooth colour fields, in which a net finds many classes."""
    coarse = [np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8) for seed in range(4)]
    return [cv2.resize(image, input_px, interpolation=cv2.INTER_CUBIC) for image in coarse]
