"""Watch: clocks, temperatures and throttling while a bench measures: a board that heats up becomes slower."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from realtime.bench.card import ClockRange, Conditions, Temperature
from realtime.bench.clocks import Clock, clocks, reports_throttling, temperatures, throttle_counts, throttling
from realtime.bench.power import StateReading
from realtime.process.jetson import ROOT, is_jetson

LOOK_S = 0.5
"""Between two looks: some files each time, of about 1 ms altogether."""

LIMIT_DROP = 0.98
"""A clock whose limit falls below this share of the highest that it had was throttled."""

CARD = "GPU"
"""The name of a graphics card's sensor, which nvidia-smi reads."""

NOT_REPORTED = "this machine does not report it"
ROOT_ONLY = "readable by root only; tegrastats or jetson-stats may report it, and did not"


class Watch:
    """Looks when it is asked to. Used on one thread, for one bench; what monitors have reported is added with `take`."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._before_c = temperatures(root)
        self._highest_c = dict(self._before_c)
        self._counts = throttle_counts(root)
        self._seen: dict[str, list[Clock]] = {}
        self._reasons: dict[str, None] = {}
        self._card_c: list[float] = []
        self._power_source = ""
        self._is_reported = reports_throttling(root)
        self._next_s = 0.0

    def look(self) -> None:
        """Read everything, unless the last look was a moment ago."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + LOOK_S
        for name, clock in clocks(self._root).items():
            self._seen.setdefault(name, []).append(clock)
        for name, value_c in temperatures(self._root).items():
            self._highest_c[name] = max(value_c, self._highest_c.get(name, value_c))
        self._reasons.update(dict.fromkeys(throttling(self._root)))

    def take(self, state: StateReading) -> None:
        """Add what a power meter has seen: a graphics card's state, or what a Jetson tells root only."""
        for name, values_mhz in state.clocks_mhz.items():
            if all(clock.limit_mhz is None for clock in self._seen.get(name, [])):  # the system's own files have limits
                self._seen.setdefault(name, []).extend(Clock(value_mhz) for value_mhz in values_mhz)
        self._reasons.update(dict.fromkeys(state.throttles or ()))
        self._is_reported |= state.throttles is not None
        self._power_source = state.power_source or self._power_source
        self._card_c.extend(state.temperatures_c)

    def conditions(self) -> Conditions:
        """Everything since the beginning."""
        after_c = temperatures(self._root)
        names = dict.fromkeys((*self._before_c, *self._highest_c, *after_c))
        found = {
            name: Temperature(
                self._before_c.get(name),
                after_c.get(name),
                max(values[name] for values in (self._highest_c, after_c) if name in values),
            )
            for name in names
        }
        if self._card_c:
            found[CARD] = Temperature(self._card_c[0], self._card_c[-1], max(self._card_c))
        reasons = (*self._reasons, *self._lowered(), *self._counted())
        return Conditions(
            clocks={name: _range(seen) for name, seen in self._seen.items()},
            temperatures=found,
            throttled=reasons if reasons or self._is_reported else None,
            unreadable=dict(self._unreadable(bool(found), bool(reasons))),
            power_source=self._power_source,
        )

    def _lowered(self) -> Iterator[str]:
        """Clocks whose limit fell meanwhile."""
        for name, seen in self._seen.items():
            limits = [clock.limit_mhz for clock in seen if clock.limit_mhz is not None]
            if limits and min(limits) < LIMIT_DROP * max(limits):
                yield f"{name} limited to {min(limits):.0f} of {max(limits):.0f} MHz"

    def _counted(self) -> Iterator[str]:
        for name, count in throttle_counts(self._root).items():
            times = count - self._counts.get(name, count)
            if times > 0:
                yield f"{name}, {times} times"

    def _unreadable(self, has_temperatures: bool, has_reasons: bool) -> Iterator[tuple[str, str]]:
        of_a_jetson = {"GPU": NOT_REPORTED, "EMC": ROOT_ONLY} if is_jetson(self._root) else {}
        for name, reason in {**of_a_jetson, "CPU": NOT_REPORTED}.items():
            if name not in self._seen:
                yield f"clock of {name}", reason
        if not has_temperatures:
            yield "temperatures", NOT_REPORTED
        if not has_reasons and not self._is_reported:
            yield "throttling", NOT_REPORTED


def _range(seen: list[Clock]) -> ClockRange:
    values = [clock.now_mhz for clock in seen]
    limits = [clock.limit_mhz for clock in seen if clock.limit_mhz is not None]
    median, low, high = (round(value, 1) for value in (statistics.median(values), min(values), max(values)))
    return ClockRange(median, low, high, round(max(limits), 1) if limits else None)
