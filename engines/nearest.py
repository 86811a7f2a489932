"""The nearest right word to a wrong one, for every error that says what there is instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """'; did you mean "x"?' for the nearest of `known`, upper and lower case being one; "" when none is near."""
    near = nearest(wrong, known)
    return f'; did you mean "{near}"?' if near else ""


def nearest(wrong: str, known: Iterable[str]) -> str | None:
    """The nearest of `known`, upper and lower case being one; None when none is near."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(wrong.lower(), list(by_lower), 1)
    return by_lower[near[0]] if near else None
