"""Segmenter: an engine and the family that reads it. Image in, `Segmentation` out."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from engines.backends import (
    DEFAULTS,
    BatchEngine,
    CancellableEngine,
    Choice,
    EngineOptions,
    Inference,
    PipelinedBatchEngine,
    PipelinedEngine,
    RawEngine,
    RecurrentEngine,
    check_options,
    open_engine,
)
from engines.decoding.guard import OutputGuard
from engines.errors import InferenceError, SegmentationError
from engines.families import DecodeSettings, OverlappingFamily, first_frames, open_family
from engines.models import zoo
from engines.models.card import ModelCard
from engines.models.model import Model
from engines.pictures.raw import PictureLike, RawPicture, as_image
from engines.types import U8, Image, Instances, Segmentation, Size, scaled_labels

MOST_WARMED_UP = 16
"""Images in a batch: each number takes two runs and a little memory."""


class Segmenter:
    """A model, loaded and ready. Opened, used and closed on one thread, best in a `with`.

    card: what the model is; `card.class_name(class_id)` names a class. choice: the engine, and why others were not taken.
    Raises CardError or BackendUnavailableError when opening fails; nothing stays open then.
    """

    @classmethod
    def open(cls, name_or_path: str | Path, backend: str = "auto", **options: Any) -> Segmenter:
        """The model with that name, or the ONNX file at that path, on a backend.

        options: fields of EngineOptions, such as `input_px=(512, 256)`. Raises ModelNotFoundError, ModelFileError, CardError,
        and BackendUnavailableError, also for options that the backend does not use.
        """
        asked = EngineOptions(**options)
        check_options(backend, options)
        return cls(zoo.find(str(name_or_path)), backend, asked)

    def __init__(self, model: Model, backend: str = "auto", options: EngineOptions = DEFAULTS) -> None:
        open_family(model.card)  # a wrong card fails before an engine is loaded for it
        self.choice: Choice = open_engine(model, backend, options)
        engine = self.choice.engine
        self.card: ModelCard = engine.card
        try:
            self._family = open_family(self.card)
        except BaseException:
            engine.close()
            raise
        self._pipelined = engine if isinstance(engine, PipelinedEngine) and engine.inflight > 1 else None
        self._recurrent = engine if isinstance(engine, RecurrentEngine) and self.card.states else None
        self._batched = engine if isinstance(engine, BatchEngine) else None
        self._both = engine if self._pipelined and isinstance(engine, PipelinedBatchEngine) else None
        self._first = first_frames(self.card)
        self._is_warm_up = False
        self._guard = OutputGuard(self.card.name)
        self._runs: deque[list[Inference]] = deque()
        self._finished: Inference | None = None

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def warm_up(self, size: Size) -> None:
        """Run on a grey image of `size`, so that the first real frame pays for nothing that is made lazily.

        A GPU's engine sets itself up in the first run of each image in flight, and records its graph in the second; one for
        batches does so for each number of images.
        """
        grey = np.full((size.height, size.width, 3), 114, np.uint8)
        engine = self.choice.engine
        runs = 2 * engine.inflight if isinstance(engine, PipelinedEngine) else 1
        batches = range(1, engine.batch + 1) if isinstance(engine, PipelinedBatchEngine) else (1,)
        self._is_warm_up = True
        try:
            for count in (count for count in batches if count <= MOST_WARMED_UP):
                for _ in range(runs):
                    self.run_batch([grey] * count, [DecodeSettings()] * count)
        finally:
            self._is_warm_up = False
        if self._recurrent:
            self._recurrent.reset()  # or the first frames would remember grey

    @property
    def inflight(self) -> int:
        """How many images may be started before the first is finished."""
        return self._pipelined.inflight if self._pipelined else 1

    @property
    def batch(self) -> int:
        """How many images one run takes at most; 1 where the engine takes one at a time."""
        takes_several = self._both if self._pipelined else self._batched
        return takes_several.batch if takes_several else 1

    @property
    def takes(self) -> frozenset[str]:
        """The formats of `RawPicture` that need not be converted for this engine."""
        engine = self.choice.engine
        return engine.takes if isinstance(engine, RawEngine) else frozenset()

    def start(self, picture: PictureLike, stream: int = 0) -> None:
        """Begin with a picture, which may change once this returns. Raises InferenceError.

        picture: BGR, or raw in any format. stream: the sequence of frames that it belongs to; a recurrent network has states for
        each.
        """
        image = self._as_taken(picture)
        if self._both:
            self._both.start_batch([image])
        elif self._pipelined:
            self._pipelined.start(image)
        elif self._recurrent:
            self._runs.append([self._recurrent.infer(image, stream)])
        else:
            self._runs.append([self.choice.engine.infer(image)])

    def start_batch(self, pictures: Sequence[PictureLike]) -> None:
        """Begin with 1 to `batch` pictures, of any sizes and formats, as one run. Raises InferenceError."""
        images = [self._as_taken(picture) for picture in pictures]
        if not 1 <= len(images) <= self.batch:
            raise ValueError(f"a batch of {len(images)} images; this engine takes 1 to {self.batch}")
        if len(images) == 1:
            self.start(images[0])
        elif self._both:
            self._both.start_batch(images)
        else:
            assert self._batched is not None, "it takes several"
            self._runs.append(self._batched.infer_batch(images))

    def _as_taken(self, picture: PictureLike) -> Image:
        """The picture as BGR, unless the engine takes it as it is: then it is only called an image."""
        is_taken = isinstance(picture, RawPicture) and picture.format in self.takes
        return cast(Image, picture) if is_taken else as_image(picture)

    def forget(self, stream: int) -> None:
        """Drop what a recurrent network remembers of a stream: the stream has ended, or its next frame is a first one."""
        if self._recurrent:
            self._recurrent.forget(stream)

    def wait(self) -> list[Inference]:
        """Wait for the run that was started first and not waited for: what the network gave for each of its images, to `read`.

        Valid until `inflight` more runs have been started. Raises InferenceError.
        """
        if self._both:
            return self._both.finish_batch()
        if self._pipelined:
            return [self._pipelined.finish()]
        return self._runs.popleft()

    def read(self, run: Inference, settings: DecodeSettings | None = None) -> Segmentation:
        """What the network saw in one image. Raises InferenceError for outputs that make no sense."""
        self._finished = run
        return self._decode(run, settings or DecodeSettings())

    def finish(self, settings: DecodeSettings | None = None) -> Segmentation:
        """The segmentation of the image that was started first and not finished. Raises InferenceError."""
        (run,) = self.wait()
        return self.read(run, settings)

    def objects(self, settings: DecodeSettings) -> tuple[Instances, Iterator[U8]]:
        """The objects of the image that was finished last, and the whole mask of each, before they are pasted into one map.

        Masks are (H, W) uint8, 0 and 1, of the image's size. Call this, and take the masks, before another image is started: they
        are made from the network's own outputs.
        """
        run = self._finished
        assert run is not None, "finished before its objects are asked for"
        instances = self._family.decode(run.outputs, run.geometry, settings).instances
        if isinstance(self._family, OverlappingFamily):
            return instances, self._family.object_masks(run.outputs, run.geometry, settings)
        labels = scaled_labels(instances.label_map, run.geometry.frame)
        return instances, (np.equal(labels, row + 1).view(np.uint8) for row in range(len(instances)))

    def __call__(self, image: PictureLike, settings: DecodeSettings | None = None, stream: int = 0) -> Segmentation:
        """Segment `image`. Raises InferenceError when the network fails or its outputs make no sense."""
        self.start(image, stream)
        return self.finish(settings)

    def run_batch(self, images: Sequence[PictureLike], settings: Sequence[DecodeSettings]) -> list[Segmentation]:
        """Segment 1 to `batch` images, of any sizes, in one run. Raises InferenceError."""
        self.start_batch(images)
        return [self.read(run, one) for run, one in zip(self.wait(), settings, strict=True)]

    def _decode(self, run: Inference, settings: DecodeSettings) -> Segmentation:
        start = time.perf_counter()
        missing = [name for name in self.card.outputs.values() if name not in run.outputs]
        if missing:
            raise InferenceError(f"{self.card.name}: the network gave no output {', '.join(missing)}")
        self._guard.check(run.outputs)
        try:
            if not self._first.is_done:
                self._look(run)
            segmentation = self._family.decode(run.outputs, run.geometry, settings)
        except SegmentationError:
            raise
        except Exception as error:  # a shape, a type or a number that its card does not lead to expect
            reason = f"{type(error).__name__}: {error}"
            cure = "Check its card: run.py models info"
            raise InferenceError(f"{self.card.name}: its outputs cannot be read ({reason})", cure) from error
        decode_ms = (time.perf_counter() - start) * 1e3
        stage_ms = {"preprocess": run.preprocess_ms, "inference": run.inference_ms, "decode": decode_ms}
        return dataclasses.replace(segmentation, stage_ms=stage_ms, frame=run.geometry.frame)

    def _look(self, run: Inference) -> None:
        """Whether the numbers are what the card says; where they say it themselves, they are read so from now on."""
        self._first.look(run.outputs, is_real=not self._is_warm_up)
        if self._first.card is not self.card:
            self.card = self._first.card
            self._family = open_family(self.card)

    def cancel(self) -> None:
        """End the run that is going on, and every later one, with an InferenceError. From any thread; some engines cannot."""
        if isinstance(self.choice.engine, CancellableEngine):
            self.choice.engine.cancel()

    def close(self) -> None:
        """Free the engine."""
        self._first.conclude()
        self.choice.engine.close()
