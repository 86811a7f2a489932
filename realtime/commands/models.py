"""`run.py models`: what there is to run."""

from __future__ import annotations

from typing import Any

from realtime.commands._options import MODEL

NAME = "models"


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(NAME, help="list the models there are", description="List the models there are.")
    parser.add_argument("--model", metavar=MODEL, help="only this one, with everything its card says")


def run(options: dict[str, Any]) -> int:
    """Print a table of the bundled models, or one model's card."""
    from realtime.commands._listing import list_models

    return list_models(options["model"])
