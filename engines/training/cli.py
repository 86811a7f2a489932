"""The command line of training: arguments in, one of three jobs out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from engines.errors import EngineError
from engines.training.cards import card_facts, write_card
from engines.training.checkpoint import load_checkpoint
from engines.training.data import DataSet, open_set
from engines.training.deployed import torch_predictor
from engines.training.errors import TrainingError
from engines.training.evaluate import Predictor, SetScore, onnx_predictor, score_set
from engines.training.export import export_onnx, probe_images
from engines.training.rebalance import rebalance
from engines.training.recipe import Recipe, read_recipe
from engines.training.teach import teach
from engines.training.train import train
from engines.types import U8

DATA_HELP = "a folder with images/ and labels/, named as a set of the recipe; repeat for each set"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, or 2 after one line on standard error that names the thing and the cure."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        options.run(options)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m engines.training", description="Train, export and evaluate the project's models."
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--threads", type=int, default=2, metavar="N", help="CPU threads (default 2)")
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("train", parents=[common], help="train a recipe; Ctrl-C saves, --resume goes on")
    command.add_argument("--recipe", required=True, metavar="NAME", help="a recipe that comes with the project, or a .toml file")
    command.add_argument("--data", required=True, type=Path, action="append", metavar="DIR", help=DATA_HELP)
    command.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for checkpoints and the curve")
    begin = command.add_mutually_exclusive_group()
    begin.add_argument("--resume", action="store_true", help="go on with the run in --out")
    begin.add_argument("--from", type=Path, dest="start_from", metavar="CHECKPOINT", help="begin with these weights")
    command.set_defaults(run=_train)

    command = commands.add_parser("teach", parents=[common], help="label the images of one set with a trained ONNX model")
    command.add_argument(
        "teacher", type=Path, metavar="TEACHER.onnx", help="a semantic model with logits, with its card beside it"
    )
    command.add_argument("--recipe", required=True, metavar="NAME", help="the recipe that names both sets")
    command.add_argument("--data", required=True, type=Path, metavar="DIR", help="the set whose images and labels are known")
    command.add_argument("--out", required=True, type=Path, metavar="DIR", help="the set to write")
    command.add_argument("--sure", type=float, default=0.6, metavar="P", help="less probable labels are left void (default 0.6)")
    command.set_defaults(run=_teach)

    command = commands.add_parser("rebalance", parents=[common], help="take back part of the class weights of a checkpoint")
    command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="last.pt of a run")
    command.add_argument(
        "--data", required=True, type=Path, metavar="DIR", help="a set of its recipe with the model's own classes"
    )
    command.add_argument("--share", type=float, default=0.5, metavar="0..1", help="how much to take back (default 0.5)")
    command.add_argument("--out", required=True, type=Path, metavar="CHECKPOINT", help="the checkpoint to write")
    command.set_defaults(run=_rebalance)

    command = commands.add_parser("export", parents=[common], help="write model.onnx and card.toml")
    command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="last.pt of a run")
    command.add_argument("--out", required=True, type=Path, metavar="DIR", help="the model's folder")
    command.add_argument("--recipe", metavar="NAME", help="take the card's texts from this recipe, not from the checkpoint")
    command.add_argument(
        "--data",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help=f"{DATA_HELP}: its held-out images give the card's figures",
    )
    command.set_defaults(run=_export)

    command = commands.add_parser("evaluate", parents=[common], help="mIoU on held-out images")
    command.add_argument("model", type=Path, metavar="MODEL", help="an exported .onnx, or a checkpoint")
    command.add_argument("--recipe", required=True, metavar="NAME", help="the recipe that names the classes and what is held out")
    command.add_argument("--data", required=True, type=Path, action="append", metavar="DIR", help=DATA_HELP)
    command.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    command.set_defaults(run=_evaluate)
    return parser


def _train(options: argparse.Namespace) -> None:
    recipe = read_recipe(options.recipe)
    train(recipe, open_sets(recipe, options.data, all_of_them=True), options.out, options.resume, options.start_from)


def _teach(options: argparse.Namespace) -> None:
    teach(options.teacher, read_recipe(options.recipe), options.data, options.out, options.sure)


def _rebalance(options: argparse.Namespace) -> None:
    (data_set,) = open_sets(load_checkpoint(options.checkpoint).recipe, [options.data])
    rebalance(options.checkpoint, data_set, options.share, options.out)


def _export(options: argparse.Namespace) -> None:
    checkpoint = load_checkpoint(options.checkpoint)
    recipe = checkpoint.recipe if options.recipe is None else read_recipe(options.recipe)
    if (recipe.classes, recipe.net) != (checkpoint.recipe.classes, checkpoint.recipe.net):
        raise TrainingError(f"{options.checkpoint}: trained with other classes or another net than recipe {options.recipe} has")
    sets = open_sets(recipe, options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    model = options.out / "model.onnx"
    parity = export_onnx(checkpoint.net(), recipe.input_px, model, _parity_images(recipe, sets))
    scores = _scores(onnx_predictor(model, options.threads), recipe, sets)
    write_card(options.out / "card.toml", card_facts(recipe, model, scores, parity))
    print(f"{model}: {model.stat().st_size / 1e6:.1f} MB, {parity:.4%} of its labels are the checkpoint's")


def _evaluate(options: argparse.Namespace) -> None:
    recipe = read_recipe(options.recipe)
    if options.model.suffix == ".onnx":
        predict = onnx_predictor(options.model, options.threads)
    else:
        predict = torch_predictor(load_checkpoint(options.model).net())
    scores = _scores(predict, recipe, open_sets(recipe, options.data))
    if options.json:
        options.json.write_text(json.dumps([score._asdict() for score in scores], indent=1) + "\n", encoding="utf-8")


def open_sets(recipe: Recipe, folders: Sequence[Path], all_of_them: bool = False) -> list[DataSet]:
    """The recipe's sets among `folders`, by folder name. Raises TrainingError when one is unknown, or missing from all."""
    by_name = {folder.resolve().name: folder for folder in folders}
    known = [settings.name for settings in recipe.sets]
    for name, folder in by_name.items():
        if name not in known:
            raise TrainingError(f'{folder}: recipe "{recipe.name}" has no set "{name}"; its sets are: {", ".join(known)}')
    for name in known if all_of_them else ():
        if name not in by_name:
            raise TrainingError(f'recipe "{recipe.name}" needs the set "{name}"; add --data PATH/{name}')
    return [open_set(by_name[settings.name], settings) for settings in recipe.sets if settings.name in by_name]


def _scores(predict: Predictor, recipe: Recipe, sets: Sequence[DataSet]) -> list[SetScore]:
    """Score every set that holds images out, and print the table."""
    scores = [score_set(predict, data_set, recipe.classes, recipe.input_px) for data_set in sets if data_set.held_out]
    for score in scores:
        print(f"{score.name}: mIoU {score.miou:.1f} on {score.images} held-out images")
        print("  " + "  ".join(f"{name} {iou:.1f}" for name, iou in score.iou.items()))
    return scores


def _parity_images(recipe: Recipe, sets: Sequence[DataSet]) -> list[U8]:
    """Up to 16 held-out frames of each set, as the model sees them; made-up ones where there are none."""
    frames = [sample.image for data_set in sets for sample in data_set.held_out[:16]]
    resized = [np.asarray(cv2.resize(frame, recipe.input_px, interpolation=cv2.INTER_LINEAR), np.uint8) for frame in frames]
    return resized or probe_images(recipe.input_px)
