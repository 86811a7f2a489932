"""Progress: whole lines in a file, a bar on a terminal."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from realtime.process.logs import logging_to
from realtime.process.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_gets_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(), Progress("road", "frames", every_s=0) as progress:
        progress.show(0, None, "opening")
        progress.show(12, 30, "running", "loss 0.5")
    assert capsys.readouterr().err == "road: opening: 0 frames\nroad: running: 12 of 30 frames, loss 0.5\n"


def test_a_phase_has_one_line_in_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(), Progress("road, fp16") as progress:
        for phase, fraction in (("reading", 0.0), ("building", 0.25), ("building", 0.5), ("comparing", 0.75)):
            progress.show(fraction, 1.0, phase)
    assert capsys.readouterr().err.splitlines() == [
        "road, fp16: reading",
        "road, fp16: building: 25%",
        "road, fp16: comparing: 75%",
    ]


def test_work_that_fails_at_once_shows_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(), Progress("road", "frames", delay_s=60) as progress:
        progress.show(0, 30, "opening")
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_and_warnings_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with logging_to(), Progress("road", "frames") as progress:
        progress.show(0, None, "opening")
        progress.show(12, 30, "running", "loss 0.5")
        logging.getLogger("realtime.sinks.test").warning("disk almost full")
    shown = terminal.getvalue()
    assert "road: running   40%" in shown
    assert "12/30 frames" in shown
    assert "loss 0.5" in shown
    assert "\rwarning: disk almost full\n" in shown
