"""OutputGuard: looks whether what a network gives are numbers, before anybody makes objects of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.decoding.maps import not_finite
from engines.types import GpuOutputs, Outputs

RUN = 1 << 10
"""Numbers that follow one another and are looked at together: whole cache lines. The runs are spread over the output, so that a
channel or a region of garbage is met in the frame where it appears."""

WHOLE_FRAMES = 8
"""Of an engine's first frames every number is looked at."""

NUMBERS = 1 << 18
"""Of each output, and each later frame, so many are: 0.12 to 0.17 ms of uncached float32. Garbage is rarely a single number."""

MOST_INFINITE = 0.5
"""Boxes of nothing may be infinite (the exponential of a width); families look at those that they use."""


class OutputGuard:
    """Of one engine. NaN in a network's output is an error in the frame where it appears, and so is an output mostly infinite."""

    def __init__(self, network: str) -> None:
        """network: what to call it in an error."""
        self._network = network
        self._frames = 0

    def check(self, outputs: Outputs) -> None:
        """Raises InferenceError, naming the output. Integers are not looked at.

        What stays on a GPU is looked at in the first frames; later only under boxes, by what paints the masks there.
        """
        if isinstance(outputs, GpuOutputs) and self._frames >= WHOLE_FRAMES:
            outputs = outputs.here
        for name, output in outputs.items():
            if output.dtype.kind == "f" and not np.isfinite(part := self._part(output)).all() and is_garbage(part):
                raise not_finite(f"{self._network}: output {name}")
        self._frames += 1

    def _part(self, output: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """What is looked at in this frame: another part in the next."""
        numbers = output.reshape(-1)
        parts = -(-numbers.size // NUMBERS)
        if self._frames < WHOLE_FRAMES or parts < 2:
            return numbers
        passed, part = divmod(self._frames, parts)
        rest = numbers.size % RUN
        whole = numbers[rest:] if passed % 2 else numbers[: numbers.size - rest]  # so that either end has its turn
        return whole.reshape(-1, RUN)[part::parts]


def is_garbage(numbers: npt.NDArray[np.generic]) -> bool:
    """Whether any is NaN, or most are infinite."""
    return bool(np.isnan(numbers).any()) or float(np.isinf(numbers).mean()) > MOST_INFINITE
