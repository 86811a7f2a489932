"""Logging: what the program writes to stderr and to a log file. Set up by the command line, never at import."""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from realtime.errors import SettingsError
from realtime.process.redact import redact

PACKAGES = ("engines", "realtime")

FOR_THE_USER = ("realtime.commands.", "realtime.process.progress")
"""How the names of loggers begin whose INFO is shown without --verbose."""

DETAILED = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


@contextmanager
def logging_to(file: Path | None = None, *, verbose: bool = False) -> Iterator[None]:
    """While entered, log records go to stderr and, in full detail, to `file`; no record shows a password.

    stderr gets warnings and the messages of commands; with `verbose` all of this program, with times and module names. Of other
    packages both get warnings only. Raises SettingsError when the file cannot be written.
    """
    terminal = _Terminal(sys.stderr)
    terminal.setFormatter(_Redacted(DETAILED) if verbose else _OneLine())
    if not verbose:
        terminal.addFilter(_is_for_the_user)
    handlers: list[logging.Handler] = [terminal] if file is None else [terminal, _log_file(file)]
    with ExitStack() as undo:
        for handler in handlers:
            logging.root.addHandler(handler)
            undo.callback(handler.close)
            undo.callback(logging.root.removeHandler, handler)
        for logger in map(logging.getLogger, PACKAGES):
            undo.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.DEBUG if verbose or file is not None else logging.INFO)
        yield


def _log_file(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.stat().st_size and not _is_log(path):
            raise SettingsError(f"--log {path}: is a file of another kind, which a log would be appended to", "Name another file")
        handler = logging.FileHandler(path, encoding="utf-8")  # appends, and flushes after each record
    except OSError as error:
        raise SettingsError(
            f"--log {path}: cannot be written ({error.strerror or error})", "Name a file in a folder you may write to"
        ) from error
    handler.setFormatter(_Redacted(DETAILED))
    return handler


def _is_log(path: Path) -> bool:
    """Whether it begins as DETAILED does: with a date and a time."""
    with path.open("rb") as file:
        return re.match(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", file.read(19)) is not None


def _is_for_the_user(record: logging.LogRecord) -> bool:
    return record.levelno >= (logging.INFO if record.name.startswith(FOR_THE_USER) else logging.WARNING)


class _Redacted(logging.Formatter):
    """Takes passwords out of the whole text, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _OneLine(logging.Formatter):
    """As in "warning: disk almost full"; a message for the user has no level."""

    def format(self, record: logging.LogRecord) -> str:
        text = redact(" ".join(record.getMessage().split()))
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


class _Terminal(logging.StreamHandler):  # type: ignore[type-arg]  # generic only for type checkers
    """Writes above a progress bar, where one is drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" not in sys.modules:
            super().emit(record)
            return
        from tqdm import tqdm

        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)
