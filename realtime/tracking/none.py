"""No tracking: frames are independent, and objects get no ids."""

from dataclasses import dataclass

from engines.pictures.raw import PictureLike
from engines.types import Segmentation
from realtime.types import Track


@dataclass(frozen=True, slots=True)
class Settings:
    """There are none."""


class NoTracker:
    """Returns no tracks."""

    def update(self, segmentation: Segmentation, t_s: float, image: PictureLike) -> tuple[Track, ...]:
        return ()


def create(settings: Settings) -> NoTracker:
    """The tracker without tracks."""
    return NoTracker()
