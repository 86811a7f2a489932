"""Check a data set before training on it."""

from typing import NamedTuple

from realtime.commands.common.options import Command, argument, option, switch

CHECK = """\
Check every file; write dataset.toml.

Check every file of a data set: images/NAME.jpg and labels/NAME.png, 8-bit class ids, 255 void. Reports every fault, the content
of the set and what to hold out, and draws a contact sheet. The exit code is 1 if there is a fault."""


class Check(NamedTuple):
    sets: tuple[str, ...] = argument(
        "DIR", "a folder with images/ and labels/, a dataset.toml that names one, a data.yaml or COCO's JSON", nargs="+"
    )
    classes: str | None = option(
        "A,B,C|WORD", "names in the order of the ids, or cityscapes, voc ... (default: dataset.toml, or labels.txt)"
    )
    write: bool = switch("write dataset.toml into DIR: classes and what is held out")
    out: str | None = option("FILE.toml", "write this file instead, where DIR cannot be written to")
    force: bool = switch("overwrite a file with other content")
    sheet: str | None = option("FILE.png", "file for the contact sheet (default: out/NAME-sheet.png)")
    all: bool = switch("print all faults of a kind, not only the first few")


class Options(NamedTuple):
    """None of its own: an action is named."""


def check(options: Check) -> int:
    """Check each set; 1 where one has a fault."""
    from realtime.commands.common.checking import check_sets

    return check_sets(options)


COMMAND = Command("data", Options, None, __doc__, rank=40, actions=(Command("check", Check, check, CHECK),))
