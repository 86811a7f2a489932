"""Damaged ONNX files end in a card or in one line of an error: no traceback, no crash, no hang."""

from __future__ import annotations

from collections.abc import Callable

from .fuzzing import run_child


def test_damaged_onnx_files(rounds: Callable[[int, int], int]) -> None:
    seconds = rounds(10, 3600)
    said = run_child("fuzz_onnx_graphs", seconds, seconds + 60)
    cards, _, refused, _ = said.split()
    assert int(cards) > 0
    assert int(refused) > 0
