"""Logging: who sees what, on stderr and in a file, and that no record shows a password."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from realtime.cli import main
from realtime.errors import SettingsError
from realtime.process.logs import logging_to

log = logging.getLogger("realtime.streams.test")
command_log = logging.getLogger("realtime.commands.test")
other_log = logging.getLogger("another_package")


def say_everything() -> None:
    log.debug("frame %d", 7)
    log.info("opened rtsp://ada:s3cr3t@camera/live")
    log.warning("lost rtsp://ada:s3cr3t@camera/live:\ntimed out")
    command_log.info("no camera answers")
    command_log.debug("asked 0 to 9")
    other_log.info("chatter")
    other_log.warning("deprecated")


def test_quiet_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to():
        say_everything()
    assert capsys.readouterr().err.splitlines() == [
        "warning: lost rtsp://***@camera/live: timed out",
        "no camera answers",
        "warning: deprecated",
    ]


def test_verbose_shows_levels_and_module_names(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(verbose=True):
        say_everything()
    shown = capsys.readouterr().err
    for text in ("DEBUG   realtime.streams.test: frame 7", "INFO    realtime.commands.test: no camera answers", "deprecated"):
        assert text in shown
    assert "chatter" not in shown


def test_a_log_file_gets_everything_and_stderr_stays_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "run.log"
    for _ in range(2):
        with logging_to(path):
            say_everything()
    assert path.read_text().count("DEBUG   realtime.streams.test: frame 7") == 2, "it is appended to"
    assert "frame 7" not in capsys.readouterr().err


def test_each_record_is_in_the_file_at_once(tmp_path: Path) -> None:
    with logging_to(tmp_path / "run.log"):
        log.info("here")
        assert (tmp_path / "run.log").read_text().endswith("realtime.streams.test: here\n")


def test_no_password_in_a_file_not_even_in_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    with logging_to(path):
        say_everything()
        try:
            raise OSError("rtsp://ada:s3cr3t@camera/live refused")
        except OSError:
            log.exception("cannot open %s", "http://camera/?token=t0ps3cr3t")
    written = path.read_text()
    assert "Traceback" in written
    assert "s3cr3t" not in written


def test_nothing_of_it_is_left_afterwards(tmp_path: Path) -> None:
    before = list(logging.root.handlers), log.getEffectiveLevel(), command_log.getEffectiveLevel()
    with logging_to(tmp_path / "run.log", verbose=True):
        assert log.isEnabledFor(logging.DEBUG)
    assert (list(logging.root.handlers), log.getEffectiveLevel(), command_log.getEffectiveLevel()) == before


def test_a_log_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"--log .*run\.log: cannot be written"), logging_to(tmp_path / "file" / "run.log"):
        pass


@pytest.mark.parametrize("before", [True, False], ids=["before the command", "after it"])
def test_every_command_takes_the_options(tmp_path: Path, before: bool, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.log"
    options, command = ["--verbose", "--log", str(path)], ["models", "info", "raod"]
    assert main([*options, *command] if before else [*command, *options]) == 2
    assert "ModelNotFoundError" in path.read_text(), "the traceback, for a report"
    shown = capsys.readouterr().err.splitlines()
    assert shown[-1].startswith('error: no model "raod"')
    assert any("INFO    realtime.cli: version" in line for line in shown)


def test_a_log_is_appended_to_logs_only(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"\0\0\0\x18ftypisom")
    with pytest.raises(SettingsError, match="is a file of another kind"), logging_to(film):
        pass
    assert film.read_bytes() == b"\0\0\0\x18ftypisom"
    for _ in range(2):
        with logging_to(tmp_path / "a.log"):
            logging.getLogger("engines.x").warning("seen")
    assert (tmp_path / "a.log").read_text().count("seen") == 2
