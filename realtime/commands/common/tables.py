"""Tables and bars of plain text, for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

BAR_LENGTH = 24
EIGHTHS = " ▏▎▍▌▋▊▉"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Lines of a table: columns as wide as their widest cell, set to the left or right as "l" and "r" in `sides` say."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [
            cell.ljust(width) if side == "l" else cell.rjust(width) for cell, width, side in zip(row, widths, sides, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def bar(share: float, length: int = BAR_LENGTH) -> str:
    """A bar as long as that share (0..1) of `length` characters, to an eighth of one; "" for nought and for NaN."""
    if math.isnan(share):
        return ""
    eighths = round(min(max(share, 0.0), 1.0) * length * 8)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (EIGHTHS[rest] if rest else "")


def counted(count: int, one: str, more: str = "") -> str:
    """ "1 image", "2 images"; `more` where it is not `one` with an s."""
    return f"{count} {one if count == 1 else more or one + 's'}"


def percent(share: float) -> str:
    """A share (0..1) in per cent, to a digit that says something."""
    if math.isnan(share):
        return "-"
    if 0 < share < 0.0005:
        return "<0.1 %"
    return f"{100 * share:.1f} %"
