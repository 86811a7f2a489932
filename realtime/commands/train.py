"""Train a model on labelled images.

Train a recipe on labelled images, and export the model at the end. Ctrl-C saves; --resume goes on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from realtime.commands.common.options import Command, option, repeated, switch
from realtime.commands.common.tables import counted
from realtime.commands.common.values import positive
from realtime.errors import SettingsError
from realtime.process.ending import orderly

if TYPE_CHECKING:
    from engines.training.export import Exported

log = logging.getLogger(__name__)

DATA_HELP = "a folder with images/ and labels/ that the recipe names or that has a dataset.toml (run.py data check), or that file"


class Options(NamedTuple):
    data: tuple[str, ...] = repeated("DIR", f"{DATA_HELP}; repeat for each set", required=True)
    recipe: str = option("NAME", "road, road-small, people, binary, or a .toml file (default: binary)", default="binary")
    out: str | None = option("DIR", "folder for checkpoints, curve and model (default: out/RECIPE)")
    resume: bool = switch("continue the run in --out")
    start_from: str | None = option(
        "MODEL",
        "begin with a bundled model's weights, a .pt file's, or those of an encoder (.onnx, net.kind mobile)",
        flag="--from",
    )
    device: str = option("NAME", "cpu (default), cuda, cuda:1 ...", default="cpu")
    threads: int = option("N", "CPU threads (default: all)", positive, os.cpu_count() or 1)
    steps: int | None = option("N", "length of the run, instead of the recipe's", positive)
    set: tuple[str, ...] = repeated("KEY=VALUE", "any other key of the recipe, such as net.width=0.5")


def run(options: Options) -> int:
    """Train, then export into the run's folder."""
    if options.resume and options.start_from:
        raise SettingsError("--resume and --from exclude each other", "A resumed run goes on with its own weights")
    from engines.training import require_training

    require_training()
    from engines.training.checkpoint import load_checkpoint, with_net_of
    from engines.training.devices import open_device, use_threads
    from engines.training.export import export_checkpoint
    from engines.training.opening import changed, open_run, read_recipe
    from engines.training.train import train

    use_threads(options.threads)
    device = open_device(options.device)
    changes = settings_from(options.set)
    if options.steps:
        changes["schedule.steps"] = options.steps
    recipe = read_recipe(options.recipe)
    if options.out and not recipe.classes:  # a recipe for any classes: the model is called as its folder
        changes.setdefault("name", Path(options.out).resolve().name)
    recipe, sets = open_run(changed(recipe, changes), [Path(path) for path in options.data])
    folder = Path(options.out or f"out/{recipe.name}")
    for data_set in sets:
        print(f"data     {data_set.settings.name}: {len(data_set.training)} to train on, {len(data_set.held_out)} held out")
    start_from = None
    if options.start_from:
        start_from = weights_of(options.start_from, takes_onnx=recipe.net.kind == "mobile")
    known = folder / "last.pt" if options.resume else start_from
    if known and known.suffix == ".pt" and known.is_file():
        recipe = with_net_of(recipe, known)
    print(f"run      {folder}: curve.png and curve.csv grow there while it runs", flush=True)
    stops = _Stops()
    state = train(recipe, sets, folder, options.resume, start_from, device, stop_requests=stops)
    if stops.code:
        print(f"saved    {folder / 'last.pt'} after step {state.step} of {recipe.schedule.steps}; --resume goes on")
        return stops.code
    print_export(export_checkpoint(load_checkpoint(folder / "last.pt"), folder, sets))
    return 0


class _Stops(ExitStack):
    """Entered while there are steps to save: a signal ends the training after its step. code: the exit code, 0 without one."""

    code = 0

    def __enter__(self) -> Callable[[], bool]:  # type: ignore[override]  # what `train` asks
        ending = self.enter_context(orderly(self._tell, limit_s=None))
        self.callback(lambda: setattr(self, "code", ending.code))
        return lambda: ending.requested

    def _tell(self) -> None:
        log.warning("ending after this step, which is saved; once more ends at once")


def weights_of(name_or_path: str, *, takes_onnx: bool = False) -> Path:
    """The weights that --from names: a checkpoint, or those next to a trained model. Raises SettingsError.

    takes_onnx: the net can begin with another network's ONNX file, which has no weights next to it.
    """
    from engines.models import zoo

    if name_or_path.endswith(".pt"):
        return Path(name_or_path)
    model = zoo.locate(name_or_path)
    weights = model.parent / "weights.pt"
    if not weights.is_file() and takes_onnx:
        return model
    if not weights.is_file():
        raise SettingsError(f"--from {name_or_path}: has no weights.pt next to it", "Name a .pt file, or a model trained here")
    return weights


def settings_from(texts: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE texts as key -> value, read as TOML; other values are texts. Raises SettingsError."""
    from engines.tables import value_of

    settings = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not (separator and key.strip()):
            raise SettingsError(
                f'--set "{text}": is not a key with a value', "Write a key of the recipe and its value: net.width=0.5"
            )
        settings[key.strip()] = value_of(value)
    return settings


def print_export(exported: Exported) -> None:
    """The files of an exported model, and how good it is."""
    print_agreement(exported)
    size_mb = exported.model.stat().st_size / 1e6
    print(f"written  {exported.model} ({size_mb:.1f} MB)")
    print(f"         {exported.model.parent / 'card.toml'}")
    print(f"try it   run.py view SOURCE --model {exported.model}")


def print_agreement(exported: Exported) -> None:
    """How good an exported model is, and how well it agrees with its checkpoint."""
    for score in exported.scores:
        print(f"score    {score.name}: mIoU {score.miou:.1f} on {counted(score.images, 'held-out image')}")
        print("         " + "  ".join(f"{name} {iou:.1f}" for name, iou in score.iou.items()))
    print(f"parity   {exported.parity:.4%} of its labels are the checkpoint's")


COMMAND = Command(
    "train",
    Options,
    run,
    __doc__,
    example=("run.py train --data DIR", "a model of your own from labelled images; before it: run.py data check DIR"),
    rank=50,
)
