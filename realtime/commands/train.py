"""`run.py train`: a model of one's own, from labelled images to an ONNX file with its card."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from realtime.commands.common.options import positive
from realtime.commands.common.tables import counted

NAME = "train"

DATA_HELP = "a folder with images/ and labels/ that the recipe names or that has a dataset.toml (run.py data check), or that file"


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        NAME,
        help="train a model on labelled images",
        description="Train a recipe on labelled images, and export the model at the end. Ctrl-C saves; --resume goes on.",
    )
    parser.add_argument("--data", metavar="DIR", required=True, action="append", help=f"{DATA_HELP}; repeat for each set")
    parser.add_argument(
        "--recipe", metavar="NAME", default="binary", help="road, road-small, people, binary, or a .toml file (default: binary)"
    )
    parser.add_argument("--out", metavar="DIR", help="folder for checkpoints, curve and model (default: out/RECIPE)")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--resume", action="store_true", help="go on with the run in --out")
    begin.add_argument("--from", dest="start_from", metavar="MODEL", help="begin with a bundled model's weights, or a .pt file's")
    parser.add_argument("--device", metavar="NAME", default="cpu", help="cpu (default), cuda, cuda:1 ...")
    parser.add_argument("--threads", metavar="N", type=positive, default=os.cpu_count() or 1, help="CPU threads (default: all)")
    parser.add_argument("--steps", metavar="N", type=positive, help="length of the run, instead of the recipe's")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="any other key of the recipe, such as net.width=0.5"
    )


def run(options: dict[str, Any]) -> int:
    """Train, then export into the run's folder."""
    from engines.training import require_training

    require_training()
    from engines.training.checkpoint import load_checkpoint
    from engines.training.devices import open_device, use_threads
    from engines.training.export import export_checkpoint
    from engines.training.opening import changed, open_run, read_recipe
    from engines.training.train import train

    use_threads(options["threads"])
    device = open_device(options["device"])
    changes = settings_from(options["set"])
    if options["steps"]:
        changes["schedule.steps"] = options["steps"]
    recipe = read_recipe(options["recipe"])
    if options["out"] and not recipe.classes:  # anybody's recipe, so what it makes is called as the folder it goes to
        changes.setdefault("name", Path(options["out"]).resolve().name)
    recipe, sets = open_run(changed(recipe, changes), [Path(path) for path in options["data"]])
    folder = Path(options["out"] or f"out/{recipe.name}")
    for data_set in sets:
        print(f"data     {data_set.settings.name}: {len(data_set.training)} to train on, {len(data_set.held_out)} held out")
    start_from = weights_of(options["start_from"]) if options["start_from"] else None
    print(f"run      {folder}: curve.png and curve.csv grow there while it runs", flush=True)
    state = train(recipe, sets, folder, options["resume"], start_from, device)
    if state.step < recipe.schedule.steps:
        print(f"saved    {folder / 'last.pt'} after step {state.step} of {recipe.schedule.steps}; --resume goes on")
        return 130
    print_export(export_checkpoint(load_checkpoint(folder / "last.pt"), folder, sets))
    return 0


def weights_of(name_or_path: str) -> Path:
    """The weights that --from names: a checkpoint, or those that lie beside a model of ours. Raises SettingsError."""
    from engines.models import zoo
    from realtime.errors import SettingsError

    if name_or_path.endswith(".pt"):
        return Path(name_or_path)
    beside = zoo.locate(name_or_path).parent / "weights.pt"
    if not beside.is_file():
        raise SettingsError(f"--from {name_or_path}: has no weights.pt beside it, so it was not trained here; name a .pt file")
    return beside


def settings_from(texts: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE texts → key → value, read as TOML; what is no TOML value is taken as text. Raises SettingsError."""
    import sys

    from realtime.errors import SettingsError

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    settings = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not (separator and key.strip()):
            raise SettingsError(f'--set "{text}": write a key of the recipe and its value, such as net.width=0.5')
        try:
            settings[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key.strip()] = value.strip()
    return settings


def print_export(exported: Any) -> None:
    """What came out, and how good it is."""
    print_agreement(exported)
    size_mb = exported.model.stat().st_size / 1e6
    print(f"written  {exported.model} ({size_mb:.1f} MB)")
    print(f"         {exported.model.parent / 'card.toml'}")
    print(f"try it   run.py view SOURCE --model {exported.model}")


def print_agreement(exported: Any) -> None:
    """How good it is, and how much the same as the checkpoint."""
    for score in exported.scores:
        print(f"score    {score.name}: mIoU {score.miou:.1f} on {counted(score.images, 'held-out image')}")
        print("         " + "  ".join(f"{name} {iou:.1f}" for name, iou in score.iou.items()))
    print(f"parity   {exported.parity:.4%} of its labels are the checkpoint's")
