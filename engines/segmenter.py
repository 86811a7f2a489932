"""Segmenter: an engine and the family that reads it. Image in, `Segmentation` out."""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from engines.backends import Choice, open_engine
from engines.card import ModelCard
from engines.errors import InferenceError
from engines.families import DecodeSettings, open_family
from engines.model import Model
from engines.types import Image, Segmentation, Size


class Segmenter:
    """A model, loaded and ready. Opened, used and closed on one thread, best in a `with`.

    Raises CardError or BackendUnavailableError when opening fails; nothing stays open then.
    """

    def __init__(self, model: Model, backend: str = "auto") -> None:
        self._family = open_family(model.card)
        self.choice: Choice = open_engine(model, backend)
        self.card: ModelCard = model.card

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def warm_up(self, size: Size) -> None:
        """Run once on a grey image of `size`, so that the first real frame pays for no lazy allocation."""
        self(np.full((size.height, size.width, 3), 114, np.uint8), DecodeSettings())

    def __call__(self, image: Image, settings: DecodeSettings | None = None) -> Segmentation:
        """Segment `image`. Raises InferenceError when the network fails or its outputs make no sense."""
        run = self.choice.engine.infer(image)
        start = time.perf_counter()
        missing = [name for name in self.card.outputs.values() if name not in run.outputs]
        if missing:
            raise InferenceError(f"{self.card.name}: the network gave no output {', '.join(missing)}")
        segmentation = self._family.decode(run.outputs, run.geometry, settings or DecodeSettings())
        decode_ms = (time.perf_counter() - start) * 1e3
        stage_ms = {"preprocess": run.preprocess_ms, "inference": run.inference_ms, "decode": decode_ms}
        return dataclasses.replace(segmentation, stage_ms=stage_ms)

    def close(self) -> None:
        """Free the engine."""
        self.choice.engine.close()
