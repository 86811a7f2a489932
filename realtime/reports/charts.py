"""Charts as pictures. Pure but for fonts: matplotlib's Figure without pyplot, which would keep state and look for a screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.errors import EvaluationError
from engines.types import Image

DPI = 110
NUMBERS_UP_TO = 32
"""Classes; beyond, the cells are too small for numbers."""


def check_charts() -> None:
    """Raises EvaluationError where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise EvaluationError(
            "charts are drawn by matplotlib, which is not installed here: pip install -e '.[evaluate]'"
        ) from error


def confusion_chart(counts: npt.NDArray[np.int64], names: Sequence[str], title: str) -> Image:
    """What each true class was taken for, in per cent of its pixels. Classes that occur in neither are left out.

    counts: (classes, classes + 1) int64, row = truth, the last column "none". Returns (H, W, 3) uint8 BGR.
    """
    there = np.flatnonzero((counts.sum(axis=1) > 0) | (counts[:, : len(names)].sum(axis=0) > 0))
    shown = [names[index] for index in there.tolist()]
    has_none = bool(counts[:, -1].any())
    columns = np.concatenate((there, [len(names)])) if has_none else there
    part = counts[np.ix_(there, columns)].astype(np.float64)
    totals = counts[there].sum(axis=1, keepdims=True)
    shares = 100 * np.divide(part, totals, out=np.zeros_like(part), where=totals > 0)
    figure, axes = _figure(max(5.0, 0.52 * len(columns) + 2.4), max(4.0, 0.42 * len(there) + 2.2))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(columns)), [*shown, *(["none of them"] * has_none)], rotation=45, ha="right")
    axes.set_yticks(range(len(there)), shown)
    axes.set_xlabel("taken for")
    axes.set_ylabel("true class")
    axes.set_title(f"{title}\nper cent of each true class's pixels", fontsize=11)
    axes.tick_params(length=0)
    if len(columns) <= NUMBERS_UP_TO:
        for row, column in np.argwhere(shares >= 0.5):
            ink = "white" if shares[row, column] > 55 else "black"
            axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", color=ink, fontsize=9)
    return _drawn(figure)


def _figure(width_in: float, height_in: float) -> tuple[Any, Any]:
    check_charts()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _drawn(figure: Any) -> Image:
    figure.canvas.draw()
    rgba = np.asarray(figure.canvas.buffer_rgba(), np.uint8)
    return np.ascontiguousarray(rgba[..., 2::-1])
