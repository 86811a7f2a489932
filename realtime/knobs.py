"""Knobs: what may change while the pipeline runs. The one thing that flows upstream: a frozen value, read once per frame."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

MaskStyle = Literal["both", "contour", "fill"]
"""Masks as areas with a contour, as contours alone, or as areas alone."""


@dataclass(frozen=True, slots=True)
class Knobs:
    """What to show, and from which score on.

    threshold: lowest score of an object that is shown, 0..1.
    opacity:   of the masks, 0..1.
    background: put what was chosen (`Look.background`) behind the foreground of a model that gives a matte.
    hidden_classes: ids of classes that are neither painted nor boxed.
    mask_style: how objects' masks and mattes are drawn; class maps are areas whatever it says.
    selected_id: the track with a halo around it, if any.
    live_overlay: show the newest frame with masks and boxes moved to its time, instead of the frame that the masks belong to.
    """

    threshold: float = 0.3
    opacity: float = 0.45
    masks: bool = True
    boxes: bool = True
    labels: bool = True
    trails: bool = True
    background: bool = False
    hidden_classes: frozenset[int] = frozenset()
    mask_style: MaskStyle = "both"
    selected_id: int | None = None
    live_overlay: bool = False

    def with_class(self, class_id: int, visible: bool) -> frozenset[int]:
        """The hidden classes after showing or hiding one."""
        return self.hidden_classes - {class_id} if visible else self.hidden_classes | {class_id}


class Panel:
    """The knobs of one stream. Any thread may turn them: a turn replaces the named fields only, and none is lost."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self._lock = threading.Lock()

    @property
    def knobs(self) -> Knobs:
        """The present positions."""
        return self._knobs

    def turn(self, **changes: Any) -> Knobs:
        """Set the named fields of `Knobs`; the others keep their values. Returns the new positions."""
        return self.change(lambda knobs: replace(knobs, **changes))

    def change(self, change: Callable[[Knobs], Knobs]) -> Knobs:
        """Replace the knobs by what `change` makes of the present ones; it must not block. Returns the new positions."""
        with self._lock:
            self._knobs = change(self._knobs)
            return self._knobs
