"""Progress of long work: a bar on a terminal, elsewhere a whole line now and then."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

log = logging.getLogger(__name__)

EVERY_S = 10.0

BAR = "{desc}  {percentage:3.0f}% {bar} {n:.0f}/{total:.0f} {unit}  {rate_fmt}  {elapsed} < {remaining}{postfix}"
BAR_WITHOUT_TOTAL = "{desc}  {n:.0f} {unit}  {rate_fmt}  {elapsed}{postfix}"
BAR_WITHOUT_UNIT = "{desc}  {percentage:3.0f}% {bar} {elapsed}{postfix}"


class Progress:
    """Shows the progress of one piece of work. Used on one thread, in a `with`.

    Where stderr is a terminal it has a bar. Elsewhere this logger gets a line for each phase and every `every_s` seconds.
    title: what the work is. unit: what is counted, in the plural; "": `done` and `total` only give a percentage.
    delay_s: nothing is shown before, so that work that fails at once shows only its error.
    """

    def __init__(self, title: str = "", unit: str = "", *, delay_s: float = 0.0, every_s: float = EVERY_S) -> None:
        self._title, self._unit = title, unit
        self._every_s = every_s
        self._phase: str | None = None
        self._start_s = self._next_line_s = time.monotonic() + delay_s
        self._is_terminal = sys.stderr.isatty()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: float, total: float | None = None, phase: str = "", note: str = "") -> None:
        """`done` of `total` units (None: not known), in this phase of the work. note: a figure of the moment, such as a loss."""
        now_s = time.monotonic()
        if now_s < self._start_s:
            return
        if self._is_terminal:
            self._draw(done, total, phase, note)
        if now_s >= self._next_line_s or phase != self._phase:
            log.log(logging.DEBUG if self._is_terminal else logging.INFO, "%s", self._line(done, total, phase, note))
            self._next_line_s, self._phase = now_s + self._every_s, phase

    def _draw(self, done: float, total: float | None, phase: str, note: str) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(leave=False, dynamic_ncols=True, unit=self._unit, initial=done)
        bar = self._bar
        bar.total = total
        bar.bar_format = BAR_WITHOUT_TOTAL if total is None else BAR if self._unit else BAR_WITHOUT_UNIT
        bar.set_description_str(": ".join(filter(None, (self._title, phase))), refresh=False)
        bar.set_postfix_str(note, refresh=False)
        bar.update(done - bar.n)  # redraws ten times a second at most
        if phase != self._phase:
            bar.refresh()

    def _line(self, done: float, total: float | None, phase: str, note: str) -> str:
        if self._unit:
            count = f"{done:.0f}" + (f" of {total:.0f}" if total else "") + f" {self._unit}"
        else:
            count = f"{done / total:.0%}" if total and done else ""
        return ": ".join(filter(None, (self._title, phase, ", ".join(filter(None, (count, note))))))
