"""Tables, bars and numbers as plain text for the terminal, and values for JSON files."""

import math
from collections.abc import Sequence
from typing import Any

BAR_LENGTH = 24
EIGHTHS = " ▏▎▍▌▋▊▉"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """The lines of a table with columns as wide as their widest cell. sides: "l" or "r" for each column's alignment."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    columns = [("<" if side == "l" else ">") + str(width) for side, width in zip(sides, widths, strict=True)]
    return ["  ".join(map(format, row, columns)).rstrip() for row in (head, *rows)]


def bar(share: float, length: int = BAR_LENGTH) -> str:
    """A bar of that share (0..1) of `length` characters, to an eighth of one; "" for zero and for NaN."""
    if math.isnan(share):
        return ""
    eighths = round(min(max(share, 0.0), 1.0) * length * 8)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (EIGHTHS[rest] if rest else "")


def counted(count: int, one: str, more: str = "") -> str:
    """ "1 image", "2 images"; `more` where it is not `one` with an s."""
    return f"{count} {one if count == 1 else more or one + 's'}"


def percent(share: float) -> str:
    """A share (0..1) in per cent, one digit after the point; "<0.1 %" for smaller ones, "-" for NaN."""
    if math.isnan(share):
        return "-"
    if 0 < share < 0.0005:
        return "<0.1 %"
    return f"{100 * share:.1f} %"


def show(share: float) -> str:
    """A share (0..1) in per cent without the sign, one digit after the point; "-" for NaN."""
    return "-" if math.isnan(share) else f"{100 * share:.1f}"


def plain(value: Any) -> Any:
    """A value for JSON: NaN as null, floats rounded to six digits."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value
