"""What `run.py doctor` looks at. The folder is the registry: each plain module is a `Check`; its docstring says what it looks at.

Checks import nothing heavy at their top, and need no package of others to start: an installation that lacks one is what they are
for.
"""

from collections.abc import Iterable
from typing import Protocol, cast

from engines.loading import load_module, module_names
from realtime.doctor.common.finding import Finding
from realtime.doctor.common.machine import Machine

LIMIT_S = 10.0
"""The longest that a check may take, unless its module has a LIMIT_S of its own."""


class Check(Protocol):
    """What a check's module holds."""

    __doc__: str
    RANK: int
    """Its place in the report, the lowest first."""

    def check(self, machine: Machine) -> Iterable[Finding]:
        """Look, and change nothing. At least one finding. May raise: that is reported as well."""
        ...


def names() -> tuple[str, ...]:
    """Every check, in the order of the report. Their modules are named with an underscore for each hyphen."""
    found = [name.replace("_", "-") for name in module_names(__path__)]
    return tuple(sorted(found, key=lambda name: (load(name).RANK, name)))


def load(name: str) -> Check:
    return cast(Check, load_module(__name__, name.replace("-", "_")))


def limit_s(name: str) -> float:
    """How long a check may take."""
    return float(getattr(load(name), "LIMIT_S", LIMIT_S))


def about(name: str) -> str:
    """What a check looks at, in one line."""
    return load(name).__doc__.strip().partition("\n")[0].rstrip(".")
