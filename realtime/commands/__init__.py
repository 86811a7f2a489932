"""The commands of `run.py`. The folder is the registry: a module whose name has no leading underscore is one command."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, Protocol, cast

ORDER = ("view", "process", "models", "data", "train", "teach", "evaluate", "bench", "export", "import", "build")
"""As a newcomer meets them; `--help` lists any others after these."""


class Command(Protocol):
    """What a command's module holds. Importing it must be quick: what is heavy is imported inside `run`."""

    NAME: str
    """As it is typed."""

    def add_parser(self, commands: Any) -> None:
        """Add the command's own parser to these subparsers of argparse."""
        ...

    def run(self, options: dict[str, Any]) -> int:
        """Do it. Returns the process's exit code; raises SegmentationError for what a user can mend."""
        ...


def commands() -> dict[str, Command]:
    """Every command by its name, in the order that `--help` lists them."""
    files = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    modules = [cast(Command, importlib.import_module(f"{__name__}.{file}")) for file in files]
    by_name = {module.NAME: module for module in modules}
    return {name: by_name[name] for name in sorted(by_name, key=_place)}


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER)), name
