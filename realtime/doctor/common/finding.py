"""Findings: what a check says, one verdict each."""

from typing import Literal, NamedTuple

Verdict = Literal["ok", "absent", "warning", "problem"]

VERDICTS: tuple[Verdict, ...] = ("ok", "absent", "warning", "problem")
"""From good to bad. absent: not on this machine, and not needed for what it can do. warning: it works, but slower or with
less than this machine could, or not for long. problem: a part of the program cannot work here."""


class Finding(NamedTuple):
    """One line of the report. cure: a command to paste, perhaps with a comment; "" for a good verdict."""

    verdict: Verdict
    subject: str
    found: str
    cure: str = ""


def ok(subject: str, found: str) -> Finding:
    return Finding("ok", subject, found)


def absent(subject: str, found: str, cure: str = "") -> Finding:
    """cure: how to get it, where somebody may want it."""
    return Finding("absent", subject, found, cure)


def warning(subject: str, found: str, cure: str) -> Finding:
    return Finding("warning", subject, found, cure)


def problem(subject: str, found: str, cure: str) -> Finding:
    return Finding("problem", subject, found, cure)
