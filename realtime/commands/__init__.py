"""The commands of `run.py`. The folder is the registry: each plain module is one command and holds it as COMMAND.

Shared parts are in `common`. A module is imported by `run.py --help`, so it imports what is heavy inside its `run`.
"""

from typing import Any

from engines.loading import load_module, module_names
from realtime.commands.common.options import Command


def commands() -> dict[str, Command[Any]]:
    """Every command by its name, in the order of `--help`."""
    found: list[Command[Any]] = [load_module(__name__, name).COMMAND for name in module_names(__path__)]
    return {command.name: command for command in sorted(found, key=lambda command: (command.rank, command.name))}
