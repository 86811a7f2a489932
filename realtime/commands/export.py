"""Write a model in another form.

Write a model as ONNX with its card: small outputs, another size or precision; or a checkpoint's model.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from realtime.commands.common import values
from realtime.commands.common.options import MODEL, MODEL_HELP, Command, argument, option, repeated, switch
from realtime.commands.common.values import or_dynamic, positive
from realtime.commands.train import print_agreement, print_export
from realtime.errors import SettingsError

if TYPE_CHECKING:
    from engines.building.footage import Footage
    from engines.models.card import ModelCard
    from engines.models.model import Model


class Options(NamedTuple):
    model: str = argument(f"{MODEL}|CHECKPOINT.pt", f"{MODEL_HELP}, or a checkpoint of run.py train")
    out: str | None = option(
        "FILE.onnx|DIR", "file to write, its card next to it; of a checkpoint, or a folder (default: one of its name, next to it)"
    )
    fuse: bool = switch("argmax, or the best boxes, inside the graph: less to download and decode")
    precision: str = option("NAME", "default: fp32, unchanged", values.precision, "fp32")
    size: tuple[int, int] | Literal["dynamic"] | None = option(
        "HxW", "another input size, such as 384x640; of a checkpoint, or dynamic: open", or_dynamic(values.size)
    )
    batch: int | Literal["dynamic"] = option(
        "1|dynamic", "default: 1; in a checkpoint's folder, dynamic opens the size too", or_dynamic(positive), 1
    )
    calibrate: str | None = option(
        "VIDEO|DIR", "int8-qdq: footage of your camera; ranges are measured on it, and judged on the rest"
    )
    data: tuple[str, ...] = repeated("DIR", "of a checkpoint: a set whose held-out images give the card's figures; repeat")
    recipe: str | None = option("NAME", "of a checkpoint: take the card's texts and `rebalance` from this recipe instead")


def run(options: Options) -> int:
    """Write a model in another form, or a checkpoint's model, with its card."""
    if options.model.endswith(".pt"):
        return _export_checkpoint(options)
    if options.data or options.recipe:
        raise SettingsError(f"{options.model}: --data and --recipe are for a checkpoint (.pt)", "Leave them out")
    if not options.out:
        raise SettingsError(f"{options.model}: no file to write is named", "Name it with --out FILE.onnx")
    if options.size == "dynamic":
        raise SettingsError(
            f"--size dynamic: the size of {options.model} can be changed, but not opened", "Export its checkpoint, or name a size"
        )
    return _export_onnx(options)


def _export_checkpoint(options: Options) -> int:
    """Write the model folder of a checkpoint; or, where a file is named, make one on the way to it."""
    from engines.training import require_training

    require_training()
    import dataclasses

    import msgspec

    from engines.system.unfinished import temporary_folder
    from engines.training.checkpoint import load_checkpoint
    from engines.training.export import export_checkpoint
    from engines.training.opening import open_run, read_recipe
    from engines.training.recipe import check_recipe, for_export

    path = Path(options.model)
    checkpoint, out = load_checkpoint(path), Path(options.out or path.with_suffix(""))
    recipe = checkpoint.recipe
    if options.size == "dynamic" and out.suffix == ".onnx":
        raise SettingsError("--size dynamic: a model of open size goes into a folder", "Name it with --out DIR")
    if options.size and options.size != "dynamic":
        recipe = msgspec.structs.replace(recipe, input_px=options.size)
        check_recipe(recipe, "--size")
    sets = open_run(recipe, [Path(path) for path in options.data], all_of_them=False)[1] if options.data else []
    if options.recipe:
        recipe = for_export(recipe, read_recipe(options.recipe))
    checkpoint = dataclasses.replace(checkpoint, recipe=recipe)
    is_dynamic = "dynamic" in (options.batch, options.size)
    if options.batch not in (1, "dynamic"):
        raise SettingsError(f"--batch {options.batch}: a camera gives one frame at a time", "Write 1 or dynamic")
    if out.suffix != ".onnx":
        if options.fuse or options.precision != "fp32" or options.calibrate:
            raise SettingsError("--fuse, --precision and --calibrate make one file of the model", "Name it with --out FILE.onnx")
        print_export(export_checkpoint(checkpoint, out, sets, dynamic=is_dynamic))
        return 0
    with temporary_folder() as folder:
        exported = export_checkpoint(checkpoint, folder, sets, dynamic=is_dynamic)
        print_agreement(exported)
        return _export_onnx(options._replace(model=str(exported.model), size=None))


def _export_onnx(options: Options) -> int:
    from engines.building.network import in_int8 as quantised
    from engines.models import zoo
    from engines.models.exporting import export_model
    from engines.models.sizing import size_option
    from engines.types import Size
    from realtime.commands.common.building import describe_parity

    assert options.out is not None, "checked before"
    assert options.size != "dynamic", "checked before"
    model, out = zoo.find(options.model), Path(options.out)
    footage = _footage(model, options.precision, options.calibrate)
    parity = ""

    def in_int8(network: Any, card: ModelCard) -> tuple[Any, ModelCard]:
        nonlocal parity
        assert footage is not None, "asked for in this precision only"
        made = quantised(network, card, footage)
        parity = f"{describe_parity(made.parity)}; ranges were measured on none of them"
        return made.network, made.card

    made = export_model(
        model,
        out,
        fuse=options.fuse,
        precision=options.precision,
        size=Size(*options.size) if options.size else None,
        batch=options.batch,
        in_int8=None if footage is None else in_int8,
    )
    roles = ", ".join(f"{role} = {tensor}" for role, tensor in made.card.outputs.items())
    input_size = size_option(made.card.input.size)
    print(f"written  {out} ({out.stat().st_size / 1e6:.1f} MB), {made.precision}, input {input_size}, outputs {roles}")
    print(f"         {out.with_suffix('.toml')}")
    if footage is not None:
        print(f"ranges   of {len(footage)} frames of {footage.source}")
        print(f"parity   {parity}")
    return 0


def _footage(model: Model, precision: str, calibrate: str | None) -> Footage | None:
    """What INT8 ranges are measured on; None for other precisions. Raises BuildError, SettingsError."""
    from engines.building.footage import Footage, check_footage

    path = None if calibrate is None else Path(calibrate)
    if precision == "int8-qdq":
        check_footage(model, path)
        return Footage(path)
    if calibrate:
        raise SettingsError(f"--calibrate: only int8-qdq measures ranges, not {precision}", "Leave it out")
    return None


COMMAND = Command(
    "export",
    Options,
    run,
    __doc__,
    example=("run.py export road --out o.onnx", "a model in another size or precision, or with small outputs"),
    rank=90,
)
