"""Scores on held-out images, through the same path that a frame takes: stretched onto the input, labels stretched back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np

from engines.runtimes import import_onnxruntime
from engines.training.data import DataSet, Sample
from engines.training.errors import TrainingError
from engines.training.label_sets import class_table
from engines.training.scores import Confusion, class_iou, confusion, mean_iou
from engines.types import U8

Predictor: TypeAlias = Callable[[U8], U8]
"""(H, W, 3) uint8 BGR of the model's input size to (H, W) uint8 class ids."""

INPUT, LABELS, CONFIDENCE = "image", "labels", "confidence"
"""Tensor names of the exported graph."""


class SetScore(NamedTuple):
    """How a model did on one set. miou and the values of iou are percentages; iou lacks classes that do not occur."""

    name: str
    images: int
    miou: float
    iou: dict[str, float]


def score_set(
    predict: Predictor,
    data_set: DataSet,
    model_classes: Sequence[str],
    input_px: tuple[int, int],
    samples: Iterable[Sample] | None = None,
) -> SetScore:
    """Score `predict` on the set's held-out images, or on `samples`, in the set's own classes and at its labels' own size."""
    names = data_set.settings.classes
    table = class_table(data_set.settings, model_classes)
    counts: Confusion = np.zeros((len(names), len(names) + 1), np.int64)
    chosen = list(data_set.held_out if samples is None else samples)
    for sample in chosen:
        predicted = predict_frame(predict, sample.image, input_px)
        counts += confusion(sample.label, table[predicted], len(names))
    iou = {name: float(100 * value) for name, value in zip(names, class_iou(counts), strict=True) if not np.isnan(value)}
    return SetScore(data_set.settings.name, len(chosen), mean_iou(counts), iou)


def predict_frame(predict: Predictor, image: U8, input_px: tuple[int, int]) -> U8:
    """(H, W, 3) uint8 BGR of any size to its (H, W) uint8 class ids: stretched onto the input, and the labels stretched back."""
    labels = predict(np.asarray(cv2.resize(image, input_px, interpolation=cv2.INTER_LINEAR), np.uint8))
    height, width = image.shape[:2]
    return np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def onnx_predictor(path: Path, thread_count: int = 2) -> Predictor:
    """Predict with an exported model in ONNX Runtime on the CPU. Raises TrainingError when it cannot be opened."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other work shares the cores
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        raise TrainingError(f"{path}: ONNX Runtime cannot open it ({str(error).splitlines()[0]}); export it again") from error

    def predict(image: U8) -> U8:
        outputs: Any = session.run([LABELS], {INPUT: image[None]})
        return np.asarray(outputs[0][0], np.uint8)

    return predict
