"""The work of `run.py doctor`: run the checks, print their findings as they come, or all of them as JSON."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from engines.errors import choices
from realtime.doctor import names
from realtime.doctor.common.report import as_json, lines, summary, terminal_columns, worst
from realtime.doctor.common.runner import run
from realtime.errors import SettingsError
from realtime.process.version import version

if TYPE_CHECKING:
    from realtime.commands.doctor import Options

NO_PROBLEM, PROBLEM = 0, 1
"""Exit codes. Warnings do not count: what is warned of works."""


def diagnose(options: Options) -> int:
    """Look at this machine. Raises SettingsError for a check that does not exist."""
    known = names()
    for name in options.checks:
        if name not in known:
            raise SettingsError(f'no check "{name}"', choices(name, known))
    asked = [name for name in known if name in options.checks] if options.checks else list(known)
    columns = terminal_columns() if sys.stdout.isatty() else None
    start_s = time.monotonic()
    reports = []
    for report in run(asked):
        reports.append(report)
        if not options.json:
            print("\n".join(lines(report, columns)), flush=True)
    seconds = time.monotonic() - start_s
    print(as_json(reports, seconds, version()) if options.json else f"\n{summary(reports, seconds)}")
    return PROBLEM if worst(reports) == "problem" else NO_PROBLEM
