"""The report of all checks: for people, a verdict a line with its cure below it; for programs, JSON."""

import json
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from realtime.doctor.common.finding import VERDICTS, Finding, Verdict
from realtime.doctor.common.runner import Report
from realtime.process.redact import redact

JSON_FORMAT = 1
"""Increased when a key changes its meaning or is removed. New keys may come at any time."""

VERDICT_LETTERS, SUBJECT_LETTERS = 7, 15
INDENT = VERDICT_LETTERS + SUBJECT_LETTERS + 4


def lines(report: Report, columns: int | None = None) -> Iterator[str]:
    """The lines of one check. columns: of the terminal, for which findings are folded; cures never are, to be copied."""
    for finding in map(clean, report.findings):
        head = f"{finding.verdict:<{VERDICT_LETTERS}}  {finding.subject:<{SUBJECT_LETTERS}}  "
        if columns is None or columns < INDENT + 30:
            yield head + finding.found
        else:
            first, *rest = textwrap.wrap(finding.found, columns - INDENT, break_long_words=False, break_on_hyphens=False) or [""]
            yield head + first
            yield from (" " * INDENT + line for line in rest)
        if finding.cure:
            yield f"{'':<{VERDICT_LETTERS}}  {'  cure':<{SUBJECT_LETTERS}}  {finding.cure}"


def summary(reports: Sequence[Report], seconds: float) -> str:
    """One line: how many of each verdict."""
    found = counts(reports)
    parts = [f"{count} {verdict}{'s' * (verdict in ('warning', 'problem') and count != 1)}" for verdict, count in found.items()]
    return f"{', '.join(parts)}, in {seconds:.1f} s"


def counts(reports: Iterable[Report]) -> dict[str, int]:
    verdicts = [finding.verdict for report in reports for finding in report.findings]
    return {verdict: verdicts.count(verdict) for verdict in VERDICTS}


def worst(reports: Iterable[Report]) -> Verdict:
    """ "problem", "warning" or "ok": what is absent is no worse than what is there."""
    found = counts(reports)
    return next((verdict for verdict in ("problem", "warning") if found[verdict]), "ok")


def as_json(reports: Sequence[Report], seconds: float, version: str) -> str:
    """The report as docs/doctor.md describes it."""
    findings = [{"check": report.check, **clean(finding)._asdict()} for report in reports for finding in report.findings]
    document = {
        "format": JSON_FORMAT,
        "version": version,
        "verdict": worst(reports),
        "counts": counts(reports),
        "seconds": round(seconds, 2),
        "findings": findings,
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def clean(finding: Finding) -> Finding:
    """In one line, and without secrets: variables and error texts may hold some."""
    subject, found, cure = finding[1:]
    cure = " ".join(cure.splitlines())  # its spaces may belong to a path
    return Finding(finding.verdict, *(redact(text) for text in (subject, " ".join(found.split()), cure)))


def terminal_columns() -> int:
    return shutil.get_terminal_size((120, 24)).columns
