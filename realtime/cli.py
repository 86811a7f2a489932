"""The command line. Parses, checks, picks the job; everything heavy is imported by the job that needs it."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from engines.errors import did_you_mean
from realtime.commands import commands

log = logging.getLogger(__name__)

DESCRIPTION = """\
Real-time video segmentation: masks and object tracks over a camera or a video.

  run.py                            the first webcam, or else a real clip (in a window, or headless to out/demo.mp4)
  run.py view dashcam.mp4           play a file, camera (0), folder of images, rtsp://..., http://... or sample://bikes
  run.py process in.mp4 --out o.mp4 every frame, in order, none dropped, to files
  run.py models                     what there is to run; models add FILE.onnx gives a network of your own a name
  run.py train --data DIR           a model of your own from labelled images; before it: run.py data check DIR
  run.py export road --size 256x512 --out small.onnx    a model in another size, precision, or with small outputs
  run.py bench                      one card of this machine's speed, age of frames, drops, memory, energy
  run.py build road                 a TensorRT engine of a model for this machine's NVIDIA GPU"""


class _Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line, with the nearest right word."""

    def error(self, message: str) -> NoReturn:
        marker = "unrecognized arguments: "
        if message.startswith(marker):
            wrong = message[len(marker) :].split()[0].split("=")[0]
            known = [option for parser in self._family() for action in parser._actions for option in action.option_strings]
            if wrong in known:
                others = [parser.prog for parser in self._family() if wrong in parser._option_string_actions]
                message = f'this command has no option "{wrong}"; {", ".join(others)} has it'
            else:
                message = f'unknown option "{wrong}"{did_you_mean(wrong, known)}; see {self.prog} --help'
        self.exit(2, f"error: {message}\n")

    def _family(self) -> list[argparse.ArgumentParser]:
        """This parser, its commands' and theirs: argparse tells an unknown option of a command on the parser above it."""
        subparsers = [action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        below = [parser for choices in subparsers for parser in choices.values()]
        return [self, *(member for parser in below for member in (parser._family() if isinstance(parser, _Parser) else [parser]))]


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command there is."""
    found = commands()
    parser = _Parser(prog="run.py", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    subparsers = parser.add_subparsers(dest="command", metavar=f"{{{','.join(found)}}}", parser_class=_Parser)
    for command in found.values():
        command.add_parser(subparsers)
    for below in parser._family():
        _add_logging(below, is_main=below is parser)
    return parser


def _add_logging(parser: argparse.ArgumentParser, *, is_main: bool) -> None:
    """What every command takes, before its name or after it."""
    group = parser.add_argument_group("messages")
    # A command's own parser has no defaults: they would reset what was given before the command's name.
    group.add_argument("--verbose", action="store_true", default=False if is_main else argparse.SUPPRESS, help="all messages")
    group.add_argument(
        "--log", metavar="FILE", default=None if is_main else argparse.SUPPRESS, help="append all messages to FILE"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the process's exit code. Errors that a user can mend are one line on stderr and code 2."""
    arguments = _with_command(list(sys.argv[1:] if argv is None else argv))
    options = vars(build_parser().parse_args(arguments))
    if options["version"]:
        from realtime.process.version import version

        print(version())
        return 0
    from engines.errors import SegmentationError
    from realtime.process.logs import logging_to
    from realtime.process.redact import one_line

    try:
        with logging_to(Path(options["log"]) if options["log"] else None, verbose=options["verbose"]):
            return _run(options, arguments)
    except SegmentationError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _with_command(arguments: list[str]) -> list[str]:
    """`run.py SOURCE` and `run.py --OPTION ...` mean view; a word that is neither command nor source gets the nearest command."""
    first = next((word for word in arguments if not word.startswith("-")), None)
    known = commands()
    if first is None or first in known or arguments[0] in ("-h", "--help"):
        return arguments
    looks_like_source = first.isdigit() or "://" in first or Path(first).exists() or "." in first or os.sep in first
    if arguments[0] == first and not looks_like_source:
        hint = did_you_mean(first, known)
        print(f'error: no command "{first}"; there are: {", ".join(known)}{hint}', file=sys.stderr)
        raise SystemExit(2)
    if arguments[0] != first and ("--version" in arguments or any(word in known for word in arguments)):
        return arguments
    return ["view", *arguments]


def _run(options: dict[str, Any], arguments: Sequence[str]) -> int:
    from realtime.process.version import version

    log.info("version %s: run.py %s", version(), " ".join(arguments))
    try:
        if options["command"] is None:
            from realtime.commands.common.demo import demo

            return demo()
        return commands()[options["command"]].run(options)
    except Exception:
        log.debug("the command failed", exc_info=True)
        raise
