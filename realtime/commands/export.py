"""`run.py export`: a model in another form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime.commands._options import MODEL, MODEL_HELP, PRECISIONS, batch, one_of, size

if TYPE_CHECKING:
    from engines.types import Image

NAME = "export"
CALIBRATION_FRAMES = 32


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        NAME,
        help="write a model in another form",
        description="Write a model as ONNX with its card: small outputs, another size or precision.",
    )
    parser.add_argument("model", metavar=MODEL, help=MODEL_HELP)
    parser.add_argument("--out", metavar="FILE.onnx", required=True, help="file to write; its card is written beside it")
    parser.add_argument(
        "--fuse", action="store_true", help="argmax, or the best boxes, inside the graph: less to download and decode"
    )
    parser.add_argument("--precision", metavar="NAME", type=one_of(PRECISIONS), default="fp32", help="default: fp32, as it is")
    parser.add_argument("--size", metavar="HxW", type=size, help="another input size, such as 384x640")
    parser.add_argument("--batch", metavar="1|dynamic", type=batch, default=1, help="default: 1")
    parser.add_argument(
        "--frames", metavar="FILE|DIR", help="what int8-qdq measures its ranges on (default: the clips that come along)"
    )


def run(options: dict[str, Any]) -> int:
    """Write a model in another form, with its card."""
    return _export_onnx(options)


def _export_onnx(options: dict[str, Any]) -> int:
    from engines import zoo
    from engines.exporting import export_model
    from engines.types import Size

    model, out = zoo.find(options["model"]), Path(options["out"])
    made = export_model(
        model,
        out,
        fuse=options["fuse"],
        precision=options["precision"],
        size=Size(options["size"][1], options["size"][0]) if options["size"] else None,
        batch=options["batch"],
        calibration=_calibration(options["precision"], options.get("frames")),
    )
    roles = ", ".join(f"{role} = {tensor}" for role, tensor in made.card.outputs.items())
    input_size = f"{made.card.input.size.height}x{made.card.input.size.width}"  # as --size takes it
    print(f"written  {out} ({out.stat().st_size / 1e6:.1f} MB), {made.precision}, input {input_size}, outputs {roles}")
    print(f"         {out.with_suffix('.toml')}")
    return 0


def _calibration(precision: str, frames: str | None) -> Sequence[Image]:
    """What INT8 ranges are measured on: frames of that video or folder, or of the installed clips; none where none are needed."""
    from engines.building.frames import real_frames
    from realtime.errors import SettingsError

    if precision == "int8-qdq":
        return real_frames(Path(frames) if frames else None, CALIBRATION_FRAMES)
    if frames:
        raise SettingsError(f"--frames: {precision} measures nothing on frames, int8-qdq does; leave it out")
    return ()
