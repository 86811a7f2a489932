"""Look at this machine: what works, what does not, and the cure for it.

Look at everything that the program needs or could use: Python and its packages, cameras, window, GPU, TensorRT, engines, disk,
power. A verdict a line; below a warning or a problem the command that cures it. Changes nothing, and takes a few seconds.
Exit code: 0 without a problem, 1 with one. docs/doctor.md explains the verdicts and the keys of --json.
"""

from typing import NamedTuple

from realtime.commands.common.options import Command, argument, switch


def _checks() -> str:
    from realtime.doctor import about, names

    return "checks:\n" + "\n".join(f"  {name:<12} {about(name)}" for name in names())


class Options(NamedTuple):
    checks: tuple[str, ...] = argument("CHECK", "only these (default: all)", nargs="*")
    json: bool = switch("one JSON object on stdout instead of lines")


def run(options: Options) -> int:
    """Look, print, and say by the exit code whether there is a problem."""
    from realtime.commands.common.diagnosing import diagnose

    return diagnose(options)


COMMAND = Command(
    "doctor",
    Options,
    run,
    __doc__,
    epilog=_checks,
    example=("run.py doctor", "what works on this machine, what does not, and the cure"),
    rank=35,
)
