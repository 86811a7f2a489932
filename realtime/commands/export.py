"""`run.py export`: a model in another form."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, get_args

from engines.backends.common.options import Precision
from realtime.commands.common.options import MODEL, MODEL_HELP, batch, one_of, size
from realtime.commands.train import print_agreement, print_export
from realtime.errors import SettingsError

if TYPE_CHECKING:
    from engines.types import Image

NAME = "export"
CALIBRATION_FRAMES = 32


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        NAME,
        help="write a model in another form",
        description="Write a model as ONNX with its card: small outputs, another size or precision; or a checkpoint's model.",
    )
    parser.add_argument("model", metavar=f"{MODEL}|CHECKPOINT.pt", help=f"{MODEL_HELP}, or what run.py train left")
    parser.add_argument(
        "--out",
        metavar="FILE.onnx|DIR",
        help="file to write, its card beside it; of a checkpoint, or a folder (default then: one beside it, of its name)",
    )
    parser.add_argument(
        "--fuse", action="store_true", help="argmax, or the best boxes, inside the graph: less to download and decode"
    )
    parser.add_argument(
        "--precision", metavar="NAME", type=one_of(get_args(Precision)), default="fp32", help="default: fp32, as it is"
    )
    parser.add_argument(
        "--size", metavar="HxW", type=_size, help="another input size, such as 384x640; of a checkpoint, or dynamic: open"
    )
    parser.add_argument(
        "--batch",
        metavar="1|dynamic",
        type=batch,
        default=1,
        help="default: 1; in a checkpoint's folder, dynamic opens the size too",
    )
    parser.add_argument(
        "--frames", metavar="FILE|DIR", help="what int8-qdq measures its ranges on (default: the clips that come along)"
    )
    checkpoint = parser.add_argument_group("of a checkpoint")
    checkpoint.add_argument(
        "--data", metavar="DIR", action="append", default=[], help="a set whose held-out images give the card's figures; repeat"
    )
    checkpoint.add_argument("--recipe", metavar="NAME", help="take the card's texts and `rebalance` from this recipe instead")


def _size(text: str) -> tuple[int, int] | Literal["dynamic"]:
    return "dynamic" if text == "dynamic" else size(text)


def run(options: dict[str, Any]) -> int:
    """Write a model in another form, or a checkpoint's model, with its card."""
    if options["model"].endswith(".pt"):
        return _export_checkpoint(options)
    if options.get("data") or options.get("recipe"):
        raise SettingsError(f"{options['model']}: --data and --recipe are for a checkpoint (.pt); leave them out")
    if not options["out"]:
        raise SettingsError(f"{options['model']}: name the file to write: --out FILE.onnx")
    if options["size"] == "dynamic":
        raise SettingsError(
            f"--size dynamic: {options['model']} is finished: its size can be changed, not opened; "
            "export its checkpoint, or name a size"
        )
    return _export_onnx(options)


def _export_checkpoint(options: dict[str, Any]) -> int:
    """Write the model folder of a checkpoint; or, where a file is named, make it on the way and go on from there."""
    from engines.training import require_training

    require_training()
    import msgspec

    from engines.training.checkpoint import load_checkpoint
    from engines.training.export import export_checkpoint
    from engines.training.opening import open_run, read_recipe
    from engines.training.recipe import check_recipe, for_export

    path = Path(options["model"])
    checkpoint, out = load_checkpoint(path), Path(options["out"] or path.with_suffix(""))
    recipe = checkpoint.recipe
    if options["size"] == "dynamic" and out.suffix == ".onnx":
        raise SettingsError("--size dynamic: a model of open size goes into a folder; name it with --out DIR")
    if options["size"] and options["size"] != "dynamic":
        recipe = msgspec.structs.replace(recipe, input_px=(options["size"][1], options["size"][0]))
        check_recipe(recipe, "--size")
    sets = open_run(recipe, [Path(path) for path in options["data"]], all_of_them=False)[1] if options["data"] else []
    if options["recipe"]:
        recipe = for_export(recipe, read_recipe(options["recipe"]))
    checkpoint = dataclasses.replace(checkpoint, recipe=recipe)
    is_dynamic = "dynamic" in (options["batch"], options["size"])
    if options["batch"] not in (1, "dynamic"):
        raise SettingsError(f"--batch {options['batch']}: fits no camera, which gives one frame a time; write 1 or dynamic")
    if out.suffix != ".onnx":
        if options["fuse"] or options["precision"] != "fp32" or options.get("frames"):
            raise SettingsError("--fuse, --precision and --frames make one file of the model: name it with --out FILE.onnx")
        print_export(export_checkpoint(checkpoint, out, sets, dynamic=is_dynamic))
        return 0
    with TemporaryDirectory() as folder:
        exported = export_checkpoint(checkpoint, Path(folder), sets, dynamic=is_dynamic)
        print_agreement(exported)
        return _export_onnx({**options, "model": str(exported.model), "size": None})


def _export_onnx(options: dict[str, Any]) -> int:
    from engines.models import zoo
    from engines.onnx_graph.exporting import export_model
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

    if precision == "int8-qdq":
        return real_frames(Path(frames) if frames else None, CALIBRATION_FRAMES)
    if frames:
        raise SettingsError(f"--frames: {precision} measures nothing on frames, int8-qdq does; leave it out")
    return ()
