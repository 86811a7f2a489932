"""The files of a run: checkpoints, and the curve as a table and as a picture, both updated during the run."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from engines.files import whole_file, write_whole
from engines.training import TrainingError


class RunFolder:
    """The folder of a run.

    last: the newest checkpoint, which `resume` reads and which is exported at the end. best: the highest score on held-out images
    if there are any, flattered by that choice. curve: rows of step, loss, loss on held-out images, learning rate
    and mIoU of each set, one per evaluation. picture: the same, drawn.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last, self.best = path / "last.pt", path / "best.pt"
        self.curve, self.picture = path / "curve.csv", path / "curve.png"

    def create(self) -> None:
        """Make the folder. Raises TrainingError when it contains a run already, or cannot be made."""
        if self.last.exists():
            raise TrainingError(
                f"{self.path}: contains a run already", "Add --resume to continue it, or name another folder with --out"
            )
        make_folder(self.path)

    def write_curve(self, curve: Sequence[dict[str, float]]) -> None:
        """Write the table and the picture, each whole."""
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, curve[-1].keys())
        writer.writeheader()
        writer.writerows(curve)
        write_whole(self.curve, table.getvalue())
        with whole_file(self.picture) as part:
            draw_curve(curve, part)


def make_folder(path: Path) -> None:
    """Make a folder and its parents. Raises TrainingError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be made ({error.strerror})", "Name another folder with --out") from error


def draw_curve(curve: Sequence[dict[str, float]], path: Path) -> None:
    """Losses above, mIoU below, over the steps, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    losses, scores = figure.subplots(2, 1, sharex=True)
    steps = [row["step"] for row in curve]
    marker = "o" if len(curve) < 30 else None
    for axes, names in ((losses, ["loss", "held_out_loss"]), (scores, [name for name in curve[-1] if name.startswith("miou_")])):
        for name in names:
            if name in curve[-1]:
                axes.plot(steps, [row[name] for row in curve], marker=marker, markersize=3, label=name.replace("_", " "))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(frameon=False)
    losses.set_ylabel("loss")
    scores.set_ylabel("mIoU on held-out images, %")
    scores.set_xlabel("step")
    figure.savefig(path, dpi=110)
