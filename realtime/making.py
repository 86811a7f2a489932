"""`run.py export`: a model in another form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engines import zoo
from engines.exporting import export_model
from engines.types import Size


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
    )
    roles = ", ".join(f"{role} = {tensor}" for role, tensor in made.card.outputs.items())
    print(f"written  {out} ({out.stat().st_size / 1e6:.1f} MB), {made.precision}, input {made.card.input.size}, outputs {roles}")
    print(f"         {out.with_suffix('.toml')}")
    return 0


def _size(height_width: tuple[int, int]) -> Size:
    return Size(height_width[1], height_width[0])
