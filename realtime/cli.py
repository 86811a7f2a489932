"""The command line. `program` is what `run.py` and `realtime-segmentation` start; its first instruction takes the signals."""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # as typing's, which takes longer to import than all of this module
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType
    from typing import NoReturn


def program() -> NoReturn:
    """Run the command that the process was started with, and end the process with its exit code. Never returns."""
    # Before any other import, which takes tenths of a second: nothing is open yet, so a signal ends the process where it is.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and (name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN):  # ignored: nohup
            signal.signal(number, _end_at_once)
    from realtime.process import arguments, ending, standard_streams

    standard_streams.prepare()
    ending.listen()
    arguments.hide_secrets()
    try:
        code = main()
    except SystemExit as done:  # --help, or a word that is no option
        code = done.code if isinstance(done.code, int) else 0
    ending.leave(standard_streams.checked(code))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code. Errors are one line on stderr: code 2 if the user can do something about them, or else 1."""
    from realtime.process.failures import explained

    is_verbose = False
    try:
        from realtime.commands.common.parsing import parse

        parsed = parse(list(sys.argv[1:] if argv is None else argv))
        if parsed is None:
            return 0
        from realtime.process.logs import logging_to

        is_verbose = parsed.verbose or parsed.log is not None
        with logging_to(parsed.log, verbose=parsed.verbose):
            return _run(parsed.run, parsed.words)
    except KeyboardInterrupt:  # only where `program` was not used
        return 128 + signal.SIGINT
    except Exception as error:
        code, line = explained(error, has_trace=is_verbose)
        print(f"error: {line}", file=sys.stderr)
        if lines := getattr(error, "to_copy", ""):
            print(f"\n{lines}", file=sys.stderr)
        return code


def _run(command: Callable[[], int], words: Sequence[str]) -> int:
    import logging

    from realtime.process.redact import redact_source
    from realtime.process.version import version

    log = logging.getLogger(__name__)
    log.info("version %s: run.py %s", version(), " ".join(map(redact_source, words)))
    try:
        return command()
    except Exception:
        log.debug("the command failed", exc_info=True)
        raise


def _end_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)
