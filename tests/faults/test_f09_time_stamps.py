"""F09: time stamps that jump by an hour, repeat, are missing or no numbers; the wall clock is set. Tracks keep their ids."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import realtime
from realtime.sources.common.base import FrameSource, Picture

from ..realtime.conftest import scene

FPS, FRAMES = 25, 30
WRONG: dict[str, Callable[[float], float | None]] = {
    "back an hour": lambda stamp: stamp - 3600,
    "ahead an hour": lambda stamp: stamp + 3600,
    "no number": lambda _: math.nan,
    "infinite": lambda _: math.inf,
    "missing": lambda _: None,
    "repeated": lambda stamp: stamp - 1 / FPS,
}


class Wild(FrameSource):
    """A car that drives, with stamps that are wrong from one frame on, or once."""

    def __init__(self, wrong: Callable[[float], float | None], is_live: bool, is_once: bool) -> None:
        self.is_live = is_live
        super().__init__("wild", fps=FPS)
        self._wrong, self._is_once = wrong, is_once

    def _pictures(self) -> Iterator[Picture]:
        for number in range(FRAMES):
            is_wrong = number == 12 if self._is_once else number >= 12
            stamp = number / FPS
            if self.is_live:
                time.sleep(1 / FPS)
            yield Picture(scene(number), self._wrong(stamp) if is_wrong else stamp, time.monotonic_ns())


@pytest.mark.parametrize("is_once", [True, False], ids=["once", "from then on"])
@pytest.mark.parametrize("is_live", [False, True], ids=["recording", "camera"])
@pytest.mark.parametrize("kind", WRONG)
def test_time_goes_on_and_tracks_keep_their_ids(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, kind: str, is_live: bool, is_once: bool
) -> None:
    wall = itertools.count(1_700_000_000, 3600)
    monkeypatch.setattr(time, "time", lambda: float(next(wall)))  # nothing may depend on it
    source: Any = Wild(WRONG[kind], is_live, is_once)
    with realtime.open_stream(source, str(tiny_model), backend="ort", every_frame=True) as stream:
        seen = [(result.t_s, sorted(thing.id for thing in result.objects)) for result in stream]
    times = [t_s for t_s, _ in seen]
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(step > 0 for step in steps)
    if kind != "ahead an hour" or is_live:  # which a recording's gap may be; a single one needs a second that confirms it
        assert max(steps) < 2
    ids = {thing for _, things in seen[5:] for thing in things}
    if not (kind == "ahead an hour" and not is_live):
        assert ids == {1, 2}, "the car and the person"
