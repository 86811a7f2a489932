"""`run.py data check`: a data set, looked at before anything is trained on it."""

from __future__ import annotations

from typing import Any

NAME = "data"

DESCRIPTION = """\
Look at every file of a data set: images/NAME.jpg and labels/NAME.png, 8-bit class ids, 255 void. Tells every fault, what the set
is made of and what to hold out, and draws a contact sheet. Leaves with 1 where something has to be mended."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        NAME, help="check a data set before training on it", description="Check a data set before training on it."
    )
    actions = parser.add_subparsers(dest="action", metavar="{check}", required=True)
    check = actions.add_parser("check", help="look at every file; write dataset.toml", description=DESCRIPTION)
    check.add_argument(
        "sets", metavar="DIR", nargs="+", help="a folder with images/ and labels/, or a dataset.toml that names one"
    )
    check.add_argument("--classes", metavar="A,B,C", help="names in the order of the ids (default: dataset.toml, or labels.txt)")
    check.add_argument("--write", action="store_true", help="write dataset.toml into DIR: classes and what is held out")
    check.add_argument("--out", metavar="FILE.toml", help="write it there instead: for a folder that cannot be written to")
    check.add_argument("--force", action="store_true", help="overwrite one that says something else")
    check.add_argument("--sheet", metavar="FILE.png", help="where the contact sheet goes (default: out/NAME-sheet.png)")
    check.add_argument("--all", action="store_true", help="print all faults of a kind, not only the first few")


def run(options: dict[str, Any]) -> int:
    """Check each set; 1 where one has a fault."""
    from realtime.commands.common.checking import CheckOptions, check_sets

    names = tuple(name.strip() for name in options["classes"].split(",")) if options["classes"] else ()
    return check_sets(
        options["sets"],
        CheckOptions(
            names,
            writes=options["write"],
            out=options["out"],
            overwrites=options["force"],
            sheet=options["sheet"],
            shows_all=options["all"],
        ),
    )
