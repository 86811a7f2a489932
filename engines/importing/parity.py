"""Parity: the ONNX graph and Keras on the same pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engines.importing.loaded import KerasModel
from engines.importing.network import Head, apply_head
from engines.importing.sliding import Windows
from engines.importing.translation import Pixels
from engines.loading import cpu_session
from engines.types import F32, Image, Size

SMALLEST_AGREEMENT = 0.9999
WINDOWS_PER_FRAME = 128


@dataclass(frozen=True, slots=True)
class Parity:
    """count: compared outputs. what: of what. agreement: the share with Keras' best class, 0..1, ignoring ties.

    difference: the largest between two numbers, relative to Keras' largest number if that is above 1.
    """

    count: int
    what: str
    agreement: float
    difference: float

    def holds(self, tolerance: float) -> bool:
        return self.agreement >= SMALLEST_AGREEMENT and self.difference <= tolerance

    def __str__(self) -> str:
        share = f"{np.floor(self.agreement * 1e4) / 1e2:.2f} % of {self.count} {self.what} get Keras' class"
        return f"{share}; numbers differ by {self.difference:.1e} at most"


def compare(keras: F32, ours: F32, tolerance: float, what: str) -> Parity:
    """keras, ours: (N, C). Two runtimes add in different orders, so a tie within a tenth of `tolerance` may fall either way."""
    scale = max(1.0, float(np.abs(keras).max()))
    difference = np.abs(keras - ours).max() / scale
    if keras.shape[1] == 1:  # one number: above or below a half, or zero
        middle = 0.5 if keras.min() >= 0 and keras.max() <= 1 else 0.0
        agrees = ((keras > middle) == (ours > middle)) | (np.abs(keras - middle) <= tolerance / 10 * scale)
        agreement = agrees.mean()
    else:
        of_ours = np.take_along_axis(keras, ours.argmax(axis=1)[:, None], axis=1)[:, 0]
        agreement = (of_ours >= keras.max(axis=1) - tolerance / 10 * scale).mean()
    is_sound = np.isfinite(difference)
    return Parity(len(keras), what, float(agreement) if is_sound else 0.0, float(difference) if is_sound else float("inf"))


class OnnxRun:
    """A graph in a file or in memory on ONNX Runtime, in float32. (H, W, 3) uint8 in, (C, rows, columns) float32 out.

    channels: return only the last ones, such as x of the logits (0, x) that encode one number.
    """

    def __init__(self, model: Path | Any, channels: int = 0) -> None:
        self._first = -channels
        self._session = cpu_session(str(model) if isinstance(model, Path) else model.SerializeToString())
        self._output = self._session.get_outputs()[0].name

    def __call__(self, image: Image) -> F32:
        (answer,) = self._session.run([self._output], {"image": image[None]})
        return np.asarray(answer[0, self._first :], np.float32)


def compared(
    model: KerasModel, run: OnnxRun, pixels: Pixels, head: Head, images: Sequence[Image], grid: Windows | None
) -> Parity:
    """Compare Keras and the graph: every pixel, or every class, of whole pictures.

    With `grid`, compare Keras on some windows cut from padded frames with the sliding network on whole frames.
    """
    rng = np.random.default_rng(0)
    theirs, ours = [], []
    for image in images:
        logits = run(image)
        cuts, scores = [image], logits.reshape(len(logits), -1).T
        if grid:
            (height, width), (top, left, bottom, right) = grid.window, grid.pads
            padded = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_REPLICATE)
            chosen = rng.choice(len(scores), min(len(scores), WINDOWS_PER_FRAME), replace=False)
            corners = [grid.corner(*divmod(int(cell), grid.cells[1])) for cell in chosen]
            cuts, scores = [padded[y : y + height, x : x + width] for y, x in corners], scores[chosen]
        theirs.append(model.predict(np.stack([pixels.prepared(cut) for cut in cuts])).reshape(-1, len(logits)))
        ours.append(apply_head(head, scores))
    what = "windows" if grid else "pictures" if len(theirs[0]) == 1 else "pixels"
    return compare(np.concatenate(theirs), np.concatenate(ours), model.network.tolerance, what)


def probe_images(size: Size) -> list[Image]:
    """Pictures to compare on: smooth colour fields, noise, and bright strokes on black for classifiers of digits."""
    images: list[Image] = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (5 + seed, 7 + seed, 3), np.uint8)
        images.append(np.asarray(cv2.resize(coarse, (size.width, size.height), interpolation=cv2.INTER_CUBIC), np.uint8))
    images.append(np.random.default_rng(4).integers(0, 256, (size.height, size.width, 3), np.uint8))
    strokes = np.zeros((size.height, size.width, 3), np.uint8)
    rng = np.random.default_rng(5)
    for _ in range(max(4, size.height * size.width // 800)):
        (x0, x1), (y0, y1) = rng.integers(0, size.width, 2).tolist(), rng.integers(0, size.height, 2).tolist()
        reach = max(4, min(size.height, size.width) // 4)
        end = (x0 + (x1 - x0) % reach, y0 + (y1 - y0) % reach)
        cv2.line(strokes, (x0, y0), end, rng.integers(60, 256, 3).tolist(), int(rng.integers(1, 4)), cv2.LINE_AA)
    return [*images, strokes]
