"""Ages: for how long each present track has been followed, in seconds, by track id."""

from dataclasses import dataclass

from engines.models.card import ModelCard
from realtime.types import Observation, Result


@dataclass(frozen=True)
class Settings:
    """It has none."""


class Ages:
    """Knows the present tracks only: nothing grows."""

    name = "ages"

    def __init__(self) -> None:
        self._since_s: dict[int, float] = {}

    def update(self, result: Result, t_s: float) -> Observation:
        self._since_s = {track.id: self._since_s.get(track.id, t_s) for track in result.tracks or ()}
        return Observation(numbers={track_id: t_s - since_s for track_id, since_s in self._since_s.items()})


def create(settings: Settings, card: ModelCard) -> Ages:
    return Ages()
