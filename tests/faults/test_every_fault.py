"""Every fault of the list has a file under its letter."""

from __future__ import annotations

import re
from pathlib import Path

LAST = 35
ELSEWHERE = {27: "slow consumers of a web page and of metrics: this program has neither yet"}


def test_every_fault_has_its_tests() -> None:
    tested = {int(number) for path in Path(__file__).parent.glob("test_f*.py") for number in re.findall(r"_?f(\d\d)_", path.name)}
    assert tested | set(ELSEWHERE) == set(range(1, LAST + 1))
    assert not tested & set(ELSEWHERE)
