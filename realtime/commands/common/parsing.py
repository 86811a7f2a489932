"""Reads a command line. Everything heavy is imported by the command that needs it."""

import argparse
import os
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from engines.errors import choices, nearest
from realtime.commands import commands
from realtime.commands.common.options import Command, add_options, fields_of, flags_of, read_options

DESCRIPTION = "Real-time video segmentation: masks and object tracks over a camera or a video.\n"
ALONE = ("run.py", "the first webcam, or else a real clip (in a window, or headless to out/demo.mp4)")


class _Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line, with the nearest right word. chosen: words of the command line."""

    chosen: Collection[str] = ()

    def error(self, message: str) -> NoReturn:
        marker = "unrecognized arguments: "
        if message.startswith(marker):
            wrong = message[len(marker) :].split()[0].split("=")[0]
            known = _options_by_command()
            if owners := [name for name, flags in known.items() if wrong in flags]:
                message = f'this command has no option "{wrong}"; {", ".join(owners)} has it'
            else:
                own = [flag for name, flags in known.items() if name.split()[-1] in self.chosen for flag in flags]
                near = nearest(wrong, own) or nearest(wrong, [flag for flags in known.values() for flag in flags])
                cure = f'Did you mean "{near}"?' if near else f"See {self.prog} --help"
                message = f'unknown option "{wrong}". {cure}'
        self.exit(2, f"error: {message}\n")


def build_parser(chosen: Collection[str] | None = None) -> argparse.ArgumentParser:
    """The parser of every command. chosen: words of the command line; only commands among them get their options."""
    found = commands()
    examples = [ALONE, *(command.example for command in found.values() if command.example[0])]
    width = max(len(text) for text, _ in examples)
    description = DESCRIPTION + "".join(f"\n  {text:<{width}}  {meaning}" for text, meaning in examples)
    parser = _Parser(prog="run.py", description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.chosen = chosen or ()
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    _add_logging(parser)
    _add_commands(parser, list(found.values()), chosen)
    return parser


class Parsed(NamedTuple):
    """A command line that was read. run: does the work, and returns the exit code. words: for the log. log: --log FILE."""

    run: Callable[[], int]
    words: Sequence[str]
    log: Path | None
    verbose: bool


def parse(words: Sequence[str]) -> Parsed | None:
    """Read a command line; None where --version has been answered. A wrong one is told on stderr, and raises SystemExit(2)."""
    words = _with_command(list(words))
    values = vars(build_parser(words).parse_args(words))
    if values["version"]:
        from realtime.process.version import version

        print(version())
        return None
    return Parsed(lambda: _run(values), words, Path(values["log"]) if values["log"] else None, bool(values["verbose"]))


def _run(values: dict[str, Any]) -> int:
    if "command" not in values:
        from realtime.commands.common.running import demo

        return demo()
    command = values["command"]
    return int(command.run(read_options(command.options, fields_of(command.options), values, f"{command.name}.")))


def _add_commands(
    parser: argparse.ArgumentParser, found: Collection[Command[Any]], chosen: Collection[str] | None, **how: Any
) -> None:
    names = ",".join(command.name for command in found)
    subparsers = parser.add_subparsers(metavar=f"{{{names}}}", parser_class=_Parser, **how)
    for command in found:
        line = f"{command.line[:1].lower()}{command.line[1:]}".rstrip(".")
        own = subparsers.add_parser(command.name, help=line, description=command.description)
        if chosen is not None and command.name not in chosen:
            continue
        if epilog := command.epilog():
            own.epilog, own.formatter_class = epilog, argparse.RawDescriptionHelpFormatter
        add_options(own, fields_of(command.options), f"{command.name}.")
        own.set_defaults(command=command)
        _add_logging(own, default=argparse.SUPPRESS)  # or the default would replace what was given before the command
        if command.actions:
            _add_commands(own, command.actions, None, required=command.run is None)


def _add_logging(parser: argparse.ArgumentParser, default: Any = None) -> None:
    """Options of every command, before its name or after it."""
    group = parser.add_argument_group("messages")
    group.add_argument("--verbose", action="store_true", default=default, help="print all messages, with times")
    group.add_argument("--log", metavar="FILE", default=default, help="append all messages to FILE")


def _options_by_command() -> dict[str, list[str]]:
    """Every option there is, by the command that has it."""
    return {
        f"run.py {command.name}": [flag for one in (command, *command.actions) for flag in flags_of(one.options)]
        for command in commands().values()
    } | {"run.py": ["--version", "--verbose", "--log"]}


def _with_command(arguments: list[str]) -> list[str]:
    """`run.py SOURCE` and `run.py --OPTION ...` mean view; any other unknown word gets the nearest command."""
    first = next((word for word in arguments if not word.startswith("-")), None)
    known = commands()
    if first is None or first in known or arguments[0] in ("-h", "--help"):
        return arguments
    looks_like_source = first.isdigit() or "://" in first or Path(first).exists() or "." in first or os.sep in first
    if arguments[0] == first and not looks_like_source:
        print(f'error: no command "{first}". {choices(first, known)}', file=sys.stderr)
        raise SystemExit(2)
    if arguments[0] != first and ("--version" in arguments or any(word in known for word in arguments)):
        return arguments
    return ["view", *arguments]
