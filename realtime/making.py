"""`run.py export`: a model in another form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engines import zoo
from engines.building.frames import real_frames
from engines.exporting import export_model
from engines.types import Image, Size
from realtime.errors import SettingsError

CALIBRATION_FRAMES = 32


def export(options: dict[str, Any]) -> int:
    """Write a model in another form, with its card."""
    model, out = zoo.find(options["model"]), Path(options["out"])
    made = export_model(
        model,
        out,
        fuse=options["fuse"],
        precision=options["precision"],
        size=_size(options["size"]) if options["size"] else None,
        batch=options["batch"],
        calibration=_calibration(options["precision"], options.get("frames")),
    )
    roles = ", ".join(f"{role} = {tensor}" for role, tensor in made.card.outputs.items())
    size = f"{made.card.input.size.height}x{made.card.input.size.width}"  # as --size takes it
    print(f"written  {out} ({out.stat().st_size / 1e6:.1f} MB), {made.precision}, input {size}, outputs {roles}")
    print(f"         {out.with_suffix('.toml')}")
    return 0


def _calibration(precision: str, frames: str | None) -> Sequence[Image]:
    """What INT8 ranges are measured on: frames of that video or folder, or of the installed clips; none where none are needed."""
    if precision == "int8-qdq":
        return real_frames(Path(frames) if frames else None, CALIBRATION_FRAMES)
    if frames:
        raise SettingsError(f"--frames: {precision} measures nothing on frames, int8-qdq does; leave it out")
    return ()


def _size(height_width: tuple[int, int]) -> Size:
    return Size(height_width[1], height_width[0])
