"""FirstFrames: looks whether the numbers of a network's first frames are what its card says, and says what is not."""

import logging
from collections.abc import Callable

import msgspec

from engines.families.common.ranges import Look
from engines.models.card import ModelCard
from engines.types import Outputs

log = logging.getLogger(__name__)

FRAMES = 30
"""About a second of a camera: what holds in all of these is said."""

LEAST_SCORE = 0.05
"""A network whose best score is lower, in all of them, sees nothing, or is fed or read wrongly."""


class FirstFrames:
    """Of one engine. `look` once for each frame until it `is_done`; `conclude` at the end, if that comes before."""

    def __init__(self, card: ModelCard, examine: Callable[[ModelCard, Outputs], Look]) -> None:
        self.card = card
        """With the roles that the numbers have."""
        self.is_done = False
        self._examine = examine
        self._frames = 0
        self._best: float | None = None
        self._flat: dict[str, float] | None = None
        self._odd: frozenset[str] | None = None
        self._said: set[str] = set()

    def look(self, outputs: Outputs, *, is_real: bool) -> None:
        """Examine one frame's outputs. is_real: it shows something; a grey picture says nothing of scores. Raises CardError."""
        seen = self._examine(self.card, outputs)
        if seen.outputs is not None:
            self._correct(dict(seen.outputs))
        if not is_real:
            return
        self._frames += 1
        for doubt in seen.doubts:
            self._say(doubt)
        if seen.best is not None:
            self._best = max(self._best or 0.0, seen.best)
        before = seen.flat if self._flat is None else self._flat
        self._flat = {name: value for name, value in seen.flat.items() if before.get(name) == value}
        self._odd = seen.odd if self._odd is None else self._odd & seen.odd
        if self._frames == FRAMES:
            self.conclude()

    def conclude(self) -> None:
        """Say what held in every frame."""
        if self.is_done:
            return
        self.is_done = True
        frames = f"in the first {self._frames} frames" if self._frames > 1 else "in the only frame"
        for name, value in (self._flat or {}).items():
            self._say(f"output {name} is {value:.3g} throughout {frames}")
        for doubt in sorted(self._odd or ()):
            self._say(f"{doubt} {frames}")
        if self._best is not None and self._best < LEAST_SCORE and not self._said:
            self._say(f"no score is above {self._best:.2g} {frames}, which is right only if there was nothing to see")

    def _correct(self, outputs: dict[str, str]) -> None:
        changed = {role: tensor for role, tensor in outputs.items() if self.card.outputs.get(role) != tensor}
        self.card = msgspec.structs.replace(self.card, outputs=outputs)
        for role, tensor in changed.items():
            log.warning(
                '%s: the numbers of its output "%s" are %s, and are read so. Write in its card: outputs = { %s = "%s" }',
                *(self.card.name, tensor, MEANINGS.get(role, role), role, tensor),
            )

    def _say(self, doubt: str) -> None:
        if doubt not in self._said:
            self._said.add(doubt)
            ending = "" if doubt.endswith("?") else "."
            log.warning("%s: %s%s Is its card right (run.py models info)? Is its file?", self.card.name, doubt, ending)


MEANINGS = {
    "probabilities": "probabilities, not logits",
    "mask": "a mask of 0 and 255",
    "alpha": "an opacity, not its logits",
    "alpha_softmax": "shares of background and foreground, not logits",
}
"""Role → what the numbers are, in words."""
