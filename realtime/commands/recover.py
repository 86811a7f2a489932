"""Finish the files that a killed run left.

Finish the files that a killed run left: the hidden .NAME.part.SUFFIX becomes NAME-recovered.SUFFIX, as far as it was written.
process does this for its own outputs, and a window for its recordings.
"""

from pathlib import Path
from typing import NamedTuple

from realtime.commands.common.options import Command, argument


class Options(NamedTuple):
    place: str = argument("PLACE", "a folder, or the name of an output (default: out)", nargs="?", default="out")


def run(options: Options) -> int:
    """Finish what is there, a line for each file."""
    from realtime.errors import SettingsError
    from realtime.sinks import kinds, recover

    place = Path(options.place)
    suffixes = [suffix for kind in kinds().values() for suffix in kind.suffixes]
    if not place.is_dir() and place.suffix.lower() not in suffixes:
        raise SettingsError(f"{place}: no such folder, and no name of an output", f"Outputs end in {', '.join(suffixes)}")
    print("\n".join(recover(place)) or f"{place}: nothing is left of a killed run")
    return 0


COMMAND = Command(
    "recover", Options, run, __doc__, example=("run.py recover out/", "finish the files that a killed run left"), rank=120
)
