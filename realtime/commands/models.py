"""List the models; add your own.

List the models, or do something with one of them.
"""

from typing import NamedTuple

from realtime.commands.common.options import BUNDLED_CLIPS, MODEL, Command, argument, group, option, switch
from realtime.commands.common.values import word_or_names


class Options(NamedTuple):
    model: str | None = option(MODEL, "the same as models info")


class List(NamedTuple):
    pass


class Info(NamedTuple):
    model: str = argument(MODEL, "a bundled model, your own, or any ONNX file")


class TrialOptions(NamedTuple):
    backend: str = option("NAME", "what to try it with (default: auto, the fastest here)", default="auto")
    frames: str | None = option("FILE|DIR", f"what to try it on ({BUNDLED_CLIPS})")
    preview: str | None = option("FILE.png", "picture of what it saw (default: out/NAME-preview.png)")


class Add(NamedTuple):
    file: str = argument("FILE.onnx", "missing metadata can go in FILE.toml next to it: docs/models.md")
    card: str | None = option("CARD.toml", "a card in another place (default: the one next to the file)")
    classes: str | tuple[str, ...] | None = option(
        "A,B,C|WORD", "names in the order of its channels, or cityscapes, coco, voc, ade20k, camvid", word_or_names
    )
    name: str | None = option("NAME", "default: the file's")
    trial: TrialOptions = group(TrialOptions)


class Get(NamedTuple):
    model: str | None = argument("NAME", "without a name: list what can be downloaded", nargs="?")
    name: str | None = option("NAME", "name for the model here (default: the same)")
    accept_licence: bool = switch("accept the licence without a question")
    manifest: str | None = option("FILE.toml", "a list of your own (default: the one of the program)")
    trial: TrialOptions = group(TrialOptions)


class Verify(NamedTuple):
    model: str | None = argument("NAME", "only this one", nargs="?")


class Remove(NamedTuple):
    model: str = argument("NAME", "as models lists it")


def run(options: Options | List | Info | Add | Get | Verify | Remove) -> int:
    """Do one of the actions, or list the models."""
    from realtime.commands.common import getting, listing, owning

    match options:
        case Add():
            return owning.add(options)
        case Get():
            return getting.get(options)
        case Verify():
            return owning.verify(options.model)
        case Remove():
            return owning.remove(options.model)
        case List():
            return listing.list_models(None)
    return listing.list_models(options.model)


ADD = """\
Give an ONNX file a name that works with --model everywhere.

Inspect an ONNX file, write its card, run it once on real frames, and keep it under a name."""

GET = """\
Download a listed model, after showing its licence.

Download a model of the manifest: its licence is shown first, its hash is checked."""

COMMAND = Command(
    "models",
    Options,
    run,
    __doc__,
    example=("run.py models", "the models; models add FILE.onnx gives a network of your own a name"),
    rank=30,
    actions=(
        Command("list", List, run, "The models here, and those to download: the same as without an action."),
        Command("info", Info, run, "Everything that is known of a model."),
        Command("add", Add, run, ADD),
        Command("get", Get, run, GET),
        Command("verify", Verify, run, "Compare the SHA-256 of files with their cards."),
        Command("remove", Remove, run, "Delete a model of your own."),
    ),
)
