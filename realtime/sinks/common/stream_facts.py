"""StreamFacts: what a sink is told once about everything that will be written to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """Facts of a whole run; every one may be missing.

    source:   what people call the input (without password).
    model:    the model's name.
    classes:  class names; the position is the class id.
    fps:      nominal frames per second of the source, a hint only: times are the frames' own.
    versions: name -> version of what made the results.
    """

    source: str = ""
    model: str = ""
    classes: tuple[str, ...] = ()
    fps: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def class_name(self, class_id: int) -> str:
        return self.classes[class_id] if 0 <= class_id < len(self.classes) else f"class {class_id}"
