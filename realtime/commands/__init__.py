"""The commands of `run.py`. The folder is the registry: each plain module is one command; what they share lies in `common`."""

from __future__ import annotations

from typing import Any, Protocol, cast

from engines.loading import load_module, module_names

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
    modules = [cast(Command, load_module(__name__, name)) for name in module_names(__path__)]
    by_name = {module.NAME: module for module in modules}
    return {name: by_name[name] for name in sorted(by_name, key=_place)}


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER)), name
