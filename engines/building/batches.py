"""Batches: each image of one must have the results that it has alone. A graph that was made for one may mix them, silently."""

from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np

from engines.building.network import Reference, decoded
from engines.building.parity import CANDIDATE_SETTINGS, compare, shortfall
from engines.errors import BuildError
from engines.families import Family, open_family
from engines.loading import cpu_session
from engines.models.fit import InputFiller
from engines.trt.runner import Runner
from engines.types import Image, Segmentation

MOST_ON_CPU = 4
"""Images of a batch that is run on the CPU: two reveal what any number does."""

WITHOUT = "Build it for single images: run.py build, without --batch"


def check_network(reference: Reference, largest: int) -> None:
    """Raises BuildError where the FP32 network gives other results for a batch of the frames than for each alone."""
    card, frames = reference.card, reference.frames
    images = [*frames[: min(largest, MOST_ON_CPU)], 255 - frames[0]][: max(2, min(largest, MOST_ON_CPU))]
    fill, names = InputFiller(card.input), list(card.outputs.values())
    tensors, geometries = [], []
    for image in images:
        tensor, geometry = fill(image)
        tensors.append(tensor.copy())
        geometries.append(geometry)
    try:
        session = cpu_session(reference.network.SerializeToString())
        arrays: list[Any] = session.run(names, {card.input.tensor: np.concatenate(tensors)})
    except Exception as error:  # ONNX Runtime's types are private
        text = " ".join(str(error).split())
        raise BuildError(f"{card.name}: the network does not run on a batch of {len(images)} ({text[-160:]})", WITHOUT) from error
    family = open_family(card)
    found = [
        decoded(
            family, {name: array[row : row + 1] for name, array in zip(names, arrays, strict=True)}, geometry, CANDIDATE_SETTINGS
        )
        for row, geometry in enumerate(geometries)
    ]
    _check(card.name, "the network", reference.segmentations, found[: len(frames)], "fp32")


def check_engine(
    runner: Runner, family: Family, frames: Sequence[Image], alone: Sequence[Segmentation | None], precision: str
) -> None:
    """Raises BuildError where an engine for batches gives other results than for single images.

    alone: its results for each of the frames alone. Runs as many as it takes at a time, and what remains of the frames.
    """
    images = list(islice(cycle(frames), max(len(frames), runner.batch)))
    found = [decoded(family, *one, CANDIDATE_SETTINGS) for one in _in_batches(runner, images)]
    wanted = list(islice(cycle(alone), len(images)))
    _check(runner.card.name, f"an engine for {runner.batch} images at a time", wanted, found, precision)


def _in_batches(runner: Runner, images: Sequence[Image]) -> Iterator[tuple[Any, Any]]:
    """The outputs and the geometry of each image."""
    for first in range(0, len(images), runner.batch):
        runner.start(images[first : first + runner.batch])
        for run in runner.finish():
            yield run.outputs, run.geometry


def _check(
    name: str, what: str, wanted: Sequence[Segmentation | None], found: Sequence[Segmentation | None], precision: str
) -> None:
    pairs = [(one, other) for one, other in zip(wanted, found, strict=False) if one is not None]
    report = compare([one for one, other in pairs if other], [other for _, other in pairs if other])
    trouble = "NaN or infinite outputs"
    if all(other for _, other in pairs):
        trouble = shortfall(report, precision, "those of an image alone")
    if trouble:
        raise BuildError(f"{name}: {what} gives other results in a batch: {trouble}", WITHOUT)
