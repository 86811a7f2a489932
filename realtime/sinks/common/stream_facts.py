"""StreamFacts: what a sink knows from the start about the stream that it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """Facts of a whole run, as far as they are known.

    source:    name of the input, without password.
    model:     the model's name.
    classes:   class names; the position is the class id.
    fps:       nominal frames per second of the source, a hint only: each frame has its own time.
    versions:  name -> version of the program and packages that made the results.
    observers: names of the observers that the settings name; their numbers are written.
    """

    source: str = ""
    model: str = ""
    classes: tuple[str, ...] = ()
    fps: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    observers: tuple[str, ...] = ()

    def class_name(self, class_id: int) -> str:
        return self.classes[class_id] if 0 <= class_id < len(self.classes) else f"class {class_id}"
