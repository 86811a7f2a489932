"""Charts as pictures, by matplotlib's Figure without pyplot, which keeps state and needs a screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engines.errors import EvaluationError
from engines.types import I64, Image

DPI = 110
NUMBERS_UP_TO = 32
"""Classes; with more, the cells are too small for numbers."""


def check_charts() -> None:
    """Raises EvaluationError where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise EvaluationError(
            "matplotlib, which draws charts, is not installed", "Install it: pip install -e '.[evaluate]'"
        ) from error


def confusion_chart(counts: I64, names: Sequence[str], title: str) -> Image:
    """A confusion matrix in per cent of each true class's pixels, without classes that do not occur.

    counts: (classes, classes + 1) int64, row = truth, the last column "none". Returns (H, W, 3) uint8 BGR.
    """
    present = np.flatnonzero((counts.sum(axis=1) > 0) | (counts[:, : len(names)].sum(axis=0) > 0))
    shown = [names[index] for index in present.tolist()]
    has_none = bool(counts[:, -1].any())
    columns = np.concatenate((present, [len(names)])) if has_none else present
    part = counts[np.ix_(present, columns)].astype(np.float64)
    totals = counts[present].sum(axis=1, keepdims=True)
    shares = 100 * np.divide(part, totals, out=np.zeros_like(part), where=totals > 0)
    check_charts()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size_in = (max(5.0, 0.52 * len(columns) + 2.4), max(4.0, 0.42 * len(present) + 2.2))
    figure: Any = Figure(figsize=size_in, dpi=DPI, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(columns)), [*shown, *(["none of them"] * has_none)], rotation=45, ha="right")
    axes.set_yticks(range(len(present)), shown)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(f"{title}\nper cent of each true class's pixels", fontsize=11)
    axes.tick_params(length=0)
    if len(columns) <= NUMBERS_UP_TO:
        for row, column in np.argwhere(shares >= 0.5):
            ink = "white" if shares[row, column] > 55 else "black"
            axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", color=ink, fontsize=9)
    canvas.draw()
    rgba = np.asarray(canvas.buffer_rgba(), np.uint8)
    return np.ascontiguousarray(rgba[..., 2::-1])
