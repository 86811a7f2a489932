"""Where a run leaves its files: checkpoints, and the curve as a table and as a picture, both growing while it runs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.training.errors import TrainingError


@dataclass(frozen=True)
class RunFolder:
    path: Path

    @property
    def last(self) -> Path:
        """The newest checkpoint: what `resume` reads and, at the end of the schedule, what to export."""
        return self.path / "last.pt"

    @property
    def best(self) -> Path:
        """What scored highest on the held-out images, if there are any; its score is flattered by having been chosen for it."""
        return self.path / "best.pt"

    @property
    def curve(self) -> Path:
        """One row per evaluation: step, loss, loss on held-out images, learning rate, mIoU of each set."""
        return self.path / "curve.csv"

    @property
    def picture(self) -> Path:
        """The same, drawn."""
        return self.path / "curve.png"

    def create(self) -> None:
        """Make the folder. Raises TrainingError when it holds a run already, or cannot be made."""
        if self.last.exists():
            raise TrainingError(
                f"{self.path}: holds a run already; add --resume to go on with it, or name another folder with --out"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"{self.path}: cannot be made ({error.strerror}); name another folder with --out") from error

    def write_curve(self, curve: Sequence[dict[str, float]]) -> None:
        """Write both forms, each whole or not at all."""
        part = self.curve.with_suffix(".csv.part")
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, curve[-1].keys())
            writer.writeheader()
            writer.writerows(curve)
        part.replace(self.curve)
        part = self.picture.with_suffix(".part.png")
        draw_curve(curve, part)
        part.replace(self.picture)


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
