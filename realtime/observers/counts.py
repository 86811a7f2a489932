"""Counts: how many different objects were tracked so far, by class id. An id is counted once."""

from collections import Counter
from dataclasses import dataclass

from engines.models.card import ModelCard
from realtime.types import Observation, Result


@dataclass(frozen=True)
class Settings:
    """It has none."""


class Counts:
    """Track ids rise and are never used again, so the highest id so far identifies new tracks."""

    name = "counts"

    def __init__(self) -> None:
        self._by_class: Counter[int] = Counter()
        self._newest_id = 0

    def update(self, result: Result, t_s: float) -> Observation:
        new = [track for track in result.tracks or () if track.id > self._newest_id]
        self._by_class.update(track.class_id for track in new)
        self._newest_id = max((track.id for track in new), default=self._newest_id)
        return Observation(numbers=dict(self._by_class))


def create(settings: Settings, card: ModelCard) -> Counts:
    return Counts()
