"""Observers: what they say over time, and how they are opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import realtime.observers
from engines.models.card import InputSpec, ModelCard
from engines.types import Instances, Segmentation, Size
from realtime.errors import SettingsError
from realtime.observers import check_observers, names, observed, open_observers
from realtime.types import Event, Frame, Observation, Result, Track, as_box

CARD = ModelCard("net", "boxes", InputSpec("image", (64, 48), "nchw", "float32", "rgb", "letterbox"), {}, ("car", "person"))


def track(track_id: int, class_id: int = 0) -> Track:
    return Track(track_id, class_id, 0.9, as_box(0, 0, 1, 1), None, np.zeros((0, 2), np.float32))


def result(*tracks: Track | int) -> Result:
    found = tuple(one if isinstance(one, Track) else track(one) for one in tracks)
    frame = Frame(np.zeros((48, 64, 3), np.uint8), 0, 0.0, 0)
    return Result(frame, Segmentation(Instances.none(Size(64, 48))), found)


@pytest.mark.parametrize("name", names())
def test_each_observer_has_settings_with_defaults_and_takes_a_result_without_tracks(name: str) -> None:
    (observer,) = (one for one in open_observers({name: {}}, CARD) if one.name == name)
    untracked = Result(result().frame, result().segmentation, None)
    for seen in (result(), untracked, result(1, 2)):
        observation = observer.update(seen, 1.0)
        assert observation is None or isinstance(observation, Observation)


def test_each_object_is_counted_once_with_its_class() -> None:
    counts = open_observers({}, CARD)[0]
    for tracks in ([track(1), track(2, 1)], [], [track(2, 1), track(4)], [track(1), track(5, 1)]):
        numbers = counts.update(result(*tracks), 0.0).numbers
    assert numbers == {0: 2, 1: 2}


def test_an_age_begins_with_the_first_result_and_again_after_an_absence() -> None:
    ages = open_observers({}, CARD)[1]
    said = [dict(ages.update(result(*ids), t_s).numbers) for t_s, ids in ((2.0, [1]), (5.5, [1]), (6.0, []), (7.0, [1, 2]))]
    assert said == [{1: 0.0}, {1: 3.5}, {}, {1: 0.0, 2: 0.0}]


def test_what_all_say_is_put_together() -> None:
    class Alarm:
        name = "alarm"

        def update(self, result: Result, t_s: float) -> Observation | None:
            return Observation((Event("seen", "alarm", t_s, 1),), {1: 0.5}) if result.tracks else None

    events, numbers = observed((*open_observers({}, CARD), Alarm()), result(1), 3.0)
    assert events == (Event("seen", "alarm", 3.0, 1),)
    assert numbers == {"counts": {0: 1}, "ages": {1: 0.0}, "alarm": {1: 0.5}}
    assert observed((Alarm(),), result(), 3.0) == ((), {})


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"count": {}}, r'no observer "count"\. Did you mean "counts"\?'),
        ({"counts": {"line": 1}}, r'observers\.counts: unknown key "line"'),
    ],
)
def test_a_wrong_name_or_key_is_refused(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_observers(tables)


LOITERING = """
from dataclasses import dataclass
from realtime.types import Event, Observation

@dataclass(frozen=True)
class Settings:
    after_s: float = 1.0

class Loitering:
    name = "loitering"

    def __init__(self, after_s, classes):
        self.after_s, self.classes, self.since_s = after_s, classes, {}

    def update(self, result, t_s):
        self.since_s = {track.id: self.since_s.get(track.id, t_s) for track in result.tracks or ()}
        late = [track for track in result.tracks or () if t_s - self.since_s[track.id] > self.after_s]
        events = tuple(Event("loiters", self.name, t_s, track.id, {"class": self.classes[track.class_id]}) for track in late)
        return Observation(events, {track.id: t_s - self.since_s[track.id] for track in late})

def create(settings, card):
    return Loitering(settings.after_s, card.classes)
"""


def test_an_observer_of_ones_own_is_one_file(plug_in: Callable[..., None]) -> None:
    plug_in(realtime.observers, "loitering", LOITERING)
    assert "loitering" in names()
    tables = {"loitering": {"after_s": 2.0}}
    check_observers(tables)
    observers = open_observers(tables, CARD)
    observed(observers, result(7), 0.0)
    events, numbers = observed(observers, result(7), 2.5)
    assert events == (Event("loiters", "loitering", 2.5, 7, {"class": "car"}),)
    assert numbers["loitering"] == {7: 2.5}
